//! The ledger: what was issued, to whom, and where the log put it.
//!
//! A certificate may leave only after [`Ledger::record`] has returned, and `record` returns only
//! when the row has been synced to disk. It is kept in a file, for one process, or on a PostgreSQL server,
//! for any number of them. In each process one task writes; rows that arrive while a commit is in
//! flight share the next one, so durability costs one sync a crowd, not one a certificate.
//!
//! The rows answer an operator's questions (what was issued to this identity? where did this
//! serial come from?) and let an auditor compare what was signed with what the log holds.

mod error;
mod moving;
mod postgres;
mod record;
mod row;
mod search;
mod sqlite;
mod store;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::Connection as _;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::LedgerError;
pub use moving::move_rows;
use postgres::PostgresStore;
pub use record::{Query, Record, Row};
use row::Entry;
pub use search::Within;
use sqlite::SqliteStore;
pub use store::Numbered;
use store::Store;
use writer::{Message, Writer};

use crate::database::Server;

/// An open ledger. The one writer lives as a task on the runtime that opened it.
#[derive(Debug)]
pub struct Ledger {
    queue: mpsc::Sender<Message>,
    writable: watch::Receiver<bool>,
    reader: Reader,
}

impl Ledger {
    /// Makes a new, empty ledger, in a file readable by its owner alone, and opens it.
    ///
    /// # Errors
    /// Refuses a path where anything exists, and a database that has a ledger; leaves no file behind
    /// when it fails.
    pub async fn create(place: impl Into<Place>) -> Result<Self, LedgerError> {
        match place.into() {
            Place::Sqlite(path) => Self::create_file(&path).await,
            Place::Postgres(server) => {
                Self::run(Arc::new(PostgresStore::create(&server).await?), QUEUE).await
            }
        }
    }

    async fn create_file(path: &Path) -> Result<Self, LedgerError> {
        let path = absolute(path)?;
        let failed = |source: std::io::Error| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                LedgerError::Exists { path: path.clone() }
            } else {
                LedgerError::File {
                    path: path.clone(),
                    source,
                }
            }
        };
        let mut new = tokio::fs::OpenOptions::new();
        new.write(true).create_new(true);
        #[cfg(unix)]
        new.mode(0o600);
        drop(new.open(&path).await.map_err(failed)?);
        match Self::start(path.clone(), QUEUE).await {
            Ok(ledger) => Ok(ledger),
            Err(error) => {
                // Ours, made a moment ago, and empty of rows. If it cannot be removed, `open`
                // refuses it by its missing mark.
                tokio::fs::remove_file(&path).await.ok();
                Err(error)
            }
        }
    }

    /// Opens the ledger; that in a file is brought to the shape this version needs.
    ///
    /// # Errors
    /// Refuses a missing ledger, a file that is something else, and a database that will not promise
    /// durability.
    pub async fn open(place: impl Into<Place>) -> Result<Self, LedgerError> {
        match place.into() {
            Place::Sqlite(path) => {
                let path = existing(&path).await?;
                sqlite::check_is_ledger(&path).await?;
                Self::start(path, QUEUE).await
            }
            Place::Postgres(server) => {
                Self::run(Arc::new(PostgresStore::open(&server).await?), QUEUE).await
            }
        }
    }

    /// Opens the ledger for searching only; other processes may be writing it meanwhile.
    ///
    /// # Errors
    /// Refuses a missing ledger and a file that is not one.
    pub async fn open_read_only(place: impl Into<Place>) -> Result<Reader, LedgerError> {
        let store: Arc<dyn Store> = match place.into() {
            Place::Sqlite(path) => {
                let path = existing(&path).await?;
                sqlite::check_is_ledger(&path).await?;
                Arc::new(SqliteStore::new(path))
            }
            Place::Postgres(server) => Arc::new(PostgresStore::open(&server).await?),
        };
        Ok(Reader { store })
    }

    async fn start(path: PathBuf, capacity: usize) -> Result<Self, LedgerError> {
        let mut connection = sqlite::connect_writer(&path).await?;
        let migrated = sqlite::migrate(&mut connection).await;
        connection.close().await.map_err(LedgerError::Open)?;
        migrated?;
        Self::run(Arc::new(SqliteStore::new(path)), capacity).await
    }

    async fn run(store: Arc<dyn Store>, capacity: usize) -> Result<Self, LedgerError> {
        let connection = store.connect().await?;
        let (queue, waiting) = mpsc::channel(capacity);
        let (state, writable) = watch::channel(true);
        let reader = Reader {
            store: Arc::clone(&store),
        };
        tokio::spawn(Writer::new(store, connection, waiting, state).run());
        Ok(Self {
            queue,
            writable,
            reader,
        })
    }

    /// Writes one row, and returns once it is durable: synced to disk, in a commit that other
    /// rows may share.
    ///
    /// Dropping the future does not take the row back: it is written or refused unobserved.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] means that the row's fate is unknown; any other error means
    /// that it was not written. Neither lets the certificate leave. [`LedgerError::Busy`] comes at
    /// once, without waiting, when too many rows wait already.
    pub async fn record(&self, record: Record) -> Result<(), LedgerError> {
        let (answer, durable) = oneshot::channel();
        let message = Message::Row(Box::new(Entry::new(record)?), answer);
        self.queue
            .try_send(message)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => LedgerError::Busy,
                mpsc::error::TrySendError::Closed(_) => LedgerError::Closed,
            })?;
        // A writer that ends without an answer ended in the middle of something.
        durable.await.unwrap_or(Err(LedgerError::Unavailable))
    }

    /// The same ledger for searching only.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// See [`Reader::find`].
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub async fn find(&self, query: &Query, limit: u32) -> Result<Vec<Row>, LedgerError> {
        self.reader.find(query, limit).await
    }

    /// See [`Reader::count`].
    ///
    /// # Errors
    /// As [`Reader::count`].
    pub async fn count(&self) -> Result<u64, LedgerError> {
        self.reader.count().await
    }

    /// Whether rows can be written, by the outcome of the last attempt, and read, by a small
    /// attempt now. A ledger that cannot be written tries by itself to become well again.
    ///
    /// # Errors
    /// Says which of the two fails.
    pub async fn healthy(&self) -> Result<(), LedgerError> {
        if self.queue.is_closed() {
            return Err(LedgerError::Closed);
        }
        if !*self.writable.borrow() {
            return Err(LedgerError::Unavailable);
        }
        self.reader.store.ping().await
    }

    /// Takes no more rows, writes those that wait, and returns when the database is closed.
    pub async fn close(&self) {
        // An error means that the writer has ended already.
        self.queue.send(Message::Close).await.ok();
        let mut writable = self.writable.clone();
        while writable.changed().await.is_ok() {}
        self.reader.store.close().await;
    }
}

