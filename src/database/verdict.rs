//! What an error says about the statement that was sent.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// What is known of a statement that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server refused it and nothing of it remains. The connection is sound.
    Refused {
        /// Its `SQLSTATE`.
        state: String,
    },
    /// The server refused it and nothing of it remains, and it will refuse every other: the connection
    /// is to be let go of.
    Discarded,
    /// Nobody knows. The connection is gone.
    Lost,
}

/// An error that the server itself reports for a statement, and goes on after, was raised before the
/// commit: from the moment the commit's record is written the server either answers that all is well
/// or ends the connection. What ends the connection says nothing.
#[must_use]
pub fn verdict(error: &sqlx::Error) -> Verdict {
    let Some(error) = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return Verdict::Lost;
    };
    if !matches!(error.severity(), PgSeverity::Error) {
        return Verdict::Lost;
    }
    match error.code() {
        READ_ONLY => Verdict::Discarded,
        code if LOST.iter().any(|class| code.starts_with(class)) => Verdict::Lost,
        code => Verdict::Refused {
            state: code.to_owned(),
        },
    }
}

/// The server has become a standby, or was told to take nothing.
const READ_ONLY: &str = "25006";
/// Connection exceptions, an unknown completion, and the server's end.
const LOST: [&str; 3] = ["08", "40003", "57P"];
