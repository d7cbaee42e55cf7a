//! A witness of the log (C2SP tlog-witness) in another process than the log's, that may be honest, lie,
//! or say nothing at all. Issuance does not care; what it has seen is never forgotten.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::{ConsistencyProof, RootHash};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::digest::Output;
use vouchsafe::ctlog::note::{key_id, line};

use super::harness::deployment::Deployment;
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::request::prepare;
use super::load::Seen;
use super::matrix::{check_died_at, copy, marked};
use super::published::{configure, published};
use super::tree::{Hash, Tree};
use super::witness::Witness;

/// Where a process dies that a witness has answered.
pub(crate) const PLACE: &str = "witness-answered";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_after_a_witness_has_answered_loses_nothing() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let cosigner = Cosigner::start(Manner::Honest);
    configure(&deployment, &cosigner.settings());
    let mut witness: Option<Witness> = None;
    // Its first answer comes before the log opens, the second is for the first tree that grew.
    for round in 0..3_u64 {
        let when = format!("round {round}");
        let armed = [("VOUCHSAFE_FAIL_POINT", "witness-answered:2")];
        let server = deployment.start_with(&armed);
        let witness = match &mut witness {
            Some(witness) => witness,
            none => none.insert(Witness::new(&deployment).await),
        };
        let mut seen = Seen::default();
        let begin = Instant::now();
        let mut number = round * 1_000;
        while issue(&deployment, &provider, number, &mut seen).await {
            assert!(begin.elapsed() < PATIENCE, "{when}: it goes on and on");
            number += 1;
        }
        check_died_at(PLACE, server, &deployment, &when);
        let mark = marked(&deployment, &witness.key);
        // It was shown a tree that no reader of this process ever saw with its line.
        let shown = cosigner.seen();
        let server = deployment.start();
        witness.take(seen, &when).await;
        witness.check_what_is_new(&when).await;
        witness.check_mark(mark, &when);
        assert!(
            shown.0 > 0 && shown.0 <= witness.size(),
            "{when}: {shown:?}"
        );
        assert!(witness.had_root(&shown), "{when}: it has seen another tree");
        is_vouched_for(&deployment, witness.size(), &when).await;
        witness.check_everything(&when).await;
        server.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_down_silent_or_lies_costs_nobody_a_certificate() {
    for manner in [Manner::Lies, Manner::Silent, Manner::Down] {
        let when = format!("{manner:?}");
        let provider = Issuer::start();
        let deployment = Deployment::create(&provider);
        let cosigner = Cosigner::start(manner);
        configure(&deployment, &cosigner.settings());
        let server = deployment.start();
        let mut witness = Witness::new(&deployment).await;
        let mut seen = Seen::default();
        for number in 0..20 {
            let begin = Instant::now();
            let is_issued = issue(&deployment, &provider, number, &mut seen).await;
            assert!(is_issued, "{when}: {}", deployment.talk());
            // Far below the ten seconds for which it is waited.
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "{when}: issuance waits"
            );
        }
        // It is asked at the start and again for a tree that has grown.
        let begin = Instant::now();
        while manner != Manner::Down && cosigner.asked() < 2 {
            assert!(
                begin.elapsed() < PATIENCE,
                "{when}: nobody asks the witness"
            );
            tokio::time::sleep(POLL).await;
        }
        witness.take(seen, &when).await;
        witness.check_what_is_new(&when).await;
        witness.check_everything(&when).await;
        let note = checkpoint(&deployment);
        assert!(
            !note.contains(NAME),
            "{when}: a line that nobody signed: {note}"
        );
        server.kill();

        // It comes to its senses.
        cosigner.behave(Manner::Honest);
        let server = deployment.start();
        witness.check_what_is_new(&when).await;
        is_vouched_for(&deployment, witness.size(), &when).await;
        server.kill();
    }
}

/// Waits until a checkpoint of this size has the witness's line.
async fn is_vouched_for(deployment: &Deployment, size: u64, when: &str) {
    let begin = Instant::now();
    loop {
        let note = checkpoint(deployment);
        let is_of_size = note.lines().nth(1) == Some(&*size.to_string());
        if is_of_size && note.contains(&format!("— {NAME} ")) {
            return;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{when}: nobody vouches for {note}"
        );
        tokio::time::sleep(POLL).await;
    }
}

