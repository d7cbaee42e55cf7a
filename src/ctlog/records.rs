//! The log as an auditor reads it: entry after entry, beside whoever writes.

use super::entry::TileLeaf;
use super::signer::LogVerifier;
use super::store::{Store, StoreError};
use super::{Config, Log, Reader};
use std::ops::Range;
use std::sync::Arc;

/// The durable entries of one log.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    verifier: LogVerifier,
}

impl Records {
    /// Opens a log to read it, whether or not a process writes to it.
    ///
    /// # Errors
    /// There is no log.
    pub async fn open(config: &Config, verifier: LogVerifier) -> Result<Self, StoreError> {
        Ok(Self {
            store: config.database.open_read_only(&verifier.log_id()).await?,
            verifier,
        })
    }

    /// What the log signs is checked with this.
    #[must_use]
    pub fn verifier(&self) -> &LogVerifier {
        &self.verifier
    }

    /// How many entries there are by now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn size(&self) -> Result<u64, StoreError> {
        Ok(self.store.state().await?.head.size)
    }

    /// The entries of `range` in order with their indices, fewer where the log ends before it. Nothing
    /// stands in the place of one that cannot be read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn entries(
        &self,
        range: Range<u64>,
    ) -> Result<Vec<(u64, Option<TileLeaf>)>, StoreError> {
        let stored = self.store.entries(range).await?;
        let read = stored.into_iter().map(|entry| {
            let leaf = TileLeaf::unpack(&entry.leaf).ok();
            (entry.index, leaf.filter(|leaf| leaf.index == entry.index))
        });
        Ok(read.collect())
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Log {
    /// The log's entries for an auditor.
    #[must_use]
    pub fn records(&self) -> Records {
        Records {
            store: self.shared.reader.store.clone(),
            verifier: self.shared.verifier.clone(),
        }
    }
}

impl Reader {
    /// The log's entries for an auditor who has its key.
    #[must_use]
    pub fn records(&self, verifier: LogVerifier) -> Records {
        Records {
            store: self.store.clone(),
            verifier,
        }
    }
}
