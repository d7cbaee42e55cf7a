//! What anybody may read of the log: tiles, entries, and the certificates above them.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::cosignatures::Cosignatures;
use super::entry::TileLeaf;
use super::merkle::{HASH_LENGTH, Hash, TILE_WIDTH, level_width};
use super::recovery::recover;
use super::signer::LogVerifier;
use super::store::{Head, Store, StoreError};
use super::{Config, LogError, tile};

/// A log as it is read: everything here is true of the newest durable head, and nothing here can add to
/// it. Clones read the same log.
#[derive(Clone)]
pub struct Reader {
    pub(super) store: Arc<dyn Store>,
    pub(super) head: Arc<ArcSwap<Head>>,
    pub(super) cosignatures: Arc<ArcSwap<Cosignatures>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("size", &self.head().size)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(store: Arc<dyn Store>, head: Arc<ArcSwap<Head>>) -> Self {
        Self {
            store,
            head,
            cosignatures: Arc::default(),
        }
    }

    /// Opens a log to read it, as it is now: nobody writes to it any more. What is stored must be this log
    /// up to the edge of its tree.
    ///
    /// # Errors
    /// [`LogError`]: there is no such log, or it is not whole.
    pub async fn open(config: &Config, verifier: &LogVerifier) -> Result<Self, LogError> {
        let store = config.database.open_read_only(&verifier.log_id()).await?;
        let (head, _) = recover(&*store, &config.origin, verifier).await?;
        let head = Arc::new(ArcSwap::from_pointee(head));
        Ok(Self::new(store, head))
    }

    /// The newest durable tree head that this process knows. Where others write to the same log there
    /// may be a newer one.
    #[must_use]
    pub fn head(&self) -> Arc<Head> {
        self.head.load_full()
    }

    /// The newest durable tree head, whoever committed it. What is shown to readers must come from here:
    /// it is never behind a timestamp that anybody was given.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be read, or what is read is older than what this process knows.
    pub async fn newest_head(&self) -> Result<Arc<Head>, StoreError> {
        let known = self.head();
        let Some(stored) = self.store.newest_head().await? else {
            return Ok(known);
        };
        // Heads of one log are ordered by their time. One that is older than what was known before it
        // was asked for comes from an older copy of the database; the next commit will find that too.
        if stored.timestamp_ms < known.timestamp_ms {
            return Err(StoreError::Malformed("the tree head has gone back"));
        }
        let stored = Arc::new(stored);
        self.head.rcu(|newest| {
            let is_newer = stored.timestamp_ms > newest.timestamp_ms;
            Arc::clone(if is_newer { &stored } else { newest })
        });
        Ok(stored)
    }

    /// The signed note of the newest durable tree head, with the cosignatures that witnesses gave for this
    /// tree.
    ///
    /// # Errors
    /// As [`newest_head`](Self::newest_head).
    pub async fn checkpoint(&self) -> Result<String, StoreError> {
        Ok(self.with_cosignatures(&self.newest_head().await?.checkpoint))
    }

    /// Whether the log has at least `size` entries.
    pub(super) async fn covers(&self, size: u64) -> Result<bool, StoreError> {
        Ok(size <= self.head().size || size <= self.newest_head().await?.size)
    }

    /// The first `width` hashes of a tile, or nothing where the tree does not reach so far.
    pub async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.reaches(level, n, width).await? {
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
        if !self.reaches(0, n, width).await? {
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

    async fn reaches(&self, level: u8, n: u64, width: u16) -> Result<bool, StoreError> {
        let end = n
            .checked_mul(TILE_WIDTH as u64)
            .and_then(|n| n.checked_add(u64::from(width)));
        let (true, Some(end)) = ((1..=tile::FULL).contains(&width), end) else {
            return Ok(false);
        };
        if end <= level_width(level, self.head().size) {
            return Ok(true);
        }
        Ok(end <= level_width(level, self.newest_head().await?.size))
    }
}
