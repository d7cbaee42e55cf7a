//! Where a log keeps its tree.
//!
//! The sequencer does not know which store it writes to; what it relies on is the contract of
//! [`Store::commit`].

pub mod postgres;
pub mod sqlite;

use super::checkpoint::Checkpoint;
use super::merkle::{HASH_LENGTH, Hash, TILE_LEVELS, TILE_WIDTH, Tile, empty_root};
use crate::database::DatabaseError;
use std::ops::Range;

/// Durable storage of one log.
///
/// Reads see every commit that returned `Ok` before they began. Reads may run at any time, beside
/// each other and beside a commit; they never see half of one.
#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// Replaces the head `expected` by `batch.head` and adds everything else in `batch`, all or
    /// nothing.
    ///
    /// `Ok` means durable: the batch is there after a power cut. One commit is in flight at a time.
    /// The future is always awaited to its end except when the process ends.
    ///
    /// # Errors
    /// [`CommitError::Unknown`] whenever the batch could be there in spite of the error; every
    /// other variant promises that it is not and never will be.
    async fn commit(&self, expected: &Head, batch: Batch) -> Result<(), CommitError>;

    /// Waits until this process has the turn to write and reads what it needs for that: the head, the
    /// tiles at the edge and those `also` asked for, as far as there are such, and the entries that have
    /// one of these dedup keys. Until the next commit or [`end_turn`](Self::end_turn) nobody else writes,
    /// and whatever was sent to the store before has either happened or never will.
    ///
    /// `None` where this process alone writes: it then has the turn all the time.
    ///
    /// # Errors
    /// [`StoreError`]: the turn did not come, and is not held.
    async fn take_turn(
        &self,
        _dedup: &[Hash],
        _also: &[TilePlace],
    ) -> Result<Option<Turn>, StoreError> {
        Ok(None)
    }

    /// Gives the turn back without a commit; nothing, if it is not held.
    async fn end_turn(&self) {}

    /// The head as it is stored now, where others may have replaced the one that this process knows.
    /// `None` where nobody else can.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be read, or only from a copy that may be behind.
    async fn newest_head(&self) -> Result<Option<Head>, StoreError> {
        Ok(None)
    }

    /// The entries that have one of these dedup keys, in any order.
    async fn find(&self, dedup: &[Hash]) -> Result<Vec<StoredEntry>, StoreError>;

    /// The entries of `range` in order; fewer where the log ends before it.
    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError>;

    /// The packed leaves of the entries of `range` in order; fewer where the log ends before it.
    async fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError>;

    /// A tile, as wide as it is by now.
    async fn tile(&self, level: u8, n: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// A certificate by its SHA-256.
    async fn issuer(&self, fingerprint: &Hash) -> Result<Option<Vec<u8>>, StoreError>;

    /// The SHA-256 of every stored certificate.
    async fn issuers(&self) -> Result<Vec<Hash>, StoreError>;

    /// Adds certificates outside any batch. Those already there are left alone.
    async fn add_issuers(&self, issuers: &[(Hash, Vec<u8>)]) -> Result<(), StoreError>;

    /// Whose log this is, its head, and how much is stored.
    async fn state(&self) -> Result<State, StoreError>;

    /// Finishes and lets another process open the store. Everything else fails from here on, but for
    /// closing it again, which does nothing.
    async fn close(&self);
}

/// A tree head and its signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Leaves in the tree.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The signed note.
    pub checkpoint: String,
}

impl Head {
    /// The head of a log without entries, unsigned.
    #[must_use]
    pub fn empty(timestamp_ms: u64) -> Self {
        Self {
            size: 0,
            root: empty_root(),
            timestamp_ms,
            checkpoint: String::new(),
        }
    }

    /// What its note says.
    #[must_use]
    pub fn signed(&self, origin: &str) -> Checkpoint {
        Checkpoint {
            origin: origin.to_owned(),
            size: self.size,
            root: self.root,
            timestamp_ms: self.timestamp_ms,
        }
    }
}

/// Everything one commit writes.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The new head.
    pub head: Head,
    /// New entries in order, the first at the old head's size.
    pub entries: Vec<NewEntry>,
    /// Tiles that are full, and those above level 0 that have grown. What grows at level 0 stands with
    /// the entries.
    pub tiles: Vec<Tile>,
    /// Certificates seen for the first time, with their SHA-256.
    pub issuers: Vec<(Hash, Vec<u8>)>,
}

/// An entry to be written.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Its dedup key.
    pub dedup: Hash,
    /// The leaf, [packed](super::entry::Entry::packed).
    pub leaf: Vec<u8>,
    /// The leaf's hash in the tree.
    pub leaf_hash: Hash,
    /// The signature of its SCT, DER.
    pub sct_signature: Vec<u8>,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its zero-based leaf index.
    pub index: u64,
    /// Its dedup key.
    pub dedup: Hash,
    /// The leaf, [packed](super::entry::Entry::packed).
    pub leaf: Vec<u8>,
    /// The signature of the SCT that was answered for it, DER.
    pub sct_signature: Vec<u8>,
}

/// A tile's level and its zero-based position in it.
pub type TilePlace = (u8, u64);

