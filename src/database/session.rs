//! One connection, from its making to the first statement: what it is set to and what is asked of the
//! server behind it. A connection that was lost is made anew by the same words, so a failover is looked
//! at as closely as a start.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::time::timeout;

use super::{DatabaseError, OLDEST, Server};

impl Server {
    /// Connects, looks at the server and sets the session.
    ///
    /// # Errors
    /// [`DatabaseError`]: it cannot be reached, or must not be trusted with anything.
    pub async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        let unreachable = |reason: String| DatabaseError::Unreachable {
            address: self.address().to_owned(),
            reason,
        };
        let connected = timeout(CONNECT, self.options.connect()).await;
        let connected = connected.map_err(|_| unreachable("it takes too long".to_owned()))?;
        let mut connection = connected.map_err(|error| unreachable(error.to_string()))?;
        let prepared = timeout(CONNECT, prepare(&mut connection)).await;
        prepared.map_err(|_| DatabaseError::Slow(CONNECT.as_secs()))??;
        Ok(connection)
    }
}

/// Checks the server and sets what holds for the session.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let found: Found = sqlx::query_as(SETTINGS).fetch_one(&mut *connection).await?;
    let (version, fsync, full_page_writes, synchronous_commit, read_only, is_standby) = found;
    if version < OLDEST {
        return Err(DatabaseError::Version { found: version });
    }
    if is_standby {
        return Err(DatabaseError::Standby);
    }
    // A power cut takes with it what was answered for, or tears a page under it.
    for (setting, found, wanted) in [
        ("fsync", fsync, "on"),
        ("full_page_writes", full_page_writes, "on"),
        ("default_transaction_read_only", read_only, "off"),
    ] {
        if found != wanted {
            return Err(DatabaseError::Setting {
                setting,
                found,
                wanted,
            });
        }
    }
    let mut settings = session_settings();
    // Anything weaker answers before the row is on this server's disk, and on that of a synchronous
    // standby if there is one. What is stronger stays.
    if !STRONG.contains(&synchronous_commit.as_str()) {
        settings.push_str("SET synchronous_commit = on;");
    }
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut *connection)
        .await?;
    let set: String = sqlx::query_scalar("SELECT current_setting('synchronous_commit')")
        .fetch_one(connection)
        .await?;
    if !STRONG.contains(&set.as_str()) {
        return Err(DatabaseError::Setting {
            setting: "synchronous_commit",
            found: set,
            wanted: "on",
        });
    }
    Ok(())
}

/// Checks the `transaction_read_only` of a question that was answered: a server that was made to take no
/// writes, or is a standby by now, still answers over connections from before.
///
/// # Errors
/// [`DatabaseError::Setting`].
pub fn check_writable(transaction_read_only: &str) -> Result<(), DatabaseError> {
    match transaction_read_only {
        "off" => Ok(()),
        found => Err(DatabaseError::Setting {
            setting: "transaction_read_only",
            found: found.to_owned(),
            wanted: "off",
        }),
    }
}

/// Lets a session take its time, for work that nobody waits for.
pub async fn unhurried(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let settings = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
                    SET lock_timeout = '30s';";
    sqlx::raw_sql(settings).execute(connection).await?;
    Ok(())
}

/// The isolation is the one under which a condition is looked at again after waiting for a row. The
/// times are in milliseconds. Those of TCP let the server notice that we are gone, so that a row we had
/// locked is free for the others. Nothing we ask is worth compiling, however large the tables.
fn session_settings() -> String {
    let (statement, lock, turn) = (STATEMENT.as_millis(), LOCK.as_millis(), TURN.as_millis());
    format!(
        "SET default_transaction_isolation = 'read committed';
         SET statement_timeout = {statement};
         SET lock_timeout = {lock};
         SET idle_in_transaction_session_timeout = {turn};
         SET tcp_keepalives_idle = 2;
         SET tcp_keepalives_interval = 1;
         SET tcp_keepalives_count = 3;
         SET tcp_user_timeout = 5000;
         SET jit = off;"
    )
}

/// The answer, or an error where it does not come. A connection whose answer did not come must not be
/// used again.
///
/// # Errors
/// As the answer, and an error of input and output after [`PATIENCE`].
pub async fn wait<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = || Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| late())
}

type Found = (i32, String, String, String, String, bool);

const SETTINGS: &str =
    "SELECT current_setting('server_version_num')::int, current_setting('fsync'),
    current_setting('full_page_writes'), current_setting('synchronous_commit'),
    current_setting('default_transaction_read_only'), pg_is_in_recovery()";

/// Each of them waits for the disk.
const STRONG: [&str; 2] = ["on", "remote_apply"];

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How long anything waits for a row that another process holds.
const LOCK: Duration = Duration::from_secs(3);
/// How long a process may hold it without doing anything.
pub const TURN: Duration = Duration::from_secs(2);
/// How long a statement may run.
const STATEMENT: Duration = Duration::from_secs(4);
/// How long we wait for a statement; longer than it may run, so that this happens only where the server
/// or the way to it is dead.
pub const PATIENCE: Duration = Duration::from_secs(5);
