//! Opening a log again: what is stored must be one tree, and that tree the one that was signed.
//!
//! There is nothing to repair. A commit is all or nothing, so whatever does not fit was changed by
//! something else (a restored copy, a bad disk, another program), and signing on would fork the log.

use super::checkpoint::{Checkpoint, CheckpointError};
use super::entry::TileLeaf;
use super::merkle::{
    Edge, EdgeError, HASH_LENGTH, TILE_LEVELS, TILE_WIDTH, edge_position, edge_width, leaf_hash,
    level_width, perfect_root,
};
use super::signer::LogVerifier;
use super::store::{Head, State, Store, StoreError, TilePlace};
use super::tile::{FULL, TilePath};

/// Why stored data is not the log it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Another log's database.
    #[error("the database holds the log {found}, not {expected}")]
    Origin {
        /// The origin that was configured.
        expected: String,
        /// The origin that was found.
        found: String,
    },
    /// Another log's key.
    #[error("the database was made with another log key")]
    Key,
    /// The head's note is not the log's, or does not fit the head beside it.
    #[error("the stored checkpoint is not the log's: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The note says something else than the head's row.
    #[error("the stored checkpoint and the stored tree head differ")]
    HeadDiffers,
    /// The rightmost tiles do not make the root.
    #[error("the stored tiles do not make the root that was signed")]
    Root,
    /// Tiles of the wrong size.
    #[error("the stored tiles do not make a tree: {0}")]
    Edge(#[from] EdgeError),
    /// Entries, tiles or hashes missing, superfluous or changed.
    #[error("{name} does not fit the tree head")]
    Inconsistent {
        /// Which: `entry 17`, or the name under which readers know it, `tile/0/000`, `issuer/…`.
        name: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RecoveryError {
    /// An entry is missing, changed, or one too many.
    pub(super) fn entry(index: u64) -> Self {
        let name = format!("entry {index}");
        Self::Inconsistent { name }
    }

    /// A tile of hashes is.
    pub(super) fn tile(level: u8, n: u64) -> Self {
        let width = FULL;
        let name = TilePath::Hashes { level, n, width }.to_string();
        Self::Inconsistent { name }
    }
}

/// Reads the head and the tree's edge and checks them against each other, the signature, and the
/// newest entries. The work does not grow with the log.
pub async fn recover(
    store: &dyn Store,
    origin: &str,
    verifier: &LogVerifier,
) -> Result<(Head, Edge), RecoveryError> {
    let state = store.state().await?;
    check_identity(&state, origin, verifier)?;
    check_head(&state.head, origin, verifier)?;
    check_extent(&state)?;
    let size = state.head.size;

    let edge = edge_at(store, size).await?;
    if edge.root() != state.head.root {
        return Err(RecoveryError::Root);
    }
    for level in 1..TILE_LEVELS {
        // The last hash of a level is the root of the newest full tile below it.
        if let Some(hash) = edge.tile(level).last_chunk::<HASH_LENGTH>() {
            let n = level_width(level, size) - 1;
            let below = store.tile(level - 1, n).await?.unwrap_or_default();
            let (hashes, _) = below.as_chunks::<HASH_LENGTH>();
            if hashes.len() != TILE_WIDTH || perfect_root(hashes) != *hash {
                return Err(RecoveryError::tile(level - 1, n));
            }
        }
    }
    check_newest_entries(store, size).await?;
    Ok((state.head, edge))
}

/// The edge the tree had when it held `size` leaves, which must not be more than it has. Its root is
/// computed from what is stored, so comparing it with one that was signed is the proof that the
/// stored tree begins with that one.
pub async fn edge_at(store: &dyn Store, size: u64) -> Result<Edge, RecoveryError> {
    let mut tiles: [Vec<u8>; TILE_LEVELS as usize] = Default::default();
    for (level, edge_tile) in (0..TILE_LEVELS).zip(&mut tiles) {
        if edge_width(level, size) > 0 {
            *edge_tile = tile_at(store, (level, edge_position(level, size)), size).await?;
        }
    }
    Ok(Edge::from_tiles(size, tiles)?)
}

/// Checks whose log this is.
pub fn check_identity(
    state: &State,
    origin: &str,
    verifier: &LogVerifier,
) -> Result<(), RecoveryError> {
    if state.origin != origin {
        let (expected, found) = (origin.to_owned(), state.origin.clone());
        return Err(RecoveryError::Origin { expected, found });
    }
    if state.log_id != verifier.log_id() {
        return Err(RecoveryError::Key);
    }
    Ok(())
}

/// Checks that a head is what its note says and that the note is the log's.
pub fn check_head(head: &Head, origin: &str, verifier: &LogVerifier) -> Result<(), RecoveryError> {
    let Checkpoint {
        origin: _,
        size,
        root,
        timestamp_ms,
    } = Checkpoint::verify(&head.checkpoint, origin, verifier)?;
    if (size, root, timestamp_ms) != (head.size, head.root, head.timestamp_ms) {
        return Err(RecoveryError::HeadDiffers);
    }
    Ok(())
}

/// Checks that there are no entries or tiles beyond the head, and that none are missing at its end.
pub fn check_extent(state: &State) -> Result<(), RecoveryError> {
    let size = state.head.size;
    if state.entries != size {
        let at = state.entries.min(size);
        return Err(RecoveryError::entry(at));
    }
    for (level, &tiles) in (0..TILE_LEVELS).zip(&state.tiles) {
        let most = level_width(level, size).div_ceil(TILE_WIDTH as u64);
        // The growing tile of level 0 has no row of its own, unless an earlier version wrote one.
        let least = if level == 0 {
            edge_position(level, size)
        } else {
            most
        };
        if !(least..=most).contains(&tiles) {
            return Err(RecoveryError::tile(level, tiles.min(most)));
        }
    }
    Ok(())
}

/// A tile as it was in a tree of `size` leaves. Others may write while this one looks, and a tile grows at
/// its end; where nobody has, one that is too wide stays so, and does not fit.
async fn tile_at(
    store: &dyn Store,
    (level, n): TilePlace,
    size: u64,
) -> Result<Vec<u8>, RecoveryError> {
    let mut tile = store.tile(level, n).await?.unwrap_or_default();
    let width = level_width(level, size).saturating_sub(n * TILE_WIDTH as u64);
    let length = usize::try_from(width).unwrap_or(TILE_WIDTH).min(TILE_WIDTH) * HASH_LENGTH;
    if tile.len() > length && store.state().await?.head.size > size {
        tile.truncate(length);
    }
    Ok(tile)
}

/// Hashes the entries of the last data tile and compares with the hash tile above.
async fn check_newest_entries(store: &dyn Store, size: u64) -> Result<(), RecoveryError> {
    let Some(last) = size.checked_sub(1) else {
        return Ok(());
    };
    let n = last / TILE_WIDTH as u64;
    let first = n * TILE_WIDTH as u64;
    let tile = tile_at(store, (0, n), size).await?;
    let entries = store.entries(first..size).await?;
    let (hashes, _) = tile.as_chunks::<HASH_LENGTH>();
    if hashes.len() != entries.len() {
        return Err(RecoveryError::tile(0, n));
    }
    for ((entry, hash), index) in entries.iter().zip(hashes).zip(first..) {
        let inconsistent = RecoveryError::entry(index);
        match TileLeaf::unpack(&entry.leaf) {
            Ok(leaf) if leaf.index == index && entry.index == index => {
                if leaf_hash(&leaf.merkle_tree_leaf()) != *hash {
                    return Err(inconsistent);
                }
            }
            Ok(_) | Err(_) => return Err(inconsistent),
        }
    }
    Ok(())
}
