//! What strangers do to a server on purpose. Whatever it is, the process stays small, and somebody who
//! wants a certificate meanwhile has it within a second.

#![expect(
    clippy::disallowed_methods,
    reason = "a test asks the clock like a client does"
)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is how a test fails and says what it measured"
)]

#[path = "../harness/mod.rs"]
mod harness;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::deployment::{Deployment, Server};
use harness::http::{Connection, post};
use harness::issuer::Issuer;
use harness::request::{SigningRequest, prepare};
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

/// One attack at a time, so that each is measured by itself.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A running server, an honest caller's requests, and how large the process was before.
struct Stage {
    _alone: MutexGuard<'static, ()>,
    issuer: Arc<Issuer>,
    deployment: Deployment,
    server: Server,
    honest: Vec<SigningRequest>,
    resident: u64,
}

impl Stage {
    async fn set() -> Self {
        let alone = ALONE.lock().await;
        let issuer = Arc::new(Issuer::start());
        let deployment = Deployment::create(&issuer);
        let server = deployment.start();
        let mut honest = prepare(&issuer, 0, HONEST + 32);
        // The first ones bring in what any server has in memory after its first minutes.
        for request in honest.split_off(HONEST) {
            certificate(deployment.address(), &request).await;
        }
        let resident = resident(&server);
        Self {
            _alone: alone,
            issuer,
            deployment,
            server,
            honest,
            resident,
        }
    }

    fn address(&self) -> SocketAddr {
        self.deployment.address()
    }

    /// Lets `attack` run while an honest caller asks for a certificate, again and again.
    async fn endures(self, attack: impl Future<Output = ()> + Send + 'static) {
        let mut attack = tokio::spawn(attack);
        let mut largest = 0;
        let mut slowest = Duration::ZERO;
        let mut asked = 0;
        for request in self.honest.iter().cycle() {
            let begun = Instant::now();
            certificate(self.address(), request).await;
            slowest = slowest.max(begun.elapsed());
            largest = largest.max(resident(&self.server));
            asked += 1;
            let pause = tokio::time::timeout(BETWEEN, &mut attack).await;
            if let Ok(ended) = pause {
                ended.expect("the attack goes to its end");
                break;
            }
        }
        certificate(self.address(), &self.honest[0]).await;
        let grown = largest
            .max(resident(&self.server))
            .saturating_sub(self.resident);
        println!(
            "{asked} honest requests, the slowest in {slowest:?}, {} KiB more",
            grown >> 10
        );
        assert!(
            slowest < Duration::from_secs(1),
            "{slowest:?}: {}",
            self.deployment.talk()
        );
        assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    }
}

async fn certificate(address: SocketAddr, request: &SigningRequest) {
    let mut connection = Connection::open(address).await.unwrap();
    let answer = connection.exchange(&request.http).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
}

/// What the process has in memory, in octets.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    kib << 10
}

