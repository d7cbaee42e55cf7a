//! The log in one SQLite file.
//!
//! A batch is one transaction and two calls. The connection lives on a thread that costs more to
//! wake than most statements cost to run, so everything from `BEGIN IMMEDIATE` to the last insert
//! goes over as one text with its values bound. `COMMIT` goes alone: whatever fails before it leaves
//! nothing behind, and only its own error needs thought.
//!
//! Three settings are the safety case. They are set and read back, and a database that does not
//! keep them is not opened: the write-ahead journal; `synchronous=FULL`, without which a power cut
//! takes acknowledged commits with it and so forks the log; and `fullfsync`, without which some
//! systems only pretend to synchronise.

use super::{
    Batch, CommitError, Hash, Head, LEVEL_SHIFT, MINIMUM_SQLITE, State, Store, StoreError,
    StoredEntry, hash_from, tile_id,
};
use crate::ctlog::merkle::TILE_LEVELS;
use sqlx::migrate::Migrator;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::fs::{File, OpenOptions, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;

/// One log in one SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    /// The one writing connection; none once closed, or where the store is only read.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    /// Held locked for as long as this process may write.
    lock: Option<File>,
}

impl SqliteStore {
    /// Makes the database of a new log with its first head. The file appears under its name
    /// complete or not at all.
    pub async fn create(
        path: &Path,
        origin: &str,
        log_id: &Hash,
        head: &Head,
    ) -> Result<(), StoreError> {
        let _lock = lock(path)?;
        if path.exists() {
            return Err(StoreError::Exists(path.display().to_string()));
        }
        let draft = beside(path, ".new");
        // What a creation left that did not finish; nothing was ever signed over it.
        for leftover in [
            draft.clone(),
            beside(&draft, "-wal"),
            beside(&draft, "-shm"),
        ] {
            match std::fs::remove_file(&leftover) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(files(&leftover, &error)),
            }
        }
        let mut connection = writer_options(&draft)
            .create_if_missing(true)
            .connect()
            .await?;
        prepare_writer(&mut connection).await?;
        let timestamp = signed(head.timestamp_ms)?;
        let query = sqlx::query(
            "BEGIN IMMEDIATE;
             INSERT INTO log (id, origin, log_id, created_ms) VALUES (1, ?, ?, ?);
             INSERT INTO head (id, size, root, timestamp_ms, checkpoint) VALUES (1, ?, ?, ?, ?);
             COMMIT",
        );
        let query = query
            .bind(origin.to_owned())
            .bind(log_id.to_vec())
            .bind(timestamp);
        let query = query
            .bind(signed(head.size)?)
            .bind(head.root.to_vec())
            .bind(timestamp);
        query
            .bind(head.checkpoint.clone())
            .execute(&mut connection)
            .await?;
        // Closing folds the journal into the file, which can then be moved alone.
        connection.close().await?;
        sync(&draft)?;
        std::fs::rename(&draft, path).map_err(|error| files(path, &error))?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        sync(directory.unwrap_or_else(|| Path::new(".")))
    }

    /// Opens the database to write to it, for this process alone.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        if !path.exists() {
            return Err(StoreError::Missing(path.display().to_string()));
        }
        let mut writer = writer_options(path).connect().await?;
        prepare_writer(&mut writer).await?;
        settle(&mut writer).await?;
        let readers = readers(path);
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            readers,
            lock: Some(lock),
        })
    }

    /// Opens the database to look at it, beside whoever writes.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.display().to_string()));
        }
        Ok(Self {
            writer: Mutex::new(None),
            readers: readers(path),
            lock: None,
        })
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn commit(&self, expected: &Head, batch: Batch) -> Result<(), CommitError> {
        let mut writer = self.writer.lock().await;
        let Some(connection) = writer.as_mut() else {
            return Err(CommitError::NotWritten("the store is closed".to_owned()));
        };
        let statements = statements(&batch);
        // Texts of ordinary length are worth keeping compiled; there are few of them.
        let is_ordinary = batch.entries.len() <= ROWS && batch.issuers.is_empty();
        let query = sqlx::query(AssertSqlSafe(statements)).persistent(is_ordinary);
        let query = bind(query, expected, batch)
            .map_err(|error| CommitError::NotWritten(error.to_string()))?;
        if let Err(error) = query.execute(&mut *connection).await {
            let refused = before_commit(&error);
            return Err(roll_back(connection, refused).await);
        }
        let Err(error) = sqlx::query("COMMIT").execute(&mut *connection).await else {
            return Ok(());
        };
        let unknown = CommitError::Unknown(error.to_string());
        if !matches!(primary_code(&error), Some(FULL | BUSY)) {
            return Err(unknown);
        }
        // Without room for the journal's last frame, or with the lock refused, the batch cannot be
        // in: take back what is pending, and believe it only if the old head is what is found.
        let refused = CommitError::NotWritten(error.to_string());
        let refused = roll_back(connection, refused).await;
        match read_head(connection).await {
            Ok(head) if head == *expected => Err(refused),
            Ok(_) | Err(_) => Err(unknown),
        }
    }

    async fn find(&self, dedup: &[Hash]) -> Result<Vec<StoredEntry>, StoreError> {
        let mut found = Vec::new();
        for keys in dedup.chunks(ROWS) {
            let marks = marks(keys.len(), "?");
            let query = sqlx::query(AssertSqlSafe(format!(
                "SELECT leaf_index, dedup, leaf, sct_signature FROM entry
                 WHERE dedup IN ({marks})"
            )));
            let query = keys
                .iter()
                .fold(query, |query, key| query.bind(key.to_vec()));
            for row in query.fetch_all(&self.readers).await? {
                found.push(read_entry(&row)?);
            }
        }
        Ok(found)
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        let query = sqlx::query(
            "SELECT leaf_index, dedup, leaf, sct_signature FROM entry
             WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index",
        );
        let query = query.bind(signed(range.start)?).bind(signed(range.end)?);
        query
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(read_entry)
            .collect()
    }

    async fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let query = sqlx::query(
            "SELECT leaf FROM entry
             WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index",
        );
        let query = query.bind(signed(range.start)?).bind(signed(range.end)?);
        let rows = query.fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn tile(&self, level: u8, n: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(id) = tile_id(level, n) else {
            return Ok(None);
        };
        let query = sqlx::query("SELECT hashes FROM tile WHERE id = ?").bind(id);
        let row = query.fetch_optional(&self.readers).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn issuer(&self, fingerprint: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query("SELECT certificate FROM issuer WHERE fingerprint = ?");
        let row = query
            .bind(fingerprint.to_vec())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn issuers(&self) -> Result<Vec<Hash>, StoreError> {
        let rows = sqlx::query("SELECT fingerprint FROM issuer")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| hash_from(row.try_get(0)?)).collect()
    }

    async fn add_issuers(&self, issuers: &[(Hash, Vec<u8>)]) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let Some(connection) = writer.as_mut() else {
            return Err(StoreError::Database("the store is closed".to_owned()));
        };
        for (fingerprint, certificate) in issuers {
            let query = sqlx::query(
                "INSERT INTO issuer (fingerprint, certificate) VALUES (?, ?)
                 ON CONFLICT DO NOTHING",
            );
            let query = query.bind(fingerprint.to_vec()).bind(certificate.clone());
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn state(&self) -> Result<State, StoreError> {
        let mut connection = self.readers.begin().await?;
        let log = sqlx::query("SELECT origin, log_id, created_ms FROM log WHERE id = 1")
            .fetch_optional(&mut *connection)
            .await?
            .ok_or(StoreError::Malformed("no row says whose log it is"))?;
        let head = read_head(&mut connection).await?;
        let entries = sqlx::query("SELECT max(leaf_index) FROM entry")
            .fetch_one(&mut *connection)
            .await?
            .try_get::<Option<i64>, _>(0)?;
        let entries = entries.map_or(Ok(0), |last| unsigned(last).map(|last| last + 1))?;
        let mut tiles = [0; TILE_LEVELS as usize];
        for (level, tiles) in (0_i64..).zip(&mut tiles) {
            let query = sqlx::query("SELECT max(id) FROM tile WHERE id >= ? AND id < ?");
            let first = level << LEVEL_SHIFT;
            let row = query.bind(first).bind(first + (1 << LEVEL_SHIFT));
            let last = row
                .fetch_one(&mut *connection)
                .await?
                .try_get::<Option<i64>, _>(0)?;
            *tiles = last.map_or(Ok(0), |last| unsigned(last - first).map(|last| last + 1))?;
        }
        Ok(State {
            origin: log.try_get(0)?,
            log_id: hash_from(log.try_get(1)?)?,
            created_ms: unsigned(log.try_get(2)?)?,
            head,
            entries,
            tiles,
        })
    }

    async fn close(&self) {
        self.readers.close().await;
        if let Some(connection) = self.writer.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the log database did not close cleanly");
        }
        if let Some(lock) = &self.lock
            && let Err(error) = lock.unlock()
        {
            tracing::warn!(%error, "the log's lock file did not unlock");
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// The text that writes a batch, up to but without its `COMMIT`, for values in the order of
/// [`bind`].
///
/// The head comes first. Its `SELECT` finds no row where size and root are not the expected ones,
/// and the NULL it then stands for violates NOT NULL, which fails the whole text.
///
/// `OR ROLLBACK`: a statement that may have to be undone alone keeps a copy of every page it
/// touches, and here all or nothing is wanted anyway.
fn statements(batch: &Batch) -> String {
    let mut text = String::from(
        "BEGIN IMMEDIATE;
         REPLACE INTO head (id, size, root, timestamp_ms, checkpoint)
         VALUES (1, (SELECT ? FROM head WHERE id = 1 AND size = ? AND root = ?), ?, ?, ?);",
    );
    for issuers in batch.issuers.chunks(ROWS) {
        text.push_str("INSERT OR IGNORE INTO issuer (fingerprint, certificate) VALUES ");
        text.push_str(&marks(issuers.len(), "(?,?)"));
        text.push(';');
    }
    for tiles in batch.tiles.chunks(ROWS) {
        text.push_str("REPLACE INTO tile (id, hashes) VALUES ");
        text.push_str(&marks(tiles.len(), "(?,?)"));
        text.push(';');
    }
    for entries in batch.entries.chunks(ROWS) {
        text.push_str(
            "INSERT OR ROLLBACK INTO entry (leaf_index, dedup, leaf, sct_signature) VALUES ",
        );
        text.push_str(&marks(entries.len(), "(?,?,?,?)"));
        text.push(';');
    }
    text
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    expected: &Head,
    batch: Batch,
) -> Result<Query<'q, Sqlite, SqliteArguments>, StoreError> {
    let Batch {
        head,
        entries,
        tiles,
        issuers,
    } = batch;
    let mut query = query.bind(signed(head.size)?);
    query = query
        .bind(signed(expected.size)?)
        .bind(expected.root.to_vec());
    query = query
        .bind(head.root.to_vec())
        .bind(signed(head.timestamp_ms)?)
        .bind(head.checkpoint);
    for (fingerprint, certificate) in issuers {
        query = query.bind(fingerprint.to_vec()).bind(certificate);
    }
    for tile in tiles {
        let id = tile_id(tile.level, tile.n).ok_or(StoreError::Malformed("a tile's place"))?;
        query = query.bind(id).bind(tile.hashes);
    }
    for (entry, index) in entries.into_iter().zip(signed(expected.size)?..) {
        query = query.bind(index).bind(entry.dedup.to_vec());
        query = query.bind(entry.leaf).bind(entry.sct_signature);
    }
    Ok(query)
}

/// What an error of a statement before `COMMIT` means. Nothing was written in any case, but after
/// some the connection is not fit to go on.
fn before_commit(error: &sqlx::Error) -> CommitError {
    let text = error.to_string();
    match extended_code(error) {
        Some(UNIQUE) => CommitError::Duplicate,
        // The head is another one, or entries stand where the head says there are none yet.
        Some(NOT_NULL | PRIMARY_KEY | ROW_ID) => CommitError::HeadMoved,
        Some(code) if matches!(code & PRIMARY, IO | CORRUPT | NOT_A_DATABASE) => {
            CommitError::Unknown(text)
        }
        Some(_) => CommitError::NotWritten(text),
        None => CommitError::Unknown(text),
    }
}

/// Ends the pending transaction and returns `refused`, unless the connection cannot be brought to
/// where a transaction can begin.
async fn roll_back(connection: &mut SqliteConnection, refused: CommitError) -> CommitError {
    // Some errors roll back by themselves; then there is nothing left to do and this fails.
    if sqlx::query("ROLLBACK")
        .execute(&mut *connection)
        .await
        .is_ok()
    {
        return refused;
    }
    match sqlx::query("BEGIN; ROLLBACK").execute(connection).await {
        Ok(_) => refused,
        Err(error) => CommitError::Unknown(error.to_string()),
    }
}

async fn read_head(connection: &mut SqliteConnection) -> Result<Head, StoreError> {
    let row = sqlx::query("SELECT size, root, timestamp_ms, checkpoint FROM head WHERE id = 1")
        .fetch_optional(connection)
        .await?
        .ok_or(StoreError::Malformed("no row holds the tree head"))?;
    Ok(Head {
        size: unsigned(row.try_get(0)?)?,
        root: hash_from(row.try_get(1)?)?,
        timestamp_ms: unsigned(row.try_get(2)?)?,
        checkpoint: row.try_get(3)?,
    })
}

fn read_entry(row: &SqliteRow) -> Result<StoredEntry, StoreError> {
    Ok(StoredEntry {
        index: unsigned(row.try_get(0)?)?,
        dedup: hash_from(row.try_get(1)?)?,
        leaf: row.try_get(2)?,
        sct_signature: row.try_get(3)?,
    })
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
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
        // Dedup keys are random, so their index is touched all over: 64 MiB hold it for the first
        // million entries.
        .pragma("cache_size", "-65536")
        // The rightmost tiles are written with every batch: the longer the journal, the more of
        // those writes one checkpoint saves.
        .pragma("wal_autocheckpoint", "4000")
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

fn readers(path: &Path) -> SqlitePool {
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
/// Moves what a process left in the journal into the database under syncs of its own. Recovery reads
/// it from the page cache, where it may be without ever having reached the disk; a head built on it
/// could be lost with the power and fork the log.
async fn settle(connection: &mut SqliteConnection) -> Result<(), StoreError> {
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

async fn prepare_writer(connection: &mut SqliteConnection) -> Result<(), StoreError> {
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

fn is_at_least(version: &str, minimum: &str) -> bool {
    let parts = |text: &str| {
        text.split('.')
            .map(|part| part.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    parts(version) >= parts(minimum)
}

/// One writing process for one log. The lock goes with the process, however it ends.
fn lock(path: &Path) -> Result<File, StoreError> {
    let path_of_lock = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path_of_lock);
    let file = file.map_err(|error| files(&path_of_lock, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(files(&path_of_lock, &error)),
    }
}

fn sync(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| files(path, &error))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn files(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Files {
        path: path.display().to_string(),
        error: error.to_string(),
    }
}

/// `count` times `mark`, between commas.
fn marks(count: usize, mark: &str) -> String {
    let mut text = String::with_capacity(count * (mark.len() + 1));
    for index in 0..count {
        if index > 0 {
            text.push(',');
        }
        text.push_str(mark);
    }
    text
}

fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Malformed("a number beyond 2^63"))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Malformed("a negative number"))
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & PRIMARY)
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

/// Rows of one `VALUES` list.
const ROWS: usize = 64;
/// Compiled texts kept: one for each number of entries up to [`ROWS`], times the usual numbers of
/// tiles.
const STATEMENTS: usize = 256;
const READERS: u32 = 4;

/// SQLite's result codes; an extended code has the primary one in its low byte.
const PRIMARY: i32 = 0xff;
const BUSY: i32 = 5;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;
const NOT_NULL: i32 = 1299;
const PRIMARY_KEY: i32 = 1555;
const UNIQUE: i32 = 2067;
const ROW_ID: i32 = 2579;

#[cfg(test)]
mod tests;
