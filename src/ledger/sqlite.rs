//! The ledger's SQL, for SQLite: how the file is opened, rows written and found.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::row::{COLUMNS, Entry, Stored};
use super::search::{Condition, Value};
use super::store::{Numbered, Store, Writing};
use super::{LedgerError, Row};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, FromRow as _, Row as _, SqliteConnection,
};

/// A ledger in a file.
#[derive(Debug)]
pub(super) struct SqliteStore {
    path: PathBuf,
    pool: SqlitePool,
}

impl SqliteStore {
    pub(super) fn new(path: PathBuf) -> Self {
        let pool = reader_pool(&path);
        Self { path, pool }
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn connect(&self) -> Result<Box<dyn Writing>, LedgerError> {
        let mut connection = connect_writer(&self.path).await?;
        match settle(&mut connection).await {
            Ok(()) => Ok(Box::new(connection)),
            Err(error) => {
                connection.close().await.ok();
                Err(LedgerError::Open(error))
            }
        }
    }

    fn patience(&self) -> Duration {
        // What a file does not give now it does not give in a second either.
        Duration::ZERO
    }

    async fn find(
        &self,
        conditions: &[Condition<'_>],
        limit: u32,
    ) -> Result<Vec<Row>, LedgerError> {
        find(&self.pool, conditions, limit).await
    }

    async fn newest(&self) -> Result<i64, LedgerError> {
        newest(&self.pool).await
    }

    async fn rows_after(&self, id: i64, limit: u32) -> Result<Vec<Numbered>, LedgerError> {
        rows_after(&self.pool, id, limit).await
    }

    async fn recorded(&self, serials: &[[u8; 20]]) -> Result<HashSet<[u8; 20]>, LedgerError> {
        recorded(&self.pool, serials).await
    }

    fn numbers_are_dense(&self) -> bool {
        true
    }

    async fn count(&self) -> Result<u64, LedgerError> {
        count(&self.pool).await
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        ping(&self.pool).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait::async_trait]
impl Writing for SqliteConnection {
    async fn insert_all(&mut self, entries: &[&Entry]) -> Result<(), sqlx::Error> {
        insert_all(self, entries).await
    }

    async fn insert_each(
        &mut self,
        entries: &[&Entry],
    ) -> Result<Vec<Result<(), LedgerError>>, sqlx::Error> {
        insert_each(self, entries).await
    }

    fn is_refusal(&self, error: &sqlx::Error) -> bool {
        is_refusal(error)
    }

    async fn look_again(&mut self, entries: &[&Entry]) -> Result<Vec<bool>, sqlx::Error> {
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            found.push(contains(self, entry).await?);
        }
        Ok(found)
    }

    async fn finish(self: Box<Self>) -> Result<(), sqlx::Error> {
        self.close().await
    }
}

/// Brings the database to the shape this version needs, making it if it is empty.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    Ok(MIGRATIONS.run(connection).await?)
}

/// Refuses a file that is not a ledger, before anything in it is changed.
pub(super) async fn check_is_ledger(path: &Path) -> Result<(), LedgerError> {
    let mut connection = options(path)
        .read_only(true)
        .connect()
        .await
        .map_err(|error| not_a_ledger(error, path))?;
    let id = sqlx::query_scalar::<_, i64>("PRAGMA application_id")
        .fetch_one(&mut connection)
        .await;
    // Closing can only fail to tidy up; what was read stands.
    connection.close().await.map_err(LedgerError::Open)?;
    match id.map_err(|error| not_a_ledger(error, path))? {
        APPLICATION_ID => Ok(()),
        _ => Err(LedgerError::NotALedger {
            path: path.to_owned(),
        }),
    }
}

/// The one connection that writes.
pub(super) async fn connect_writer(path: &Path) -> Result<SqliteConnection, LedgerError> {
    let mut connection = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Where fsync leaves the data in the drive's cache, ask for the call that does not.
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        // A statement inside a transaction keeps what it would need to undo itself alone; in a file,
        // unless told otherwise.
        .pragma("temp_store", "MEMORY")
        // KiB. A larger cache costs more than it saves: SQLite lends a page a very high number for a
        // moment when it splits a node, and at the next commit walks the whole cache to forget it.
        .pragma("cache_size", "-8192")
        // Pages. Serials and fingerprints are random, so each row touches index pages all over the
        // file; a longer log lets a checkpoint find each of them changed several times.
        .pragma("wal_autocheckpoint", "8000")
        .statement_cache_capacity(CHUNK + 16)
        .thread_name(|_| "ledger-writer".to_owned())
        .connect()
        .await
        .map_err(LedgerError::Open)?;
    match check_durable(&mut connection).await {
        Ok(()) => Ok(connection),
        Err(error) => {
            connection.close().await.map_err(LedgerError::Open)?;
            Err(error)
        }
    }
}

/// Asks the connection itself for what durability rests on, because a setting can be ignored
/// silently: a file system without shared memory, for one, has no write-ahead log.
async fn check_durable(connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut *connection)
        .await
        .map_err(LedgerError::Open)?;
    let numbers: Vec<u32> = version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    if numbers.as_slice() < OLDEST_SQLITE.0.as_slice() {
        return Err(LedgerError::OldSqlite {
            found: version,
            needed: OLDEST_SQLITE.1,
        });
    }
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await
        .map_err(LedgerError::Open)?;
    if synchronous < SYNCHRONOUS_FULL {
        return Err(LedgerError::NotDurable {
            pragma: "synchronous",
            found: synchronous.to_string(),
        });
    }
    let journal_mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(LedgerError::Open)?;
    if journal_mode != "wal" {
        return Err(LedgerError::NotDurable {
            pragma: "journal_mode",
            found: journal_mode,
        });
    }
    Ok(())
}

