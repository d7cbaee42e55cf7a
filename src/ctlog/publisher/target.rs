//! Where a log can be published: anything that keeps files under names.

/// A place that others read from.
///
/// What was put is durable when [`Target::put`] returns, and whoever reads meanwhile sees the whole
/// old file or the whole new one. One publisher writes to a target; a second one is kept out, or
/// noticed by what it has changed.
#[async_trait::async_trait]
pub trait Target: Send + Sync + core::fmt::Debug {
    /// A file of at most `limit` bytes, or nothing where there is none.
    async fn get(&self, path: &str, limit: usize) -> Result<Option<Found>, TargetError>;

    /// Writes a file: a new one, or over exactly the one that was found. Returns whether it was written;
    /// it was not, where there is another file by now.
    async fn put(
        &self,
        path: &str,
        bytes: Vec<u8>,
        kind: Kind,
        over: Option<&Found>,
    ) -> Result<bool, TargetError>;

    /// Removes everything below `directory`. Nothing there is no error.
    async fn remove(&self, directory: &str) -> Result<(), TargetError>;
}

/// A file, and what the target tells it from other files of its name by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// The target's own mark of this version, if it has such.
    pub version: Option<String>,
}

/// What readers are told of a file, where the target can tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tile; it never changes.
    Tile,
    /// A certificate; it never changes.
    Issuer,
    /// The signed head; it changes all the time.
    Checkpoint,
}

impl Kind {
    /// The media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Tile => "application/octet-stream",
            Self::Issuer => "application/pkix-cert",
            Self::Checkpoint => "text/plain; charset=utf-8",
        }
    }

    /// How long it may be kept.
    #[must_use]
    pub const fn cache_control(self) -> &'static str {
        match self {
            Self::Tile | Self::Issuer => "public, max-age=31536000, immutable",
            Self::Checkpoint => "no-store",
        }
    }
}

/// A target that does not do what it is asked. Asking again later may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct TargetError {
    /// The file.
    pub path: String,
    /// The target's own words.
    pub reason: String,
}

impl TargetError {
    pub(super) fn new(path: &str, reason: impl core::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
