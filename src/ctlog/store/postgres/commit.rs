//! The one connection that writes: batches, and whose turn it is.

use super::super::{
    Batch, CommitError, Hash, Head, NewEntry, StoreError, TilePlace, Turn, joined, signed, unsigned,
};
use super::{FIND, key_list, read_entry, read_head};
use crate::ctlog::merkle::{Tile, edge_places, edge_position};
use crate::database::{DatabaseError, Server, Verdict, verdict, wait};
#[cfg(debug_assertions)]
use crate::failpoint::FailPoint;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Connection as _, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// The writing connection of a store.
#[derive(Debug)]
pub(super) struct Writer {
    server: Server,
    log: i32,
    /// None before it is needed and after it was lost. Taken out for as long as it is used: where a
    /// future is dropped half-way, the connection goes with it.
    connection: Option<PgConnection>,
    /// Whether the connection is in a transaction that holds the head's row.
    has_turn: bool,
    /// False once closed, and where the store is only read.
    writes: bool,
}

impl Writer {
    pub(super) fn new(server: Server, log: i32, writes: bool) -> Self {
        Self {
            server,
            log,
            connection: None,
            has_turn: false,
            writes,
        }
    }

    pub(super) async fn commit(
        &mut self,
        expected: &Head,
        batch: Batch,
    ) -> Result<(), CommitError> {
        let not_written =
            |error: &dyn std::fmt::Display| CommitError::NotWritten(error.to_string());
        let has_turn = std::mem::take(&mut self.has_turn);
        let connection = self.connection().await;
        let mut connection = connection.map_err(|error| not_written(&error))?;
        #[cfg(debug_assertions)]
        let ends_here = !batch.entries.is_empty() && FailPoint::LogEntriesWritten.is_due();
        let columns =
            Columns::new(self.log, expected, batch).map_err(|error| not_written(&error))?;
        #[cfg(debug_assertions)]
        if ends_here {
            // The head's row is locked, everything is written and nothing is committed. What goes wrong
            // on the way here ends in the same place.
            if !has_turn {
                drop(sqlx::query("BEGIN").execute(&mut connection).await);
            }
            drop(columns.statement().execute(&mut connection).await);
            FailPoint::LogEntriesWritten.end();
        }
        let written = wait(columns.statement().execute(&mut connection)).await;
        match written.map(|written| written.rows_affected()) {
            Ok(0) => {
                if has_turn {
                    self.roll_back(connection).await;
                } else {
                    self.connection = Some(connection);
                }
                Err(CommitError::HeadMoved)
            }
            Ok(_) if has_turn => {
                let committed = wait(sqlx::query("COMMIT").execute(&mut connection)).await;
                committed.map_err(|error| CommitError::Unknown(error.to_string()))?;
                self.connection = Some(connection);
                Ok(())
            }
            Ok(_) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => match verdict(&error) {
                Verdict::Refused { state } => {
                    if has_turn {
                        self.roll_back(connection).await;
                    } else {
                        self.connection = Some(connection);
                    }
                    Err(refusal(&state, &error))
                }
                Verdict::Discarded => Err(not_written(&error)),
                // A transaction that was never told to commit never does.
                Verdict::Lost if has_turn => Err(not_written(&error)),
                Verdict::Lost => Err(CommitError::Unknown(error.to_string())),
            },
        }
    }

    pub(super) async fn take_turn(
        &mut self,
        dedup: &[Hash],
        also: &[TilePlace],
    ) -> Result<Turn, StoreError> {
        self.end_turn().await;
        let mut connection = self.connection().await?;
        if let Err(error) = wait(sqlx::query("BEGIN").execute(&mut connection)).await {
            // It may have died long ago, or with what this turn is taken for.
            tracing::debug!(%error, "the log's connection is made anew");
            connection = self.server.connect().await?;
            wait(sqlx::query("BEGIN").execute(&mut connection)).await?;
        }
        match self.read_turn(&mut connection, dedup, also).await {
            Ok(turn) => {
                self.connection = Some(connection);
                self.has_turn = true;
                Ok(turn)
            }
            Err(error) => {
                self.roll_back(connection).await;
                Err(error)
            }
        }
    }

