//! The built-in Certificate Transparency log.
//!
//! RFC 6962 submission, tiles for reading, SQLite or PostgreSQL below. The promise of a signed certificate
//! timestamp is kept before it is made: an SCT leaves [`Log::append`] only when its entry, the tree
//! over it and the signed checkpoint are durable, all three in one transaction. So there is no
//! merge delay, nothing to recover after a crash, and no state in which data and checkpoint differ.
//!
//! | file | what it knows |
//! |---|---|
//! | [`entry`] | bytes of leaves and data tiles |
//! | [`merkle`] | the tree, its edge, proofs |
//! | [`tile`] | paths of tiles |
//! | [`checkpoint`], [`note`] | signed tree heads |
//! | [`signer`] | the log's key |
//! | `reads`, `proofs`, `records` | what is served of the stored tree, and what auditors read |
//! | [`sequencer`], `turn` | the one task that appends, and how it shares a log with others |
//! | [`store`] | where everything is kept |
//! | [`chain`], [`submission`], `roots` | what others may submit |
//! | `creation` | a new log |
//! | [`moving`] | from a file to a server |
//! | [`remote`] | somebody else's logs, in this one's place |
//! | [`destination`] | which of the two certificates go to |
//! | [`recovery`], [`check`] | the short and the long look at what is stored |
//! | [`files`], [`audit`] | a log as strangers read it, from a database, a directory or over HTTP |
//! | [`high_water`], [`guard`] | what remembers the log elsewhere |
//! | [`publisher`], [`witness`], `cosignatures` | who else keeps the log, and who vouches for it |
//! | [`upkeep`] | what is done beside issuance |
//! | `service` | whether it can go on |
//! | [`error`] | what can go wrong, and whose it is |

pub mod audit;
pub mod chain;
pub mod check;
pub mod checkpoint;
pub mod config;
mod cosignatures;
mod creation;
pub mod destination;
pub mod entry;
pub mod error;
pub mod files;
pub mod guard;
pub mod high_water;
pub mod merkle;
pub mod moving;
pub mod note;
mod proofs;
pub mod publisher;
mod reads;
mod records;
pub mod recovery;
pub mod remote;
mod roots;
mod round;
pub mod sequencer;
mod service;
pub mod signer;
pub mod store;
pub mod submission;
pub mod tile;
mod turn;
pub mod upkeep;
pub mod witness;

pub use config::{Config, Database, Window, upgrade};
pub use destination::{Appended, Destination, NotLogged};
pub use error::{AppendError, Busy, Fatal, LogError};
pub use proofs::RawEntry;
pub use reads::Reader;
pub use records::Records;

use crate::certificate::precertificate::Precertificate;
use crate::certificate::sct::Sct;
use arc_swap::ArcSwap;
use chain::ChainCertificate;
use config::checked_origin;
use entry::{Entry, EntryBody, leaf_index_extension};
use merkle::{HASH_LENGTH, Hash};
use recovery::{RecoveryError, recover};
use sequencer::{Append, Logged, MAX_CLOCK_BEHIND_MS, Request, Sequencer};
use signer::{LogSigner, LogVerifier};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use store::{Head, Store};
use submission::{Accepted, Policy, Submission};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// The certificates a log is opened with, in DER.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// The chain of the authority that logs its own precertificates, issuing certificate first, root
    /// last. Empty where there is none.
    pub issuer: Vec<Vec<u8>>,
    /// Further roots under which others may submit.
    pub roots: Vec<Vec<u8>>,
}

/// A handle to the log of this process; clones are the same log. When the last one is dropped the
/// log finishes what it has begun and closes.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    reader: Reader,
    /// Whether other processes may write to the same log.
    is_shared: bool,
    requests: mpsc::Sender<Request>,
    /// Bytes that waiting entries may still take.
    room: Arc<Semaphore>,
    /// Places for checking submissions.
    checking: Arc<Semaphore>,
    fatal: watch::Receiver<Option<Fatal>>,
    /// For what is found out beside the appending task.
    fatal_sender: watch::Sender<Option<Fatal>>,
    /// Whether the last commit failed.
    is_failing: Arc<AtomicBool>,
    verifier: LogVerifier,
    origin: String,
    /// The chain above the authority's own certificates.
    own: Option<Own>,
    policy: ArcSwap<Policy>,
}

struct Own {
    key_hash: Hash,
    chain: Arc<[Hash]>,
    root: ChainCertificate,
}

impl Log {
    /// Opens a log, in a file for this process alone, after checking that what is stored is this log and
    /// is whole at its edge.
    pub async fn open(
        config: &Config,
        signer: LogSigner,
        chains: &Chains,
        now: OffsetDateTime,
    ) -> Result<Self, LogError> {
        checked_origin(config)?;
        let store = config.database.open(&signer.verifier().log_id()).await?;
        Self::open_in(store, config, signer, chains, now).await
    }

