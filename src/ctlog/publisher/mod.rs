//! The publisher: a copy of the log for others to read, in a directory or a bucket, which survives
//! this machine.
//!
//! Names and bytes are those of C2SP static-ct-api. Certificates and tiles go first, the checkpoint
//! last, once everything that it needs is durable there: whoever finds a checkpoint finds its tree.
//! So there is nothing to repair after a crash, and progress is what the target's own checkpoint says.
//!
//! Nothing is copied that does not prove itself. The hash tiles that are put are computed from the
//! very leaves that are put beside them, and the tree over them must be the beginning of the one that
//! the log has signed, by a consistency proof, before the first byte leaves.
//!
//! It runs beside issuance, never on its path: an error is counted, told and tried again. What cannot
//! be tried again (a file that is there with other bytes) stops the publisher for good, loudly. What
//! cannot be survived, a published tree that the database does not know, stops the log.

mod bucket;
mod directory;
mod error;
mod target;

pub use bucket::{Bucket, Credentials};
pub use directory::Directory;
pub use error::PublishError;
pub use target::{Found, Kind, Target, TargetError};

use super::checkpoint::{Checkpoint, CheckpointError, MAX_NOTE};
use super::entry::TileLeaf;
use super::files::issuer_name;
use super::guard::check_seen;
use super::merkle::{
    Edge, HASH_LENGTH, Hash, TILE_LEVELS, TILE_WIDTH, edge_position, edge_width, leaf_hash,
    level_width, sha256, verify_consistency,
};
use super::recovery::edge_at;
use super::store::{Head, StoreError};
use super::tile::{FULL, TilePath};
use super::upkeep::Clock;
use super::{Fatal, Log};
use crate::failpoint::FailPoint;
use crate::telemetry::metrics;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

/// What an operator says about publishing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// A directory, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// Seconds between two looks for something new, 1 to 3600.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// The address of an S3-compatible store; without it the region's own.
    pub endpoint: Option<String>,
    /// The store's region.
    pub region: Option<String>,
    /// Whether the bucket stands in the path of addresses and not in their host.
    #[serde(default)]
    pub path_style: bool,
    /// A file with the store's keys; without it they come from the environment.
    pub credentials: Option<PathBuf>,
    /// Whether the endpoint may be `http://` at an address on loopback.
    #[serde(default)]
    pub allow_http_loopback: bool,
}

/// Puts a log where others read it.
#[derive(Debug)]
pub struct Publisher {
    log: Log,
    target: Box<dyn Target>,
    /// Where to, for people.
    name: String,
    interval: Duration,
    /// Nothing, before the target was looked at.
    progress: Option<Progress>,
    /// Certificates that are there.
    issuers: HashSet<Hash>,
    /// Directories of narrower tiles that are of no more use, and since when.
    superseded: VecDeque<(OffsetDateTime, String)>,
}

/// How far the target is.
#[derive(Clone, Debug)]
struct Progress {
    /// Its checkpoint, as it is there; nothing, where there is none.
    note: Option<String>,
    /// Leaves in the tree of that checkpoint.
    size: u64,
    /// The tree whose full tiles are there, at least that of the checkpoint.
    edge: Edge,
}

impl Publisher {
    /// Publishes `log` to where `config` says. Relative paths start from `base`.
    pub fn new(
        log: Log,
        config: &Config,
        base: &Path,
        credentials: Option<Credentials>,
    ) -> Result<Self, PublishError> {
        let target: Box<dyn Target> = match Self::bucket(config, credentials)? {
            Some(bucket) => Box::new(bucket),
            None => Box::new(Directory::open(&base.join(&config.to))?),
        };
        let interval = Duration::from_secs(config.interval_seconds.into());
        Ok(Self::to(log, target, config.to.clone(), interval))
    }

