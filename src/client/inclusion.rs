//! Whether a log kept its promise: the certificate's leaf must be in the tree that the log signs for,
//! at the index it promised. Everything is computed from the log's tiles (C2SP static-ct-api).

use std::collections::HashMap;

use super::verify::Verified;
use super::{BodyError, body};
use crate::ctlog::checkpoint::{Checkpoint, CheckpointError};
use crate::ctlog::merkle::{
    HASH_LENGTH, Hash, MAX_SIZE, TILE_WIDTH, level_width, node_hash, verify_inclusion,
};
use crate::ctlog::signer::LogVerifier;
use crate::ctlog::tile::{FULL, TilePath};
use crate::trust::TrustedRoot;

/// A leaf proved to be in a log's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// The leaf's position.
    pub index: u64,
    /// The tree's root as the log signed it, with the tree's size and the time of signing.
    pub checkpoint: Checkpoint,
}

/// A certificate that cannot be shown to be in the log.
#[derive(Debug, thiserror::Error)]
pub enum InclusionError {
    /// The trusted root and the certificate do not belong together.
    #[error("the certificate's log is not in the trusted root")]
    UnknownLog,
    /// A log of the old kind, which answers by hash.
    #[error("the log does not say at which index it lists the certificate")]
    NoIndex,
    /// The log cannot be read.
    #[error("the log's {path} cannot be read: {error}")]
    Fetch {
        /// What was asked for, below the log's address.
        path: String,
        /// Why there is none.
        error: FetchError,
    },
    /// Nothing there, though the checkpoint says there must be.
    #[error("the log has no {0}")]
    Missing(String),
    /// Not what its name says.
    #[error("the log's {path} has {found} bytes, not {expected}")]
    TileLength {
        /// The tile.
        path: String,
        /// Its bytes, by its name.
        expected: usize,
        /// Its bytes.
        found: usize,
    },
    /// The checkpoint is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tree that no log can have.
    #[error("the log claims a tree of {0} leaves, which no log can have")]
    TooLarge(u64),
    /// Not yet: a log has some time to put in what it promised. Worth asking again.
    #[error("the log promised index {index}, but its tree has only {size} leaves so far")]
    NotYet {
        /// The promised index.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// Something else stands there: the log broke its promise.
    #[error("the log lists something else at index {0}")]
    Absent(u64),
}

/// Why a file of the log could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The log's address in the trusted root.
    #[error("the log's address is not one")]
    Address,
    /// Nobody there.
    #[error("{0}")]
    Unreachable(reqwest::Error),
    /// An answer that is neither the file nor its absence.
    #[error("the log answers with status {0}")]
    Status(u16),
    /// A file that is too long or broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Looks the certificate up in its log, over HTTP.
///
/// # Errors
/// [`InclusionError`].
pub async fn check_inclusion(
    http: &reqwest::Client,
    trusted_root: &TrustedRoot,
    verified: &Verified,
) -> Result<Included, InclusionError> {
    let log = trusted_root
        .log(&verified.sct().log_id)
        .ok_or(InclusionError::UnknownLog)?;
    let verifier = LogVerifier::from_public_key_der(log.public_key_der())
        .map_err(|_| InclusionError::UnknownLog)?;
    let index = verified.log_index().ok_or(InclusionError::NoIndex)?;
    let base = log.base_url().trim_end_matches('/');
    let fetch = async |path: &str, limit| get(http, &format!("{base}/{path}"), limit).await;
    prove(&verifier, index, verified.leaf_hash(), fetch).await
}

/// The same with any way of reading the log's files: `fetch` takes a path below the log's address and
/// a number of bytes, and answers with at most so many, or `None` where there is no such file.
///
/// # Errors
/// [`InclusionError`].
pub async fn prove(
    log: &LogVerifier,
    index: u64,
    leaf_hash: &Hash,
    fetch: impl AsyncFn(&str, usize) -> Result<Option<Vec<u8>>, FetchError>,
) -> Result<Included, InclusionError> {
    let read = async |path: String, limit| match fetch(&path, limit).await {
        Ok(found) => Ok((path, found)),
        Err(error) => Err(InclusionError::Fetch { path, error }),
    };

    let (path, note) = read(CHECKPOINT.to_owned(), MAX_CHECKPOINT).await?;
    let note = note.ok_or(InclusionError::Missing(path))?;
    let note = str::from_utf8(&note).map_err(|_| CheckpointError::Malformed)?;
    // A log is known by its key. The name it gives itself is not covered by its signature, and says
    // nothing about where its files are served.
    let origin = note.split('\n').next().unwrap_or_default();
    let checkpoint = Checkpoint::verify(note, origin, log)?;
    let size = checkpoint.size;
    if size > MAX_SIZE {
        return Err(InclusionError::TooLarge(size));
    }
    if index >= size {
        return Err(InclusionError::NotYet { index, size });
    }

    let siblings = siblings(index, size);
    let mut tiles = Tiles::default();
    for node in siblings.iter().flatten() {
        let (level, n) = node.tile();
        if tiles.0.contains_key(&(level, n)) {
            continue;
        }
        let beyond = level_width(level, size) - n * TILE_WIDTH as u64;
        let width = u16::try_from(beyond).unwrap_or(FULL).min(FULL);
        let exact = TilePath::Hashes { level, n, width };
        let (mut path, mut found) = read(exact.to_string(), TILE_BYTES).await?;
        let mut expected = usize::from(width) * HASH_LENGTH;
        if found.is_none() && width < FULL {
            // A log may drop a partial tile once the full one is there, of which it is the start.
            let full = TilePath::Hashes {
                level,
                n,
                width: FULL,
            };
            (path, found) = read(full.to_string(), TILE_BYTES).await?;
            expected = TILE_BYTES;
        }
        let Some(tile) = found else {
            return Err(InclusionError::Missing(path));
        };
        if tile.len() != expected {
            return Err(InclusionError::TileLength {
                path,
                expected,
                found: tile.len(),
            });
        }
        tiles.0.insert((level, n), tile);
    }

    let proof: Option<Vec<Hash>> = siblings.iter().map(|nodes| tiles.fold(nodes)).collect();
    let proof = proof.ok_or(InclusionError::Absent(index))?;
    if !verify_inclusion(leaf_hash, index, size, &proof, &checkpoint.root) {
        return Err(InclusionError::Absent(index));
    }
    Ok(Included { index, checkpoint })
}

async fn get(
    http: &reqwest::Client,
    url: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, FetchError> {
    let url = reqwest::Url::parse(url).map_err(|_| FetchError::Address)?;
    let response = http
        .get(url)
        .send()
        .await
        .map_err(FetchError::Unreachable)?;
    match response.status() {
        reqwest::StatusCode::OK => Ok(Some(body(response, limit).await?)),
        reqwest::StatusCode::NOT_FOUND | reqwest::StatusCode::GONE => Ok(None),
        other => Err(FetchError::Status(other.as_u16())),
    }
}

/// The root of a full subtree: `2^height` leaves, the first of which is leaf `position * 2^height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    height: u32,
    position: u64,
}

impl Node {
    /// The tile whose hashes it is made of: level and number.
    const fn tile(self) -> (u8, u64) {
        let level = self.height / TILE_HEIGHT;
        let within = self.height % TILE_HEIGHT;
        // At most 5, since a tree has at most 2^40 leaves.
        (level as u8, self.position >> (TILE_HEIGHT - within))
    }
}

/// The siblings on the way from leaf `index` up to the root of a tree of `size` leaves (the `PATH` of
/// RFC 6962 section 2.1.1), the lowest first. A sibling at the tree's right edge may be no full
/// subtree; it is given as the full ones that it is made of, the leftmost first.
fn siblings(index: u64, size: u64) -> Vec<Vec<Node>> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        // "Let k be the largest power of two smaller than n".
        let k = 1 << (end - start - 1).ilog2();
        let middle = start + k;
        if index < middle {
            path.push(full_subtrees(middle, end));
            end = middle;
        } else {
            path.push(full_subtrees(start, middle));
            start = middle;
        }
    }
    path.reverse();
    path
}