    async fn read_turn(
        &self,
        connection: &mut PgConnection,
        dedup: &[Hash],
        also: &[TilePlace],
    ) -> Result<Turn, StoreError> {
        let query = sqlx::query(
            "SELECT size, root, timestamp_ms, checkpoint FROM ctlog.head WHERE log = $1 FOR UPDATE",
        );
        let rows = rows(connection, query.bind(self.log)).await?;
        let head = rows
            .first()
            .ok_or(StoreError::Malformed("no row holds the tree head"))?;
        let head = read_head(head, 0)?;
        let places: BTreeSet<TilePlace> =
            edge_places(head.size).chain(also.iter().copied()).collect();
        let (mut levels, mut positions) = (Vec::new(), Vec::new());
        for (level, n) in places {
            levels.push(i16::from(level));
            positions.push(signed(n)?);
        }
        let query = sqlx::query(TILES).bind(self.log).bind(levels);
        let growing = signed(edge_position(0, head.size))?;
        let query = query.bind(positions).bind(growing);
        let rows = self::rows(connection, query).await?;
        let mut parts: BTreeMap<TilePlace, Vec<_>> = BTreeMap::new();
        for row in &rows {
            let level = row.try_get::<i16, _>(0)?;
            let level = u8::try_from(level).map_err(|_| StoreError::Malformed("a tile's level"))?;
            let place = (level, unsigned(row.try_get(1)?)?);
            parts.entry(place).or_default().push(row.try_get(2));
        }
        let mut tiles = Vec::with_capacity(parts.len());
        for ((level, n), parts) in parts {
            if let Some(hashes) = joined(parts.into_iter())? {
                tiles.push(Tile { level, n, hashes });
            }
        }
        let mut found = Vec::new();
        if !dedup.is_empty() {
            let query = sqlx::query(FIND).bind(self.log).bind(key_list(dedup));
            for row in self::rows(connection, query).await? {
                found.push(read_entry(&row)?);
            }
        }
        Ok(Turn { head, tiles, found })
    }

    pub(super) async fn end_turn(&mut self) {
        if std::mem::take(&mut self.has_turn)
            && let Some(connection) = self.connection.take()
        {
            self.roll_back(connection).await;
        }
    }

    pub(super) async fn add_issuers(&self, issuers: &[(Hash, Vec<u8>)]) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO ctlog.issuer (log, fingerprint, certificate)
             SELECT $1, * FROM unnest($2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING",
        );
        let fingerprints: Vec<&[u8]> = issuers.iter().map(|(hash, _)| &hash[..]).collect();
        let certificates: Vec<&[u8]> = issuers.iter().map(|(_, der)| &der[..]).collect();
        let query = query.bind(self.log).bind(fingerprints).bind(certificates);
        self.may_write()?;
        // Over a connection of its own: the one for batches belongs to the runtime it is made in, and that
        // should be where batches come from.
        let mut connection = self.server.connect().await?;
        wait(query.execute(&mut connection)).await?;
        Ok(connection.close().await?)
    }

    /// One statement that is not a batch.
    pub(super) async fn run(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<(), StoreError> {
        self.end_turn().await;
        let mut connection = self.connection().await?;
        wait(query.execute(&mut connection)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    pub(super) async fn close(&mut self) {
        self.end_turn().await;
        self.writes = false;
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the log's connection did not close cleanly");
        }
    }

    fn may_write(&self) -> Result<(), StoreError> {
        let closed = || StoreError::Database("the store is closed".to_owned());
        self.writes.then_some(()).ok_or_else(closed)
    }

    async fn connection(&mut self) -> Result<PgConnection, StoreError> {
        self.may_write()?;
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Ok(self.server.connect().await?),
        }
    }

    /// Keeps the connection only if the transaction is known to have ended.
    async fn roll_back(&mut self, mut connection: PgConnection) {
        if wait(sqlx::query("ROLLBACK").execute(&mut connection))
            .await
            .is_ok()
        {
            self.connection = Some(connection);
        }
    }
}

/// A batch as the arrays that go to the server.
struct Columns {
    log: i32,
    expected: Head,
    head: Head,
    first: i64,
    dedup: Vec<Vec<u8>>,
    leaves: Vec<Vec<u8>>,
    leaf_hashes: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
    levels: Vec<i16>,
    positions: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    fingerprints: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

impl Columns {
    fn new(log: i32, expected: &Head, batch: Batch) -> Result<Self, StoreError> {
        let Batch {
            head,
            entries,
            tiles,
            issuers,
        } = batch;
        let mut columns = Self {
            log,
            expected: expected.clone(),
            head,
            first: signed(expected.size)?,
            dedup: Vec::with_capacity(entries.len()),
            leaves: Vec::with_capacity(entries.len()),
            leaf_hashes: Vec::with_capacity(entries.len()),
            signatures: Vec::with_capacity(entries.len()),
            levels: Vec::with_capacity(tiles.len()),
            positions: Vec::with_capacity(tiles.len()),
            hashes: Vec::with_capacity(tiles.len()),
            fingerprints: Vec::with_capacity(issuers.len()),
            certificates: Vec::with_capacity(issuers.len()),
        };
        for NewEntry {
            dedup,
            leaf,
            leaf_hash,
            sct_signature,
        } in entries
        {
            columns.dedup.push(dedup.to_vec());
            columns.leaves.push(leaf);
            columns.leaf_hashes.push(leaf_hash.to_vec());
            columns.signatures.push(sct_signature);
        }
        for Tile { level, n, hashes } in tiles {
            columns.levels.push(i16::from(level));
            columns.positions.push(signed(n)?);
            columns.hashes.push(hashes);
        }
        for (fingerprint, certificate) in issuers {
            columns.fingerprints.push(fingerprint.to_vec());
            columns.certificates.push(certificate);
        }
        // Checked here, so that `statement` cannot fail.
        signed(columns.head.size)?;
        signed(columns.head.timestamp_ms)?;
        signed(expected.timestamp_ms)?;
        Ok(columns)
    }

