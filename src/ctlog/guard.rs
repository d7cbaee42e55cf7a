//! What remembers the log outside its database, and what is done when it remembers more.
//!
//! A log that goes on from an older copy of its database signs two trees under one key. So whoever
//! has seen its checkpoints is asked before it opens: the high-water mark, what is published, the
//! witnesses. Any of them suffices to refuse.

use super::checkpoint::Checkpoint;
use super::high_water::HighWater;
use super::merkle::Hash;
use super::recovery::{RecoveryError, edge_at, recover};
use super::signer::LogVerifier;
use super::store::{Head, Store};
use super::{Config, LogError, milliseconds};
use std::path::Path;
use time::OffsetDateTime;

/// The database is not the newest of this log: signing on would fork it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// The database ends earlier.
    #[error(
        "the database ends at {stored} entries, but {witnessed} has seen {seen}: an older copy was restored. {WAY_OUT}"
    )]
    Behind {
        /// Who remembers.
        witnessed: String,
        /// Entries of the tree that was seen.
        seen: u64,
        /// Entries in the database.
        stored: u64,
    },
    /// The database tells another story.
    #[error(
        "the first {size} entries of the database are not the tree that {witnessed} has seen: an older copy was restored, or this is a clone. {WAY_OUT}"
    )]
    Forked {
        /// Who remembers.
        witnessed: String,
        /// Entries of the tree that was seen.
        size: u64,
    },
}

/// Why the comparison came to no good end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It came to the worst.
    #[error(transparent)]
    Rollback(#[from] Rollback),
    /// The database cannot be read.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// Checks that the tree that was seen, of `seen` entries under `root`, is the beginning of the stored
/// one. The work does not grow with the log.
pub async fn check_seen(
    store: &dyn Store,
    stored: u64,
    seen: u64,
    root: &Hash,
    witnessed: impl FnOnce() -> String,
) -> Result<(), GuardError> {
    if seen > stored {
        return Err(GuardError::Rollback(Rollback::Behind {
            witnessed: witnessed(),
            seen,
            stored,
        }));
    }
    if edge_at(store, seen).await?.root() != *root {
        return Err(GuardError::Rollback(Rollback::Forked {
            witnessed: witnessed(),
            size: seen,
        }));
    }
    Ok(())
}

/// Opens the high-water mark, if there is to be one, compares it with the stored head, and raises it
/// to that head: the process may have ended between a commit and its mark.
pub(super) async fn open_mark(
    config: &Config,
    store: &dyn Store,
    head: &Head,
    verifier: &LogVerifier,
    now: OffsetDateTime,
) -> Result<Option<HighWater>, LogError> {
    let Some(path) = &config.high_water else {
        return Ok(None);
    };
    let mut high_water = HighWater::open(path, &config.origin, verifier)?;
    check_mark(store, head, high_water.mark(), path, now).await?;
    high_water.raise(head.signed(&config.origin), &head.checkpoint)?;
    Ok(Some(high_water))
}

async fn check_mark(
    store: &dyn Store,
    head: &Head,
    mark: &Checkpoint,
    path: &Path,
    now: OffsetDateTime,
) -> Result<(), LogError> {
    let witnessed = || format!("the high-water mark at {}", path.display());
    check_seen(store, head.size, mark.size, &mark.root, witnessed).await?;
    // The same tree, signed again and then restored: harmless, once the clock is past it.
    let behind_ms = mark.timestamp_ms.saturating_sub(milliseconds(now));
    if mark.timestamp_ms > head.timestamp_ms && behind_ms > 0 {
        return Err(LogError::ClockBehind { behind_ms });
    }
    Ok(())
}

/// Compares the high-water mark, if there is to be one, with the stored head, beside whoever writes both.
///
/// # Errors
/// [`LogError`]: the mark cannot be read, or [`Log::open`](super::Log::open) would refuse to go on.
pub async fn look(
    config: &Config,
    verifier: &LogVerifier,
    now: OffsetDateTime,
) -> Result<(), LogError> {
    let Some(path) = &config.high_water else {
        return Ok(());
    };
    // Before the database: a running server raises the mark after its commit.
    let mark = HighWater::look(path, &config.origin, verifier)?;
    let store = config.database.open_read_only(&verifier.log_id()).await?;
    let compared = async {
        let head = store.state().await?.head;
        check_mark(&*store, &head, &mark, path, now).await
    };
    let compared = compared.await;
    store.close().await;
    compared
}

/// Makes the stored head the high-water mark of a log that has none yet.
///
/// # Errors
/// [`LogError`]: what is stored is not this log, or there is a mark already.
pub async fn adopt(config: &Config, path: &Path, verifier: &LogVerifier) -> Result<u64, LogError> {
    let store = config.database.open_read_only(&verifier.log_id()).await?;
    let recovered = recover(&*store, &config.origin, verifier).await;
    store.close().await;
    let (head, _) = recovered?;
    HighWater::create(path, &head.checkpoint)?;
    Ok(head.size)
}

/// What is to be done about it, for whoever finds it out.
pub(super) const WAY_OUT: &str = "This log is over: put the newest database back, or retire the log and start a new one with a new key (docs/log.md, \"Restored from a backup\")";
