#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use super::*;
use crate::ctlog::note::{NoteKey, key_id, line};
use crate::ctlog::testing::{ORIGIN, TestLog, at, log_entries, signer};
use crate::ctlog::upkeep::{Upkeep, UpkeepError};
use crate::ctlog::{Chains, Log};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use ct_merkle::{ConsistencyProof, RootHash};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use sha2::digest::Output;
use std::sync::{Arc, Mutex};

/// How a witness behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Cosigns another time than it says.
    BadCosignature,
    /// 409 with this size, whatever it is asked.
    Claims(u64),
    /// 409 and nothing else.
    NoSize,
    Redirects,
    Babbles,
    Silent,
}

/// A witness as C2SP tlog-witness has it, strict in all it reads, made of other people's parts.
struct StrictWitness {
    key: SigningKey,
    log: VerifyingKey,
    state: Mutex<Seen>,
}

/// How it behaves, the tree it has seen, and how often it was asked.
type Seen = (Manner, Option<(u64, [u8; 32])>, usize);

impl StrictWitness {
    async fn start(log: VerifyingKey, manner: Manner) -> (Arc<Self>, Config) {
        let witness = Arc::new(Self {
            key: SigningKey::from_bytes(&[9; 32]),
            log,
            state: Mutex::new((manner, None, 0)),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/w", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/w/add-checkpoint", post(answer))
            .with_state(witness.clone());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let public = witness.key.verifying_key();
        let id = u32::from_be_bytes(key_id(NAME, 4, public.as_bytes()));
        let encoded = STANDARD.encode([&[4], &public.as_bytes()[..]].concat());
        let config = Config {
            url,
            public_key: format!("{NAME}+{id:08x}+{encoded}"),
            allow_http_loopback: true,
        };
        (witness, config)
    }

    fn seen(&self) -> Option<u64> {
        self.state.lock().unwrap().1.map(|(size, _)| size)
    }

    fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().0 = manner;
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().2
    }

    /// The specification, line by line.
    fn add_checkpoint(&self, body: &str) -> (u16, String) {
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old: u64 = old.unwrap().parse().unwrap();
        let proof: Vec<Output<sha2::Sha256>> = lines
            .map(|line| {
                let hash: [u8; 32] = STANDARD.decode(line).unwrap().try_into().unwrap();
                hash.into()
            })
            .collect();
        assert!(proof.len() <= 63);
        let (text, signatures) = note.split_once("\n\n").unwrap();
        let text = format!("{text}\n");
        let parts: Vec<&str> = text.lines().collect();
        let [origin, size, root] = parts[..] else {
            panic!("{text}")
        };
        if origin != ORIGIN {
            return (404, String::new());
        }
        let id = key_id(ORIGIN, 1, self.log.as_bytes());
        let is_signed = signatures.lines().any(|line| {
            let blob = line.strip_prefix(&format!("— {ORIGIN} ")).unwrap();
            let blob = STANDARD.decode(blob).unwrap();
            blob[..4] == id
                && Signature::from_slice(&blob[4..])
                    .is_ok_and(|signature| self.log.verify(text.as_bytes(), &signature).is_ok())
        });
        if !is_signed {
            return (403, String::new());
        }
        let size: u64 = size.parse().unwrap();
        let root: [u8; 32] = STANDARD.decode(root).unwrap().try_into().unwrap();
        if old > size {
            return (400, String::new());
        }
        let mut state = self.state.lock().unwrap();
        let (seen, seen_root) = state
            .1
            .unwrap_or_else(|| (0, sha2::Sha256::digest(b"").into()));
        if old != seen || (size == seen && root != seen_root) {
            return (409, format!("{seen}\n"));
        }
        let is_consistent = match (old, old == size) {
            (0, _) | (_, true) => proof.is_empty(),
            (_, false) => {
                let proof = ConsistencyProof::<sha2::Sha256>::from_digests(&proof);
                let old_root = RootHash::new(seen_root.into(), old);
                let new_root = RootHash::new(root.into(), size);
                new_root.verify_consistency(&old_root, &proof).is_ok()
            }
        };
        if !is_consistent {
            return (422, String::new());
        }
        state.1 = Some((size, root));
        let signed_time = 1_795_000_000_u64;
        let told_time = signed_time + u64::from(state.0 == Manner::BadCosignature);
        let message = format!("cosignature/v1\ntime {signed_time}\n{text}");
        let signature = self.key.sign(message.as_bytes()).to_bytes();
        let id = key_id(NAME, 4, self.key.verifying_key().as_bytes());
        let blob = [&id[..], &told_time.to_be_bytes(), &signature].concat();
        (200, line(NAME, &blob))
    }
}

use sha2::Digest as _;

