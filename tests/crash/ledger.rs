//! The ledger's rows, read without the program's help.

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use super::harness::deployment::Deployment;

/// The rows of one deployment, wherever it keeps them.
pub(crate) enum Ledger {
    File(SqlitePool),
    Server(PgPool),
}

/// What counts of a row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) certificate: Vec<u8>,
    pub(crate) index: u64,
    pub(crate) timestamp_ms: u64,
}

impl Ledger {
    pub(crate) async fn of(deployment: &Deployment) -> Self {
        if let Some(address) = deployment.database() {
            let pool = PgPoolOptions::new().max_connections(1).connect(address);
            return Self::Server(pool.await.expect("the database"));
        }
        let options = SqliteConnectOptions::new()
            .filename(deployment.path().join("ledger.sqlite"))
            .read_only(true);
        let pool = SqlitePool::connect_with(options).await;
        Self::File(pool.expect("the ledger's database"))
    }

    /// The row of a certificate.
    pub(crate) async fn row(&self, serial: &[u8]) -> Option<Row> {
        let found: Result<Option<(Vec<u8>, i64, i64)>, _> = match self {
            Self::File(pool) => {
                sqlx::query_as(
                    "SELECT certificate, log_index, sct_timestamp_ms FROM certificates
                     WHERE serial = ?",
                )
                .bind(serial)
                .fetch_optional(pool)
                .await
            }
            Self::Server(pool) => {
                sqlx::query_as(
                    "SELECT certificate, log_index, sct_timestamp_ms FROM ledger.certificates
                     WHERE serial = $1",
                )
                .bind(serial)
                .fetch_optional(pool)
                .await
            }
        };
        found.expect("the ledger can be read").map(row)
    }

    /// All of them.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let found: Result<Vec<(Vec<u8>, i64, i64)>, _> = match self {
            Self::File(pool) => {
                sqlx::query_as("SELECT certificate, log_index, sct_timestamp_ms FROM certificates")
                    .fetch_all(pool)
                    .await
            }
            Self::Server(pool) => {
                sqlx::query_as(
                    "SELECT certificate, log_index, sct_timestamp_ms FROM ledger.certificates",
                )
                .fetch_all(pool)
                .await
            }
        };
        let found = found.expect("the ledger can be read");
        found.into_iter().map(row).collect()
    }
}

fn row((certificate, index, timestamp_ms): (Vec<u8>, i64, i64)) -> Row {
    let number = |number| u64::try_from(number).expect("a number that is not negative");
    Row {
        certificate,
        index: number(index),
        timestamp_ms: number(timestamp_ms),
    }
}
