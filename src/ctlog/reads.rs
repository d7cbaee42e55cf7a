//! What anybody may read of the log: tiles, entries, and the certificates above them.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::entry::TileLeaf;
use super::merkle::{HASH_LENGTH, Hash, TILE_WIDTH, level_width};
use super::recovery::recover;
use super::signer::LogVerifier;
use super::store::sqlite::SqliteStore;
use super::store::{Head, Store, StoreError};
use super::{Config, LogError, tile};

/// A log as it is read: everything here is true of the newest durable head, and nothing here can add to
/// it. Clones read the same log.
#[derive(Clone)]
pub struct Reader {
    pub(super) store: Arc<dyn Store>,
    pub(super) head: Arc<ArcSwap<Head>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("size", &self.head().size)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a log to read it, as it is now: nobody writes to it any more. What is stored must be this log
    /// up to the edge of its tree.
    ///
    /// # Errors
    /// [`LogError`]: there is no such log, or it is not whole.
    pub async fn open(config: &Config, verifier: &LogVerifier) -> Result<Self, LogError> {
        let store = SqliteStore::open_read_only(&config.database)?;
        let (head, _) = recover(&store, &config.origin, verifier).await?;
        Ok(Self {
            store: Arc::new(store),
            head: Arc::new(ArcSwap::from_pointee(head)),
        })
    }

    /// The newest durable tree head.
    #[must_use]
    pub fn head(&self) -> Arc<Head> {
        self.head.load_full()
    }

    /// Its signed note.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.head.load().checkpoint.clone()
    }

    /// The first `width` hashes of a tile, or nothing where the tree does not reach so far.
    pub async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.reaches(level, n, width) {
            return Ok(None);
        }
        let tile = self.store.tile(level, n).await?;
        let mut tile = tile.ok_or(StoreError::Malformed("a tile is missing"))?;
        let length = usize::from(width) * HASH_LENGTH;
        if tile.len() < length {
            return Err(StoreError::Malformed("a tile is too short"));
        }
        // A tile grows at its end only, so every narrower one is its beginning.
        tile.truncate(length);
        Ok(Some(tile))
    }

    /// The first `width` entries of a data tile, or nothing where the log does not reach so far.
    pub async fn data_tile(&self, n: u64, width: u16) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.reaches(0, n, width) {
            return Ok(None);
        }
        let first = n * TILE_WIDTH as u64;
        let leaves = self.store.leaves(first..first + u64::from(width)).await?;
        if leaves.len() != usize::from(width) {
            return Err(StoreError::Malformed("entries are missing"));
        }
        let mut data = Vec::with_capacity(2 * leaves.iter().map(Vec::len).sum::<usize>());
        for leaf in leaves {
            let leaf = TileLeaf::unpack(&leaf).map_err(|_| StoreError::Malformed("an entry"))?;
            leaf.push_to(&mut data);
        }
        Ok(Some(data))
    }

    /// A certificate that stands above an entry, by its SHA-256.
    pub async fn issuer(&self, fingerprint: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.issuer(fingerprint).await
    }

    fn reaches(&self, level: u8, n: u64, width: u16) -> bool {
        let committed = level_width(level, self.head.load().size);
        let end = n
            .checked_mul(TILE_WIDTH as u64)
            .and_then(|n| n.checked_add(u64::from(width)));
        let is_width = (1..=tile::FULL).contains(&width);
        is_width && end.is_some_and(|end| end <= committed)
    }
}