    /// The bucket that `config` names, which is asked nothing; none, where it names a directory.
    ///
    /// # Errors
    /// [`PublishError::Config`]: it names neither, or something else in it makes no sense.
    pub fn bucket(
        config: &Config,
        credentials: Option<Credentials>,
    ) -> Result<Option<Bucket>, PublishError> {
        if !(1..=3600).contains(&config.interval_seconds) {
            let reason = "interval-seconds is 1 to 3600".to_owned();
            return Err(PublishError::Config(reason));
        }
        if config.to.starts_with(bucket::SCHEME) {
            return Bucket::open(config, credentials).map(Some);
        }
        if config.to.contains("://") {
            let reason = format!(
                "{} is neither a directory nor s3://BUCKET/PREFIX",
                config.to
            );
            return Err(PublishError::Config(reason));
        }
        Ok(None)
    }

    /// Publishes `log` to any target.
    #[must_use]
    pub fn to(log: Log, target: Box<dyn Target>, name: String, interval: Duration) -> Self {
        Self {
            log,
            target,
            name,
            interval,
            progress: None,
            issuers: HashSet::new(),
            superseded: VecDeque::new(),
        }
    }

    /// Compares what is published with what is stored.
    ///
    /// # Errors
    /// [`PublishError::Rollback`]: more or something else is published, and the log must not go on.
    pub async fn check(&mut self, now: OffsetDateTime) -> Result<(), PublishError> {
        let shared = &self.log.shared;
        let note = self.target.get(CHECKPOINT, MAX_NOTE).await?;
        let Some(note) = note else {
            self.progress = Some(Progress {
                note: None,
                size: 0,
                edge: Edge::default(),
            });
            return Ok(());
        };
        let note = String::from_utf8(note.bytes);
        let note = note.map_err(|_| PublishError::Foreign(CheckpointError::Malformed))?;
        let seen = Checkpoint::verify(&note, &shared.origin, &shared.verifier);
        let seen = seen.map_err(PublishError::Foreign)?;
        let stored = shared.reader.store.state().await?.head.size;
        let witnessed = || format!("what is published to {}", self.name);
        let (size, root) = (seen.size, &seen.root);
        check_seen(&*shared.reader.store, stored, size, root, witnessed).await?;
        let edge = edge_at(&*shared.reader.store, seen.size).await;
        let edge = edge.map_err(PublishError::from_recovery)?;
        // What was waiting to be removed when the process ended is not known any more.
        for level in 0..TILE_LEVELS {
            let full = level_width(level, seen.size) / TILE_WIDTH as u64;
            for n in full.saturating_sub(SWEPT_AT_START)..full {
                let narrower = narrower_than(level, n).map(|directory| (now, directory));
                self.superseded.extend(narrower);
            }
        }
        self.progress = Some(Progress {
            note: Some(note),
            size: seen.size,
            edge,
        });
        Ok(())
    }

    /// Publishes the newest tree, unless it is published.
    ///
    /// # Errors
    /// [`PublishError`]. Whatever it is, the target is sound: its checkpoint is the old or the new.
    pub async fn publish(&mut self, now: OffsetDateTime) -> Result<(), PublishError> {
        if self.progress.is_none() {
            self.check(now).await?;
        }
        let head = self.log.shared.reader.store.state().await?.head;
        let note = self.log.reader().with_cosignatures(&head.checkpoint);
        let Some(progress) = self.progress.clone() else {
            return Ok(());
        };
        if progress.note.as_deref() != Some(note.as_str()) {
            // Somebody else may have published meanwhile, or taken everything away.
            let found = self.target.get(CHECKPOINT, MAX_NOTE).await?;
            let present = found.as_ref().map(|found| &*found.bytes);
            if present != progress.note.as_deref().map(str::as_bytes) {
                self.forget();
                return Box::pin(self.publish(now)).await;
            }
            // A server that failed over to an older copy must not be published over what it forgot.
            let (size, root) = (progress.edge.size(), progress.edge.root());
            let witnessed = || format!("what is published to {}", self.name);
            let store = &*self.log.shared.reader.store;
            check_seen(store, head.size, size, &root, witnessed).await?;
            FailPoint::PublicationBegun.reach();
            if size < head.size {
                self.put_issuers().await?;
            }
            while let Some(progress) = self.progress.clone()
                && progress.edge.size() < head.size
            {
                let edge = self.put_entries(progress, &head).await?;
                if let Some(progress) = &mut self.progress {
                    progress.edge = edge;
                }
            }
            FailPoint::TilesPublished.reach();
            let bytes = note.clone().into_bytes();
            // Over the one that these files belong to, and no other: a checkpoint never goes back.
            let put = self
                .target
                .put(CHECKPOINT, bytes, Kind::Checkpoint, found.as_ref());
            if !put.await? {
                self.forget();
                return Err(PublishError::Contended);
            }
            FailPoint::CheckpointPublished.reach();
            self.supersede(progress.size, head.size, now);
            if let Some(progress) = &mut self.progress {
                progress.size = head.size;
                progress.note = Some(note);
            }
        }
        metrics()
            .publishing
            .succeeded(head.size, now.unix_timestamp());
        self.sweep(now).await;
        Ok(())
    }