/// Connections that can only read, opened as they are needed.
fn reader_pool(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY_TIMEOUT)
        .connect_lazy_with(
            options(path)
                .read_only(true)
                .pragma("query_only", "ON")
                .thread_name(|_| "ledger-reader".to_owned()),
        )
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

fn not_a_ledger(error: sqlx::Error, path: &Path) -> LedgerError {
    match result_code(&error) {
        Some(code) if code & 0xff == SQLITE_NOTADB => LedgerError::NotALedger {
            path: path.to_owned(),
        },
        _ => LedgerError::Open(error),
    }
}

/// Inserts rows, all or none: a batch of one chunk is one statement, which is a transaction by
/// itself; a longer one is a transaction of several.
async fn insert_all(
    connection: &mut SqliteConnection,
    entries: &[&Entry],
) -> Result<(), sqlx::Error> {
    if entries.len() <= CHUNK {
        return insert(connection, entries).await;
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for chunk in entries.chunks(CHUNK) {
        if let Err(error) = insert(&mut transaction, chunk).await {
            transaction.rollback().await?;
            return Err(error);
        }
    }
    transaction.commit().await
}

/// Inserts rows one by one in one transaction, for a batch that holds a bad one: the answers tell
/// which rows the database refused. The rest are committed.
async fn insert_each(
    connection: &mut SqliteConnection,
    entries: &[&Entry],
) -> Result<Vec<Result<(), LedgerError>>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut results = Vec::with_capacity(entries.len());
    for entry in entries {
        results.push(match insert(&mut transaction, &[entry]).await {
            Ok(()) => Ok(()),
            Err(error) => Err(refusal(error)?),
        });
    }
    transaction.commit().await?;
    Ok(results)
}

/// Whether the error is the database's verdict on a row, after which the statement has left
/// nothing behind and the connection is sound.
fn is_refusal(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| code & 0xff == SQLITE_CONSTRAINT)
}

/// The verdict on a row, or the error again if it is something worse.
fn refusal(error: sqlx::Error) -> Result<LedgerError, sqlx::Error> {
    if !is_refusal(&error) {
        return Err(error);
    }
    let unique = error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    Ok(if unique {
        LedgerError::DuplicateSerial
    } else {
        LedgerError::Refused(Arc::new(error))
    })
}

