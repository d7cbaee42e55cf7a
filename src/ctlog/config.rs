//! What is configured of the log, as it is written and as it is checked.

use super::checkpoint::is_origin;
use super::error::LogError;
use super::merkle::Hash;
use super::store::postgres::{self, PostgresStore};
use super::store::sqlite::SqliteStore;
use super::store::{Head, Store, StoreError};
use crate::database::Server;
use const_oid::ObjectIdentifier;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What an operator says about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it is kept.
    pub database: Database,
    /// The log's name: its public address without scheme and without a slash at the end. It cannot
    /// change for as long as the log lives.
    pub origin: String,
    /// The file with the newest checkpoint this process has signed, outside the database; nothing
    /// remembers it if left out.
    pub high_water: Option<PathBuf>,
    /// Extended key usages a submitted certificate must have one of, as `codeSigning` or as object
    /// identifiers with dots; `any` alone accepts all certificates. Code signing if left out. The
    /// authority's own certificates are not asked.
    pub extended_key_usages: Vec<String>,
    /// Entries that may wait to be logged; more are turned away at once. 4096 if left out.
    pub queue: usize,
    /// When a certificate must end to be logged here, the authority's own included; at any time, if left
    /// out.
    pub window: Window,
    /// Whether submitted certificates that have ended are turned away. A log is there to show what was
    /// issued, so they are not, if left out.
    pub reject_expired: bool,
}

/// The certificates that a shard is for, by the end of their validity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first end that it takes.
    #[serde(default, deserialize_with = "read_optional_time")]
    pub start: Option<OffsetDateTime>,
    /// The first end that it does not take any more.
    #[serde(default, deserialize_with = "read_optional_time")]
    pub end: Option<OffsetDateTime>,
}

impl Window {
    /// Whether a certificate that ends then is one of them.
    #[must_use]
    pub fn contains(&self, not_after: OffsetDateTime) -> bool {
        self.start.is_none_or(|start| start <= not_after)
            && self.end.is_none_or(|end| not_after < end)
    }

    /// Whether there is any time in it.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !matches!((self.start, self.end), (Some(start), Some(end)) if end <= start)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (Some(start), Some(end)) => write!(f, "from {start} and before {end}"),
            (Some(start), None) => write!(f, "from {start} on"),
            (None, Some(end)) => write!(f, "before {end}"),
            (None, None) => write!(f, "at any time"),
        }
    }
}

/// Where a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In a file of its own, for one process. A lock file of the same name with `.lock` at its end
    /// stands beside it.
    Sqlite(PathBuf),
    /// On a server, for any number of processes.
    Postgres(Server),
}

impl Database {
    /// Makes the database of a new log with its first head.
    pub(super) async fn create(
        &self,
        origin: &str,
        log_id: &Hash,
        head: &Head,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(path) => SqliteStore::create(path, origin, log_id, head).await,
            Self::Postgres(server) => PostgresStore::create(server, origin, log_id, head).await,
        }
    }

    /// Opens the log with this ID to write to it.
    pub(super) async fn open(&self, log_id: &Hash) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
            Self::Postgres(server) => Arc::new(PostgresStore::open(server, log_id).await?),
        })
    }

    /// Opens the log with this ID to look at it, beside whoever writes.
    pub(super) async fn open_read_only(&self, log_id: &Hash) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open_read_only(path).await?),
            Self::Postgres(server) => {
                Arc::new(PostgresStore::open_read_only(server, log_id).await?)
            }
        })
    }
}

/// Brings the logs' tables on a server to the shape this version needs, making them if there are none.
///
/// # Errors
/// [`LogError::Store`].
pub async fn upgrade(server: &Server) -> Result<(), LogError> {
    let upgraded = server.migrate(&postgres::migrations()).await;
    Ok(upgraded.map_err(StoreError::from)?)
}

impl From<PathBuf> for Database {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

impl From<Server> for Database {
    fn from(server: Server) -> Self {
        Self::Postgres(server)
    }
}

impl Config {
    /// A log for code-signing certificates, with the usual queue.
    #[must_use]
    pub fn new(database: impl Into<Database>, origin: String) -> Self {
        Self {
            database: database.into(),
            origin,
            high_water: None,
            extended_key_usages: default_usages(),
            queue: default_queue(),
            window: Window::default(),
            reject_expired: false,
        }
    }
}

/// A time as RFC 3339 writes it, `2027-01-01T00:00:00Z`.
///
/// # Errors
/// Any other text.
pub fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339)
        .map_err(|_| D::Error::custom(format!("{text:?} is no time like 2027-01-01T00:00:00Z")))
}

fn read_optional_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<OffsetDateTime>, D::Error> {
    read_time(deserializer).map(Some)
}

pub(super) fn checked_origin(config: &Config) -> Result<String, LogError> {
    if !is_origin(&config.origin) {
        return Err(LogError::Origin(config.origin.clone()));
    }
    Ok(config.origin.clone())
}

/// No usages at all stand for any.
pub(super) fn read_usages(usages: &[String]) -> Result<Vec<ObjectIdentifier>, LogError> {
    if usages == ["any"] {
        return Ok(Vec::new());
    }
    if usages.is_empty() {
        return Err(LogError::Usage(String::new()));
    }
    let read = |usage: &String| match usage.as_str() {
        CODE_SIGNING => Ok(ID_KP_CODE_SIGNING),
        dotted => ObjectIdentifier::new(dotted).map_err(|_| LogError::Usage(usage.clone())),
    };
    usages.iter().map(read).collect()
}

/// What is asked of certificates unless somebody says otherwise.
#[must_use]
pub fn default_usages() -> Vec<String> {
    vec![CODE_SIGNING.to_owned()]
}

/// The queue's length unless somebody says otherwise.
#[must_use]
pub fn default_queue() -> usize {
    4096
}

const CODE_SIGNING: &str = "codeSigning";
const ID_KP_CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
