//! Gather, batch, one commit, answer.
//!
//! One task appends, on a thread of its own. It takes whatever is waiting, builds the next tree from it
//! in memory, signs, commits, and only then answers; while it is at it the next batch gathers by
//! itself. There is no timer: an idle log commits the first entry that comes at once.
//!
//! What may go wrong falls in two. Before the commit is tried, or where the store promises that
//! nothing was written, those waiting get an error and the task goes on with the old tree. Where
//! the outcome is unknown, or the head another one, the tree in memory is no longer to be signed on
//! from. Where others write too (see [`Store::take_turn`]) the task takes its turn and goes on from
//! what is stored then; where nobody else should, it stops for good, and the process must start afresh.

use super::checkpoint::Checkpoint;
use super::entry::{Entry, TileLeaf};
use super::high_water::HighWater;
use super::merkle::{Edge, Hash, MAX_SIZE, leaf_hash};
use super::round::{Group, Round};
use super::signer::LogSigner;
use super::store::{Batch, CommitError, Head, NewEntry, Store, StoredEntry};
use super::turn::{Refused, clock_behind};
use super::{AppendError, Fatal};
use crate::failpoint::FailPoint;
use crate::telemetry::metrics;
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

/// Where an entry stands in the log, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Zero-based leaf index.
    pub index: u64,
    /// The timestamp of leaf and SCT, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The signature of the SCT, DER.
    pub signature: Vec<u8>,
    /// The leaf that was logged, a `MerkleTreeLeaf`.
    pub leaf: Vec<u8>,
    /// Whether it was there before it was asked for.
    pub is_repeated: bool,
}

impl Logged {
    /// What was answered for an entry when it was logged; nothing if the entry is malformed.
    #[must_use]
    pub fn from_stored(entry: StoredEntry) -> Option<Self> {
        let leaf = TileLeaf::unpack(&entry.leaf).ok()?;
        Some(Self {
            index: entry.index,
            timestamp_ms: leaf.timestamp_ms,
            signature: entry.sct_signature,
            leaf: leaf.merkle_tree_leaf(),
            is_repeated: true,
        })
    }
}

/// What is asked of the sequencer.
#[derive(Debug)]
pub enum Request {
    /// Log an entry, or find it.
    Append(Append),
    /// Sign the tree head anew although nothing was logged, so that readers can tell a quiet log
    /// from a dead one.
    Refresh {
        /// The time, in milliseconds since 1970.
        now_ms: u64,
        /// Answered when the new checkpoint is durable.
        answer: oneshot::Sender<Result<(), AppendError>>,
    },
    /// Finish what was asked before, close the store, then stop.
    Stop(oneshot::Sender<()>),
}

/// One entry that waits.
#[derive(Debug)]
pub struct Append {
    /// What to log.
    pub entry: Arc<Entry>,
    /// The dedup key of its body.
    pub dedup: Hash,
    /// Certificates above it that may be new to the log.
    pub issuers: Vec<(Hash, Vec<u8>)>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Answered when the entry is durable. If nobody listens any more when its turn comes, it is
    /// not logged.
    pub answer: oneshot::Sender<Result<Logged, AppendError>>,
    /// Its share of the memory that waiting entries may take.
    pub weight: OwnedSemaphorePermit,
}

/// The appending task's own state.
pub struct Sequencer {
    /// Where it writes.
    pub store: Arc<dyn Store>,
    /// What it signs with.
    pub signer: LogSigner,
    /// The log's name.
    pub origin: String,
    /// The tree that the next batch is built on.
    pub edge: Edge,
    /// Its head.
    pub base: Head,
    /// The newest durable head that this process knows, ours or another's; readers look at it.
    pub head: Arc<ArcSwap<Head>>,
    /// Whether nobody else has written since we last looked, so that a batch may be tried without
    /// waiting for a turn.
    pub is_alone: bool,
    /// Fingerprints of the certificates that are stored.
    pub issuers: HashSet<Hash>,
    /// What remembers the newest head outside the store.
    pub high_water: Option<HighWater>,
    /// Whether the last commit failed.
    pub is_failing: Arc<AtomicBool>,
    /// Told when the task had to stop.
    pub fatal: watch::Sender<Option<Fatal>>,
}

