//! The ledger's SQL, for PostgreSQL, which any number of processes write to.
//!
//! A batch is one statement with an array for each column, a transaction by itself. Where the fate of
//! one is unknown it is simply written again: a row whose serial number is there already is passed over,
//! after waiting for whoever is just writing it, so nothing can be there twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query as Statement;
use sqlx::{AssertSqlSafe, Connection as _, FromRow as _, Row as _};

use super::row::{COLUMNS, Entry, Stored};
use super::search::{Condition, Value};
use super::store::{Numbered, Store, Writing};
use super::{LedgerError, Row};
use crate::database::{
    DatabaseError, Readers, Server, Verdict, check_tables, check_writable, verdict, wait,
};

/// A ledger in a database.
#[derive(Debug)]
pub(super) struct PostgresStore {
    server: Server,
    readers: Readers,
}

impl PostgresStore {
    /// Makes the tables. Where there are some, there is a ledger, and another deployment's.
    pub(super) async fn create(server: &Server) -> Result<Self, LedgerError> {
        let mut connection = server.connect().await?;
        let exists = "SELECT to_regclass('ledger.certificates') IS NOT NULL";
        let exists: bool = sqlx::query_scalar(exists)
            .fetch_one(&mut connection)
            .await
            .map_err(DatabaseError::from)?;
        connection.close().await.map_err(DatabaseError::from)?;
        if exists {
            return Err(LedgerError::Taken {
                database: server.address().to_owned(),
            });
        }
        server.migrate(&migrations()).await?;
        Self::open(server).await
    }

    /// Opens the one that is there.
    pub(super) async fn open(server: &Server) -> Result<Self, LedgerError> {
        let mut connection = server.connect().await?;
        check_tables(&mut connection, &migrations()).await?;
        connection.close().await.map_err(DatabaseError::from)?;
        Ok(Self {
            readers: Readers::new(server),
            server: server.clone(),
        })
    }
}

/// For rows that come from elsewhere.
impl PostgresStore {
    /// Takes rows under their own numbers; those that came before are passed over.
    pub(super) async fn receive(&self, entries: &[(i64, Entry)]) -> Result<(), LedgerError> {
        let sql = insert(", id", ", $17::bigint[]", "ON CONFLICT DO NOTHING");
        let numbers: Vec<i64> = entries.iter().map(|(id, _)| *id).collect();
        let entries: Vec<&Entry> = entries.iter().map(|(_, entry)| entry).collect();
        let mut connection = self.server.connect().await?;
        let query = Columns::new(&entries).bind(&sql).bind(numbers);
        wait(query.execute(&mut connection))
            .await
            .map_err(DatabaseError::from)?;
        connection.close().await.map_err(DatabaseError::from)?;
        Ok(())
    }