async fn answer(State(witness): State<Arc<StrictWitness>>, body: String) -> Response {
    let manner = {
        let mut state = witness.state.lock().unwrap();
        state.2 += 1;
        state.0
    };
    let with = |status: u16, kind: &'static str, body: String| {
        let status = StatusCode::from_u16(status).unwrap();
        (status, [("content-type", kind)], body).into_response()
    };
    match manner {
        Manner::Honest | Manner::BadCosignature => match witness.add_checkpoint(&body) {
            (409, size) => with(409, "text/x.tlog.size", size),
            (status, body) => with(status, "text/plain", body),
        },
        Manner::Claims(size) => with(409, "text/x.tlog.size", format!("{size}\n")),
        Manner::NoSize => with(409, "text/plain", "no\n".to_owned()),
        Manner::Redirects => {
            let to = [
                ("location", "http://127.0.0.1:1/"),
                ("content-type", "text/plain"),
            ];
            (StatusCode::TEMPORARY_REDIRECT, to).into_response()
        }
        Manner::Babbles => with(200, "text/plain", "x\n".repeat(1_000_000)),
        Manner::Silent => std::future::pending().await,
    }
}

/// A log whose checkpoints have a second signature, and that key's public half.
struct Witnessed {
    test: TestLog,
    der: zeroize::Zeroizing<Vec<u8>>,
}

impl Witnessed {
    async fn create() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Self {
            test: TestLog::create().await,
            der: NoteKey::generate().unwrap(),
        }
    }

    fn key(&self) -> VerifyingKey {
        SigningKey::from_bytes(self.der.last_chunk().unwrap()).verifying_key()
    }

    async fn open(&self) -> Log {
        let signer = signer(1).with_note_key(NoteKey::from_pkcs8(&self.der).unwrap());
        let opened = Log::open(&self.test.config, signer, &Chains::default(), at(0)).await;
        let log = opened.unwrap();
        // The first checkpoint was made without the second key.
        log.refresh(at(0)).await.unwrap();
        log
    }
}

#[tokio::test]
async fn a_witness_is_led_from_whatever_it_has_seen_to_the_newest_tree() {
    let witnessed = Witnessed::create().await;
    let log = witnessed.open().await;
    let (strict, config) = StrictWitness::start(witnessed.key(), Manner::Honest).await;
    let mut old = 0;
    for size in [1, 2, 7, 255, 256, 257, 600] {
        log_entries(&log, old..size, at(1)).await;
        old = size;
        // One that begins anew knows nothing of the witness; 409 tells it.
        let mut witness = Witness::new(log.clone(), &config).unwrap();
        witness.cosign(&log.head()).await.unwrap();
        assert_eq!(strict.seen(), Some(size));
        let note = log.reader().checkpoint().await.unwrap();
        let added = note.strip_prefix(&log.head().checkpoint).unwrap();
        let text = signed_text(&note).unwrap();
        assert!(witness.key.find(added, text).is_some(), "{note}");
    }
    // One that knows asks once.
    let mut witness = Witness::new(log.clone(), &config).unwrap();
    witness.cosign(&log.head()).await.unwrap();
    let before = strict.asked();
    log_entries(&log, 1000..1001, at(1)).await;
    witness.cosign(&log.head()).await.unwrap();
    assert_eq!(strict.asked(), before + 1);
    // Signed again, the tree is the same and so is the cosignature; another tree has none yet.
    log.refresh(at(2)).await.unwrap();
    assert!(log.reader().checkpoint().await.unwrap().contains(NAME));
    log_entries(&log, 1001..1002, at(2)).await;
    assert!(!log.reader().checkpoint().await.unwrap().contains(NAME));
}

#[tokio::test]
async fn a_cosignature_that_comes_late_takes_no_newer_one_away() {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entries(&log, 0..1, at(1)).await;
    let late = log.head();
    log_entries(&log, 1..2, at(2)).await;
    let newest = log.head();
    let line = |name: &str| format!("\u{2014} {name} AAAA\n");
    let add = |head: &Head, name: &str| {
        let text = signed_text(&head.checkpoint).unwrap();
        log.add_cosignature(text, head.size, name, line(name));
    };
    add(&newest, "first.example");
    add(&late, "late.example");
    add(&newest, "second.example");
    let note = log.reader().checkpoint().await.unwrap();
    let added = note.strip_prefix(&newest.checkpoint).unwrap();
    assert_eq!(added, line("first.example") + &line("second.example"));
}

