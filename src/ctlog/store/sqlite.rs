//! The log in one SQLite file: `open.rs` knows how it is opened, `commit.rs` how a batch is written.
//!
//! A batch is one transaction and one call. The connection lives on a thread that costs more to
//! wake than most statements cost to run, so everything from `BEGIN IMMEDIATE` to `COMMIT` goes over
//! as one text with its values bound.

mod commit;
mod open;

use super::{
    Batch, CommitError, Hash, Head, LEVEL_SHIFT, State, Store, StoreError, StoredEntry, hash_from,
    joined, signed, tile_id, unsigned,
};
use crate::ctlog::merkle::TILE_LEVELS;
use crate::failpoint::FailPoint;
use commit::{bind, refusal, statements};
use open::{Lock, beside, files, lock, prepare_writer, readers, settle, sync, writer_options};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::ops::Range;
use std::path::Path;
use tokio::sync::Mutex;

/// One log in one SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    /// The one writing connection; none once closed, or where the store is only read.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    /// Held locked for as long as this process may write.
    lock: Option<Lock>,
    /// False where an earlier version wrote the log and nobody has opened it to write since.
    has_leaf_hashes: bool,
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
        FailPoint::LogDrafted.reach();
        std::fs::rename(&draft, path).map_err(|error| files(path, &error))?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        sync(directory.unwrap_or_else(|| Path::new(".")))
    }

    /// Opens the database to write to it, for this process alone.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self::open_locked(path).await?;
        match store.moved_to().await? {
            None => Ok(store),
            Some(to) => Err(StoreError::Moved {
                from: path.display().to_string(),
                to,
            }),
        }
    }

    /// Opens it to move it to `place`, where it may be on its way already.
    pub(in crate::ctlog) async fn open_to_move(
        path: &Path,
        place: &str,
    ) -> Result<Self, StoreError> {
        let store = Self::open_locked(path).await?;
        match store.moved_to().await? {
            Some(to) if to != place => Err(StoreError::Moved {
                from: path.display().to_string(),
                to,
            }),
            Some(_) | None => Ok(store),
        }
    }

    /// Marks the log as moved. The mark is a table that is there only then, and the trigger stops a
    /// program that does not know to look for it.
    pub(in crate::ctlog) async fn mark_moved(&self, place: &str) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let Some(connection) = writer.as_mut() else {
            return Err(StoreError::Database("the store is closed".to_owned()));
        };
        let query = sqlx::query(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS moved (place TEXT NOT NULL UNIQUE) STRICT;
             INSERT OR IGNORE INTO moved (place) VALUES (?);
             CREATE TRIGGER IF NOT EXISTS head_has_moved BEFORE INSERT ON head
             BEGIN SELECT RAISE(ABORT, 'this log was moved'); END;
             COMMIT",
        );
        query.bind(place).execute(connection).await?;
        Ok(())
    }

    /// Whether it has been marked.
    pub(in crate::ctlog) async fn is_moved(&self) -> Result<bool, StoreError> {
        Ok(self.moved_to().await?.is_some())
    }

    async fn moved_to(&self) -> Result<Option<String>, StoreError> {
        let is_marked =
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'moved'";
        let is_marked: i64 = sqlx::query_scalar(is_marked)
            .fetch_one(&self.readers)
            .await?;
        if is_marked == 0 {
            return Ok(None);
        }
        let place = sqlx::query_scalar("SELECT place FROM moved");
        Ok(place.fetch_optional(&self.readers).await?)
    }

    async fn open_locked(path: &Path) -> Result<Self, StoreError> {
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
            has_leaf_hashes: true,
        })
    }

    /// Opens the database to look at it, beside whoever writes.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.display().to_string()));
        }
        let readers = readers(path);
        let columns = "SELECT count(*) FROM pragma_table_info('entry') WHERE name = 'leaf_hash'";
        let found: i64 = sqlx::query_scalar(columns).fetch_one(&readers).await?;
        Ok(Self {
            writer: Mutex::new(None),
            readers,
            lock: None,
            has_leaf_hashes: found > 0,
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
        #[cfg(debug_assertions)]
        commit::end_half_way(connection, expected, &batch).await;
        let statements = statements(&batch);
        // Texts of ordinary length are worth keeping compiled; there are few of them.
        let is_ordinary = batch.entries.len() <= ROWS && batch.issuers.is_empty();
        let query = sqlx::query(AssertSqlSafe(statements)).persistent(is_ordinary);
        let query = bind(query, expected, batch)
            .map_err(|error| CommitError::NotWritten(error.to_string()))?;
        match query.execute(&mut *connection).await {
            Ok(_) => Ok(()),
            Err(error) => Err(refusal(connection, expected, &error).await),
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
        if level > 0 || !self.has_leaf_hashes {
            let query = sqlx::query("SELECT hashes FROM tile WHERE id = ?").bind(id);
            let row = query.fetch_optional(&self.readers).await?;
            return Ok(row.map(|row| row.try_get(0)).transpose()?);
        }
        let query = sqlx::query(
            "SELECT -1 AS leaf_index, hashes FROM tile WHERE id = ?1
             UNION ALL
             SELECT leaf_index, leaf_hash FROM entry
             WHERE leaf_index < (?1 + 1) * 256 AND leaf_index >= ?1 * 256 +
                 coalesce((SELECT length(hashes) / 32 FROM tile WHERE id = ?1), 0)
             ORDER BY leaf_index",
        );
        let rows = query.bind(id).fetch_all(&self.readers).await?;
        joined(rows.iter().map(|row| row.try_get(1)))
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

/// Rows of one `VALUES` list.
const ROWS: usize = 64;

#[cfg(test)]
mod tests;
