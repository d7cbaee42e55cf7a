//! What a new deployment has on a server. It outlives the attempt to make it, so it is made last, once the
//! keys are at their place, and can be gone on with.

use std::fs;
use std::path::Path;

use sqlx::Connection as _;
use time::OffsetDateTime;

use super::FreshError;
use super::place::{mark_finished, sync_directories};
use crate::config::{Config, Either, Logs};
use crate::ctlog::high_water::HighWaterError;
use crate::ctlog::signer::LogSigner;
use crate::ctlog::store::StoreError;
use crate::ctlog::{self, Chains, Log, LogError, Reader, guard};
use crate::database::{DatabaseError, Server};
use crate::ledger::{Ledger, LedgerError};

/// What is said of a database, as it stands in the file.
pub(super) fn settings(address: Option<&str>, password_file: Option<&Path>) -> String {
    let Some(address) = address else {
        return String::new();
    };
    let quoted =
        |text: &dyn std::fmt::Display| serde_json::to_string(&text.to_string()).unwrap_or_default();
    let mut text = format!(
        "\n# The server that holds what grows.\ndatabase: {}\n",
        quoted(&address)
    );
    if let Some(file) = password_file {
        text += &format!("database-password: {{file: {}}}\n", quoted(&file.display()));
    }
    text
}

/// Whether there will be anything to make it on, and of.
pub(super) async fn check(server: &Server, logs: &Logs<'_>) -> Result<(), FreshError> {
    Log::check_settings(&logs.config()?, &Chains::default())?;
    let connection = server.connect().await?;
    connection.close().await.map_err(DatabaseError::from)?;
    Ok(())
}

/// Makes log and ledger of the deployment in `directory`, whose configuration is `file` there; or goes on
/// with what an earlier attempt has made of them, unless `is_new`.
pub(super) async fn finish(
    directory: &Path,
    file: &str,
    is_new: bool,
    now: OffsetDateTime,
) -> Result<(), FreshError> {
    let config = Either::read(&directory.join(file))?;
    let logs = config.logs();
    let (log, signer) = (logs.config()?, logs.signer()?);
    let cut_short = |reason: &dyn ToString| FreshError::Unfinished {
        directory: directory.to_owned(),
        // Whoever was stopped by the server may have taken it out of the file.
        database: config
            .server()
            .map_or("its files", |server| server.address())
            .to_owned(),
        reason: reason.to_string(),
    };
    // The log is made last: where it is, everything is, and perhaps in use.
    let found = match is_new {
        true => None,
        false => find(&log, &signer)
            .await
            .map_err(|error| cut_short(&error))?,
    };
    let made = match found {
        Some(reader) => finish_mark(&log, &signer, reader.head().size).await,
        None => {
            // The ledger first: it is what a database can have only one of.
            if let Either::Authority(config) = &config
                && let Err(error) = make_ledger(config, is_new).await
            {
                if let (true, LedgerError::Taken { .. }) = (is_new, &error) {
                    // Nothing of ours is there and no log has the keys yet, so nothing is lost with them.
                    // If it cannot be removed the next attempt goes on with it.
                    let _removed = fs::remove_dir_all(directory);
                    return Err(error.into());
                }
                return Err(cut_short(&error));
            }
            Log::create(&log, &signer, now).await
        }
    };
    made.map_err(|error| cut_short(&error))?;
    sync_directories([directory.to_owned()])?;
    mark_finished(directory)
}

/// The log with this key, if there is one.
async fn find(config: &ctlog::Config, signer: &LogSigner) -> Result<Option<Reader>, LogError> {
    match Reader::open(config, signer.verifier()).await {
        Err(LogError::Store(
            StoreError::NoLog(_) | StoreError::Server(DatabaseError::Tables(_)),
        )) => Ok(None),
        found => found.map(Some),
    }
}

/// What remembers a new log outside its database is made after it.
pub(in crate::config) async fn finish_mark(
    config: &ctlog::Config,
    signer: &LogSigner,
    size: u64,
) -> Result<(), LogError> {
    let Some(mark) = config.high_water.as_deref().filter(|_| size == 0) else {
        return Ok(());
    };
    match guard::adopt(config, mark, signer.verifier()).await {
        Ok(_) | Err(LogError::HighWater(HighWaterError::Exists(_))) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn make_ledger(config: &Config, is_new: bool) -> Result<(), LedgerError> {
    let place = config.ledger_database();
    match Ledger::create(place.clone()).await {
        Ok(made) => made.close().await,
        Err(taken @ LedgerError::Taken { .. }) => {
            let is_ours = !is_new && Ledger::open_read_only(place).await?.count().await? == 0;
            return if is_ours { Ok(()) } else { Err(taken) };
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
