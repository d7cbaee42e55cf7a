//! A log as a stranger reads it: from its files, believing nothing but the key. Every hash that is handed
//! out leads up to the root that was signed, and every entry to such a hash.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::check::Progress;
use super::checkpoint::{Checkpoint, CheckpointError};
use super::entry::TileLeaf;
use super::files::{
    CHECKPOINT, Files, FilesError, HASH_TILE, MAX_CHECKPOINT, MAX_DATA_TILE, issuer_name,
};
use super::merkle::{
    Edge, EdgeError, HASH_LENGTH, Hash, MAX_SIZE, TILE_LEVELS, TILE_WIDTH, edge_position,
    edge_width, leaf_hash, perfect_root, sha256,
};
use super::proofs::{Tiles, inclusion, needed, root};
use super::signer::LogVerifier;
use super::tile::{FULL, TilePath};

/// A published log up to one signed tree head.
pub struct Audit<'a> {
    files: &'a dyn Files,
    /// The head, its signature checked.
    pub head: Checkpoint,
    /// The incomplete tiles at the right edge, which make the root.
    edge: [Vec<u8>; TILE_LEVELS as usize],
    /// The full tiles above the first level that were found to lead to the root, by level and position.
    upper: Mutex<Tiles>,
}

/// A log in which everything is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Certificates above entries.
    pub issuers: usize,
}

