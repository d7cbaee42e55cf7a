//! A new log, once and explicitly.

use super::checkpoint::Checkpoint;
use super::config::checked_origin;
use super::high_water::{HighWater, HighWaterError};
use super::merkle::HASH_LENGTH;
use super::signer::LogSigner;
use super::store::{Head, StoreError};
use super::{Config, Log, LogError, milliseconds};
use time::OffsetDateTime;

impl Log {
    /// Makes a new, empty log: its database and the signed checkpoint of size zero. What is there
    /// already is never overwritten.
    pub async fn create(
        config: &Config,
        signer: &LogSigner,
        now: OffsetDateTime,
    ) -> Result<(), LogError> {
        let origin = checked_origin(config)?;
        let mut head = Head::empty(milliseconds(now));
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: head.size,
            root: head.root,
            timestamp_ms: head.timestamp_ms,
        };
        head.checkpoint = checkpoint.sign(signer)?;
        let log_id = signer.verifier().log_id();
        if let Some(path) = &config.high_water
            && path.exists()
        {
            return Err(HighWaterError::Exists(path.display().to_string()).into());
        }
        config.database.create(&origin, &log_id, &head).await?;
        // In this order a creation that is cut short is finished by adopting what is there.
        if let Some(path) = &config.high_water {
            HighWater::create(path, &head.checkpoint)?;
        }
        Ok(())
    }

    /// When the log with this ID was created, whether or not a process has it open.
    ///
    /// # Errors
    /// [`LogError::Store`]: there is no log, or it cannot be read.
    pub async fn created(
        config: &Config,
        log_id: &[u8; HASH_LENGTH],
    ) -> Result<OffsetDateTime, LogError> {
        let store = config.database.open_read_only(log_id).await?;
        let state = store.state().await;
        store.close().await;
        let nanoseconds = i128::from(state?.created_ms) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
            .map_err(|_| StoreError::Malformed("the time of creation").into())
    }
}