/// A ledger opened for searching only.
#[derive(Clone, Debug)]
pub struct Reader {
    store: Arc<dyn Store>,
}

impl Reader {
    /// The rows that match, the newest first, at most `limit` of them.
    ///
    /// # Errors
    /// Fails when the database cannot be read or a matching row is damaged.
    pub async fn find(&self, query: &Query, limit: u32) -> Result<Vec<Row>, LedgerError> {
        self.search(Some(query), &Within::default(), limit).await
    }

    /// The same with further conditions. Without a query the whole ledger is read, unless a time of
    /// issuance says where to begin or to end.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub async fn search(
        &self,
        query: Option<&Query>,
        within: &Within,
        limit: u32,
    ) -> Result<Vec<Row>, LedgerError> {
        search::search(&*self.store, query, within, limit).await
    }

    /// How many rows there are. It counts them one by one: not for every request.
    ///
    /// # Errors
    /// Fails when the database cannot be read.
    pub async fn count(&self) -> Result<u64, LedgerError> {
        self.store.count().await
    }

    /// Rows in the order of writing, from the one after number `id`, at most `limit` of them, with
    /// their numbers. A damaged row does not hide those beside it.
    ///
    /// # Errors
    /// Fails when the database cannot be read.
    pub async fn rows_after(&self, id: i64, limit: u32) -> Result<Vec<Numbered>, LedgerError> {
        self.store.rows_after(id, limit).await
    }

    /// Those of some serial numbers that are in the ledger. At most a few hundred at once.
    ///
    /// # Errors
    /// Fails when the database cannot be read.
    pub async fn recorded(&self, serials: &[[u8; 20]]) -> Result<HashSet<[u8; 20]>, LedgerError> {
        self.store.recorded(serials).await
    }

    /// Whether the rows' numbers follow each other without a gap, so that a gap is a row that somebody
    /// took away.
    #[must_use]
    pub fn numbers_are_dense(&self) -> bool {
        self.store.numbers_are_dense()
    }
}

/// Where a ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file of its own.
    Sqlite(PathBuf),
    /// In a database on a server.
    Postgres(Server),
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

/// Brings the ledger's tables on a server to the shape this version needs, making them if there are none.
///
/// # Errors
/// [`LedgerError::Server`].
pub async fn upgrade(server: &Server) -> Result<(), LedgerError> {
    Ok(server.migrate(&postgres::migrations()).await?)
}

/// An absolute path is never taken for one of SQLite's special names, such as `:memory:`.
fn absolute(path: &Path) -> Result<PathBuf, LedgerError> {
    std::path::absolute(path).map_err(|source| LedgerError::File {
        path: path.to_owned(),
        source,
    })
}

async fn existing(path: &Path) -> Result<PathBuf, LedgerError> {
    let path = absolute(path)?;
    match tokio::fs::metadata(&path).await {
        Ok(_) => Ok(path),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(LedgerError::Missing { path })
        }
        Err(source) => Err(LedgerError::File { path, source }),
    }
}

/// The most rows that may wait. At some kilobytes each, a few megabytes; at the slowest disk worth
/// running on, about a second's wait.
const QUEUE: usize = 1024;

#[cfg(test)]
mod postgres_tests;
#[cfg(test)]
mod tests;