    /// Everything in one statement, which is a transaction by itself unless it stands in one. Where the
    /// head is not the expected one, `moved` has no row, and nothing is written.
    fn statement(&self) -> Query<'_, Postgres, PgArguments> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // Tables that nothing is written to are opened and prepared for it all the same.
        let is_usual = self.levels.is_empty() && self.fingerprints.is_empty();
        let statement = if is_usual { USUAL } else { WHOLE };
        let usual = sqlx::query(statement)
            .bind(self.log)
            .bind(number(self.head.size))
            .bind(&self.head.root[..])
            .bind(number(self.head.timestamp_ms))
            .bind(&self.head.checkpoint)
            .bind(number(self.expected.size))
            .bind(&self.expected.root[..])
            .bind(number(self.expected.timestamp_ms))
            .bind(self.first)
            .bind(&self.dedup)
            .bind(&self.leaves)
            .bind(&self.leaf_hashes)
            .bind(&self.signatures);
        if is_usual {
            return usual;
        }
        usual
            .bind(&self.levels)
            .bind(&self.positions)
            .bind(&self.hashes)
            .bind(&self.fingerprints)
            .bind(&self.certificates)
    }
}

/// What the server's refusal of a batch means. Nothing was written in any case.
fn refusal(state: &str, error: &sqlx::Error) -> CommitError {
    let constraint = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint);
    match (state, constraint) {
        (UNIQUE_VIOLATION, Some(ENTRY_ONCE)) => CommitError::Duplicate,
        // Entries stand where the head says there are none yet.
        (UNIQUE_VIOLATION, Some(ENTRY_PLACE)) => CommitError::HeadMoved,
        (_, _) => CommitError::NotWritten(error.to_string()),
    }
}

async fn rows(
    connection: &mut PgConnection,
    query: Query<'_, Postgres, PgArguments>,
) -> Result<Vec<PgRow>, StoreError> {
    let rows = wait(query.fetch_all(connection)).await;
    Ok(rows.map_err(DatabaseError::from)?)
}

/// The head, and the entries that are added under it. The times are compared too: another process may
/// have signed the same tree anew.
macro_rules! moved_and_entries {
    () => {
        "WITH moved AS (
            UPDATE ctlog.head SET size = $2, root = $3, timestamp_ms = $4, checkpoint = $5
            WHERE log = $1 AND size = $6 AND root = $7 AND timestamp_ms = $8
            RETURNING log
        ), entries AS (
            INSERT INTO ctlog.entry (log, leaf_index, dedup, leaf, leaf_hash, sct_signature)
            SELECT moved.log, $9 + new.number - 1, new.dedup, new.leaf, new.leaf_hash,
                new.sct_signature
            FROM moved, unnest($10::bytea[], $11::bytea[], $12::bytea[], $13::bytea[])
                WITH ORDINALITY AS new (dedup, leaf, leaf_hash, sct_signature, number)
        )"
    };
}

/// What most batches are: no tile is full, and no certificate above them is new.
const USUAL: &str = concat!(moved_and_entries!(), " SELECT 1 FROM moved");

const WHOLE: &str = concat!(
    moved_and_entries!(),
    ", issuers AS (
        INSERT INTO ctlog.issuer (log, fingerprint, certificate)
        SELECT moved.log, new.* FROM moved, unnest($17::bytea[], $18::bytea[]) AS new
        ON CONFLICT DO NOTHING
    ), tiles AS (
        INSERT INTO ctlog.tile (log, level, n, hashes)
        SELECT moved.log, new.* FROM moved,
            unnest($14::smallint[], $15::bigint[], $16::bytea[]) AS new
        ON CONFLICT ON CONSTRAINT tile_place DO UPDATE SET hashes = excluded.hashes
    )
    SELECT 1 FROM moved"
);

/// The tiles asked for, in parts: their rows, and for the one that grows at level 0 what stands with the
/// entries. The limit is for the planner, as in [`BOTTOM_TILE`](super::BOTTOM_TILE).
pub(super) const TILES: &str = "
    SELECT level, n, hashes FROM (
        SELECT level, n, -1::bigint AS leaf_index, hashes
        FROM unnest($2::smallint[], $3::bigint[]) AS asked (level, n)
        JOIN ctlog.tile USING (level, n) WHERE log = $1
        UNION ALL
        (SELECT 0::smallint, $4, leaf_index, leaf_hash FROM ctlog.entry
        WHERE log = $1 AND leaf_index >= $4 * 256 + coalesce(
            (SELECT length(hashes) / 32 FROM ctlog.tile WHERE log = $1 AND level = 0 AND n = $4), 0)
        ORDER BY leaf_index LIMIT 256)
    ) AS parts ORDER BY leaf_index";

const UNIQUE_VIOLATION: &str = "23505";
const ENTRY_ONCE: &str = "entry_once";
const ENTRY_PLACE: &str = "entry_place";
