//! Where certificates are logged before they leave: in the log of this process, or in somebody else's.

use time::OffsetDateTime;

use super::remote::{LogState, Logs, RemoteError};
use super::{AppendError, Fatal, Log};
use crate::certificate::precertificate::Precertificate;
use crate::certificate::profile::LIFETIME;
use crate::certificate::sct::Sct;

/// A logged certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The log's promise, already kept.
    pub sct: Sct,
    /// Where it stands, counted from zero, if the log says so. The built-in one does.
    pub index: Option<u64>,
}

/// Where certificates go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// The log of this process.
    BuiltIn(Log),
    /// Somebody else's.
    External(Logs),
}

/// Why a certificate is in no log, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLogged {
    /// By the log of this process.
    #[error(transparent)]
    BuiltIn(#[from] AppendError),
    /// By somebody else's.
    #[error(transparent)]
    External(#[from] RemoteError),
}

impl Destination {
    /// Logs a precertificate of the authority this was opened for.
    ///
    /// # Errors
    /// [`NotLogged`].
    pub async fn append(
        &self,
        precertificate: &Precertificate,
        now: OffsetDateTime,
    ) -> Result<Appended, NotLogged> {
        match self {
            Self::BuiltIn(log) => Ok(log.append(precertificate, now).await?),
            Self::External(logs) => Ok(logs.append(precertificate, now).await?),
        }
    }

    /// The log of this process, if that is where certificates go.
    #[must_use]
    pub const fn built_in(&self) -> Option<&Log> {
        match self {
            Self::BuiltIn(log) => Some(log),
            Self::External(_) => None,
        }
    }

    /// Somebody else's logs, each with how it is.
    #[must_use]
    pub fn external(&self) -> Vec<LogState> {
        match self {
            Self::BuiltIn(_) => Vec::new(),
            Self::External(logs) => logs.states(),
        }
    }

    /// Whether a certificate that is made now is taken.
    #[must_use]
    pub async fn is_healthy(&self, now: OffsetDateTime) -> bool {
        match self {
            Self::BuiltIn(log) => log.is_healthy(now).await && log.is_for(now + LIFETIME),
            Self::External(logs) => logs.in_service(now),
        }
    }

    /// Waits until the process must end because of its log. Nothing that somebody else's log does is
    /// a reason.
    pub async fn fatal(&self) -> Fatal {
        match self {
            Self::BuiltIn(log) => log.fatal().await,
            Self::External(_) => std::future::pending().await,
        }
    }

    /// Finishes what waits and lets go of what is open.
    pub async fn close(&self) {
        match self {
            Self::BuiltIn(log) => log.close().await,
            Self::External(_) => {}
        }
    }
}