/// Moves everything written so far out of the write-ahead log into the database file, under a
/// sync of its own, and empties the log; then proves with a small commit that writing works.
///
/// After a failed sync a row may be visible and yet be only in the page cache, with the operating
/// system no longer trying to save it. Only this makes it known that what can be seen is kept.
pub(super) async fn settle(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut *connection)
        .await?;
    if busy != 0 {
        return Err(sqlx::Error::Protocol(
            "another process holds the ledger's write-ahead log".to_owned(),
        ));
    }
    sqlx::query("PRAGMA user_version = 0")
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether this very certificate, not merely another with its serial, is in the ledger.
async fn contains(connection: &mut SqliteConnection, entry: &Entry) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM certificates WHERE serial = ? AND sha256 = ?)")
        .bind(entry.record.serial.as_slice())
        .bind(entry.record.sha256.as_slice())
        .fetch_one(connection)
        .await
}

async fn find(
    pool: &SqlitePool,
    conditions: &[Condition<'_>],
    limit: u32,
) -> Result<Vec<Row>, LedgerError> {
    // Only names from this program go into the text; what is searched for is bound.
    let wanted = conditions.iter().map(|(column, _)| format!("{column} ?"));
    let wanted = wanted.collect::<Vec<_>>().join(" AND ");
    let sql =
        format!("SELECT id, {COLUMNS} FROM certificates WHERE {wanted} ORDER BY id DESC LIMIT ?");
    let mut select = sqlx::query(AssertSqlSafe(sql));
    for (_, value) in conditions {
        select = match value {
            Value::Text(text) => select.bind(*text),
            Value::Bytes(bytes) => select.bind(*bytes),
            Value::Number(number) => select.bind(*number),
        };
    }
    let rows = select
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(LedgerError::Read)?;
    rows.iter().map(decode).collect()
}

async fn newest(pool: &SqlitePool) -> Result<i64, LedgerError> {
    let newest = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM certificates");
    newest.fetch_one(pool).await.map_err(LedgerError::Read)
}

async fn count(pool: &SqlitePool) -> Result<u64, LedgerError> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM certificates")
        .fetch_one(pool)
        .await
        .map_err(LedgerError::Read)?;
    Ok(count.unsigned_abs())
}

async fn rows_after(pool: &SqlitePool, id: i64, limit: u32) -> Result<Vec<Numbered>, LedgerError> {
    let sql = AssertSqlSafe(format!(
        "SELECT id, {COLUMNS} FROM certificates WHERE id > ? ORDER BY id LIMIT ?"
    ));
    let rows = sqlx::query(sql)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(LedgerError::Read)?;
    let numbered = |row: &SqliteRow| {
        let id = row.try_get("id").map_err(LedgerError::Read)?;
        Ok((id, decode(row)))
    };
    rows.iter().map(numbered).collect()
}

async fn recorded(
    pool: &SqlitePool,
    serials: &[[u8; 20]],
) -> Result<HashSet<[u8; 20]>, LedgerError> {
    if serials.is_empty() {
        return Ok(HashSet::new());
    }
    let marks = vec!["?"; serials.len()].join(",");
    let sql = format!("SELECT serial FROM certificates WHERE serial IN ({marks})");
    let mut select = sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(sql)).persistent(false);
    for serial in serials {
        select = select.bind(serial.as_slice());
    }
    let found = select.fetch_all(pool).await.map_err(LedgerError::Read)?;
    let found = found.into_iter();
    Ok(found.filter_map(|serial| serial.try_into().ok()).collect())
}