    /// Whether a log can be opened with these, as far as that can be told without its database.
    ///
    /// # Errors
    /// [`LogError`]: what [`Log::open`] would refuse.
    pub fn check_settings(config: &Config, chains: &Chains) -> Result<(), LogError> {
        checked_origin(config)?;
        Policy::of(config, chains).map(drop)
    }

    /// The same on any store.
    pub async fn open_in(
        store: Arc<dyn Store>,
        config: &Config,
        signer: LogSigner,
        chains: &Chains,
        now: OffsetDateTime,
    ) -> Result<Self, LogError> {
        let origin = checked_origin(config)?;
        let (policy, issuer) = Policy::of(config, chains)?;
        let verifier = signer.verifier().clone();
        let (head, edge) = recover(&*store, &origin, &verifier).await?;
        let behind_ms = head.timestamp_ms.saturating_sub(milliseconds(now));
        if behind_ms > MAX_CLOCK_BEHIND_MS {
            return Err(LogError::ClockBehind { behind_ms });
        }
        let high_water = guard::open_mark(config, &*store, &head, &verifier, now).await?;
        let mut issuers: HashSet<Hash> = store.issuers().await?.into_iter().collect();
        let own = issuer
            .iter()
            .map(|above| (above.fingerprint(), above.der().to_vec()));
        let new: Vec<_> = own.filter(|(hash, _)| issuers.insert(*hash)).collect();
        if !new.is_empty() {
            store.add_issuers(&new).await?;
        }

        let base = head.clone();
        let head = Arc::new(ArcSwap::from_pointee(head));
        let (requests, received) = mpsc::channel(config.queue.max(1));
        let (fatal_sender, fatal) = watch::channel(None);
        let sequencer = Sequencer {
            store: store.clone(),
            signer,
            origin: origin.clone(),
            edge,
            base,
            head: head.clone(),
            is_alone: true,
            issuers,
            high_water,
            is_failing: Arc::default(),
            fatal: fatal_sender.clone(),
        };
        let is_failing = Arc::clone(&sequencer.is_failing);
        let is_shared = store.newest_head().await?.is_some();
        let started = sequencer.start(received).await;
        started.map_err(|error| LogError::Thread(error.to_string()))?;
        let own = issuer.first().map(|first| Own {
            key_hash: first.key_hash(),
            chain: issuer.iter().map(ChainCertificate::fingerprint).collect(),
            root: issuer.last().unwrap_or(first).clone(),
        });
        let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
        let shared = Shared {
            is_shared,
            reader: Reader::new(store, head),
            requests,
            room,
            checking: Arc::new(Semaphore::new(MAX_CHECKING)),
            fatal,
            fatal_sender,
            is_failing,
            verifier,
            origin,
            own,
            policy: ArcSwap::from_pointee(policy),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Logs a precertificate of the authority this log was opened for. Answers when the entry is
    /// durable; asking again for the same precertificate answers with the same SCT. If the future is
    /// dropped, the entry may be logged or not, and asking again is safe.
    pub async fn append(
        &self,
        precertificate: &Precertificate,
        now: OffsetDateTime,
    ) -> Result<Appended, AppendError> {
        let own = self.shared.own.as_ref().ok_or(AppendError::NoAuthority)?;
        let (not_after, window) = (precertificate.not_after(), self.shared.policy.load().window);
        if !window.contains(not_after) {
            return Err(AppendError::Window { not_after, window });
        }
        let body = EntryBody::precertificate(&own.key_hash, precertificate.tbs())?;
        let entry = Entry::precertificate(body, precertificate.der(), own.chain.clone())?;
        let dedup = entry.body().dedup_key();
        self.enqueue(entry, dedup, Vec::new(), now).await
    }

    /// Logs what somebody else submits, if it leads to a root this log accepts.
    pub async fn submit(
        &self,
        submission: Submission,
        now: OffsetDateTime,
    ) -> Result<Sct, AppendError> {
        // Verifying strangers' signatures takes its time: beside the threads that answer, and by few.
        let Ok(permit) = self.shared.checking.clone().try_acquire_owned() else {
            return Err(AppendError::turned_away(Busy::Checks));
        };
        let shared = self.shared.clone();
        let accepted = tokio::task::spawn_blocking(move || {
            let accepted = shared.policy.load().accept(submission, now);
            drop(permit);
            accepted
        });
        let accepted = accepted.await.map_err(|_| AppendError::Unavailable)?;
        let Accepted { entry, issuers } = accepted?;
        let dedup = entry.body().dedup_key();
        // What is repeated here was asked for by people, over and over; it need not cost a commit, where
        // what can be found is known to be durable.
        // Stored is not enough: an entry counts once the high-water mark covers it, and so does the head.
        if !self.shared.is_shared
            && let Ok(found) = self.shared.reader.store.find(&[dedup]).await
            && let Some(logged) = found.into_iter().find_map(Logged::from_stored)
            && logged.index < self.head().size
        {
            return Ok(self.checked(&entry, logged)?.sct);
        }
        Ok(self.enqueue(entry, dedup, issuers, now).await?.sct)
    }

    /// Signs the current tree head anew, so that readers see that the log lives. To be called every
    /// so often while nothing is logged.
    pub async fn refresh(&self, now: OffsetDateTime) -> Result<(), AppendError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Refresh {
            now_ms: milliseconds(now),
            answer,
        })?;
        answered.await.map_err(|_| AppendError::Unavailable)?
    }

