//! What can go wrong with the log, by who has to do something about it: the operator before it opens
//! ([`LogError`]), the caller of one request ([`AppendError`]), or the process as a whole ([`Fatal`]).

use super::chain::ChainError;
use super::config::Window;
use super::entry::EntryError;
use super::guard::{GuardError, Rollback, WAY_OUT};
use super::high_water::HighWaterError;
use super::recovery::RecoveryError;
use super::signer::KeyError;
use super::store::StoreError;
use super::submission::SubmissionError;
use crate::telemetry::metrics;
use time::OffsetDateTime;

/// Why a log cannot be created or opened. It is never repaired or begun anew by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The origin cannot stand in a checkpoint.
    #[error(
        "\"{0}\" cannot be a log's origin: it is a host and a path, without scheme, blanks, or a slash at its end"
    )]
    Origin(String),
    /// The usages are not understood.
    #[error("\"{0}\" is not an extended key usage")]
    Usage(String),
    /// A shard for nothing.
    #[error("the log's window ends before it starts")]
    Window,
    /// A certificate the log was opened with is unreadable or issued by another one.
    #[error("certificate {position} of the log's {chain}: {error}")]
    Chain {
        /// Which list.
        chain: &'static str,
        /// Zero-based place in it.
        position: usize,
        /// What is wrong with it.
        error: ChainError,
    },
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The clock was set back, or the log was written under a clock that ran ahead.
    #[error(
        "the clock is {behind_ms} ms behind the newest tree head: set it, or wait until it has come there, or begin the next log (docs/log.md, \"The clock\")"
    )]
    ClockBehind {
        /// By how many milliseconds.
        behind_ms: u64,
    },
    /// The high-water mark.
    #[error(transparent)]
    HighWater(#[from] HighWaterError),
    /// What is stored is an older copy of this log.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// What is stored is not this log.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system's own words.
    #[error("the log's thread cannot be started: {0}")]
    Thread(String),
}

/// Why there is no SCT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The submission breaks a rule; the submitter's fault, and the only variant that is.
    #[error(transparent)]
    Refused(#[from] SubmissionError),
    /// Too much waits already. Nothing was logged; trying again later may succeed.
    #[error("{0}")]
    Busy(Busy),
    /// The clock was set back. Nothing was logged.
    #[error("the clock is {behind_ms} ms behind the newest tree head")]
    ClockBehind {
        /// By how many milliseconds.
        behind_ms: u64,
    },
    /// Nothing was logged; the log stays in service, and trying again may succeed.
    #[error("the entry could not be written")]
    NotWritten,
    /// The database went away with the entry. Whether it was logged is not known; the log stays in
    /// service, and trying again finds out.
    #[error("it is not known whether the entry was logged")]
    Undecided,
    /// The log has stopped. Whether the entry was logged is not known.
    #[error("the log is not in service")]
    Unavailable,
    /// All leaf indices are used up.
    #[error("the log is full")]
    Full,
    /// The log's key failed, or what it signed does not verify. Nothing was logged.
    #[error("the log's key does not sign")]
    Signature,
    /// The authority's own certificate does not fit into a log entry.
    #[error("the certificate cannot be logged: {0}")]
    Entry(#[from] EntryError),
    /// The authority's certificate belongs into another shard. Nothing was logged.
    #[error(
        "the certificate ends at {not_after}, and the log takes those that end {window}: start its next shard with `vouchsafe log rotate`"
    )]
    Window {
        /// The last moment of its validity.
        not_after: OffsetDateTime,
        /// What the log takes.
        window: Window,
    },
    /// The log was opened without an authority's chain.
    #[error("the log was opened without the chain of an authority")]
    NoAuthority,
    /// What was logged is not what was asked for. The answer is withheld.
    #[error("the log answered for another entry")]
    Mismatch,
}

impl AppendError {
    /// There is no room for it; counted.
    pub(super) fn turned_away(reason: Busy) -> Self {
        metrics().log_busy(reason.name());
        Self::Busy(reason)
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The queue is full by number.
    #[error("too many entries wait to be logged")]
    Entries,
    /// The queue is full by size.
    #[error("the entries that wait to be logged take too much memory")]
    Bytes,
    /// The places for looking at strangers' chains are taken.
    #[error("too many submitted chains are being checked")]
    Checks,
}

impl Busy {
    /// Its name in a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Bytes => "bytes",
            Self::Checks => "checks",
        }
    }
}

/// Why the log has stopped. The process must end: only a fresh start reads what is really stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// Somebody else wrote to the database.
    #[error("the stored tree head has moved: another process writes to this log")]
    HeadMoved,
    /// A write failed so that it may or may not be on disk.
    #[error("it is unknown whether the last batch was written: {0}")]
    UnknownOutcome(String),
    /// The database was restored or has failed over to an older copy. What it lacks was signed and
    /// may have been seen; signing on would fork the log.
    #[error(
        "the database has a tree of {found} entries that is not grown from the {seen} this process knows: it was restored, or is an older copy. {WAY_OUT}"
    )]
    Behind {
        /// Entries of the tree this process knows.
        seen: u64,
        /// Entries of the one that is stored.
        found: u64,
    },
    /// What is stored is not this log any more.
    #[error("what is stored is not the log: {0}")]
    Malformed(RecoveryError),
    /// The batch is in the database, but what is to remember it outside may not be.
    #[error("the batch was written, but not the high-water mark: {0}")]
    HighWater(HighWaterError),
    /// Somebody remembers more of this log than is stored.
    #[error(transparent)]
    Rollback(#[from] Rollback),
    /// The appending task is gone: the log was closed, or the task failed.
    #[error("the log's appending task has ended")]
    Stopped,
}

impl From<KeyError> for AppendError {
    fn from(_: KeyError) -> Self {
        Self::Signature
    }
}