/// K18: whatever the witness does, nobody waits for it, and nothing of it that does not verify is
/// shown.
#[tokio::test]
async fn a_witness_that_misbehaves_costs_a_warning() {
    let witnessed = Witnessed::create().await;
    let log = witnessed.open().await;
    let (strict, config) = StrictWitness::start(witnessed.key(), Manner::Honest).await;
    let mut witness = Witness::new(log.clone(), &config).unwrap();
    let mut next = 0;
    for (manner, expected) in [
        (Manner::BadCosignature, WitnessError::Cosignature),
        (Manner::NoSize, WitnessError::NoSize),
        (Manner::Redirects, WitnessError::Status(307)),
        (Manner::Babbles, WitnessError::TooLarge),
        (Manner::Claims(0), WitnessError::Unsteady),
    ] {
        strict.behave(manner);
        log_entries(&log, next..next + 2, at(1)).await;
        next += 2;
        let refused = witness.cosign(&log.head()).await.unwrap_err();
        assert_eq!(refused, expected);
        assert_eq!(
            log.reader().checkpoint().await.unwrap(),
            log.head().checkpoint,
            "{manner:?}"
        );
    }
    strict.behave(Manner::Silent);
    let head = log.head();
    let asking = witness.cosign(&head);
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        logged = log_entries(&log, next..next + 1, at(1)) => assert!(logged[0].is_ok()),
    }
    strict.behave(Manner::Honest);
    witness.cosign(&log.head()).await.unwrap();
    assert!(log.reader().checkpoint().await.unwrap().contains(NAME));
    // Without the second key it is not known to the witness.
    let other = TestLog::create().await;
    let plain = other.open().await;
    log_entries(&plain, 0..1, at(1)).await;
    let mut witness = Witness::new(plain.clone(), &config).unwrap();
    let refused = witness.cosign(&plain.head()).await.unwrap_err();
    assert_eq!(refused, WitnessError::Status(403));
}

/// K14, by a witness alone.
#[tokio::test]
async fn a_database_that_is_behind_its_witness_does_not_open() {
    let witnessed = Witnessed::create().await;
    let log = witnessed.open().await;
    log_entries(&log, 0..3, at(1)).await;
    log.close().await;
    let backup = witnessed.test.directory.path().join("backup");
    std::fs::copy(witnessed.test.database(), &backup).unwrap();
    let log = witnessed.open().await;
    log_entries(&log, 3..5, at(1)).await;
    let (_strict, config) = StrictWitness::start(witnessed.key(), Manner::Honest).await;
    let mut witness = Witness::new(log.clone(), &config).unwrap();
    witness.cosign(&log.head()).await.unwrap();
    log.close().await;

    std::fs::copy(&backup, witnessed.test.database()).unwrap();
    let log = witnessed.open().await;
    let check = async |log: &Log| {
        let witness = Witness::new(log.clone(), &config).unwrap();
        Upkeep::new(log.clone(), None, None, vec![witness])
            .check(at(2))
            .await
    };
    let refused = check(&log).await.unwrap_err();
    let UpkeepError::Witness(WitnessError::Rollback(Rollback::Behind { seen, stored, .. })) =
        refused
    else {
        panic!("{refused}")
    };
    assert_eq!((seen, stored), (5, 3));
    // As large as what was seen, but another tree.
    log_entries(&log, 100..102, at(2)).await;
    let refused = check(&log).await.unwrap_err();
    let UpkeepError::Witness(WitnessError::Rollback(Rollback::Forked { size, .. })) = refused
    else {
        panic!("{refused}")
    };
    assert_eq!(size, 5);
}

#[tokio::test]
async fn a_witness_that_cannot_be_asked_does_not_keep_the_log_closed() {
    let witnessed = Witnessed::create().await;
    let log = witnessed.open().await;
    let (_strict, config) = StrictWitness::start(witnessed.key(), Manner::NoSize).await;
    let nobody = Config {
        url: "http://127.0.0.1:1".to_owned(),
        ..config.clone()
    };
    let witnesses = [config, nobody].map(|config| Witness::new(log.clone(), &config).unwrap());
    let mut upkeep = Upkeep::new(log.clone(), None, None, witnesses.into());
    upkeep.check(at(1)).await.unwrap();
}

#[tokio::test]
async fn a_witness_in_plain_text_is_on_this_machine() {
    let witnessed = Witnessed::create().await;
    let log = witnessed.open().await;
    let (_strict, config) = StrictWitness::start(witnessed.key(), Manner::Honest).await;
    let with = |url: &str, allow_http_loopback| Config {
        url: url.to_owned(),
        allow_http_loopback,
        ..config.clone()
    };
    for (url, allowed) in [
        ("http://127.0.0.1:1", false),
        ("http://w.example", true),
        ("http://10.0.0.1", true),
        ("ftp://w.example", true),
        ("w.example", true),
    ] {
        assert!(
            Witness::new(log.clone(), &with(url, allowed)).is_err(),
            "{url}"
        );
    }
    assert!(Witness::new(log.clone(), &with("https://w.example/", false)).is_ok());
}

const NAME: &str = "w.example/strict";
