//! The issuers that are believed at the moment, and how it went when they were last to be changed.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use crate::identity::Issuers;

/// Issuers that can be exchanged while requests are under way: whoever took [`current`] keeps what
/// they took.
///
/// [`current`]: TrustedIssuers::current
#[derive(Debug)]
pub struct TrustedIssuers {
    current: ArcSwap<Issuers>,
    state: Mutex<ReloadState>,
}

/// What is in force, since when, and what was wrong with the last configuration that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadState {
    /// Counts the configurations that were taken into force; the one of the start is 1.
    pub generation: u64,
    /// When the one in force was read.
    pub last_success: OffsetDateTime,
    /// The last one that was refused, even if a good one came after it.
    pub last_failure: Option<ReloadFailure>,
    /// Whether the last one that was read was refused: what is in force is then not what the file
    /// says.
    pub is_failing: bool,
}

/// A configuration that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadFailure {
    /// When it was read.
    pub at: OffsetDateTime,
    /// The file's name, the line where it is known, and what is wrong there.
    pub sentence: String,
}

impl TrustedIssuers {
    /// The first ones.
    pub fn new(issuers: Issuers, now: OffsetDateTime) -> Self {
        Self {
            current: ArcSwap::from_pointee(issuers),
            state: Mutex::new(ReloadState {
                generation: 1,
                last_success: now,
                last_failure: None,
                is_failing: false,
            }),
        }
    }

    /// Those in force now. Take them once for each request.
    pub fn current(&self) -> Arc<Issuers> {
        self.current.load_full()
    }

    /// How the last change went.
    pub fn reload_state(&self) -> ReloadState {
        self.lock().clone()
    }

    /// Puts others into force; answers with their generation.
    pub fn replace(&self, issuers: Issuers, now: OffsetDateTime) -> u64 {
        let mut state = self.lock();
        self.current.store(Arc::new(issuers));
        state.generation = state.generation.saturating_add(1);
        state.last_success = now;
        state.is_failing = false;
        state.generation
    }

    /// Remembers that others were refused; those in force stay. True, if this is news.
    pub fn refuse(&self, sentence: String, now: OffsetDateTime) -> bool {
        let mut state = self.lock();
        let known = state.last_failure.as_ref();
        let is_news = !state.is_failing || known.is_none_or(|failure| failure.sentence != sentence);
        state.last_failure = Some(ReloadFailure { at: now, sentence });
        state.is_failing = true;
        is_news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ReloadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
