//! Making and opening the database files, so that what is acknowledged stays.
//!
//! Three settings are the safety case. They are set and read back, and a database that does not
//! keep them is not opened: the write-ahead journal; `synchronous=FULL`, without which a power cut
//! takes acknowledged commits with it and so forks the log; and `fullfsync`, without which some
//! systems only pretend to synchronise.

use super::super::{MINIMUM_SQLITE, StoreError};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Row as _};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

pub(super) fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        // A mapped file turns an I/O error into a signal that kills the process.
        .pragma("mmap_size", "0")
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("temp_store", "MEMORY")
        // Dedup keys are random, so their index is touched all over. More is not better: a commit
        // may have to walk the whole table of cached pages.
        .pragma("cache_size", "-8192")
        // The head and the ends of the tables are written with every batch: the longer the journal, the
        // more of those writes one checkpoint saves.
        .pragma("wal_autocheckpoint", "4000")
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

pub(super) fn readers(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .pragma("mmap_size", "0")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Checks the library, brings the tables up to date and reads the settings back.
pub(super) async fn prepare_writer(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut *connection)
        .await?;
    if !is_at_least(&version, MINIMUM_SQLITE) {
        return Err(StoreError::Version { found: version });
    }
    MIGRATIONS
        .run_direct(None, connection, false)
        .await
        .map_err(|error| StoreError::Database(error.to_string()))?;
    for (setting, statement, wanted) in SETTINGS {
        let row = sqlx::query(statement).fetch_one(&mut *connection).await?;
        let found = row.try_get::<i64, _>(0).map(|number| number.to_string());
        let found = found.or_else(|_| row.try_get::<String, _>(0))?;
        if found != wanted {
            return Err(StoreError::Setting {
                setting,
                wanted: wanted.to_owned(),
                found,
            });
        }
    }
    Ok(())
}

/// Moves what a process left in the journal into the database under syncs of its own. Recovery reads
/// it from the page cache, where it may be without ever having reached the disk; a head built on it
/// could be lost with the power and fork the log.
pub(super) async fn settle(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (busy, in_journal, moved): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(FULL)")
        .fetch_one(connection)
        .await?;
    if busy != 0 || in_journal != moved {
        return Err(StoreError::Database(
            "the journal cannot be settled".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn is_at_least(version: &str, minimum: &str) -> bool {
    let parts = |text: &str| {
        text.split('.')
            .map(|part| part.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    parts(version) >= parts(minimum)
}

/// A locked file. The lock goes with the process, however it ends, and with this value at once: closing
/// the file alone would leave it locked for as long as a child that is just being started has its
/// descriptor, which is until the child has become another program.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn unlock(&self) -> std::io::Result<()> {
        self.0.unlock()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever cares has unlocked it already and looked.
        drop(self.unlock());
    }
}

/// One writing process for one log.
pub(super) fn lock(path: &Path) -> Result<Lock, StoreError> {
    let path_of_lock = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path_of_lock);
    let file = file.map_err(|error| files(&path_of_lock, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(files(&path_of_lock, &error)),
    }
}

pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| files(path, &error))
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn files(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Files {
        path: path.display().to_string(),
        error: error.to_string(),
    }
}

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite/ctlog");

/// What is read back, with what, and what it has to be.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("journal_mode", "PRAGMA journal_mode", "wal"),
    ("synchronous", "PRAGMA synchronous", "2"),
    ("fullfsync", "PRAGMA fullfsync", "1"),
    ("checkpoint_fullfsync", "PRAGMA checkpoint_fullfsync", "1"),
    ("mmap_size", "PRAGMA mmap_size", "0"),
];

/// Compiled texts kept: one for each number of entries up to 64, with and without the tiles that a full
/// one brings.
const STATEMENTS: usize = 256;
const READERS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_let_go_of_is_free_though_a_child_has_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.sqlite");
        let held = lock(&path).unwrap();
        // What a child has between its beginning and its program.
        let inherited = held.0.try_clone().unwrap();
        assert!(matches!(lock(&path), Err(StoreError::Locked(_))));
        drop(held);
        lock(&path).unwrap();
        drop(inherited);
    }
}
