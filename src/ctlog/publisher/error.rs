//! Why something is not published.

use super::TargetError;
use crate::ctlog::checkpoint::CheckpointError;
use crate::ctlog::guard::{GuardError, Rollback};
use crate::ctlog::recovery::RecoveryError;
use crate::ctlog::store::StoreError;

/// Why something is not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The settings do not name a target.
    #[error("log.publish: {0}")]
    Config(String),
    /// The target fails.
    #[error("cannot publish: {0}")]
    Target(#[from] TargetError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a checkpoint already, and it is not ours.
    #[error("what is published there is not this log: {0}")]
    Foreign(CheckpointError),
    /// The checkpoint is another one than a moment ago: somebody else publishes to the same place.
    #[error("another publisher has exchanged the checkpoint; its own is looked at first")]
    Contended,
    /// There is a file already, and it is not ours.
    #[error("{0} is published already, with other bytes; it is never overwritten")]
    Conflict(String),
    /// The database itself does not hold what it should.
    #[error("entries from {0} do not make the tree that was signed; nothing of them is published")]
    Damaged(u64),
    /// The database cannot be made sense of.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// More is published than the database holds.
    #[error(transparent)]
    Rollback(#[from] Rollback),
}

impl PublishError {
    /// Whether it may go away by itself.
    pub(super) const fn is_passing(&self) -> bool {
        match self {
            Self::Target(_) | Self::Store(_) | Self::Contended => true,
            Self::Config(_)
            | Self::Foreign(_)
            | Self::Conflict(_)
            | Self::Damaged(_)
            | Self::Recovery(_)
            | Self::Rollback(_) => false,
        }
    }

    /// A store that cannot be read now may be readable later.
    pub(super) fn from_recovery(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Store(error) => Self::Store(error),
            error @ (RecoveryError::Origin { .. }
            | RecoveryError::Key
            | RecoveryError::Checkpoint(_)
            | RecoveryError::HeadDiffers
            | RecoveryError::Root
            | RecoveryError::Edge(_)
            | RecoveryError::Inconsistent { .. }) => Self::Recovery(error),
        }
    }
}

impl From<GuardError> for PublishError {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Rollback(rollback) => Self::Rollback(rollback),
            GuardError::Recovery(error) => Self::from_recovery(error),
        }
    }
}