async fn ping(pool: &SqlitePool) -> Result<(), LedgerError> {
    sqlx::query("SELECT id FROM certificates LIMIT 1")
        .fetch_optional(pool)
        .await
        .map_err(LedgerError::Read)?;
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, entries: &[&Entry]) -> Result<(), sqlx::Error> {
    // Built anew each time, but prepared only once for each number of rows: the connection keeps
    // its statements by their text.
    let mut sql = format!("INSERT INTO certificates ({COLUMNS}) VALUES {PLACEHOLDERS}");
    for _ in 1..entries.len() {
        sql.push(',');
        sql.push_str(PLACEHOLDERS);
    }
    let mut insert = sqlx::query(AssertSqlSafe(sql));
    for Entry {
        record,
        extensions,
        log_index,
        sct_timestamp_ms,
    } in entries
    {
        insert = insert
            .bind(record.serial.as_slice())
            .bind(record.sha256.as_slice())
            .bind(record.identity.as_str())
            .bind(record.identity_kind.as_str())
            .bind(record.issuer.as_str())
            .bind(record.subject.as_str())
            .bind(extensions.as_str())
            .bind(record.not_before.unix_timestamp())
            .bind(record.not_after.unix_timestamp())
            .bind(record.log_id.as_slice())
            .bind(*log_index)
            .bind(*sct_timestamp_ms)
            .bind(record.token_sha256.as_slice())
            .bind(record.key_sha256.as_slice())
            .bind(record.issued_at.unix_timestamp())
            .bind(record.certificate.as_slice());
    }
    insert.execute(connection).await?;
    Ok(())
}

fn decode(row: &SqliteRow) -> Result<Row, LedgerError> {
    let stored = Stored::from_row(row);
    stored.map_err(LedgerError::Read)?.into_record()
}

/// SQLite's extended result code; its low byte is the primary code.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

pub(super) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite/ledger");

/// "VSLG"; the first migration writes it.
const APPLICATION_ID: i64 = 0x5653_4c47;
/// Older versions can lose a commit when a checkpoint resets the write-ahead log at the wrong moment.
const OLDEST_SQLITE: ([u32; 3], &str) = ([3, 51, 3], "3.51.3");
const SYNCHRONOUS_FULL: i64 = 2;

const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_NOTADB: i32 = 26;

/// One row's worth, as many as there are columns.
const PLACEHOLDERS: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
/// The most rows of one statement.
const CHUNK: usize = 64;

const READERS: u32 = 4;
/// How long a connection waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// The first connection sets what a database file keeps; later ones may weaken only themselves.
    async fn connected(
        path: &Path,
        journal: SqliteJournalMode,
        synchronous: SqliteSynchronous,
    ) -> SqliteConnection {
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(journal)
            .synchronous(synchronous);
        options.connect().await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_could_lose_a_row_is_refused() {
        use SqliteJournalMode::{Delete, Memory, Wal};
        use SqliteSynchronous::{Extra, Full, Normal, Off};
        let dir = tempfile::tempdir().unwrap();
        for (journal, synchronous, refused) in [
            (Wal, Full, None),
            (Wal, Extra, None),
            (Wal, Normal, Some("synchronous")),
            (Wal, Off, Some("synchronous")),
            (Delete, Full, Some("journal_mode")),
            (Memory, Full, Some("journal_mode")),
        ] {
            let path = dir.path().join(format!("{journal:?}-{synchronous:?}.db"));
            let mut connection = connected(&path, journal, synchronous).await;
            let found = match check_durable(&mut connection).await {
                Ok(()) => None,
                Err(LedgerError::NotDurable { pragma, .. }) => Some(pragma),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found, refused, "{path:?}");
        }
    }

    #[tokio::test]
    async fn the_writer_is_durable_whatever_the_file_was_set_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        connected(&path, SqliteJournalMode::Delete, SqliteSynchronous::Off)
            .await
            .close()
            .await
            .unwrap();
        connect_writer(&path).await.unwrap().close().await.unwrap();
    }

    #[test]
    fn a_row_has_as_many_placeholders_as_columns() {
        assert_eq!(
            COLUMNS.split(',').count(),
            PLACEHOLDERS.matches('?').count()
        );
    }
}
