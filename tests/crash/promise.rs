//! What somebody submits to the log, and what the log promises for it.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::harness::der;
use super::harness::http::{Connection, post};
use super::harness::received::{POISON, Sct, vector};
use super::log::{Entry, LogKey, issuer};
use super::tree::Hash;

/// A precertificate, ready to be sent.
#[derive(Clone)]
pub(crate) struct Submission {
    /// The whole HTTP request.
    pub(crate) http: Vec<u8>,
    tbs: Vec<u8>,
    issuer_key_hash: Hash,
}

/// A timestamp and what it is for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) sct: Sct,
    tbs: Vec<u8>,
    issuer_key_hash: Hash,
}

impl Submission {
    /// What is to be sent so that the log takes an entry that it, or another of the same roots, has.
    pub(crate) async fn of(entry: &Entry, connection: &mut Connection) -> Self {
        let mut chain = Vec::new();
        for fingerprint in &entry.chain {
            chain.push(issuer(connection, fingerprint).await);
        }
        let first = chain.first().expect("a certificate above the entry");
        let issuer_key_hash = der::key_hash(first).expect("its key");
        let (tbs, _) = der::without_extension(&entry.precertificate, &POISON)
            .expect("a poisoned precertificate");
        let sent = std::iter::once(&entry.precertificate).chain(&chain);
        let sent: Vec<String> = sent.map(|der| STANDARD.encode(der)).collect();
        Self {
            http: post(
                "/log/ct/v1/add-pre-chain",
                &json!({"chain": sent}).to_string(),
            ),
            tbs,
            issuer_key_hash,
        }
    }

    /// Reads the answer of `add-pre-chain`.
    pub(crate) fn promise(&self, body: &[u8]) -> Option<Promise> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let bytes = |name| STANDARD.decode(answer.get(name)?.as_str()?).ok();
        let signature = bytes("signature")?;
        let (&[4, 3], rest) = signature.split_first_chunk::<2>()? else {
            return None;
        };
        let (signature, []) = vector(rest)? else {
            return None;
        };
        Some(Promise {
            sct: Sct {
                log_id: bytes("id")?.try_into().ok()?,
                timestamp_ms: answer.get("timestamp")?.as_u64()?,
                extensions: bytes("extensions")?,
                signature: signature.to_vec(),
            },
            tbs: self.tbs.clone(),
            issuer_key_hash: self.issuer_key_hash,
        })
    }

    /// Submits it to a server that is expected to answer.
    pub(crate) async fn send(&self, address: SocketAddr) -> Promise {
        let mut connection = Connection::open(address).await.expect("the server listens");
        let answer = connection.exchange(&self.http).await.expect("an answer");
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{text}");
        self.promise(&answer.body)
            .unwrap_or_else(|| panic!("not a timestamp: {text}"))
    }

    /// What the log hashes of it.
    pub(crate) fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Whether a promise is for this.
    pub(crate) fn is_of(&self, promise: &Promise) -> bool {
        self.tbs == promise.tbs
    }
}

impl Promise {
    /// The leaf that must stand at the index.
    pub(crate) fn merkle_tree_leaf(&self) -> Vec<u8> {
        self.sct
            .merkle_tree_leaf(&self.issuer_key_hash, &self.tbs)
            .expect("the parts of a leaf")
    }

    /// Whether it is this log's.
    pub(crate) fn is_kept_by(&self, log: &LogKey) -> bool {
        self.sct.log_id == log.id && self.sct.is_signed_by(&log.key, &self.merkle_tree_leaf())
    }
}
