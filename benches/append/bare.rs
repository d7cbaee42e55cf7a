//! What no log can do without: one row, one commit.

use std::path::Path;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

/// So many commits of a row of 3 kB, synced like the log's own.
pub(crate) async fn sqlite(directory: &Path, samples: usize) -> Vec<Duration> {
    let mut database: SqliteConnection = SqliteConnectOptions::new()
        .filename(directory.join("bare.sqlite"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .expect("a database");
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
    )
    .execute(&mut database)
    .await
    .expect("a table");
    // One statement is a transaction by itself.
    let took = timed(samples, async || {
        let insert = sqlx::query("INSERT INTO bare (content) VALUES (?)").bind(&[0x5a_u8; ROW][..]);
        insert.execute(&mut database).await.expect("a commit");
    })
    .await;
    database.close().await.expect("the database closes");
    took
}

/// The same on a server.
pub(crate) async fn postgres(address: &str, samples: usize) -> Vec<Duration> {
    let options = PgConnectOptions::from_str(address).expect("an address");
    let mut database = options
        .disable_statement_logging()
        .connect()
        .await
        .expect("a connection");
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS bare (id bigint GENERATED ALWAYS AS IDENTITY, content bytea)",
    )
    .execute(&mut database)
    .await
    .expect("a table");
    // One statement is a transaction by itself.
    let took = timed(samples, async || {
        let insert =
            sqlx::query("INSERT INTO bare (content) VALUES ($1)").bind(&[0x5a_u8; ROW][..]);
        insert.execute(&mut database).await.expect("a commit");
    })
    .await;
    database.close().await.expect("the connection closes");
    took
}

/// How long each commit took.
async fn timed(samples: usize, mut commit: impl AsyncFnMut()) -> Vec<Duration> {
    let mut took = Vec::with_capacity(samples);
    for _ in 0..samples {
        let begin = Instant::now();
        commit().await;
        took.push(begin.elapsed());
    }
    took
}

const ROW: usize = 3_000;