/// What is wrong with a published log, by the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file is not there, though the tree head says that it must be.
    #[error("{0} is missing")]
    Missing(String),
    /// It cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The checkpoint is not the log's.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Tiles at the edge of the wrong size.
    #[error("the tiles at the tree's edge: {0}")]
    Edge(#[from] EdgeError),
    /// The tiles at the edge do not make the root.
    #[error("the tiles at the tree's edge do not make the root that was signed")]
    Root,
    /// A tile or certificate that is not what the tree says.
    #[error("{name}: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry that is not what the tree says.
    #[error("entry {index} in {name}: {reason}")]
    Entry {
        /// Its zero-based index.
        index: u64,
        /// The tile it stands in.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A smaller tree is asked for, or a larger one is needed.
    #[error("the log has {size} entries and no entry {index}")]
    Beyond {
        /// The entry asked for.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
}

impl<'a> Audit<'a> {
    /// Reads the tree head and the edge of the tree and checks both.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn open(
        files: &'a dyn Files,
        origin: &str,
        verifier: &LogVerifier,
    ) -> Result<Self, AuditError> {
        let note = files.read(CHECKPOINT, MAX_CHECKPOINT).await?;
        let note = note.ok_or_else(|| AuditError::Missing(CHECKPOINT.to_owned()))?;
        let note = str::from_utf8(&note).map_err(|_| CheckpointError::Malformed)?;
        let head = Checkpoint::verify(note, origin, verifier)?;
        let size = head.size;
        if size > MAX_SIZE {
            return Err(EdgeError::TooLarge(size).into());
        }
        let mut edge: [Vec<u8>; TILE_LEVELS as usize] = Default::default();
        for (level, tile) in (0..TILE_LEVELS).zip(&mut edge) {
            let width = edge_width(level, size);
            if width > 0 {
                let n = edge_position(level, size);
                let width = u16::try_from(width).unwrap_or(FULL);
                *tile = hashes(files, level, n, width).await?;
            }
        }
        if Edge::from_tiles(size, edge.clone())?.root() != head.root {
            return Err(AuditError::Root);
        }
        Ok(Self {
            files,
            head,
            edge,
            upper: Mutex::default(),
        })
    }

    /// The tree at an earlier size, from which it can be seen to grow to this one.
    ///
    /// # Errors
    /// [`AuditError`]: its tiles do not lead to the root of this one.
    pub async fn edge_at(&self, size: u64) -> Result<Edge, AuditError> {
        if size > self.head.size {
            let (index, size) = (size, self.head.size);
            return Err(AuditError::Beyond { index, size });
        }
        let mut tiles: [Vec<u8>; TILE_LEVELS as usize] = Default::default();
        for (level, tile) in (0..TILE_LEVELS).zip(&mut tiles) {
            let width = edge_width(level, size);
            if width > 0 {
                *tile = self.tile(level, edge_position(level, size)).await?;
                tile.truncate(width * HASH_LENGTH);
            }
        }
        Ok(Edge::from_tiles(size, tiles)?)
    }

    /// The hashes of a tile, as many as the tree has, each of which leads to the root.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn tile(&self, level: u8, n: u64) -> Result<Vec<u8>, AuditError> {
        if n == edge_position(level, self.head.size) {
            let edge = self.edge.get(usize::from(level));
            return Ok(edge.cloned().unwrap_or_default());
        }
        // Down from the lowest level whose tile is believed already.
        let mut wanted = vec![(level, n)];
        let mut above = loop {
            let (level, n) = wanted
                .last()
                .map_or((level, n), |(level, n)| (level + 1, n / TILE_WIDTH as u64));
            if n == edge_position(level, self.head.size) {
                let edge = self.edge.get(usize::from(level));
                break edge.cloned().unwrap_or_default();
            }
            if let Some(known) = self.upper().get(&(level, n)) {
                break known.clone();
            }
            wanted.push((level, n));
        };
        while let Some((level, n)) = wanted.pop() {
            let found = hashes(self.files, level, n, FULL).await?;
            let at = usize::try_from(n % TILE_WIDTH as u64).unwrap_or_default() * HASH_LENGTH;
            let expected = above.get(at..at + HASH_LENGTH);
            let is_there = Some(perfect_root(found.as_chunks().0).as_slice()) == expected;
            if !is_there {
                return Err(AuditError::Damaged {
                    name: name(level, n, FULL),
                    reason: "its hashes do not lead to the root that was signed".to_owned(),
                });
            }
            if level > 0 {
                self.upper().insert((level, n), found.clone());
            }
            above = found;
        }
        Ok(above)
    }

    /// The entries of a tile of entries, each of which is the one that the tree has there.
    ///
    /// # Errors
    /// [`AuditError`] with the index of the first entry that is not.
    pub async fn entries(&self, n: u64) -> Result<Vec<TileLeaf>, AuditError> {
        let first = n * TILE_WIDTH as u64;
        let hashes = self.tile(0, n).await?;
        let (hashes, _) = hashes.as_chunks::<HASH_LENGTH>();
        let width = u16::try_from(hashes.len()).unwrap_or(FULL);
        let (name, data) = data(self.files, n, width).await?;
        let mut rest = data.as_slice();
        let mut entries = Vec::with_capacity(hashes.len());
        for (index, hash) in (first..).zip(hashes) {
            let damaged = |reason| AuditError::Entry {
                index,
                name: name.clone(),
                reason,
            };
            let (leaf, after) = TileLeaf::read(rest).map_err(|_| damaged("it cannot be read"))?;
            if leaf.index != index {
                return Err(damaged("it has the index of another"));
            }
            if leaf_hash(&leaf.merkle_tree_leaf()) != *hash {
                return Err(damaged("it is not the one that the tree has there"));
            }
            if leaf.timestamp_ms > self.head.timestamp_ms {
                return Err(damaged("it is younger than the tree head"));
            }
            entries.push(leaf);
            rest = after;
        }
        // A tile that has grown since holds more, and those are not spoken of here.
        Ok(entries)
    }

    /// One entry.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn entry(&self, index: u64) -> Result<TileLeaf, AuditError> {
        let beyond = AuditError::Beyond {
            index,
            size: self.head.size,
        };
        if index >= self.head.size {
            return Err(beyond);
        }
        let mut entries = self.entries(index / TILE_WIDTH as u64).await?;
        let at = usize::try_from(index % TILE_WIDTH as u64).unwrap_or_default();
        match at < entries.len() {
            true => Ok(entries.swap_remove(at)),
            false => Err(beyond),
        }
    }

    /// The hashes that prove that the leaf at `index` is in the tree (RFC 6962 section 2.1.1).
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn inclusion_proof(&self, index: u64) -> Result<Vec<Hash>, AuditError> {
        let size = self.head.size;
        if index >= size {
            return Err(AuditError::Beyond { index, size });
        }
        let ranges: Vec<Range<u64>> = inclusion(index, size);
        let mut tiles = Tiles::new();
        for (level, n) in needed(&ranges) {
            tiles.insert((level, n), self.tile(level, n).await?);
        }
        let roots: Option<Vec<Hash>> = ranges
            .into_iter()
            .map(|range| root(range, &tiles))
            .collect();
        roots.ok_or(AuditError::Root)
    }

    /// Reads the whole log: every entry, every tile of hashes, every certificate above an entry. `progress`
    /// is told how many entries of how many were read.
    ///
    /// # Errors
    /// [`AuditError`] with the first thing that is not as it should be.
    pub async fn check(&self, progress: Progress<'_>) -> Result<Whole, AuditError> {
        let size = self.head.size;
        let mut issuers = BTreeSet::new();
        for n in 0..size.div_ceil(TILE_WIDTH as u64) {
            for leaf in self.entries(n).await? {
                issuers.extend(leaf.chain);
            }
            progress(size.min((n + 1) * TILE_WIDTH as u64), size);
        }
        for fingerprint in &issuers {
            self.issuer(fingerprint).await?;
        }
        Ok(Whole {
            issuers: issuers.len(),
        })
    }

    /// A certificate that stands above an entry.
    ///
    /// # Errors
    /// [`AuditError`]: it is not there, or another one.
    pub async fn issuer(&self, fingerprint: &Hash) -> Result<Vec<u8>, AuditError> {
        issuer(self.files, fingerprint).await
    }

    fn upper(&self) -> std::sync::MutexGuard<'_, Tiles> {
        self.upper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A certificate of a published log, which is the one of its name.
