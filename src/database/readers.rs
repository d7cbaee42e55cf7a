//! Reading over a few connections that may die at any moment.

use sqlx::Connection as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::query::Query;
use std::time::Duration;
use tokio::time::timeout;

use super::session::{CONNECT, PATIENCE, prepare};
use super::{DatabaseError, Server, Verdict, verdict};

/// Connections for reading, made as they are needed.
#[derive(Clone, Debug)]
pub struct Readers {
    pool: PgPool,
}

impl Readers {
    /// None of them is made yet.
    #[must_use]
    pub fn new(server: &Server) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    // One that was used a moment ago is most likely good, and a question to it costs as
                    // much as the question it is tested for.
                    if about.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(|connection, _| {
                Box::pin(async move {
                    let prepared = prepare(connection).await;
                    prepared.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
                })
            })
            .connect_lazy_with(PgConnectOptions::clone(&server.options));
        Self { pool }
    }

    /// Asks and reads the whole answer. A connection that turns out to be dead is dropped and the
    /// question asked again over another; it changes nothing, so it may be asked as often as needed.
    ///
    /// # Errors
    /// [`DatabaseError`]: the server cannot be asked, or refuses.
    pub async fn rows<'q>(
        &self,
        question: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        // After the server was restarted all of them may be dead, and the one after them is new.
        let mut tries = CONNECTIONS;
        loop {
            let mut connection = self.pool.acquire().await?;
            let answered = timeout(PATIENCE, question().fetch_all(&mut *connection)).await;
            let Ok(answered) = answered else {
                drop(connection.detach());
                return Err(DatabaseError::Slow(PATIENCE.as_secs()));
            };
            match answered {
                Ok(rows) => return Ok(rows),
                Err(error) if verdict(&error) == Verdict::Lost => {
                    drop(connection.detach());
                    if tries == 0 {
                        return Err(error.into());
                    }
                    tries -= 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Closes them all.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Of one room of one process.
const CONNECTIONS: u32 = 4;
/// How long a connection may have been idle to be believed.
const FRESH: Duration = Duration::from_millis(500);
