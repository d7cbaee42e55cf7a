//! The log in PostgreSQL, for as many processes as there are: `commit.rs` knows how a batch is written
//! and when a process has the turn to do so, `open.rs` how a log is made and found.
//!
//! A process that is alone commits in one statement and one round trip. Where the head turns out to be
//! another one, or where the fate of a commit is unknown, it takes its turn: it locks the head's row,
//! so that nobody else can commit, looks at what is stored, and writes in the same transaction.
//!
//! What a lost connection leaves behind may still run: a statement that had arrived before the
//! connection ended is carried out. That is harmless whenever it happens. It replaces the very head
//! it was built on or nothing, and no two heads of a log are the same, their times growing with every
//! commit; so it either comes before everything that is written after it, or it does nothing. And
//! nobody is told what became of it before the head's row was locked once more, for which the
//! transaction it belongs to must have ended.

mod commit;
mod open;
mod receive;

use super::{
    Batch, CommitError, Hash, Head, LEVEL_SHIFT, State, Store, StoreError, StoredEntry, TilePlace,
    Turn, hash_from, joined, signed, unsigned,
};
use crate::ctlog::merkle::TILE_LEVELS;
use crate::database::{Readers, Server, check_writable};
use commit::Writer;
pub use open::migrations;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::ops::Range;
use tokio::sync::Mutex;

/// One log in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    /// The log's name in the tables.
    log: i32,
    writer: Mutex<Writer>,
    readers: Readers,
}

impl PostgresStore {
    fn new(server: Server, log: i32, writes: bool) -> Self {
        Self {
            log,
            readers: Readers::new(&server),
            writer: Mutex::new(Writer::new(server, log, writes)),
        }
    }
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn commit(&self, expected: &Head, batch: Batch) -> Result<(), CommitError> {
        self.writer.lock().await.commit(expected, batch).await
    }

    async fn take_turn(
        &self,
        dedup: &[Hash],
        also: &[TilePlace],
    ) -> Result<Option<Turn>, StoreError> {
        let mut writer = self.writer.lock().await;
        Ok(Some(writer.take_turn(dedup, also).await?))
    }

    async fn end_turn(&self) {
        self.writer.lock().await.end_turn().await;
    }

    async fn newest_head(&self) -> Result<Option<Head>, StoreError> {
        let question = || {
            sqlx::query(
                "SELECT size, root, timestamp_ms, checkpoint, current_setting('transaction_read_only')
                 FROM ctlog.head WHERE log = $1",
            )
            .bind(self.log)
        };
        let rows = self.readers.rows(question).await?;
        let row = rows
            .first()
            .ok_or(StoreError::Malformed("no row holds the tree head"))?;
        check_writable(row.try_get(4)?)?;
        Ok(Some(read_head(row, 0)?))
    }

    async fn find(&self, dedup: &[Hash]) -> Result<Vec<StoredEntry>, StoreError> {
        let keys = key_list(dedup);
        let question = || sqlx::query(FIND).bind(self.log).bind(&keys);
        let rows = self.readers.rows(question).await?;
        rows.iter().map(read_entry).collect()
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        let (start, end) = (signed(range.start)?, signed(range.end)?);
        let question = || {
            sqlx::query(
                "SELECT leaf_index, dedup, leaf, sct_signature FROM ctlog.entry
                 WHERE log = $1 AND leaf_index >= $2 AND leaf_index < $3 ORDER BY leaf_index",
            )
            .bind(self.log)
            .bind(start)
            .bind(end)
        };
        let rows = self.readers.rows(question).await?;
        rows.iter().map(read_entry).collect()
    }

    async fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let (start, end) = (signed(range.start)?, signed(range.end)?);
        let question = || {
            sqlx::query(
                "SELECT leaf FROM ctlog.entry
                 WHERE log = $1 AND leaf_index >= $2 AND leaf_index < $3 ORDER BY leaf_index",
            )
            .bind(self.log)
            .bind(start)
            .bind(end)
        };
        let rows = self.readers.rows(question).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn tile(&self, level: u8, n: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let position = i64::try_from(n).ok();
        let Some(position) = position.filter(|n| *n < 1 << LEVEL_SHIFT) else {
            return Ok(None);
        };
        if level > 0 {
            let question = || {
                sqlx::query(
                    "SELECT hashes FROM ctlog.tile WHERE log = $1 AND level = $2 AND n = $3",
                )
                .bind(self.log)
                .bind(i16::from(level))
                .bind(position)
            };
            let rows = self.readers.rows(question).await?;
            return Ok(rows.first().map(|row| row.try_get(0)).transpose()?);
        }
        let question = || sqlx::query(BOTTOM_TILE).bind(self.log).bind(position);
        let rows = self.readers.rows(question).await?;
        joined(rows.iter().map(|row| row.try_get(0)))
    }

