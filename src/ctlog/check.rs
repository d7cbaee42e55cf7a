//! The long look at a log: every entry hashed, every timestamp's signature verified, every tile
//! rebuilt, down to the signed root. It reads like any reader, so it may run beside the log, and it
//! needs the public key only.

use super::config::Database;
use super::entry::TileLeaf;
use super::files::issuer_name;
use super::merkle::{Edge, Hash, TILE_WIDTH, Tile, leaf_hash, sha256};
use super::recovery::{RecoveryError, check_extent, check_head, check_identity};
use super::signer::LogVerifier;
use super::store::{Head, Store};
use std::collections::BTreeSet;

/// What was found to be sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The head up to which everything was checked.
    pub head: Head,
    /// Hash tiles rebuilt and found equal.
    pub tiles: u64,
    /// Certificates above entries, each found and equal to its fingerprint.
    pub issuers: u64,
}

/// Is told how many entries of how many were read.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Checks the log in a database, whether or not a process has it open.
pub async fn check_file(
    database: &Database,
    origin: &str,
    verifier: &LogVerifier,
    progress: Progress<'_>,
) -> Result<Report, RecoveryError> {
    let store = database.open_read_only(&verifier.log_id()).await?;
    let report = check(&*store, origin, verifier, progress).await;
    store.close().await;
    report
}

/// Rebuilds the log up to the head the store has now. Entries that come in meanwhile are left
/// alone.
pub async fn check(
    store: &dyn Store,
    origin: &str,
    verifier: &LogVerifier,
    progress: Progress<'_>,
) -> Result<Report, RecoveryError> {
    let state = store.state().await?;
    check_identity(&state, origin, verifier)?;
    check_head(&state.head, origin, verifier)?;
    check_extent(&state)?;
    let head = state.head;

    let mut edge = Edge::default();
    let mut sealed = Vec::new();
    let mut tiles = 0;
    let mut issuers = BTreeSet::new();
    while edge.size() < head.size {
        let end = head.size.min(edge.size() + TILE_WIDTH as u64);
        let entries = store.entries(edge.size()..end).await?;
        for (stored, index) in entries.iter().zip(edge.size()..end) {
            let inconsistent = RecoveryError::entry(index);
            let Ok(leaf) = TileLeaf::unpack(&stored.leaf) else {
                return Err(inconsistent);
            };
            let bytes = leaf.merkle_tree_leaf();
            let is_sound = (leaf.index, stored.index) == (index, index)
                && leaf.timestamp_ms <= head.timestamp_ms
                && leaf.body.dedup_key() == stored.dedup
                && verifier.verifies(&bytes, &stored.sct_signature);
            if !is_sound {
                return Err(inconsistent);
            }
            edge.push(leaf_hash(&bytes), &mut sealed);
            issuers.extend(leaf.chain);
        }
        if edge.size() != end {
            return Err(RecoveryError::entry(edge.size()));
        }
        for tile in sealed.drain(..) {
            compare(store, &tile, &head).await?;
            tiles += 1;
        }
        progress(end, head.size);
    }
    for tile in edge.changed_since(0) {
        compare(store, &tile, &head).await?;
        tiles += 1;
    }
    if edge.root() != head.root {
        return Err(RecoveryError::Root);
    }
    for fingerprint in &issuers {
        check_issuer(store, fingerprint).await?;
    }
    Ok(Report {
        head,
        tiles,
        issuers: issuers.len() as u64,
    })
}

/// A stored tile may be wider than the rebuilt one only if the log has grown since.
async fn compare(store: &dyn Store, tile: &Tile, head: &Head) -> Result<(), RecoveryError> {
    let stored = store.tile(tile.level, tile.n).await?.unwrap_or_default();
    let is_equal = stored == tile.hashes
        || stored.starts_with(&tile.hashes) && store.state().await?.head.size > head.size;
    if is_equal {
        return Ok(());
    }
    Err(RecoveryError::tile(tile.level, tile.n))
}

async fn check_issuer(store: &dyn Store, fingerprint: &Hash) -> Result<(), RecoveryError> {
    match store.issuer(fingerprint).await? {
        Some(certificate) if sha256(&certificate) == *fingerprint => Ok(()),
        Some(_) | None => Err(RecoveryError::Inconsistent {
            name: issuer_name(fingerprint),
        }),
    }
}