pub(super) async fn issuer(files: &dyn Files, fingerprint: &Hash) -> Result<Vec<u8>, AuditError> {
    let name = issuer_name(fingerprint);
    let found = files.read(&name, MAX_ISSUER).await?;
    let found = found.ok_or_else(|| AuditError::Missing(name.clone()))?;
    if sha256(&found) != *fingerprint {
        let reason = "it is not the certificate of this SHA-256".to_owned();
        return Err(AuditError::Damaged { name, reason });
    }
    Ok(found)
}

/// The first hashes of a tile.
pub(super) async fn hashes(
    files: &dyn Files,
    level: u8,
    n: u64,
    width: u16,
) -> Result<Vec<u8>, AuditError> {
    let path = |width| TilePath::Hashes { level, n, width }.to_string();
    let (name, mut found) = tile(files, path, width, HASH_TILE).await?;
    let length = usize::from(width) * HASH_LENGTH;
    if found.len() < length || found.len() % HASH_LENGTH != 0 {
        let reason = format!("it has {} bytes, not {length}", found.len());
        return Err(AuditError::Damaged { name, reason });
    }
    found.truncate(length);
    Ok(found)
}

/// A tile of entries, which may have more than `width`.
pub(super) async fn data(
    files: &dyn Files,
    n: u64,
    width: u16,
) -> Result<(String, Vec<u8>), AuditError> {
    let path = |width| TilePath::Data { n, width }.to_string();
    tile(files, path, width, MAX_DATA_TILE).await
}

/// A log may drop a partial tile once the full one is there, of which it is the start.
async fn tile(
    files: &dyn Files,
    path: impl Fn(u16) -> String,
    width: u16,
    limit: usize,
) -> Result<(String, Vec<u8>), AuditError> {
    let exact = path(width);
    if let Some(found) = files.read(&exact, limit).await? {
        return Ok((exact, found));
    }
    let full = path(FULL);
    if width < FULL
        && let Some(found) = files.read(&full, limit).await?
    {
        return Ok((full, found));
    }
    Err(AuditError::Missing(exact))
}

fn name(level: u8, n: u64, width: u16) -> String {
    TilePath::Hashes { level, n, width }.to_string()
}

const MAX_ISSUER: usize = super::entry::MAX_CERTIFICATE;

#[cfg(test)]
mod tests;