    /// New rows are numbered after those that came.
    pub(super) async fn finish_receiving(&self) -> Result<(), LedgerError> {
        let last = self.newest().await?;
        if last == 0 {
            return Ok(());
        }
        let mut connection = self.server.connect().await?;
        let query = "SELECT setval(pg_get_serial_sequence('ledger.certificates', 'id'), $1)";
        let query = sqlx::query(query).bind(last);
        wait(query.execute(&mut connection))
            .await
            .map_err(DatabaseError::from)?;
        connection.close().await.map_err(DatabaseError::from)?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn connect(&self) -> Result<Box<dyn Writing>, LedgerError> {
        Ok(Box::new(self.server.connect().await?))
    }

    fn patience(&self) -> Duration {
        RESTART
    }

    async fn find(
        &self,
        conditions: &[Condition<'_>],
        limit: u32,
    ) -> Result<Vec<Row>, LedgerError> {
        // Only names from this program go into the text; what is searched for is bound.
        let wanted = conditions.iter().enumerate();
        let wanted = wanted.map(|(at, (column, _))| format!("{column} ${}", at + 1));
        let wanted = wanted.collect::<Vec<_>>().join(" AND ");
        let last = conditions.len() + 1;
        let sql = format!(
            "SELECT id, {COLUMNS} FROM ledger.certificates WHERE {wanted}
             ORDER BY id DESC LIMIT ${last}"
        );
        let question = || {
            let mut select = sqlx::query(AssertSqlSafe(sql.clone()));
            for (_, value) in conditions {
                select = match *value {
                    Value::Text(text) => select.bind(text),
                    Value::Bytes(bytes) => select.bind(bytes),
                    Value::Number(number) => select.bind(number),
                };
            }
            select.bind(i64::from(limit))
        };
        let rows = self.readers.rows(question).await?;
        rows.iter().map(decode).collect()
    }

    async fn newest(&self) -> Result<i64, LedgerError> {
        let question = || sqlx::query("SELECT coalesce(max(id), 0) FROM ledger.certificates");
        let rows = self.readers.rows(question).await?;
        let last = rows.first().map(|row| row.try_get(0)).transpose();
        Ok(last.map_err(LedgerError::Read)?.unwrap_or(0))
    }

    async fn rows_after(&self, id: i64, limit: u32) -> Result<Vec<Numbered>, LedgerError> {
        let sql = format!(
            "SELECT id, {COLUMNS} FROM ledger.certificates WHERE id > $1 ORDER BY id LIMIT $2"
        );
        let question = || {
            let select = sqlx::query(AssertSqlSafe(sql.clone()));
            select.bind(id).bind(i64::from(limit))
        };
        let rows = self.readers.rows(question).await?;
        let numbered = |row: &PgRow| {
            let id = row.try_get("id").map_err(LedgerError::Read)?;
            Ok((id, decode(row)))
        };
        rows.iter().map(numbered).collect()
    }

    async fn recorded(&self, serials: &[[u8; 20]]) -> Result<HashSet<[u8; 20]>, LedgerError> {
        let wanted: Vec<&[u8]> = serials.iter().map(|serial| &serial[..]).collect();
        let question = || {
            sqlx::query("SELECT serial FROM ledger.certificates WHERE serial = ANY ($1)")
                .bind(&wanted)
        };
        let rows = self.readers.rows(question).await?;
        let serial = |row: &PgRow| row.try_get::<&[u8], _>(0).ok()?.try_into().ok();
        Ok(rows.iter().filter_map(serial).collect())
    }

    fn numbers_are_dense(&self) -> bool {
        // A number that was drawn for a row that was then not written is not drawn again.
        false
    }

    async fn count(&self) -> Result<u64, LedgerError> {
        let question = || sqlx::query("SELECT count(*) FROM ledger.certificates");
        let rows = self.readers.rows(question).await?;
        let count = rows.first().map(|row| row.try_get::<i64, _>(0)).transpose();
        Ok(count
            .map_err(LedgerError::Read)?
            .unwrap_or(0)
            .unsigned_abs())
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        let question = || {
            sqlx::query(
                "SELECT current_setting('transaction_read_only'), EXISTS (SELECT 1 FROM ledger.certificates)",
            )
        };
        let rows = self.readers.rows(question).await?;
        for row in rows {
            check_writable(row.try_get(0).map_err(LedgerError::Read)?)?;
        }
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}

#[async_trait::async_trait]
impl Writing for PgConnection {
    async fn insert_all(&mut self, entries: &[&Entry]) -> Result<(), sqlx::Error> {
        let sql = insert("", "", "");
        wait(Columns::new(entries).bind(&sql).execute(self)).await?;
        Ok(())
    }

    async fn insert_each(
        &mut self,
        entries: &[&Entry],
    ) -> Result<Vec<Result<(), LedgerError>>, sqlx::Error> {
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            results.push(match self.insert_all(&[entry]).await {
                Ok(()) => Ok(()),
                Err(error) => Err(refusal(error)?),
            });
        }
        Ok(results)
    }

    fn is_refusal(&self, error: &sqlx::Error) -> bool {
        matches!(verdict(error), Verdict::Refused { state } if is_of_a_row(&state))
    }

    async fn look_again(&mut self, entries: &[&Entry]) -> Result<Vec<bool>, sqlx::Error> {
        // What cannot be written may have been all the same, by a transaction that has not ended yet:
        // that a row is not seen proves nothing then.
        let sql = insert("", "", "ON CONFLICT (serial) DO NOTHING");
        wait(Columns::new(entries).bind(&sql).execute(&mut *self)).await?;
        let mut found = Vec::with_capacity(entries.len());
        for Entry { record, .. } in entries {
            let exists = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM ledger.certificates WHERE serial = $1 AND sha256 = $2)",
            );
            let exists = exists.bind(&record.serial[..]).bind(&record.sha256[..]);
            found.push(wait(exists.fetch_one(&mut *self)).await?);
        }
        Ok(found)
    }

