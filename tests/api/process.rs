//! The program itself: what it writes to its log, and how it ends.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Client;
use serde_json::Value;
use tokio::sync::mpsc;
use vouchsafe::ledger::Ledger;

use super::caller::{Caller, fixture, v2_with_csr, v2_with_key};
use super::house::{V1, V2, deploy};
use super::provider::{JOB, Provider};

/// A process of the program, and everything it says on standard error.
pub(crate) struct Program {
    child: Child,
    reading: Option<JoinHandle<Vec<String>>>,
}

impl Program {
    /// Starts it and waits until it says `ready`.
    pub(crate) fn start(arguments: &[&str], filter: &str, ready: &'static str) -> Self {
        Self::start_with(arguments, &[], filter, ready)
    }

    /// The same with an environment.
    pub(crate) fn start_with(
        arguments: &[&str],
        environment: &[(&str, &str)],
        filter: &str,
        ready: &'static str,
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(arguments)
            .envs(environment.iter().copied())
            .env("RUST_LOG", filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (told, heard) = std::sync::mpsc::channel();
        let reading = thread::spawn(move || {
            let mut lines = Vec::new();
            for line in errors.lines() {
                let line = line.unwrap();
                if line.contains(ready) {
                    // Nobody listens any more when it is said a second time.
                    told.send(()).ok();
                }
                lines.push(line);
            }
            lines
        });
        let program = Self {
            child,
            reading: Some(reading),
        };
        if heard.recv_timeout(Duration::from_secs(60)).is_err() {
            program.signal("KILL");
            let (status, lines) = program.ended();
            panic!("never {ready}: {status}, {lines:#?}");
        }
        program
    }

    /// The process's identifier.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, and answers with how it ended and all it said.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        (status, self.reading.take().unwrap().join().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_proof_or_key_reaches_the_log_at_any_level() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("stack");
    let place = directory.to_str().unwrap();
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--dir", place];
    let program = Program::start(&arguments, "trace", "Ctrl-C ends it");
    let urls = std::fs::read(directory.join("dev.json")).unwrap();
    let urls: Value = serde_json::from_slice(&urls).unwrap();
    let (ca, provider) = (
        urls["ca"].as_str().unwrap(),
        urls["provider"].as_str().unwrap(),
    );

    let http = vouchsafe::client::http_client().unwrap();
    // Prior knowledge: the same server in its other protocol, with its other way to log headers.
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    let mut secrets = BTreeSet::new();
    let mut statuses = Vec::new();
    for (name, shape) in [("developer@example.com", "email"), (JOB, "github")] {
        let token = http.get(format!("{provider}/{shape}/token")).send().await;
        let token = token.unwrap().text().await.unwrap();
        let caller = Caller::new(name);
        let (signed, _) = token.rsplit_once('.').unwrap();
        let tampered = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([9; 256]));
        let malformed = format!("{{\"credentials\": [\"{token}\"]}}");
        let key = caller.pem();
        let csr = fixture("csr-p256-sha256.pem");
        let wrong = Caller::new("somebody.else@example.com").proof();
        for proof in [&wrong, &caller.proof()] {
            secrets.insert(STANDARD.encode(proof));
            secrets.insert(URL_SAFE_NO_PAD.encode(proof));
            secrets.insert(proof.iter().map(|byte| format!("{byte:02x}")).collect());
            // As a list of numbers, which is what `{:?}` makes of bytes.
            let list = format!("{:?}", &proof[8..24]);
            secrets.insert(list.trim_matches(['[', ']']).to_owned());
        }
        secrets.insert(STANDARD.encode(caller.spki()));
        let lines = key.lines().filter(|line| !line.starts_with('-'));
        secrets.extend(lines.map(str::to_owned));
        for token in [&token, &tampered] {
            // The header is no secret and the same in every token.
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
        }
        for client in [&http, &http2] {
            for (path, token_in_header, body) in [
                (V2, &token, caller.v2(None).to_string()),
                (V2, &token, caller.v2(Some(&token)).to_string()),
                (V2, &token, v2_with_csr(&token, &csr).to_string()),
                (V2, &token, v2_with_key(None, &key, &wrong).to_string()),
                (V2, &tampered, caller.v2(None).to_string()),
                (V2, &tampered, malformed.clone()),
                (V2, &token, format!("{{\"{token}")),
                (V1, &token, caller.v1().to_string()),
                (V1, &tampered, caller.v1().to_string()),
            ] {
                let request = client
                    .post(format!("{ca}{path}"))
                    .bearer_auth(token_in_header)
                    .header("x-request-id", token_in_header)
                    .body(body);
                statuses.push(request.send().await.unwrap().status().as_u16());
            }
        }
    }
    let good = statuses.iter().filter(|status| **status < 300).count();
    // Two callers, two protocols, four good requests.
    assert_eq!(good, 16, "{statuses:?}");
    assert!(statuses.contains(&400), "{statuses:?}");

