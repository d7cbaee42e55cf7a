//! The ways in: HTTP and gRPC, each in plain text and in TLS.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::harness::deployment::Deployment;
use super::harness::http::{Connection, Response, Stream};
use super::harness::protobuf::fields;
use super::harness::request::SigningRequest;

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) is_grpc: bool,
    pub(crate) is_tls: bool,
}

impl Door {
    pub(crate) const HTTP: Self = Self {
        is_grpc: false,
        is_tls: false,
    };

    pub(crate) const fn name(self) -> &'static str {
        match (self.is_grpc, self.is_tls) {
            (false, false) => "HTTP",
            (false, true) => "HTTP, TLS",
            (true, false) => "gRPC",
            (true, true) => "gRPC, TLS",
        }
    }
}

/// A connection that is kept.
pub(crate) enum Client {
    Http(Connection),
    Grpc(SendRequest<Full<Bytes>>),
}

impl Client {
    pub(crate) async fn open(door: Door, deployment: &Deployment) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match door.is_tls {
            false => Box::new(connect(deployment.address()).await?),
            true => {
                let tls = deployment
                    .tls()
                    .expect("a deployment with a listener in TLS");
                let stream = connect(tls.address).await?;
                let name = ServerName::try_from("localhost").expect("a name");
                let protocol: &[u8] = if door.is_grpc { b"h2" } else { b"http/1.1" };
                let config = trusting(tls.certificate.clone(), protocol);
                let connector = TlsConnector::from(Arc::new(config));
                Box::new(connector.connect(name, stream).await?)
            }
        };
        if !door.is_grpc {
            return Ok(Self::Http(Connection::over(stream)));
        }
        let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self::Grpc(client))
    }

    pub(crate) async fn exchange(&mut self, request: &SigningRequest) -> io::Result<Response> {
        match self {
            Self::Http(connection) => connection.exchange(&request.http).await,
            Self::Grpc(client) => call(client, &request.grpc).await.map_err(io::Error::other),
        }
    }
}

/// The status over HTTP that means the same as the call's, and the message.
async fn call(client: &mut SendRequest<Full<Bytes>>, message: &Bytes) -> hyper::Result<Response> {
    let request = hyper::Request::post(CREATE)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(message.clone()))
        .expect("a request");
    client.ready().await?;
    let (head, body) = client.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    let is_good = trailers.get("grpc-status").is_some_and(|code| code == "0");
    Ok(Response {
        status: if is_good { 200 } else { 500 },
        body: body.to_bytes().to_vec(),
    })
}

/// What the JSON of the same answer would be.
pub(crate) fn as_json(framed: &[u8]) -> Option<Vec<u8>> {
    let only = |message| match fields(message)?.as_slice() {
        [(_, value)] => Some(*value),
        _ => None,
    };
    let chain = only(only(framed.get(5..)?)?)?;
    let pems: Vec<_> = fields(chain)?
        .into_iter()
        .map(|(_, pem)| String::from_utf8_lossy(pem).into_owned())
        .collect();
    let answer = json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}});
    serde_json::to_vec(&answer).ok()
}

async fn connect(address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn trusting(certificate: CertificateDer<'static>, protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

const CREATE: &str = "http://localhost/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate";