    async fn finish(self: Box<Self>) -> Result<(), sqlx::Error> {
        self.close().await
    }
}

/// The verdict on a row, or the error again if it is something worse.
fn refusal(error: sqlx::Error) -> Result<LedgerError, sqlx::Error> {
    match verdict(&error) {
        Verdict::Refused { state } if state == UNIQUE_VIOLATION => Ok(LedgerError::DuplicateSerial),
        Verdict::Refused { state } if is_of_a_row(&state) => {
            Ok(LedgerError::Refused(Arc::new(error)))
        }
        Verdict::Refused { .. } | Verdict::Discarded | Verdict::Lost => Err(error),
    }
}

/// Violations of integrity, and texts with an octet that no text may have.
fn is_of_a_row(state: &str) -> bool {
    ["22", "23"].iter().any(|class| state.starts_with(class))
}

fn decode(row: &PgRow) -> Result<Row, LedgerError> {
    let stored = Stored::from_row(row);
    stored.map_err(LedgerError::Read)?.into_record()
}

/// Rows as arrays, one for each column.
#[derive(Default)]
struct Columns<'a> {
    octets: [Vec<&'a [u8]>; 6],
    texts: [Vec<&'a str>; 5],
    numbers: [Vec<i64>; 4],
    log_index: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    fn new(entries: &[&'a Entry]) -> Self {
        let mut columns = Self::default();
        for Entry {
            record,
            extensions,
            log_index,
            sct_timestamp_ms,
        } in entries
        {
            let octets = [
                &record.serial[..],
                &record.sha256,
                &record.log_id,
                &record.token_sha256,
                &record.key_sha256,
                &record.certificate,
            ];
            let texts = [
                record.identity.as_str(),
                &record.identity_kind,
                &record.issuer,
                &record.subject,
                extensions,
            ];
            let numbers = [
                record.not_before.unix_timestamp(),
                record.not_after.unix_timestamp(),
                *sct_timestamp_ms,
                record.issued_at.unix_timestamp(),
            ];
            for (column, value) in columns.octets.iter_mut().zip(octets) {
                column.push(value);
            }
            for (column, value) in columns.texts.iter_mut().zip(texts) {
                column.push(value);
            }
            for (column, value) in columns.numbers.iter_mut().zip(numbers) {
                column.push(value);
            }
            columns.log_index.push(*log_index);
        }
        columns
    }

    fn bind<'q>(self, sql: &str) -> Statement<'q, Postgres, PgArguments>
    where
        'a: 'q,
    {
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for column in self.octets {
            insert = insert.bind(column);
        }
        for column in self.texts {
            insert = insert.bind(column);
        }
        for column in self.numbers {
            insert = insert.bind(column);
        }
        insert.bind(self.log_index)
    }
}

/// The columns in the order of [`Columns`], with another one after them.
fn insert(another: &str, its_values: &str, on_conflict: &str) -> String {
    format!(
        "INSERT INTO ledger.certificates (serial, sha256, log_id, token_sha256, key_sha256,
             certificate, identity, identity_kind, issuer, subject, extensions, not_before,
             not_after, sct_timestamp_ms, issued_at, log_index{another})
         SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[],
             $6::bytea[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
             $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[]{its_values})
         {on_conflict}"
    )
}

/// The ledger's table, in a schema of its own.
pub(super) fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("migrations/postgres/ledger");
    migrations.create_schema("ledger");
    migrations.dangerous_set_table_name("ledger._sqlx_migrations");
    migrations
}

/// How long rows wait for a server that restarts.
pub(super) const RESTART: Duration = Duration::from_secs(4);
const UNIQUE_VIOLATION: &str = "23505";
