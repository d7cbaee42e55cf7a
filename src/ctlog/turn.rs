//! The turn to write, where other processes write to the same log: what this one must learn before it
//! may sign on, and what it must refuse to sign on from.

use super::AppendError;
use super::error::Fatal;
use super::merkle::{Edge, Hash, TILE_LEVELS, edge_places};
use super::proofs::{earlier_root, places};
use super::recovery::{RecoveryError, check_head};
use super::round::Round;
use super::sequencer::{Logged, MAX_CLOCK_BEHIND_MS, Sequencer};
use super::store::{Head, StoreError, Turn};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Why a round does not go in.
pub(super) enum Refused {
    /// Those who wait are told.
    Append(AppendError),
    /// So are they, and the log stops.
    Fatal(Fatal),
}

impl Sequencer {
    /// Waits for the turn and goes on from what is stored then; false where this process alone writes.
    /// Entries that are there already are set aside. The turn is held until the next commit.
    pub(super) async fn take_turn(&mut self, round: &mut Round) -> Result<bool, Refused> {
        self.try_turn(round).await?.map_err(|error| {
            tracing::warn!(%error, "the turn to write to the log did not come");
            Refused::Append(AppendError::NotWritten)
        })
    }

    /// The same after a commit of unknown outcome, whose fate has to be known: for some time it is tried
    /// again. When the turn has come the commit is either there or will never be.
    pub(super) async fn find_out(&mut self, round: &mut Round) -> Result<bool, Refused> {
        let tried = timeout(FIND_OUT, async {
            loop {
                match self.try_turn(round).await? {
                    Ok(has_turn) => return Ok(has_turn),
                    Err(error) => {
                        tracing::warn!(%error, "the log's database cannot be asked what was written");
                    }
                }
                sleep(AGAIN).await;
            }
        });
        let undecided = || Err(Refused::Append(AppendError::Undecided));
        tried.await.unwrap_or_else(|_| undecided())
    }

    async fn try_turn(&mut self, round: &mut Round) -> Result<Result<bool, StoreError>, Refused> {
        let seen = self.head.load_full();
        let keys: Vec<Hash> = round.groups.iter().map(|group| group.dedup).collect();
        let turn = match self.store.take_turn(&keys, &places(seen.size)).await {
            Ok(Some(turn)) => turn,
            Ok(None) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(error)),
        };
        let edge = match self.checked_edge(&turn, &seen) {
            Ok(edge) => edge,
            Err(fatal) => {
                // What was seen may be others' and above our own mark. Whoever starts this process again
                // must not find that it has forgotten.
                self.mark(&seen)?;
                return Err(Refused::Fatal(fatal));
            }
        };
        let Turn {
            head,
            tiles: _,
            found,
        } = turn;
        if let Some(error) = clock_behind(round.now_ms, head.timestamp_ms) {
            return Err(Refused::Append(error));
        }
        self.is_alone = head == self.base;
        self.edge = edge;
        self.base = head.clone();
        if head.timestamp_ms > seen.timestamp_ms {
            self.head.store(Arc::new(head));
        }
        let mut found: HashMap<Hash, Option<Logged>> = found
            .into_iter()
            .map(|entry| (entry.dedup, Logged::from_stored(entry)))
            .collect();
        for group in std::mem::take(&mut round.groups) {
            match found.remove(&group.dedup) {
                Some(Some(logged)) => round.repeated.push((group, logged)),
                Some(None) => group.answer(&Err(AppendError::Mismatch)),
                None => round.groups.push(group),
            }
        }
        Ok(Ok(true))
    }

    /// The tree as it is stored, if it is this log's and has grown from the one this process knows.
    fn checked_edge(&self, turn: &Turn, seen: &Head) -> Result<Edge, Fatal> {
        let Turn { head, tiles, .. } = turn;
        let verifier = self.signer.verifier();
        check_head(head, &self.origin, verifier).map_err(Fatal::Malformed)?;
        check_grown(seen, head, earlier_root(seen.size, tiles))?;
        let mut edge: [Vec<u8>; TILE_LEVELS as usize] = Default::default();
        for place in edge_places(head.size) {
            let tile = tiles.iter().find(|tile| (tile.level, tile.n) == place);
            if let (Some(tile), Some(at)) = (tile, edge.get_mut(usize::from(place.0))) {
                at.clone_from(&tile.hashes);
            }
        }
        let edge = Edge::from_tiles(head.size, edge);
        let edge = edge.map_err(|error| Fatal::Malformed(error.into()))?;
        if edge.root() != head.root {
            return Err(Fatal::Malformed(RecoveryError::Root));
        }
        Ok(edge)
    }
}

/// Checks that the tree under `found` begins with the one under `seen`, whose root is computed from what
/// is stored now. A database that was restored, or that failed over to a copy which had not yet received
/// everything, does not; going on there would sign a second tree of the same size.
pub(super) fn check_grown(seen: &Head, found: &Head, earlier: Option<Hash>) -> Result<(), Fatal> {
    let is_grown = found.size >= seen.size && earlier == Some(seen.root);
    if !is_grown {
        return Err(Fatal::Behind {
            seen: seen.size,
            found: found.size,
        });
    }
    Ok(())
}

/// Small differences between callers are evened out by never going back; a larger one means that
/// the clock was set back, and what is signed then would contradict what was signed before.
pub(super) fn clock_behind(now_ms: u64, newest_ms: u64) -> Option<AppendError> {
    let behind_ms = newest_ms.saturating_sub(now_ms);
    (behind_ms > MAX_CLOCK_BEHIND_MS).then_some(AppendError::ClockBehind { behind_ms })
}

/// How long those who wait are kept waiting to learn what became of their entries.
const FIND_OUT: Duration = Duration::from_secs(5);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);