    /// Whether certificates that end then are those it is for.
    #[must_use]
    pub fn is_for(&self, not_after: OffsetDateTime) -> bool {
        self.shared.policy.load().window.contains(not_after)
    }

    /// Finishes what waits, closes the database and lets go of its lock. Every handle to this log is
    /// without use from here on.
    pub async fn close(&self) {
        let (stopped, has_stopped) = oneshot::channel();
        if self
            .shared
            .requests
            .send(Request::Stop(stopped))
            .await
            .is_ok()
        {
            _ = has_stopped.await;
        }
        // The task has closed it, unless it had failed before.
        self.shared.reader.store.close().await;
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// SHA-256 of the log's public key.
    #[must_use]
    pub fn log_id(&self) -> [u8; HASH_LENGTH] {
        self.shared.verifier.log_id()
    }

    /// The log's public key, a `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn public_key_der(&self) -> &[u8] {
        self.shared.verifier.public_key_der()
    }

    /// The newest durable tree head that this process knows. Where others write to the same log there
    /// may be a newer one.
    #[must_use]
    pub fn head(&self) -> Arc<Head> {
        self.shared.reader.head()
    }

    /// The log as it is read.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// Rebuilds the whole log and compares; see [`check::check`].
    pub async fn check(&self) -> Result<check::Report, RecoveryError> {
        check::check(
            &*self.shared.reader.store,
            &self.shared.origin,
            &self.shared.verifier,
            &mut |_, _| {},
        )
        .await
    }

    async fn enqueue(
        &self,
        entry: Entry,
        dedup: Hash,
        issuers: Vec<(Hash, Vec<u8>)>,
        now: OffsetDateTime,
    ) -> Result<Appended, AppendError> {
        let above: usize = issuers.iter().map(|(_, der)| der.len()).sum();
        // A weight beyond 32 bits is impossible: each part of an entry is below 64 KiB.
        let weight = u32::try_from(entry.weight() + above);
        let weight = weight.map_err(|_| AppendError::turned_away(Busy::Bytes))?;
        let weight = self.shared.room.clone().try_acquire_many_owned(weight);
        let weight = weight.map_err(|_| AppendError::turned_away(Busy::Bytes))?;
        let entry = Arc::new(entry);
        let (answer, answered) = oneshot::channel();
        let now_ms = milliseconds(now);
        let append = Append {
            entry: entry.clone(),
            dedup,
            issuers,
            now_ms,
            answer,
            weight,
        };
        self.send(Request::Append(append))?;
        let logged = answered.await.map_err(|_| AppendError::Unavailable)??;
        self.checked(&entry, logged)
    }

    fn send(&self, request: Request) -> Result<(), AppendError> {
        if self.shared.fatal.borrow().is_some() {
            return Err(AppendError::Unavailable);
        }
        self.shared
            .requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AppendError::turned_away(Busy::Entries),
                mpsc::error::TrySendError::Closed(_) => AppendError::Unavailable,
            })
    }

    /// Makes the SCT, if the leaf that was logged is the leaf that was to be logged, at the index
    /// and time the SCT will tell.
    fn checked(&self, entry: &Entry, logged: Logged) -> Result<Appended, AppendError> {
        let Logged {
            index,
            timestamp_ms,
            signature,
            leaf: logged_leaf,
            is_repeated,
        } = logged;
        let leaf = entry.body().merkle_tree_leaf(timestamp_ms, index);
        let verifier = &self.shared.verifier;
        // The signatures of a fresh batch were made a moment ago over these bytes, and one of each
        // batch was verified; one from the disk is verified here.
        if leaf != logged_leaf || is_repeated && !verifier.verifies(&leaf, &signature) {
            tracing::error!(
                index,
                "the log holds another entry than the one it answers for"
            );
            return Err(AppendError::Mismatch);
        }
        let extensions = leaf_index_extension(index).to_vec();
        let sct = Sct {
            log_id: verifier.log_id(),
            timestamp_ms,
            extensions,
            signature,
        };
        let index = Some(index);
        Ok(Appended { sct, index })
    }
}

impl core::fmt::Debug for Log {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let size = self.head().size;
        f.debug_struct("Log")
            .field("origin", &self.origin())
            .field("size", &size)
            .finish()
    }
}

/// Milliseconds since 1970; a time before that is far behind every tree head and refused as such.
fn milliseconds(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// Submissions that may be checked at the same time.
const MAX_CHECKING: usize = 8;

/// Bytes of entries that may wait, whatever their number.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