    /// Has the target looked at anew.
    fn forget(&mut self) {
        self.progress = None;
        self.issuers.clear();
    }

    /// Publishes what comes until `over` resolves, and then what came last. What is under way then is
    /// finished first: a file is written beside this task, and two must not write the same.
    pub async fn run(&mut self, clock: Clock, mut over: impl Future<Output = ()> + Unpin) {
        let mut pause = self.interval;
        loop {
            match self.publish(clock()).await {
                Ok(()) => pause = self.interval,
                Err(error) if error.is_passing() => {
                    metrics().publishing.failed();
                    pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    tracing::warn!(to = self.name, %error, again_in = ?pause, "the log is not published");
                }
                Err(error) => {
                    metrics().publishing.stopped();
                    tracing::error!(to = self.name, %error, "the log is not published any more; somebody has to look");
                    if let PublishError::Rollback(rollback) = error {
                        self.log.condemn(Fatal::Rollback(rollback));
                    }
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut over => break,
            }
        }
        // What a log that must not go on has signed last is for nobody.
        if self.log.in_service()
            && let Err(error) = self.publish(clock()).await
        {
            tracing::warn!(to = self.name, %error, "the last entries are not published");
        }
    }

    async fn put_issuers(&mut self) -> Result<(), PublishError> {
        for fingerprint in self.log.shared.reader.store.issuers().await? {
            if self.issuers.contains(&fingerprint) {
                continue;
            }
            let der = self.log.shared.reader.store.issuer(&fingerprint).await?;
            let der = der.filter(|der| sha256(der) == fingerprint);
            let der = der.ok_or(StoreError::Malformed("a certificate"))?;
            self.put_new(issuer_name(&fingerprint), der, Kind::Issuer)
                .await?;
            self.issuers.insert(fingerprint);
        }
        Ok(())
    }

    /// Puts the next entries and the tiles that they complete, and at the log's end those that they
    /// only begin; returns the tree over them.
    async fn put_entries(&self, progress: Progress, head: &Head) -> Result<Edge, PublishError> {
        let Progress { size, edge, .. } = progress;
        let width = TILE_WIDTH as u64;
        let (start, first) = (edge.size(), edge.size() / width * width);
        let end = head.size.min(first + TILES_AT_ONCE * width);
        let damaged = PublishError::Damaged(first);
        let leaves = self.log.shared.reader.store.leaves(first..end).await?;

        let (known, _) = edge.tile(0).as_chunks::<HASH_LENGTH>();
        let mut known = known.iter();
        let mut next = edge.clone();
        let (mut sealed, mut files, mut data) = (Vec::new(), Vec::new(), Vec::new());
        let mut index = first;
        for packed in leaves {
            let leaf = TileLeaf::unpack(&packed).map_err(|_| damaged.clone())?;
            let hash = leaf_hash(&leaf.merkle_tree_leaf());
            // Those before `start` are in the tree already, but their tile grows.
            let is_sound = index >= start || known.next() == Some(&hash);
            if leaf.index != index || !is_sound {
                return Err(damaged);
            }
            if index >= start {
                next.push(hash, &mut sealed);
            }
            leaf.push_to(&mut data);
            index += 1;
            if index % width == 0 || index == end {
                let width = u16::try_from(index - (index - 1) / width * width).unwrap_or(FULL);
                let n = (index - 1) / TILE_WIDTH as u64;
                files.push((TilePath::Data { n, width }, std::mem::take(&mut data)));
            }
        }
        self.check_prefix(&next, head, damaged).await?;
        let begun = next.changed_since(size).filter(|_| end == head.size);
        for tile in sealed.into_iter().chain(begun) {
            let width = u16::try_from(tile.hashes.len() / HASH_LENGTH).unwrap_or(FULL);
            let path = TilePath::Hashes {
                level: tile.level,
                n: tile.n,
                width,
            };
            files.push((path, tile.hashes));
        }
        let puts = files
            .into_iter()
            .map(|(path, bytes)| self.put_new(path.to_string(), bytes, Kind::Tile));
        let puts = stream::iter(puts).buffer_unordered(PUTS_AT_ONCE);
        puts.try_collect::<()>().await?;
        Ok(next)
    }

    /// That the tree to be published is the beginning of the one that was signed.
    async fn check_prefix(
        &self,
        edge: &Edge,
        head: &Head,
        damaged: PublishError,
    ) -> Result<(), PublishError> {
        let proof = self.log.consistency_up_to(edge.size(), head.size).await?;
        let (size, root) = (edge.size(), edge.root());
        match verify_consistency(size, &root, head.size, &head.root, &proof) {
            true => Ok(()),
            false => Err(damaged),
        }
    }

    /// Puts a file that never changes. One that is there already must be the same.
    async fn put_new(&self, path: String, bytes: Vec<u8>, kind: Kind) -> Result<(), PublishError> {
        let mut found = self.target.get(&path, MAX_FILE).await?;
        if found.is_none() {
            if self.target.put(&path, bytes.clone(), kind, None).await? {
                FailPoint::FilePublished.reach();
                return Ok(());
            }
            // Somebody else was faster.
            found = self.target.get(&path, MAX_FILE).await?;
        }
        match found.is_some_and(|found| found.bytes == bytes) {
            true => Ok(()),
            false => Err(PublishError::Conflict(path)),
        }
    }

    /// Remembers which narrower tiles the full ones make superfluous. Only those at the edge of a
    /// published tree exist.
    fn supersede(&mut self, old: u64, new: u64, now: OffsetDateTime) {
        for level in 0..TILE_LEVELS {
            let n = edge_position(level, old);
            if edge_width(level, old) > 0 && edge_position(level, new) > n {
                let narrower = narrower_than(level, n).map(|directory| (now, directory));
                self.superseded.extend(narrower);
            }
        }
    }

    /// Removes narrower tiles whose full one has been there for some time. Static-ct-api: "[The log]
    /// MAY delete partial tiles once the corresponding full tile is available"; whoever walks the tree
    /// of a checkpoint read a moment ago still finds them. One that cannot be removed is in nobody's way,
    /// and is tried again later.
    async fn sweep(&mut self, now: OffsetDateTime) {
        while let Some((since, directory)) = self.superseded.front()
            && now - *since >= KEEP_NARROWER
        {
            let removed = self.target.remove(directory).await;
            let Some((_, directory)) = self.superseded.pop_front() else {
                return;
            };
            if let Err(error) = removed {
                tracing::warn!(to = self.name, directory, %error, "superfluous tiles cannot be removed");
                self.superseded.push_back((now, directory));
                return;
            }
        }
    }
}

/// The directories of the narrower forms of a full tile of hashes and, at the bottom, of entries.
fn narrower_than(level: u8, n: u64) -> impl Iterator<Item = String> {
    let width = FULL;
    let data = (level == 0).then_some(TilePath::Data { n, width });
    let paths = [TilePath::Hashes { level, n, width }]
        .into_iter()
        .chain(data);
    paths.map(|path| format!("{path}.p"))
}

const fn default_interval() -> u32 {
    1
}

const CHECKPOINT: &str = "checkpoint";
/// A data tile holds 256 entries of a precertificate, its to-be-signed part and a chain, each below
/// 64 KiB.
const MAX_FILE: usize = 256 * 3 * 64 * 1024;
/// Data tiles that are held in memory at a time.
const TILES_AT_ONCE: u64 = 4;
const PUTS_AT_ONCE: usize = 8;
const KEEP_NARROWER: time::Duration = time::Duration::minutes(10);
/// Full tiles of each level that are looked at for narrower ones at the start.
const SWEPT_AT_START: u64 = 16;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
