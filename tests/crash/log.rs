//! The log as a monitor sees it: its key from the trusted root, checkpoints, data tiles.

use std::net::SocketAddr;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use serde_json::Value;

use super::harness::http::Connection;
use super::harness::received::{sha256, vector};
use super::tree::{Hash, leaf_hash, perfect_root};

/// Whose log it is and what its signatures are checked with.
pub(crate) struct LogKey {
    pub(crate) id: Hash,
    pub(crate) key: VerifyingKey,
    origin: String,
}

/// A checkpoint whose signature verified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Checkpoint {
    pub(crate) timestamp_ms: u64,
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

/// An entry of a data tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) timestamp_ms: u64,
    pub(crate) merkle_tree_leaf: Vec<u8>,
    pub(crate) tbs: Vec<u8>,
    pub(crate) precertificate: Vec<u8>,
    pub(crate) chain: Vec<Hash>,
}

impl LogKey {
    /// The one log of the deployment's trusted root.
    pub(crate) fn fetch(address: SocketAddr) -> Self {
        let answer =
            Connection::get_once(address, "/trust/trusted-root").expect("the trusted root");
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let root: Value = serde_json::from_slice(&answer.body).expect("the trusted root is JSON");
        let bytes = |pointer: &str| {
            let text = root.pointer(pointer).and_then(Value::as_str);
            STANDARD
                .decode(text.unwrap_or_else(|| panic!("{pointer} in {root}")))
                .expect("base64")
        };
        let spki = bytes("/ctlogs/0/publicKey/rawBytes");
        let id = sha256(&spki);
        assert_eq!(
            bytes("/ctlogs/0/logId/keyId"),
            id,
            "RFC 6962 section 3.2: LogID is the SHA-256 hash of the log's key"
        );
        let key = VerifyingKey::from_public_key_der(&spki).expect("a P-256 key");
        Self {
            id,
            key,
            origin: format!("{address}/log"),
        }
    }

    /// The present checkpoint.
    pub(crate) async fn checkpoint(
        &self,
        connection: &mut Connection,
    ) -> std::io::Result<Checkpoint> {
        let answer = connection.get("/log/checkpoint").await?;
        let note = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{note}");
        Ok(self
            .read(&note)
            .unwrap_or_else(|| panic!("not a checkpoint of this log: {note}")))
    }

    /// The signature is over `TreeHeadSignature` of RFC 6962 section 3.5; its line of the note holds
    /// a key ID, the time in milliseconds and the signature as a TLS `DigitallySigned`.
    pub(crate) fn read(&self, note: &str) -> Option<Checkpoint> {
        let (text, signatures) = note.split_once("\n\n")?;
        let &[origin, size, root] = &text.lines().collect::<Vec<_>>()[..] else {
            return None;
        };
        // There may be lines of other keys, in any order; the log's own is known by its key ID.
        let name = format!("{}\n\x05", self.origin);
        let id = sha256(&[name.as_bytes(), &self.id].concat());
        let line = signatures.lines().find_map(|line| {
            let line = line.strip_prefix(&format!("— {} ", self.origin))?;
            let line = STANDARD.decode(line).ok()?;
            line.starts_with(&id[..4]).then_some(line)
        })?;
        let (_, rest) = line.split_first_chunk::<4>()?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let (&[4, 3], rest) = rest.split_first_chunk::<2>()? else {
            return None;
        };
        let (signature, []) = vector(rest)? else {
            return None;
        };
        let size: u64 = size.parse().ok()?;
        let root: Hash = STANDARD.decode(root).ok()?.try_into().ok()?;
        let signed = [&[0, 1], &timestamp[..], &size.to_be_bytes(), &root].concat();
        self.key
            .verify(&signed, &Signature::from_der(signature).ok()?)
            .ok()?;
        let timestamp_ms = u64::from_be_bytes(*timestamp);
        (origin == self.origin).then_some(Checkpoint {
            timestamp_ms,
            size,
            root,
        })
    }
}

