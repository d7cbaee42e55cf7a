//! Writing a batch, and what it means when that fails.

use super::super::{Batch, CommitError, Head, StoreError, tile_id};
use super::{ROWS, marks, read_head, signed};
#[cfg(debug_assertions)]
use crate::failpoint::FailPoint;
#[cfg(debug_assertions)]
use sqlx::AssertSqlSafe;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};

/// The text that writes a batch, for values in the order of [`bind`]. It ends at the first
/// statement that fails.
///
/// The head comes first. Its `SELECT` finds no row where size and root are not the expected ones,
/// and the NULL it then stands for violates NOT NULL, which fails the whole text.
///
/// `OR ROLLBACK`: a statement that may have to be undone alone keeps a copy of every page it
/// touches, and here all or nothing is wanted anyway.
pub(super) fn statements(batch: &Batch) -> String {
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
    for _ in &batch.tiles {
        text.push_str("REPLACE INTO tile (id, hashes) VALUES (?,?);");
    }
    for entries in batch.entries.chunks(ROWS) {
        text.push_str(
            "INSERT OR ROLLBACK INTO entry (leaf_index, dedup, leaf, leaf_hash, sct_signature) VALUES ",
        );
        text.push_str(&marks(entries.len(), "(?,?,?,?,?)"));
        text.push(';');
    }
    text.push_str("COMMIT");
    text
}

pub(super) fn bind<'q>(
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
        query = query.bind(entry.leaf).bind(entry.leaf_hash.to_vec());
        query = query.bind(entry.sct_signature);
    }
    Ok(query)
}

/// Sends a batch's text up to the place at which a test wants the process to end, and ends it. Pages
/// that are not committed go to the journal as they are written, so that it holds what a larger batch
/// would leave there.
#[cfg(debug_assertions)]
pub(super) async fn end_half_way(
    connection: &mut SqliteConnection,
    expected: &Head,
    batch: &Batch,
) {
    let text = statements(batch);
    let (tiles, entries) = ("REPLACE INTO tile", "INSERT OR ROLLBACK INTO entry");
    let after_head = text.find(tiles).or_else(|| text.find(entries));
    for (point, end) in [
        (FailPoint::LogHeadWritten, after_head),
        (FailPoint::LogTilesWritten, text.find(entries)),
        (FailPoint::LogEntriesWritten, text.rfind("COMMIT")),
    ] {
        if batch.entries.is_empty() || !point.is_due() {
            continue;
        }
        let half = text.get(..end.unwrap_or_default()).unwrap_or_default();
        let text = format!("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; {half}");
        let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        if let Ok(query) = bind(query, expected, batch.clone())
            && let Err(error) = query.execute(&mut *connection).await
        {
            // Not the end that was asked for, and a test will see that it is not.
            tracing::error!(%error, "half a batch could not be written");
            std::process::abort();
        }
        point.end();
    }
}

/// What an error of a batch's text means. Only three kinds are known to leave nothing behind: a
/// constraint, which fails before `COMMIT` is reached; no room, which leaves the journal's last frame
/// incomplete; and somebody else's lock. Even then the stored head must say so too, once the
/// transaction is ended. After any other error, one of input and output above all, no look at the
/// database tells what is on the disk.
pub(super) async fn refusal(
    connection: &mut SqliteConnection,
    expected: &Head,
    error: &sqlx::Error,
) -> CommitError {
    let text = error.to_string();
    let refused = match extended_code(error) {
        Some(UNIQUE) => CommitError::Duplicate,
        // The head is another one, or entries stand where the head says there are none yet.
        Some(NOT_NULL | PRIMARY_KEY | ROW_ID) => CommitError::HeadMoved,
        Some(code) if matches!(code & PRIMARY, BUSY | FULL | CONSTRAINT) => {
            CommitError::NotWritten(text.clone())
        }
        Some(_) | None => return CommitError::Unknown(text),
    };
    // Most errors have rolled back by themselves, and then this one fails for want of a
    // transaction. Whether one can begin is what matters.
    let ended = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    let ready = match ended {
        Ok(_) => Ok(()),
        Err(_) => {
            let probe = sqlx::query("BEGIN; ROLLBACK");
            probe.execute(&mut *connection).await.map(drop)
        }
    };
    if let Err(error) = ready {
        return CommitError::Unknown(error.to_string());
    }
    match (&refused, read_head(connection).await) {
        (CommitError::NotWritten(_), Ok(head)) if head != *expected => CommitError::Unknown(text),
        (CommitError::NotWritten(_), Err(error)) => CommitError::Unknown(error.to_string()),
        (_, _) => refused,
    }
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// SQLite's result codes; an extended code has the primary one in its low byte.
const PRIMARY: i32 = 0xff;
const BUSY: i32 = 5;
const FULL: i32 = 13;
const CONSTRAINT: i32 = 19;
const NOT_NULL: i32 = 1299;
const PRIMARY_KEY: i32 = 1555;
const UNIQUE: i32 = 2067;
const ROW_ID: i32 = 2579;
