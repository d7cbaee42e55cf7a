//! What can go wrong with the ledger.

use std::path::PathBuf;
use std::sync::Arc;

use crate::database::DatabaseError;

/// A failure of the ledger. None of them is the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// `open` never makes a file: an empty ledger in place of a lost one must be somebody's decision.
    #[error("there is no ledger at {path}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// `create` never overwrites.
    #[error("{path} exists already; a new ledger needs a path of its own")]
    Exists {
        /// The path that is taken.
        path: PathBuf,
    },
    /// A database on a server has one ledger.
    #[error(
        "the database {database} has a ledger already; a new deployment needs a database of its own"
    )]
    Taken {
        /// Which.
        database: String,
    },
    /// A ledger on its way to a server got rows meanwhile.
    #[error(
        "somebody still writes to the file: stop the server that uses it, and give the command again"
    )]
    StillWritten,
    /// A ledger on its way to a server meets other rows there.
    #[error(
        "row {id} is another one in the database than in the file; nothing was changed there that was there"
    )]
    Differs {
        /// The number of the row.
        id: i64,
    },
    /// The server is not one to be trusted with a ledger, or cannot be reached.
    #[error(transparent)]
    Server(#[from] DatabaseError),
    /// The file is a database of something else, or no database.
    #[error("{path} is not a ledger")]
    NotALedger {
        /// The file that was opened.
        path: PathBuf,
    },
    /// The file or its directory cannot be used.
    #[error("cannot use the file {path}")]
    File {
        /// The file that was being made or opened.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The SQLite library is older than the one this ledger's durability was judged by.
    #[error("SQLite is version {found}, and the ledger needs {needed} or newer")]
    OldSqlite {
        /// The version of the library in this process.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// A setting that durability rests on did not take effect.
    #[error("the database answers {pragma} = {found}, with which a written row could be lost")]
    NotDurable {
        /// The setting.
        pragma: &'static str,
        /// What it was found to be.
        found: String,
    },
    /// The database cannot be opened.
    #[error("cannot open the ledger's database")]
    Open(#[source] sqlx::Error),
    /// The tables cannot be brought to the shape this version needs.
    #[error("cannot migrate the ledger's database")]
    Migrate(#[from] sqlx::migrate::MigrateError),

    /// More rows wait than the queue holds; nothing was written.
    #[error("too many rows wait to be written to the ledger")]
    Busy,
    /// The ledger was closed, or its writer is gone; nothing was written.
    #[error("the ledger is closed")]
    Closed,
    /// A number does not fit the database's signed 64-bit integers; nothing was written.
    #[error("the record's {field} does not fit the ledger")]
    OutOfRange {
        /// The field of the record.
        field: &'static str,
    },
    /// The extension values cannot be written as JSON; nothing was written.
    #[error("the record's extension values cannot be written as JSON")]
    Extensions(#[source] serde_json::Error),
    /// Another certificate with this serial number is in the ledger; this row was not written.
    #[error("a certificate with this serial number is in the ledger already")]
    DuplicateSerial,
    /// A constraint or trigger of the database refused this row alone.
    #[error("the ledger's database refused the row")]
    Refused(#[source] Arc<sqlx::Error>),
    /// Writing failed, and a fresh look at the database shows that the row is not there.
    #[error("the row was not written to the ledger")]
    NotWritten(#[source] Arc<sqlx::Error>),
    /// Writing failed and the database cannot be asked what became of the row: it may or may not
    /// be there. The writer goes on trying to reopen the database.
    #[error("the ledger cannot be written")]
    Unavailable,

    /// A search failed.
    #[error("the ledger cannot be read")]
    Read(#[source] sqlx::Error),
    /// A row holds what this program never writes.
    #[error("row {id} of the ledger is damaged: {column} is not what was written")]
    Damaged {
        /// The row's place in the order of writing.
        id: i64,
        /// The column.
        column: &'static str,
    },
    /// A serial number or fingerprint given as text is not hexadecimal, or has the wrong length.
    #[error("not a hexadecimal {what} of at most {bytes} bytes")]
    NotHex {
        /// What the text was taken for.
        what: &'static str,
        /// How many bytes that has.
        bytes: usize,
    },
}