/// The entries of a tree of `size` leaves, from the one at `first`.
pub(crate) async fn entries(connection: &mut Connection, first: u64, size: u64) -> Vec<Entry> {
    let mut found = Vec::new();
    for (path, indices) in data_tiles(first, size) {
        let path = format!("/log/{path}");
        let answer = connection.get(&path).await.expect("a data tile");
        assert_eq!(answer.status, 200, "{path}");
        let read = read_tile(&answer.body, indices.clone(), &path);
        found.extend(indices.zip(read).filter(|(index, _)| *index >= first));
    }
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// The data tiles that have the entries of a tree of `size` leaves from the one at `first`: their names
/// and which entries they have.
pub(crate) fn data_tiles(first: u64, size: u64) -> impl Iterator<Item = (String, Range<u64>)> {
    let tiles = if first < size {
        first / TILE..size.div_ceil(TILE)
    } else {
        0..0
    };
    tiles.map(move |tile| {
        let indices = tile * TILE..size.min((tile + 1) * TILE);
        let width = indices.end - indices.start;
        (format!("tile/data/{}", named(tile, width)), indices)
    })
}

/// The entries of a data tile.
pub(crate) fn read_tile(tile: &[u8], indices: Range<u64>, path: &str) -> Vec<Entry> {
    let mut rest = tile;
    let read = indices.map(|index| {
        let (entry, after) =
            split(rest, index).unwrap_or_else(|| panic!("entry {index} of {path} is malformed"));
        rest = after;
        entry
    });
    let read = read.collect();
    assert!(rest.is_empty(), "{path} holds more than it should");
    read
}

/// A certificate above entries, by its fingerprint.
pub(crate) async fn issuer(connection: &mut Connection, fingerprint: &Hash) -> Vec<u8> {
    let name: String = fingerprint
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let path = format!("/log/issuer/{name}");
    let answer = connection.get(&path).await.expect("an issuer");
    assert_eq!(
        (answer.status, sha256(&answer.body)),
        (200, *fingerprint),
        "issuer {name}"
    );
    answer.body
}

/// Compares every tile of hashes that is served with the hashes of the entries that are.
pub(crate) async fn check_hashes(connection: &mut Connection, entries: &[Entry], when: &str) {
    for (path, expected) in hash_tiles(entries) {
        let answer = connection.get(&format!("/log/{path}")).await;
        let answer = answer.expect("a tile of hashes");
        assert!(
            answer.status == 200 && answer.body == expected,
            "{when}: {path} is not what the entries make it: {}",
            answer.status
        );
    }
}

/// The names of the tiles of hashes over these entries, and what is in them.
pub(crate) fn hash_tiles(entries: &[Entry]) -> Vec<(String, Vec<u8>)> {
    let leaves = entries
        .iter()
        .map(|entry| leaf_hash(&entry.merkle_tree_leaf));
    let mut hashes: Vec<Hash> = leaves.collect();
    let mut tiles = Vec::new();
    let mut level = 0;
    while !hashes.is_empty() {
        for (tile, expected) in hashes.chunks(TILE as usize).enumerate() {
            let name = named(tile as u64, expected.len() as u64);
            tiles.push((format!("tile/{level}/{name}"), expected.concat()));
        }
        // A hash of the next level stands over a whole tile.
        let (whole, _) = hashes.as_chunks::<{ TILE as usize }>();
        hashes = whole.iter().map(|tile| perfect_root(tile)).collect();
        level += 1;
    }
    tiles
}

/// A `TileLeaf` of a precertificate: what the Merkle leaf holds, the precertificate, its chain.
fn split(tile: &[u8], index: u64) -> Option<(Entry, &[u8])> {
    let (timestamp, rest) = tile.split_first_chunk::<8>()?;
    let (&[0, 1], rest) = rest.split_first_chunk::<2>()? else {
        return None;
    };
    let (_issuer_key_hash, rest) = rest.split_first_chunk::<32>()?;
    let (tbs, rest) = long_vector(rest)?;
    let (extensions, rest) = vector(rest)?;
    if extensions != [&[0, 0, 5], &index.to_be_bytes()[3..]].concat() {
        return None;
    }
    let timestamped = &tile[..tile.len() - rest.len()];
    let (precertificate, rest) = long_vector(rest)?;
    let (chain, rest) = vector(rest)?;
    let (chain, []) = chain.as_chunks::<32>() else {
        return None;
    };
    let entry = Entry {
        timestamp_ms: u64::from_be_bytes(*timestamp),
        merkle_tree_leaf: [&[0, 0], timestamped].concat(),
        tbs: tbs.to_vec(),
        precertificate: precertificate.to_vec(),
        chain: chain.to_vec(),
    };
    Some((entry, rest))
}

/// A vector behind three bytes of length, and the rest.
fn long_vector(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[a, b, c], rest) = input.split_first_chunk::<3>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?)
}

/// A tile's number and width as paths write them; no test makes a log of a thousand tiles.
fn named(tile: u64, width: u64) -> String {
    assert!(tile < 1000);
    match width {
        TILE => format!("{tile:03}"),
        width => format!("{tile:03}.p/{width}"),
    }
}

const TILE: u64 = 256;