/// The next tree and everything that makes it durable.
struct Prepared {
    edge: Edge,
    batch: Batch,
    logged: Vec<Logged>,
}

impl Sequencer {
    /// Runs on a thread of its own. Thousands of signatures and a wait for the disk hold up nobody else
    /// there, and a connection to a database that is made there wakes nobody else.
    ///
    /// # Errors
    /// The thread cannot be had.
    pub async fn start(self, requests: mpsc::Receiver<Request>) -> std::io::Result<()> {
        let (told, begun) = oneshot::channel();
        let thread = std::thread::Builder::new().name("ctlog".to_owned());
        thread.spawn(
            move || match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    // Whoever asked may have gone; the queue is closed then.
                    drop(told.send(Ok(())));
                    runtime.block_on(self.run(requests));
                }
                Err(error) => drop(told.send(Err(error))),
            },
        )?;
        begun.await.map_err(std::io::Error::other)?
    }

    /// Serves requests until there are no more handles to send one, or it is told to stop, or it
    /// must.
    pub async fn run(self, mut requests: mpsc::Receiver<Request>) {
        self.serve(&mut requests).await;
        // A request that is on its way while the queue goes would stay in it, and whoever sent it would
        // wait for ever: nothing is on its way any more when this has ended.
        requests.close();
        while requests.recv().await.is_some() {}
    }

    async fn serve(mut self, requests: &mut mpsc::Receiver<Request>) {
        let mut waiting = Vec::with_capacity(MAX_ENTRIES);
        loop {
            if requests.recv_many(&mut waiting, MAX_ENTRIES).await == 0 {
                return;
            }
            let mut drained = waiting.drain(..).peekable();
            while drained.peek().is_some() {
                let (round, stop) = self.gather(&mut drained);
                if let Err(fatal) = self.append(round).await {
                    tracing::error!(%fatal, "the log stops: it must be opened afresh");
                    let told = self.fatal.clone();
                    // Whoever hears of the end finds the mark unlocked.
                    drop(self);
                    told.send_replace(Some(fatal));
                    return;
                }
                if let Some(stopped) = stop {
                    self.store.close().await;
                    drop(self);
                    // Whoever asked may have gone; the task ends all the same.
                    _ = stopped.send(());
                    return;
                }
            }
        }
    }

    /// Takes requests for one commit: up to the byte limit, or up to a request to stop.
    fn gather(
        &self,
        drained: &mut impl Iterator<Item = Request>,
    ) -> (Round, Option<oneshot::Sender<()>>) {
        let newest = self.head.load().timestamp_ms;
        let mut round = Round::default();
        let mut group_of: HashMap<Hash, usize> = HashMap::new();
        let mut bytes = 0;
        while bytes < MAX_BYTES
            && let Some(request) = drained.next()
        {
            match request {
                Request::Stop(stopped) => return (round, Some(stopped)),
                Request::Refresh { now_ms, answer } => match clock_behind(now_ms, newest) {
                    Some(error) => drop(answer.send(Err(error))),
                    None => {
                        round.now_ms = round.now_ms.max(now_ms);
                        round.refreshes.push(answer);
                    }
                },
                Request::Append(append) => {
                    let Append {
                        entry,
                        dedup,
                        issuers,
                        now_ms,
                        answer,
                        weight,
                    } = append;
                    if answer.is_closed() {
                        continue;
                    }
                    if let Some(error) = clock_behind(now_ms, newest) {
                        drop(answer.send(Err(error)));
                        continue;
                    }
                    bytes += entry.weight();
                    round.now_ms = round.now_ms.max(now_ms);
                    let new = issuers
                        .into_iter()
                        .filter(|(hash, _)| !self.issuers.contains(hash));
                    round.issuers.extend(new);
                    let at = *group_of.entry(dedup).or_insert(round.groups.len());
                    if let Some(group) = round.groups.get_mut(at) {
                        group.answers.push(answer);
                        group.weights.push(weight);
                    } else {
                        let (answers, weights) = (vec![answer], vec![weight]);
                        round.groups.push(Group {
                            entry,
                            dedup,
                            answers,
                            weights,
                        });
                    }
                }
            }
        }
        (round, None)
    }

    /// Commits a round and answers it.
    async fn append(&mut self, mut round: Round) -> Result<(), Fatal> {
        if round.is_empty() {
            return Ok(());
        }
        if !round.groups.is_empty() {
            FailPoint::LogQueued.reach();
        }
        let settled = self.settle_repeated_and_commit(&mut round).await;
        let is_failing = matches!(
            settled,
            Err(Refused::Append(
                AppendError::NotWritten | AppendError::Undecided
            ))
        );
        self.is_failing.store(is_failing, Ordering::Relaxed);
        if let Err(refused) = settled {
            self.store.end_turn().await;
            let (error, fatal) = match refused {
                Refused::Append(error) => (error, None),
                Refused::Fatal(fatal) => (AppendError::Unavailable, Some(fatal)),
            };
            round.refuse(&error);
            return fatal.map_or(Ok(()), Err);
        }
        Ok(())
    }

    async fn settle_repeated_and_commit(&mut self, round: &mut Round) -> Result<(), Refused> {
        // Each head is a millisecond later than the one before it. A store that is faster than that must
        // not carry the log away from the clock.
        if self.base.timestamp_ms > round.now_ms.saturating_add(MAX_AHEAD_MS) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !self.is_alone {
            self.take_turn(round).await?;
        }
        // New certificates have fresh serial numbers, so nearly every batch is new throughout: the
        // store finds a repeated entry by its unique key, and only then is it looked up.
        for _ in 0..ATTEMPTS {
            let prepared = self.prepare(round).map_err(Refused::Append)?;
            let Prepared {
                edge,
                batch,
                logged,
            } = prepared;
            let head = batch.head.clone();
            let commits = &metrics().log;
            let entries = batch.entries.len();
            let commit = self.store.commit(&self.base, batch);
            match commits.measure(entries, commit).await {
                Ok(()) => {
                    if entries > 0 {
                        FailPoint::LogCommitted.reach();
                    }
                    self.edge = edge;
                    self.base = head.clone();
                    self.mark(&head)?;
                    self.show(Arc::new(head));
                    self.issuers.extend(round.issuers.keys());
                    if entries > 0 {
                        FailPoint::LogSwapped.reach();
                    }
                    round.answer(logged);
                    return Ok(());
                }
                Err(CommitError::Duplicate) => {
                    if !self.take_turn(round).await? {
                        self.answer_repeated(round).await?;
                        if round.is_empty() {
                            return Ok(());
                        }
                    }
                }
                Err(CommitError::NotWritten(reason)) => {
                    tracing::warn!(reason, "a batch of log entries was not written");
                    return Err(Refused::Append(AppendError::NotWritten));
                }
                Err(CommitError::HeadMoved) => {
                    if !self.take_turn(round).await? {
                        return Err(Refused::Fatal(Fatal::HeadMoved));
                    }
                }
                Err(CommitError::Unknown(reason)) => {
                    tracing::warn!(reason, "it is unknown whether a batch was written");
                    if !self.find_out(round).await? {
                        return Err(Refused::Fatal(Fatal::UnknownOutcome(reason)));
                    }
                }
            }
        }
        tracing::error!("the store neither takes a batch nor says why");
        Err(Refused::Append(AppendError::NotWritten))
    }

    /// Makes a head the one that is shown, unless a later one was found meanwhile: another process's.
    fn show(&self, head: Arc<Head>) {
        self.head.rcu(|newest| {
            let is_newer = head.timestamp_ms > newest.timestamp_ms;
            Arc::clone(if is_newer { &head } else { newest })
        });
    }

    /// Raises the high-water mark to a head that was committed; until then nobody is answered. Whatever
    /// others committed before is below it.
    pub(super) fn mark(&mut self, head: &Head) -> Result<(), Refused> {
        let Some(high_water) = &mut self.high_water else {
            return Ok(());
        };
        let raised = high_water.raise(head.signed(&self.origin), &head.checkpoint);
        raised.map_err(|error| Refused::Fatal(Fatal::HighWater(error)))?;
        FailPoint::LogMarked.reach();
        Ok(())
    }

    /// Builds, hashes and signs; nothing of it counts before it is committed.
    fn prepare(&self, round: &Round) -> Result<Prepared, AppendError> {
        let head = &self.base;
        // Later than any head that was ever shown, also where the one that is built on was signed
        // earlier: a signature that a failover lost may have been seen all the same.
        let newest_ms = head.timestamp_ms.max(self.head.load().timestamp_ms);
        let timestamp_ms = round.now_ms.max(newest_ms.saturating_add(1));
        let mut edge = self.edge.clone();
        let mut tiles = Vec::new();
        let mut entries = Vec::with_capacity(round.groups.len());
        let mut logged: Vec<Logged> = Vec::with_capacity(round.groups.len());
        for (group, index) in round.groups.iter().zip(edge.size()..) {
            if index >= MAX_SIZE {
                return Err(AppendError::Full);
            }
            let leaf = group.entry.body().merkle_tree_leaf(timestamp_ms, index);
            let signature = self.signer.sign(&leaf)?;
            let leaf_hash = leaf_hash(&leaf);
            edge.push(leaf_hash, &mut tiles);
            entries.push(NewEntry {
                dedup: group.dedup,
                leaf: group.entry.packed(timestamp_ms, index),
                leaf_hash,
                sct_signature: signature.clone(),
            });
            logged.push(Logged {
                index,
                timestamp_ms,
                signature,
                leaf,
                is_repeated: false,
            });
        }
        // A key or processor gone bad is noticed before anything signed with it leaves.
        if let Some(last) = logged.last()
            && !self.signer.verifier().verifies(&last.leaf, &last.signature)
        {
            return Err(AppendError::Signature);
        }
        tiles.extend(edge.changed_since(head.size).filter(|tile| tile.level > 0));
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: edge.size(),
            root: edge.root(),
            timestamp_ms,
        };
        let head = Head {
            size: checkpoint.size,
            root: checkpoint.root,
            timestamp_ms,
            checkpoint: checkpoint.sign(&self.signer)?,
        };
        let issuers = round.issuers.clone().into_iter().collect();
        Ok(Prepared {
            edge,
            batch: Batch {
                head,
                entries,
                tiles,
                issuers,
            },
            logged,
        })
    }

    /// Answers those whose entry the log already holds with the SCT of that time.
    async fn answer_repeated(&self, round: &mut Round) -> Result<(), Refused> {
        let keys: Vec<Hash> = round.groups.iter().map(|group| group.dedup).collect();
        let found = self.store.find(&keys).await.map_err(|error| {
            tracing::warn!(%error, "entries already in the log could not be looked up");
            Refused::Append(AppendError::NotWritten)
        })?;
        let mut found: HashMap<Hash, Option<Logged>> = found
            .into_iter()
            .map(|entry| (entry.dedup, Logged::from_stored(entry)))
            .collect();
        for group in std::mem::take(&mut round.groups) {
            match found.remove(&group.dedup) {
                Some(logged) => group.answer(&logged.ok_or(AppendError::Mismatch)),
                None => round.groups.push(group),
            }
        }
        Ok(())
    }
}

/// How far the clock may be behind the newest tree head.
pub const MAX_CLOCK_BEHIND_MS: u64 = 10_000;

/// Commits tried for one batch: one as it is, one after a turn or a look at what is repeated, and as
/// many for a connection that is lost again.
const ATTEMPTS: usize = 4;
/// Entries of one commit.
const MAX_ENTRIES: usize = 1024;
/// Bytes of entries after which no more are taken into a commit.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How far the heads may be ahead of the clock before the log waits for it.
const MAX_AHEAD_MS: u64 = 1_000;