fn checkpoint(deployment: &Deployment) -> String {
    let answer = Connection::get_once(deployment.address(), "/log/checkpoint");
    String::from_utf8(answer.expect("a checkpoint").body).expect("a note")
}

async fn issue(deployment: &Deployment, provider: &Issuer, number: u64, seen: &mut Seen) -> bool {
    let request = prepare(provider, number, 1).remove(0);
    let Ok(mut connection) = Connection::open(deployment.address()).await else {
        return false;
    };
    let Ok(answer) = connection.exchange(&request.http).await else {
        return false;
    };
    assert_eq!(answer.status, 200, "{}", deployment.talk());
    seen.certificates.push((request, answer.body));
    true
}

/// How a witness behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Its signature is of another time than it says.
    Lies,
    /// Takes the question and never answers.
    Silent,
    /// Hangs up.
    Down,
}

/// A witness at a port of its own.
pub(crate) struct Cosigner {
    address: std::net::SocketAddr,
    key: SigningKey,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    size: u64,
    root: Hash,
    asked: usize,
    /// Questions that were never answered.
    held: Vec<TcpStream>,
}

impl Cosigner {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let empty = *Tree::new().root_at(0).expect("the empty tree");
        let state = Arc::new(Mutex::new(State {
            manner,
            size: 0,
            root: empty,
            asked: 0,
            held: Vec::new(),
        }));
        let key = SigningKey::from_bytes(&[9; 32]);
        let (known, signer) = (Arc::clone(&state), key.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &known, &signer);
            }
        });
        Self {
            address,
            key,
            state,
        }
    }

    /// What a deployment says of it.
    pub(crate) fn settings(&self) -> String {
        let public = self.key.verifying_key();
        let id = u32::from_be_bytes(key_id(NAME, 4, public.as_bytes()));
        let key = STANDARD.encode([&[4], &public.as_bytes()[..]].concat());
        let address = self.address;
        format!(
            "  witnesses:\n    - {{url: \"http://{address}\", public-key: \"{NAME}+{id:08x}+{key}\", allow-http-loopback: true}}\n"
        )
    }

    /// The newest tree that it has vouched for.
    pub(crate) fn seen(&self) -> (u64, Hash) {
        let state = self.state.lock().expect("the state");
        (state.size, state.root)
    }

    fn asked(&self) -> usize {
        self.state.lock().expect("the state").asked
    }

    fn behave(&self, manner: Manner) {
        self.state.lock().expect("the state").manner = manner;
    }
}

/// One question on one connection.
fn answer(mut stream: TcpStream, state: &Mutex<State>, key: &SigningKey) {
    let mut state = state.lock().expect("the state");
    state.asked += 1;
    if state.manner == Manner::Down {
        return;
    }
    let Some(body) = body(&mut stream) else {
        return;
    };
    if state.manner == Manner::Silent {
        state.held.push(stream);
        return;
    }
    let (status, kind, text) = add_checkpoint(&mut state, key, &body);
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // Who asked may be dead.
    stream.write_all((head + &text).as_bytes()).ok();
}

