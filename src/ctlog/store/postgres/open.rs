//! Making a log in a database, and finding it there again.

use super::super::{Hash, Head, Store as _, StoreError, signed};
use super::PostgresStore;
use crate::database::{DatabaseError, Server, check_tables};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, Row as _};

impl PostgresStore {
    /// Makes a new log with its first head, and the tables if there are none. What others have there is
    /// left alone.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where there is a log of this name or with this key already.
    pub async fn create(
        server: &Server,
        origin: &str,
        log_id: &Hash,
        head: &Head,
    ) -> Result<(), StoreError> {
        server.migrate(&migrations()).await?;
        let mut connection = server.connect().await?;
        let query = sqlx::query(
            "WITH made AS (
                 INSERT INTO ctlog.log (origin, log_id, created_ms, is_complete)
                 VALUES ($1, $2, $3, true) RETURNING id
             )
             INSERT INTO ctlog.head (log, size, root, timestamp_ms, checkpoint)
             SELECT id, $4, $5, $3, $6 FROM made",
        );
        let query = query
            .bind(origin)
            .bind(&log_id[..])
            .bind(signed(head.timestamp_ms)?)
            .bind(signed(head.size)?)
            .bind(&head.root[..])
            .bind(&head.checkpoint);
        query
            .execute(&mut connection)
            .await
            .map_err(|error| taken(server, error))?;
        connection.close().await?;
        Ok(())
    }

    /// Opens the log with this key to write to it, beside whoever else does.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is ever made here.
    pub async fn open(server: &Server, log_id: &Hash) -> Result<Self, StoreError> {
        Self::find_log(server, log_id, true).await
    }

    /// Opens it to look at it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_read_only(server: &Server, log_id: &Hash) -> Result<Self, StoreError> {
        Self::find_log(server, log_id, false).await
    }

    async fn find_log(server: &Server, log_id: &Hash, writes: bool) -> Result<Self, StoreError> {
        let mut connection = server.connect().await?;
        check_tables(&mut connection, &migrations()).await?;
        let query = sqlx::query("SELECT id, is_complete FROM ctlog.log WHERE log_id = $1");
        let row = query
            .bind(&log_id[..])
            .fetch_optional(&mut connection)
            .await?;
        connection.close().await?;
        let place = || server.address().to_owned();
        let row = row.ok_or_else(|| StoreError::NoLog(place()))?;
        if !row.try_get::<bool, _>(1)? {
            return Err(StoreError::Unfinished(place()));
        }
        let store = Self::new(server.clone(), row.try_get(0)?, writes);
        // The readers' first connection is made here, so that a start fails where it would.
        store.newest_head().await?;
        Ok(store)
    }
}

/// A name or a key can belong to one log only.
pub(super) fn taken(server: &Server, error: sqlx::Error) -> StoreError {
    let constraint = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint);
    let what = match constraint {
        Some("log_origin_key") => "name",
        Some("log_log_id_key") => "key",
        Some(_) | None => return DatabaseError::from(error).into(),
    };
    StoreError::Taken {
        database: server.address().to_owned(),
        what,
    }
}

/// The tables of a log, in a schema of their own.
#[must_use]
pub fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("migrations/postgres/ctlog");
    migrations.create_schema("ctlog");
    migrations.dangerous_set_table_name("ctlog._sqlx_migrations");
    migrations
}
