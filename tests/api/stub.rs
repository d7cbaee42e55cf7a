//! A transparency log that does as it is told: for each certificate that it is sent the next act of its
//! script, and after that what an honest log does. It speaks HTTP by hand, so that it can break it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use vouchsafe::certificate::precertificate::{POISON_OID, tbs_without};
use vouchsafe::certificate::sct::Sct;
use vouchsafe::ctlog::entry::EntryBody;
use vouchsafe::ctlog::signer::LogSigner;

use super::caller::pem;

/// What the log does with one certificate.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers with status 200 and this text about it.
    Answer(fn(&Submitted) -> String),
    /// Answers with a status, further header lines, and a text.
    Status(u16, String, &'static str),
    /// Asks for patience until a date, so many seconds from then on.
    Later(i64),
    /// Takes it in and never answers.
    Hang,
    /// Takes it in and resets the connection.
    Reset,
    /// Ends the connection in the middle of a good answer.
    Half,
    /// Answers well, a byte at a time, and never comes to the end.
    Drip,
}

/// What was sent.
pub(crate) struct Submitted {
    pub(crate) body: EntryBody,
    pub(crate) now_ms: u64,
    pub(crate) signer: Arc<LogSigner>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Act>,
    /// The bodies of all requests with certificates.
    received: Vec<Vec<u8>>,
    roots: Vec<String>,
    hosts: Vec<String>,
}