    async fn issuer(&self, fingerprint: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let question = || {
            sqlx::query("SELECT certificate FROM ctlog.issuer WHERE log = $1 AND fingerprint = $2")
                .bind(self.log)
                .bind(fingerprint.as_slice())
        };
        let rows = self.readers.rows(question).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    async fn issuers(&self) -> Result<Vec<Hash>, StoreError> {
        let question =
            || sqlx::query("SELECT fingerprint FROM ctlog.issuer WHERE log = $1").bind(self.log);
        let rows = self.readers.rows(question).await?;
        rows.iter().map(|row| hash_from(row.try_get(0)?)).collect()
    }

    async fn add_issuers(&self, issuers: &[(Hash, Vec<u8>)]) -> Result<(), StoreError> {
        self.writer.lock().await.add_issuers(issuers).await
    }

    async fn state(&self) -> Result<State, StoreError> {
        // One statement, and so one moment.
        let question = || {
            sqlx::query(
                "SELECT size, root, timestamp_ms, checkpoint, origin, log_id, created_ms,
                     (SELECT max(leaf_index) FROM ctlog.entry WHERE log = $1),
                     ARRAY(SELECT coalesce((SELECT max(n) FROM ctlog.tile
                                            WHERE log = $1 AND tile.level = l.level), -1) + 1
                           FROM generate_series(0, $2 - 1) AS l (level) ORDER BY l.level)
                 FROM ctlog.log LEFT JOIN ctlog.head ON head.log = log.id WHERE id = $1",
            )
            .bind(self.log)
            .bind(i32::from(TILE_LEVELS))
        };
        let rows = self.readers.rows(question).await?;
        let row = rows
            .first()
            .ok_or(StoreError::Malformed("no row says whose log it is"))?;
        if row.try_get::<Option<i64>, _>(0)?.is_none() {
            return Err(StoreError::Malformed("no row holds the tree head"));
        }
        let entries = row.try_get::<Option<i64>, _>(7)?;
        let mut tiles = [0; TILE_LEVELS as usize];
        let counted: Vec<i64> = row.try_get(8)?;
        for (tiles, counted) in tiles.iter_mut().zip(counted) {
            *tiles = unsigned(counted)?;
        }
        Ok(State {
            head: read_head(row, 0)?,
            origin: row.try_get(4)?,
            log_id: hash_from(row.try_get(5)?)?,
            created_ms: unsigned(row.try_get(6)?)?,
            entries: entries.map_or(Ok(0), |last| unsigned(last).map(|last| last + 1))?,
            tiles,
        })
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.close().await;
    }
}

/// From four columns that begin with number `first`.
fn read_head(row: &PgRow, first: usize) -> Result<Head, StoreError> {
    Ok(Head {
        size: unsigned(row.try_get(first)?)?,
        root: hash_from(row.try_get(first + 1)?)?,
        timestamp_ms: unsigned(row.try_get(first + 2)?)?,
        checkpoint: row.try_get(first + 3)?,
    })
}

fn read_entry(row: &PgRow) -> Result<StoredEntry, StoreError> {
    Ok(StoredEntry {
        index: unsigned(row.try_get(0)?)?,
        dedup: hash_from(row.try_get(1)?)?,
        leaf: row.try_get(2)?,
        sct_signature: row.try_get(3)?,
    })
}

fn key_list(keys: &[Hash]) -> Vec<&[u8]> {
    keys.iter().map(|key| &key[..]).collect()
}

/// The parts of a tile of level 0: its row, if it has one, and after it what stands with the entries. The
/// limit changes no answer. It tells the planner what it cannot know, that there are few, without which
/// it reads a whole large log.
const BOTTOM_TILE: &str = "
    SELECT hashes FROM (
        SELECT -1::bigint AS leaf_index, hashes FROM ctlog.tile
        WHERE log = $1 AND level = 0 AND n = $2
        UNION ALL
        (SELECT leaf_index, leaf_hash FROM ctlog.entry
        WHERE log = $1 AND leaf_index < ($2 + 1) * 256 AND leaf_index >= $2 * 256 + coalesce(
            (SELECT length(hashes) / 32 FROM ctlog.tile WHERE log = $1 AND level = 0 AND n = $2), 0)
        ORDER BY leaf_index LIMIT 256)
    ) AS parts ORDER BY leaf_index";

const FIND: &str = "SELECT leaf_index, dedup, leaf, sct_signature FROM ctlog.entry
     WHERE log = $1 AND dedup = ANY ($2)";

#[cfg(test)]
mod tests;