    program.signal("INT");
    let (status, lines) = program.ended();
    assert!(status.success(), "{status}");
    assert!(lines.iter().any(|line| line.contains("TRACE")));
    assert!(lines.iter().any(|line| line.contains("issued")));
    for secret in &secrets {
        assert!(secret.len() >= 16, "{secret}");
        let leak = lines.iter().find(|line| line.contains(secret.as_str()));
        assert_eq!(leak, None, "{secret} is in the log");
    }
}

/// What one client had: whole answers, and requests that were not taken.
#[derive(Default)]
struct Had {
    certificates: u64,
    refused: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_told_to_stop_answers_all_that_it_took() {
    let http = vouchsafe::client::http_client().unwrap();
    drop(http);
    let provider = Arc::new(Provider::start().await);
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let url = format!("http://{address}");
    let directory = tempfile::tempdir().unwrap();
    let file = deploy(directory.path(), &url, &provider).await;
    let arguments = ["serve", "--config", file.to_str().unwrap()];
    let program = Program::start(&arguments, "info", "serving");

    let (answered, mut answers) = mpsc::unbounded_channel();
    let stopping = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let caller = Caller::new(&format!("client-{number}@example.com"));
            let body = caller.v2(Some(&provider.token(&caller.name))).to_string();
            let (url, answered) = (format!("{url}{V2}"), answered.clone());
            let stopping = Arc::clone(&stopping);
            tokio::spawn(async move {
                // A connection for each request, so that none is sent on one that just ends.
                let http = Client::builder().pool_max_idle_per_host(0).build().unwrap();
                let mut had = Had::default();
                loop {
                    match http.post(&url).body(body.clone()).send().await {
                        Ok(response) => {
                            let status = response.status();
                            let body = response.bytes().await.expect("a whole answer");
                            let json: Value = serde_json::from_slice(&body).expect("whole JSON");
                            assert_eq!(status, 200, "{json}");
                            had.certificates += 1;
                            // Nobody listens any more once the signal is sent.
                            answered.send(()).ok();
                        }
                        Err(error) => {
                            assert!(stopping.load(Ordering::SeqCst), "too early: {error:?}");
                            had.refused += 1;
                            return had;
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..40 {
        answers.recv().await.unwrap();
    }
    stopping.store(true, Ordering::SeqCst);
    let told = Instant::now();
    program.signal("TERM");
    // Impatience changes nothing.
    program.signal("TERM");
    let mut total = Had::default();
    for client in clients {
        let had = client.await.unwrap();
        total.certificates += had.certificates;
        total.refused += had.refused;
    }
    let (status, lines) = tokio::task::spawn_blocking(move || program.ended())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0), "{lines:?}");
    let took = told.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(total.refused, 8, "each client ends with its first refusal");

    // What was issued was answered: the rest was never begun.
    let ledger = file.with_file_name("ledger.sqlite");
    let ledger = Ledger::open_read_only(&ledger).await.unwrap();
    assert_eq!(ledger.count().await.unwrap(), total.certificates);
    assert!(total.certificates >= 40);
}