/// Runs `count` attackers, `at_once` at a time.
async fn all<F>(count: usize, at_once: usize, attacker: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() >= at_once {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(attacker(number));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

fn with_token(token: &str) -> Vec<u8> {
    let body = json!({"credentials": {"oidcIdentityToken": token}});
    post("/api/v2/signingCert", &body.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_of_dots() {
    let stage = Stage::set().await;
    let address = stage.address();
    let huge: Arc<[u8]> = with_token(&".".repeat(4 << 20)).into();
    let fitting: Arc<[u8]> = with_token(&".".repeat(60 << 10)).into();
    stage
        .endures(async move {
            all(1000, 32, |number| {
                let request = Arc::clone(if number % 4 == 0 { &huge } else { &fitting });
                async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    // The server may answer and hang up before it has all.
                    stream.write_all(&request).await.ok();
                    let mut answer = [0; 12];
                    if stream.read_exact(&mut answer).await.is_ok() {
                        assert_eq!(&answer, b"HTTP/1.1 400");
                    }
                }
            })
            .await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_that_dribble() {
    let stage = Stage::set().await;
    let address = stage.address();
    stage
        .endures(async move {
            all(1000, 1000, |number| async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let begun = Instant::now();
                let request: &[u8] = match number % 3 {
                    0 => b"POST /api/v2/signingCert HTTP/1.1\r\nhost: ",
                    1 => b"PRI * HTTP/2.0\r\n\r\nSM\r",
                    _ => b"",
                };
                stream.write_all(request).await.unwrap();
                // An octet now and then, until the server has had enough.
                let mut answer = [0; 1024];
                loop {
                    let read = stream.read(&mut answer);
                    match tokio::time::timeout(Duration::from_millis(500), read).await {
                        Ok(Ok(0) | Err(_)) => break,
                        Err(_) if stream.write_all(b"x").await.is_err() => break,
                        Ok(Ok(_)) | Err(_) => (),
                    }
                    let lived = begun.elapsed();
                    assert!(lived < Duration::from_secs(20), "{number}: {lived:?}");
                }
            })
            .await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tokens_by_unknown_keys() {
    let stage = Stage::set().await;
    let (address, issuer) = (stage.address(), Arc::clone(&stage.issuer));
    let now = OffsetDateTime::now_utc();
    let before = issuer.fetched();
    let begun = Instant::now();
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    let signer = Arc::clone(&issuer);
    // Signed once: what is unknown about them is the name of their key.
    let good = signer.token("nobody@example.com", 1, now);
    let (_, rest) = good.split_once('.').unwrap();
    let rest: Arc<str> = rest.into();
    stage
        .endures(async move {
            all(16, 16, |lane| {
                let (rest, counted) = (Arc::clone(&rest), Arc::clone(&counted));
                async move {
                    let mut connection = Connection::open(address).await.unwrap();
                    for number in 0..625 {
                        let header = json!({"alg": "RS256", "kid": format!("key-{lane}-{number}")});
                        let token = format!("{}.{rest}", encode(&header.to_string()));
                        let answer = connection.exchange(&with_token(&token)).await.unwrap();
                        let text = String::from_utf8_lossy(&answer.body);
                        assert_eq!(answer.status, 400, "{text}");
                        assert!(text.contains("TOKEN_SIGNATURE_INVALID"), "{text}");
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
            .await;
        })
        .await;
    assert_eq!(refused.load(Ordering::Relaxed), 10_000);
    let fetched = issuer.fetched() - before;
    let allowed = 1 + usize::try_from(begun.elapsed().as_secs() / 10).unwrap();
    println!("{fetched} fetches in {:?}", begun.elapsed());
    assert!(
        fetched <= allowed,
        "{fetched} fetches in {:?}",
        begun.elapsed()
    );
}

fn encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_at_once() {
    let stage = Stage::set().await;
    let address = stage.address();
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    stage
        .endures(async move {
            all(200, 16, |_| {
                let counted = Arc::clone(&counted);
                async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    if take_back(stream).await {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
            .await;
        })
        .await;
    let ended = ended.load(Ordering::Relaxed);
    println!("{ended} of 200 connections were ended by the server");
    assert!(ended > 0, "the server never had enough");
}

/// A thousand requests, none of them meant; true, if the server ended the connection for it.
async fn take_back(mut stream: TcpStream) -> bool {
    // POST, http, and the path as a literal.
    let path = b"/api/v2/signingCert";
    let block = [
        &[0x83, 0x86, 0x44, u8::try_from(path.len()).unwrap()],
        &path[..],
    ]
    .concat();
    let mut sent = PREFACE.to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    for number in 0..1000 {
        let id = 2 * number + 1;
        sent.extend(frame(HEADERS, END_HEADERS, id, &block));
        sent.extend(frame(RST_STREAM, 0, id, &CANCEL));
    }
    // It may hang up before it has all.
    stream.write_all(&sent).await.ok();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // Where it does not hang up, it has nothing to say and waits.
    let ended = tokio::time::timeout(Duration::from_millis(500), read).await;
    ended.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_an_end() {
    let stage = Stage::set().await;
    let address = stage.address();
    stage
        .endures(async move {
            all(200, 16, |number| async move {
                let stream = TcpStream::connect(address).await.unwrap();
                if number % 2 == 0 {
                    headers_of_http1(stream, number).await;
                } else {
                    headers_of_http2(stream).await;
                }
            })
            .await;
        })
        .await;
}

/// A megabyte in one header or in very many.
async fn headers_of_http1(mut stream: TcpStream, number: usize) {
    let (count, length) = if number.is_multiple_of(4) {
        (1, 1 << 20)
    } else {
        (1 << 15, 32)
    };
    let mut request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    for number in 0..count {
        let header = format!("x-{number}: {}\r\n", "a".repeat(length));
        request.extend_from_slice(header.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.ok();
    let mut answer = [0; 12];
    if stream.read_exact(&mut answer).await.is_ok() {
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
}

/// A block of headers that is continued, and continued.
async fn headers_of_http2(mut stream: TcpStream) {
    let mut sent = PREFACE.to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    // POST, http, /; then literal headers that are never entered into the table.
    sent.extend(frame(HEADERS, 0, 1, &[0x83, 0x86, 0x84]));
    let name = [&[0x00, 0x01, b'x', 0x7f, 0x81, 0x1f][..], &[b'a'; 4096]].concat();
    stream.write_all(&sent).await.unwrap();
    let more = frame(CONTINUATION, 0, 1, &name);
    for _ in 0..10_000 {
        if stream.write_all(&more).await.is_err() {
            return;
        }
    }
    panic!("40 MB of headers were taken");
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

const HONEST: usize = 64;
/// The honest caller's pause.
const BETWEEN: Duration = Duration::from_millis(50);
