//! HTTP/1.1 as a load generator needs it: whole requests out, `Content-Length` answers in, one
//! connection kept alive. It shares the machine with the server it measures, so it does little.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// What octets go through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that is kept for the next request.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(Box::new(stream)))
    }

    /// The same over something else.
    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(16 << 10),
        }
    }

    /// Sends a whole request and reads the whole answer. An answer cut short is an error.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(response) = parse(&self.buffer)? {
                return Ok(response);
            }
        }
    }

    /// `GET`, over the kept connection.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.exchange(request.as_bytes()).await
    }

    /// `GET` without a runtime, over a connection of its own.
    pub(crate) fn get_once(address: SocketAddr, path: &str) -> io::Result<Response> {
        let mut stream = std::net::TcpStream::connect(address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The bytes of a JSON `POST`.
pub(crate) fn post(path: &str, json: &str) -> Vec<u8> {
    let length = json.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), json.as_bytes()].concat()
}

/// The answer, or nothing while a part of it is missing.
fn parse(received: &[u8]) -> io::Result<Option<Response>> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let malformed = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not an HTTP answer of known length",
        )
    };
    let head = str::from_utf8(&received[..end]).map_err(|_| malformed())?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .ok_or_else(malformed)?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(malformed)?;
    let body = &received[end + 4..];
    if body.len() > length {
        return Err(malformed());
    }
    let response = || Response {
        status: status.parse().unwrap_or(0),
        body: body.to_vec(),
    };
    Ok((body.len() == length).then(response))
}
