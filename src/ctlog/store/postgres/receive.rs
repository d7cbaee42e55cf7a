//! Taking over a log from elsewhere, piece by piece. Each piece may come more than once.

use super::super::{Hash, Head, StoreError, StoredEntry, signed};
use super::PostgresStore;
use super::open::{migrations, taken};
use crate::ctlog::merkle::Tile;
use crate::database::{DatabaseError, Server};
use sqlx::{Connection as _, Row as _};

impl PostgresStore {
    /// Begins or goes on with a log that is being moved here. Nobody opens it before it is
    /// [complete](Self::declare_complete).
    pub(in crate::ctlog) async fn receive(
        server: &Server,
        origin: &str,
        log_id: &Hash,
        created_ms: u64,
    ) -> Result<Self, StoreError> {
        server.migrate(&migrations()).await?;
        let mut connection = server.connect().await?;
        let insert = sqlx::query(
            "INSERT INTO ctlog.log (origin, log_id, created_ms, is_complete)
             VALUES ($1, $2, $3, false) ON CONFLICT (log_id) DO NOTHING",
        );
        let insert = insert.bind(origin).bind(&log_id[..]);
        let inserted = insert.bind(signed(created_ms)?).execute(&mut connection);
        inserted.await.map_err(|error| taken(server, error))?;
        let query = sqlx::query("SELECT id FROM ctlog.log WHERE log_id = $1");
        let row = query.bind(&log_id[..]).fetch_one(&mut connection).await;
        let log = row
            .and_then(|row| row.try_get(0))
            .map_err(DatabaseError::from)?;
        connection.close().await.map_err(DatabaseError::from)?;
        Ok(Self::new(server.clone(), log, true))
    }

    /// Whether everything has come.
    pub(in crate::ctlog) async fn is_complete(&self) -> Result<bool, StoreError> {
        let question =
            || sqlx::query("SELECT is_complete FROM ctlog.log WHERE id = $1").bind(self.log);
        let rows = self.readers.rows(question).await?;
        let is_complete = rows.first().map(|row| row.try_get(0)).transpose()?;
        Ok(is_complete.unwrap_or(false))
    }

    /// How many entries have come.
    pub(in crate::ctlog) async fn received(&self) -> Result<u64, StoreError> {
        let question = || {
            sqlx::query("SELECT coalesce(max(leaf_index) + 1, 0) FROM ctlog.entry WHERE log = $1")
                .bind(self.log)
        };
        let rows = self.readers.rows(question).await?;
        let count = rows
            .first()
            .map(|row| row.try_get::<i64, _>(0))
            .transpose()?;
        super::unsigned(count.unwrap_or(0))
    }

    /// Takes entries.
    pub(in crate::ctlog) async fn receive_entries(
        &self,
        entries: &[StoredEntry],
    ) -> Result<(), StoreError> {
        let mut indices = Vec::with_capacity(entries.len());
        for entry in entries {
            indices.push(signed(entry.index)?);
        }
        let dedup: Vec<&[u8]> = entries.iter().map(|entry| &entry.dedup[..]).collect();
        let leaves: Vec<&[u8]> = entries.iter().map(|entry| &entry.leaf[..]).collect();
        let signatures = entries.iter().map(|entry| &entry.sct_signature[..]);
        let query = sqlx::query(
            "INSERT INTO ctlog.entry (log, leaf_index, dedup, leaf, sct_signature)
             SELECT $1, * FROM unnest($2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[])
             ON CONFLICT DO NOTHING",
        );
        let query = query.bind(self.log).bind(indices).bind(dedup).bind(leaves);
        let query = query.bind(signatures.collect::<Vec<_>>());
        self.writer.lock().await.run(query).await
    }

    /// Takes a tile.
    pub(in crate::ctlog) async fn receive_tile(&self, tile: &Tile) -> Result<(), StoreError> {
        let Tile { level, n, hashes } = tile;
        let query = sqlx::query(
            "INSERT INTO ctlog.tile (log, level, n, hashes)
             SELECT id, $2, $3, $4 FROM ctlog.log WHERE id = $1 AND NOT is_complete
             ON CONFLICT ON CONSTRAINT tile_place DO UPDATE SET hashes = excluded.hashes",
        );
        let query = query.bind(self.log).bind(i16::from(*level));
        let query = query.bind(signed(*n)?).bind(&hashes[..]);
        self.writer.lock().await.run(query).await
    }

    /// Takes the head; not where the log is complete, and so has a life of its own.
    pub(in crate::ctlog) async fn receive_head(&self, head: &Head) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO ctlog.head (log, size, root, timestamp_ms, checkpoint)
             SELECT id, $2, $3, $4, $5 FROM ctlog.log WHERE id = $1 AND NOT is_complete
             ON CONFLICT (log) DO UPDATE SET size = $2, root = $3, timestamp_ms = $4,
                 checkpoint = $5",
        );
        let query = query
            .bind(self.log)
            .bind(signed(head.size)?)
            .bind(&head.root[..])
            .bind(signed(head.timestamp_ms)?)
            .bind(&head.checkpoint);
        self.writer.lock().await.run(query).await
    }

    /// Everything has come, and was looked at. From now on it is the log.
    pub(in crate::ctlog) async fn declare_complete(&self) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE ctlog.log SET is_complete = true WHERE id = $1");
        self.writer.lock().await.run(query.bind(self.log)).await
    }
}
