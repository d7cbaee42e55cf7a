//! What can go wrong with somebody else's log.

use std::fmt;
use std::time::Duration;

use super::answer::Lie;
use crate::ctlog::chain::ChainError;
use crate::ctlog::entry::EntryError;
use crate::ctlog::signer::KeyError;

/// Why a log cannot be used at all. Somebody has to change something before the server can start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    /// There is none.
    #[error("no log is named")]
    None,
    /// More than anybody needs.
    #[error("{0} logs are named, more than {MAX}", MAX = super::MAX_LOGS)]
    TooMany(usize),
    /// One would be asked twice, and its answers counted as two logs'.
    #[error("{0} is named twice, or another log with the same key is")]
    Twice(String),
    /// An address that cannot be asked.
    #[error("{url:?} cannot be a log's address: {why}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a host name.
    #[error("{0:?} cannot be the name that a log is asked by")]
    Origin(String),
    /// The log's key.
    #[error(
        "the key of {url}: {error}; a log whose timestamps every client can check has no other"
    )]
    Key {
        /// The log.
        url: String,
        /// What is wrong with it.
        error: KeyError,
    },
    /// Certificates that a connection to the log is to be checked by.
    #[error("the CA certificates for {0} cannot be used")]
    CaCertificates(String),
    /// The library for TLS.
    #[error("no TLS client can be made: {0}")]
    Tls(String),
    /// The authority's chain.
    #[error("the authority's chain: {0}")]
    Chain(#[from] ChainError),
    /// The log would refuse every certificate.
    #[error(
        "{0} does not accept the root of this authority (get-roots has it not): give its operator the last certificate of the chain, `vouchsafe trust bundle` prints it, and start again"
    )]
    RootNotAccepted(String),
}

/// Why there is no timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The certificate does not fit into a log entry.
    #[error("the certificate cannot be logged: {0}")]
    Entry(#[from] EntryError),
    /// Every log was tried that could be, in this order.
    #[error("no log took the certificate{}", Failures(.0))]
    NoLog(Vec<(String, Fault)>),
}

/// Why one log gave no timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It failed a moment ago and is left alone for now.
    #[error("is not in service")]
    OutOfService,
    /// Its time as a log is over.
    #[error("takes no more entries since its valid-until")]
    Over,
    /// No answer in the time there was.
    #[error("did not answer in time")]
    Slow,
    /// No connection, or it broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It asks for patience: 408, 429 or 503.
    #[error("answered with status {status}: too busy")]
    Busy {
        /// The status.
        status: u16,
        /// When to come again, if it says.
        retry_after: Option<Duration>,
    },
    /// Its own trouble: another status from 500 up.
    #[error("answered with status {0}")]
    Broken(u16),
    /// It does not want this certificate, or is no log: every other status. The text is the log's,
    /// cut and without control characters; it is for our eyes only.
    #[error("refused with status {status}: {text:?}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// An answer that must not get into a certificate.
    #[error("{0}")]
    Lied(#[from] Lie),
}

/// The logs that were tried, each with what became of it.
struct Failures<'a>(&'a [(String, Fault)]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = ": ";
        for (log, fault) in self.0 {
            write!(f, "{separator}{log} {fault}")?;
            separator = "; ";
        }
        Ok(())
    }
}