fn body(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let length = length
                .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .find_map(|(_, value)| value.trim().parse::<usize>().ok())?;
            if body.len() >= length {
                return Some(body.to_owned());
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The specification, as far as an honest log can notice.
fn add_checkpoint(state: &mut State, key: &SigningKey, body: &str) -> (u16, &'static str, String) {
    let plain = "text/plain";
    let (head, note) = body.split_once("\n\n").expect("a proof and a checkpoint");
    let mut lines = head.lines();
    let old = lines.next().and_then(|line| line.strip_prefix("old "));
    let old: u64 = old.and_then(|old| old.parse().ok()).expect("a size");
    let proof = lines.map(|line| {
        let hash = STANDARD.decode(line).expect("base64");
        Hash::try_from(hash).expect("a hash").into()
    });
    let proof: Vec<Output<sha2::Sha256>> = proof.collect();
    let (text, _) = note.split_once("\n\n").expect("a note");
    let parts: Vec<&str> = text.lines().collect();
    let size: u64 = parts[1].parse().expect("a size");
    let root = STANDARD.decode(parts[2]).expect("base64");
    let root = Hash::try_from(root).expect("a hash");
    if old != state.size || (size == old && root != state.root) {
        return (409, "text/x.tlog.size", format!("{}\n", state.size));
    }
    let is_consistent = if old == 0 || old == size {
        proof.is_empty()
    } else {
        let proof = ConsistencyProof::<sha2::Sha256>::from_digests(&proof);
        let before = RootHash::new(state.root.into(), old);
        let after = RootHash::new(root.into(), size);
        after.verify_consistency(&before, &proof).is_ok()
    };
    if size < old || !is_consistent {
        return (422, plain, String::new());
    }
    (state.size, state.root) = (size, root);
    let signed = 1_795_000_000_u64;
    let told = signed + u64::from(state.manner == Manner::Lies);
    let message = format!("cosignature/v1\ntime {signed}\n{text}\n");
    let signature = key.sign(message.as_bytes()).to_bytes();
    let id = key_id(NAME, 4, key.verifying_key().as_bytes());
    let blob = [&id[..], &told.to_be_bytes(), &signature].concat();
    (200, plain, line(NAME, &blob))
}

/// An older copy of the database is whole and looks like any other. Whoever remembers more keeps it from
/// being served, each alone; the newest copy is served again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_database_is_refused_for_each_that_remembers_more() {
    for who in ["mark", "published", "witness"] {
        let provider = Issuer::start();
        let deployment = Deployment::create(&provider);
        let cosigner = Cosigner::start(Manner::Honest);
        let settings = match who {
            "mark" => String::new(),
            "published" => "  publish: {to: published}\n".to_owned(),
            _ => cosigner.settings(),
        };
        configure(&deployment, &settings);
        if who != "mark" {
            let text = fs::read_to_string(deployment.configuration()).expect("a configuration");
            let without = text.replace("  high-water: high-water\n", "");
            assert!(without != text, "no mark in {text}");
            fs::write(deployment.configuration(), without).expect("the configuration");
        }

        let database = deployment.path().join("log");
        let (older, newest) = ("older", "newest");
        let kept = |name: &str| deployment.path().with_file_name(name);
        let mut witness: Option<Witness> = None;
        for (round, name) in [(0, older), (100, newest)] {
            let server = deployment.start();
            let witness = match &mut witness {
                Some(witness) => witness,
                none => none.insert(Witness::new(&deployment).await),
            };
            let mut seen = Seen::default();
            for number in round..round + 3 {
                assert!(
                    issue(&deployment, &provider, number, &mut seen).await,
                    "{who}"
                );
            }
            witness.take(seen, who).await;
            witness.check_what_is_new(who).await;
            let begin = Instant::now();
            let is_known = || match who {
                "mark" => true,
                "published" => {
                    let place = deployment.path().join("published");
                    let published = published(&place, &witness.key, who);
                    published.is_some_and(|(head, _)| head.size == witness.size())
                }
                _ => cosigner.seen().0 == witness.size(),
            };
            while !is_known() {
                assert!(begin.elapsed() < PATIENCE, "{who}: nobody was told");
                tokio::time::sleep(POLL).await;
            }
            server.kill();
            copy(&database, &kept(name));
        }
        let put = |name: &str| {
            fs::remove_dir_all(&database).expect("a database");
            copy(&kept(name), &database);
        };
        put(older);
        let (is_well, said) = deployment.run(&["serve"]);
        assert!(!is_well, "{who}: served: {said}");
        assert!(said.contains("an older copy was restored"), "{who}: {said}");
        assert!(
            said.contains("put the newest database back"),
            "{who}: {said}"
        );
        put(newest);
        let server = deployment.start();
        let mut witness = witness.expect("two rounds");
        witness.check_what_is_new(who).await;
        witness.check_everything(who).await;
        server.kill();
    }
}

const NAME: &str = "witness.example.com";
const POLL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(40);