/// The fewest full subtrees that cover the leaves from `start` (a multiple of a power of two not
/// smaller than their number) up to `end`.
fn full_subtrees(mut start: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while start < end {
        let height = (end - start).ilog2();
        nodes.push(Node {
            height,
            position: start >> height,
        });
        start += 1 << height;
    }
    nodes
}

/// The bytes of the tiles fetched so far, by level and number.
#[derive(Default)]
struct Tiles(HashMap<(u8, u64), Vec<u8>>);

impl Tiles {
    /// The root over neighbouring full subtrees that grow smaller to the right.
    fn fold(&self, nodes: &[Node]) -> Option<Hash> {
        let mut nodes = nodes.iter().rev();
        let mut hash = self.node(*nodes.next()?)?;
        for left in nodes {
            hash = node_hash(&self.node(*left)?, &hash);
        }
        Some(hash)
    }

    fn node(&self, node: Node) -> Option<Hash> {
        let tile = self.0.get(&node.tile())?;
        let within = node.height % TILE_HEIGHT;
        let count = 1_usize << within;
        let first = usize::try_from(node.position % (TILE_WIDTH as u64 >> within)).ok()? * count;
        let (hashes, _) = tile.as_chunks::<HASH_LENGTH>();
        let mut hashes = hashes.get(first..first + count)?.to_vec();
        while hashes.len() > 1 {
            let (pairs, _) = hashes.as_chunks::<2>();
            hashes = pairs
                .iter()
                .map(|[left, right]| node_hash(left, right))
                .collect();
        }
        hashes.first().copied()
    }
}

const CHECKPOINT: &str = "checkpoint";
const MAX_CHECKPOINT: usize = 64 * 1024;
const TILE_BYTES: usize = TILE_WIDTH * HASH_LENGTH;
/// A tile spans eight levels of the tree.
const TILE_HEIGHT: u32 = 8;

#[cfg(test)]
mod tests;