/// What a process needs to know when its turn to write has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The head as it is stored, which stays so until the turn ends.
    pub head: Head,
    /// The tiles at its edge, and those asked for.
    pub tiles: Vec<Tile>,
    /// The entries asked for.
    pub found: Vec<StoredEntry>,
}

/// What the store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The log's origin.
    pub origin: String,
    /// The log's ID.
    pub log_id: Hash,
    /// When the log was created, in milliseconds since 1970; no entry is older.
    pub created_ms: u64,
    /// The current head.
    pub head: Head,
    /// Entries, counted by the highest index stored.
    pub entries: u64,
    /// Tiles of each level that have a row of their own, counted by the highest position stored.
    pub tiles: [u64; TILE_LEVELS as usize],
}

/// A store that cannot be opened or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A log is never made by accident: a lost volume must not become a new log with the old key.
    #[error("there is no log database at {0}; a log is created once, explicitly")]
    Missing(String),
    /// The database has no log with this key: the key may be another log's.
    #[error(
        "the database {0} has no log with this key; a key belongs to one log, which is created once, explicitly"
    )]
    NoLog(String),
    /// Nothing is ever overwritten.
    #[error("there is already a file at {0}; a log is created once and never overwritten")]
    Exists(String),
    /// Two writers would fork the log.
    #[error("another process has the log at {0} open")]
    Locked(String),
    /// A file system that ignores settings, or a library built without them.
    #[error("the database has {setting} = {found} and cannot be made to have {wanted}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What it has to be.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// Older libraries can damage a database while checkpointing.
    #[error("the SQLite library is version {found}; {MINIMUM_SQLITE} or later is needed")]
    Version {
        /// What `sqlite_version()` says.
        found: String,
    },
    /// Moved by `vouchsafe database move`; two places under one key would fork the log.
    #[error("the log at {from} was moved to {to} and is written there; here it is only a copy")]
    Moved {
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
    },
    /// Others have a log of this name or key there.
    #[error("the database {database} has a log of the same {what} already")]
    Taken {
        /// Which database.
        database: String,
        /// Name or key.
        what: &'static str,
    },
    /// Neither here nor there yet.
    #[error(
        "the log is being moved to {0} and is not complete there; run `vouchsafe database move` to its end"
    )]
    Unfinished(String),
    /// The server is not one to be trusted with a log, or cannot be reached.
    #[error(transparent)]
    Server(#[from] DatabaseError),
    /// A row that no version of this program writes.
    #[error("the log database holds something malformed: {0}")]
    Malformed(&'static str),
    /// A file could not be made, locked or synchronised.
    #[error("the log's files at {path} could not be used: {error}")]
    Files {
        /// Which.
        path: String,
        /// What the operating system says.
        error: String,
    },
    /// The database's own words.
    #[error("the log database failed: {0}")]
    Database(String),
}

/// A commit that did not return `Ok`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// One of the entries is already in the log. Nothing was written.
    #[error("an entry of the batch is already in the log")]
    Duplicate,
    /// The store could not take the batch, is sound and stays usable. Nothing was written.
    #[error("the batch was not written: {0}")]
    NotWritten(String),
    /// The stored head is not the one the batch was built on: somebody else wrote. Nothing was
    /// written.
    #[error("the stored tree head has moved: another process writes to this log")]
    HeadMoved,
    /// Whether the batch is durable cannot be known. Only a fresh start, which reads the truth from
    /// the disk, can tell; or, where there are [turns](Store::take_turn), the next of them.
    #[error("it is unknown whether the batch was written: {0}")]
    Unknown(String),
}

/// A tile of level 0 from its parts in order: its row, if it has one, and the leaf hashes that stand with
/// the entries after those.
///
/// Nothing, where a hash is missing, or where all 256 stand with the entries: a full tile has its row, and
/// one that has lost it is damaged.
fn joined<'a>(
    parts: impl ExactSizeIterator<Item = Result<Option<&'a [u8]>, sqlx::Error>>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let is_whole = parts.len() <= 1;
    let mut hashes = Vec::new();
    for part in parts {
        let Some(part) = part? else {
            return Ok(None);
        };
        hashes.extend_from_slice(part);
    }
    let is_there = !hashes.is_empty() && (is_whole || hashes.len() < TILE_WIDTH * HASH_LENGTH);
    Ok(is_there.then_some(hashes))
}

/// A tile's number in SQLite: level * 2^40 + n.
fn tile_id(level: u8, n: u64) -> Option<i64> {
    let is_possible = n < 1 << LEVEL_SHIFT;
    let id = is_possible.then_some(u64::from(level) << LEVEL_SHIFT | n)?;
    i64::try_from(id).ok()
}

fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Malformed("a number beyond 2^63"))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Malformed("a negative number"))
}

fn hash_from(bytes: &[u8]) -> Result<Hash, StoreError> {
    <[u8; HASH_LENGTH]>::try_from(bytes).map_err(|_| StoreError::Malformed("a hash"))
}

const LEVEL_SHIFT: u32 = 40;

/// 3.51.3 fixes a race of concurrent checkpoints that could damage a database.
pub const MINIMUM_SQLITE: &str = "3.51.3";

#[cfg(test)]
mod tests;
