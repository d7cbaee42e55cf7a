//! The requests of one commit, and what they are told.

use super::AppendError;
use super::entry::Entry;
use super::merkle::Hash;
use super::sequencer::Logged;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// All that ask for the same entry, and the entry.
pub(super) struct Group {
    pub(super) entry: Arc<Entry>,
    pub(super) dedup: Hash,
    pub(super) answers: Vec<oneshot::Sender<Result<Logged, AppendError>>>,
    /// Held until the group is answered.
    pub(super) weights: Vec<OwnedSemaphorePermit>,
}

/// The requests of one commit.
#[derive(Default)]
pub(super) struct Round {
    pub(super) groups: Vec<Group>,
    /// Those whose entry was found in the log, and how. They are answered after the next commit: what
    /// another process has just written may be seen before it is as durable as ours will be.
    pub(super) repeated: Vec<(Group, Logged)>,
    pub(super) issuers: HashMap<Hash, Vec<u8>>,
    pub(super) refreshes: Vec<oneshot::Sender<Result<(), AppendError>>>,
    pub(super) now_ms: u64,
}

impl Round {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.repeated.is_empty() && self.refreshes.is_empty()
    }

    pub(super) fn answer(&mut self, logged: Vec<Logged>) {
        for (group, logged) in self.repeated.drain(..) {
            group.answer(&Ok(logged));
        }
        for (group, logged) in self.groups.drain(..).zip(logged) {
            group.answer(&Ok(logged));
        }
        for refresh in self.refreshes.drain(..) {
            drop(refresh.send(Ok(())));
        }
    }

    pub(super) fn refuse(self, error: &AppendError) {
        let repeated = self.repeated.into_iter().map(|(group, _)| group);
        for group in self.groups.into_iter().chain(repeated) {
            group.answer(&Err(error.clone()));
        }
        for refresh in self.refreshes {
            drop(refresh.send(Err(error.clone())));
        }
    }
}

impl Group {
    pub(super) fn answer(self, result: &Result<Logged, AppendError>) {
        // Whoever has an answer finds the room free.
        drop(self.weights);
        for answer in self.answers {
            // Whoever does not listen any more finds the entry when it asks again.
            drop(answer.send(result.clone()));
        }
    }
}