pub(crate) struct Stub {
    address: SocketAddr,
    key: u8,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl Stub {
    pub(crate) async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), 0x51, script).await
    }

    /// At an address, with the key of a number.
    pub(crate) async fn start_at(
        address: SocketAddr,
        key: u8,
        script: impl IntoIterator<Item = Act>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            script: script.into_iter().collect(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, Arc::clone(&shared), signer(key)));
            }
        });
        Self {
            address,
            key,
            state,
            serving,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/shard", self.address)
    }

    pub(crate) fn log_id(&self) -> [u8; 32] {
        signer(self.key).verifier().log_id()
    }

    /// Every certificate it was sent, request for request.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().received.clone()
    }

    /// By which names it was asked.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.state.lock().unwrap().hosts.clone()
    }

    /// Accepts the root of the deployment in a directory.
    pub(crate) fn accept_root_of(&self, deployment: &Path) {
        let chain = std::fs::read(deployment.join("ca/chain.pem")).unwrap();
        let root = x509_parser::pem::Pem::iter_from_buffer(&chain).last();
        let root = STANDARD.encode(root.unwrap().unwrap().contents);
        self.state.lock().unwrap().roots.push(root);
    }

    /// Its entry in a list of logs; its key goes to a file in `deployment`.
    pub(crate) fn described(&self, deployment: &Path) -> String {
        described(&self.url(), self.key, deployment)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The entry of a log at an address, with the key of a number.
pub(crate) fn described(url: &str, key: u8, deployment: &Path) -> String {
    let file = format!("external-{key}.pem");
    let public = pem("PUBLIC KEY", signer(key).verifier().public_key_der());
    std::fs::write(deployment.join(&file), public).unwrap();
    format!("url: {url}, public-key: {file}")
}

/// Settings with these logs in the place of the built-in one.
pub(crate) fn with_external(settings: &str, logs: &[String], more: &str) -> String {
    let (before, rest) = settings.split_once("\nlog:\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let logs: Vec<String> = logs.iter().map(|log| format!("  - {{{log}}}\n")).collect();
    format!("{before}\nctlog:\n{}{more}\n{after}", logs.concat())
}

pub(crate) fn signer(seed: u8) -> LogSigner {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    LogSigner::from_private_key(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

impl Submitted {
    fn read(request: &[u8], signer: Arc<LogSigner>) -> Self {
        let request: Value = serde_json::from_slice(request).unwrap();
        let chain = request["chain"].as_array().unwrap().iter();
        let chain: Vec<Vec<u8>> = chain
            .map(|one| STANDARD.decode(one.as_str().unwrap()).unwrap())
            .collect();
        assert_eq!(chain.len(), 3, "precertificate, issuer, root");
        let (_, issuer) = x509_parser::parse_x509_certificate(&chain[1]).unwrap();
        let key_hash = Sha256::digest(issuer.tbs_certificate.subject_pki.raw).into();
        let tbs = tbs_without(&chain[0], POISON_OID).unwrap();
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        Self {
            body: EntryBody::precertificate(&key_hash, &tbs).unwrap(),
            now_ms: now.try_into().unwrap(),
            signer,
        }
    }

    /// What an honest log answers.
    pub(crate) fn honest(&self) -> Value {
        self.answer(&self.signer, &self.body, self.now_ms, &[])
    }

    /// An answer with each part as it is wanted.
    pub(crate) fn answer(
        &self,
        signer: &LogSigner,
        body: &EntryBody,
        timestamp_ms: u64,
        extensions: &[u8],
    ) -> Value {
        let leaf = body.merkle_tree_leaf_with(timestamp_ms, extensions);
        let sct = Sct {
            log_id: signer.verifier().log_id(),
            timestamp_ms,
            extensions: extensions.to_vec(),
            signature: signer.sign(&leaf).unwrap(),
        };
        json!({
            "sct_version": 0,
            "id": STANDARD.encode(sct.log_id),
            "timestamp": timestamp_ms,
            "extensions": STANDARD.encode(extensions),
            "signature": STANDARD.encode(sct.digitally_signed()),
        })
    }
}

/// One connection, for as long as the other side keeps it.
async fn converse(stream: TcpStream, state: Arc<Mutex<State>>, signer: LogSigner) {
    let signer = Arc::new(signer);
    let mut stream = BufReader::new(stream);
    while let Some((line, host, body)) = request(&mut stream).await {
        state.lock().unwrap().hosts.push(host);
        if line == "GET /shard/ct/v1/get-roots HTTP/1.1" {
            let roots = json!({"certificates": state.lock().unwrap().roots});
            respond(&mut stream, 200, "", &roots.to_string()).await;
            continue;
        }
        if line != "POST /shard/ct/v1/add-pre-chain HTTP/1.1" {
            respond(&mut stream, 404, "", "no such call\n").await;
            continue;
        }
        let act = {
            let mut state = state.lock().unwrap();
            state.received.push(body.clone());
            state.script.pop_front()
        };
        let submitted = Submitted::read(&body, Arc::clone(&signer));
        let honest = submitted.honest().to_string();
        match act {
            None => respond(&mut stream, 200, "", &honest).await,
            Some(Act::Answer(answer)) => {
                respond(&mut stream, 200, "", &answer(&submitted)).await;
            }
            Some(Act::Status(status, headers, text)) => {
                respond(&mut stream, status, &headers, text).await;
            }
            Some(Act::Later(seconds)) => {
                let then = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
                let then = then.format(&Rfc2822).unwrap().replace("+0000", "GMT");
                let header = format!("Retry-After: {then}\r\n");
                respond(&mut stream, 503, &header, "").await;
            }
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Reset) => {
                stream.get_ref().set_zero_linger().unwrap();
                return;
            }
            Some(Act::Half) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    honest.len()
                );
                let half = [head.as_bytes(), &honest.as_bytes()[..honest.len() / 2]].concat();
                drop(stream.get_mut().write_all(&half).await);
                return;
            }
            Some(Act::Drip) => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
                let mut written = stream.get_mut().write_all(head).await;
                for byte in honest.as_bytes().iter().cycle() {
                    if written.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    written = stream.get_mut().write_all(&[*byte]).await;
                }
            }
        }
    }
}

/// The first line of a request, its `Host`, and its body; nothing at the end of the connection.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let header = |name: &str| {
        let mut pairs = lines.iter().filter_map(|line| line.split_once(": "));
        let found = pairs.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((lines.first()?.clone(), header("host").to_owned(), body))
}

async fn respond(stream: &mut BufReader<TcpStream>, status: u16, headers: &str, text: &str) {
    let length = text.len();
    let answer =
        format!("HTTP/1.1 {status} Told\r\n{headers}Content-Length: {length}\r\n\r\n{text}");
    // Whoever has gone does not want it.
    drop(stream.get_mut().write_all(answer.as_bytes()).await);
}
