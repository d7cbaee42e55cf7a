//! Proofs that a leaf is in the tree, and that one tree begins with another (RFC 6962 section 2.1), out
//! of the stored tiles.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::entry::{TileLeaf, push_u24_vector};
use super::merkle::{
    HASH_LENGTH, Hash, TILE_HEIGHT, TILE_WIDTH, Tile, empty_root, node_hash, perfect_root,
};
use super::reads::Reader;
use super::store::{Store, StoreError, TilePlace};

/// An entry as RFC 6962 section 4.6 hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// The `MerkleTreeLeaf`.
    pub leaf_input: Vec<u8>,
    /// The certificates above it and, where it is one, the precertificate.
    pub extra_data: Vec<u8>,
}

impl Reader {
    /// That the leaf at `index` is in the tree of the first `size` leaves. Nothing, where there is no
    /// such leaf or the log has not so many.
    ///
    /// # Errors
    /// [`StoreError`]: what is stored cannot be read.
    pub async fn inclusion_proof(
        &self,
        index: u64,
        size: u64,
    ) -> Result<Option<Vec<Hash>>, StoreError> {
        if index >= size || !self.covers(size).await? {
            return Ok(None);
        }
        let ranges = inclusion(index, size);
        roots_of(&*self.store, &ranges).await.map(Some)
    }

    /// That the tree of the first `second` leaves begins with that of the first `first`. Nothing, where
    /// the log has not so many or the second is the smaller one.
    ///
    /// # Errors
    /// [`StoreError`]: what is stored cannot be read.
    pub async fn consistency_proof(
        &self,
        first: u64,
        second: u64,
    ) -> Result<Option<Vec<Hash>>, StoreError> {
        if first > second || !self.covers(second).await? {
            return Ok(None);
        }
        let proof = consistency_proof(&*self.store, first, second);
        proof.await.map(Some)
    }

    /// Where the leaf with this hash stands among the first `size`. It reads 8 KiB for each 256 leaves,
    /// the newest first.
    ///
    /// # Errors
    /// [`StoreError`]: what is stored cannot be read.
    pub async fn index_of(&self, leaf_hash: &Hash, size: u64) -> Result<Option<u64>, StoreError> {
        let size = size.min(self.newest_head().await?.size);
        for n in (0..size.div_ceil(TILE_WIDTH as u64)).rev() {
            let first = n * TILE_WIDTH as u64;
            let tile = stored_tile(&*self.store, (0, n)).await?;
            let (hashes, _) = tile.as_chunks::<HASH_LENGTH>();
            let found = (first..size)
                .zip(hashes)
                .find(|(_, hash)| *hash == leaf_hash);
            if let Some((index, _)) = found {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The entries of a range, as far as there are any.
    ///
    /// # Errors
    /// [`StoreError`]: what is stored cannot be read.
    pub async fn raw_entries(&self, range: Range<u64>) -> Result<Vec<RawEntry>, StoreError> {
        let end = match self.covers(range.end).await? {
            true => range.end,
            false => self.head().size,
        };
        let leaves = self.store.leaves(range.start..end).await?;
        let mut issuers: HashMap<Hash, Vec<u8>> = HashMap::new();
        let mut entries = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let leaf = TileLeaf::unpack(&leaf).map_err(|_| StoreError::Malformed("an entry"))?;
            let mut chain = Vec::new();
            for fingerprint in &leaf.chain {
                if !issuers.contains_key(fingerprint) {
                    let issuer = self.issuer(fingerprint).await?;
                    let issuer = issuer.ok_or(StoreError::Malformed("a certificate is missing"))?;
                    issuers.insert(*fingerprint, issuer);
                }
                if let Some(issuer) = issuers.get(fingerprint) {
                    push_u24_vector(&mut chain, issuer);
                }
            }
            let mut extra_data = Vec::new();
            if let Some(precertificate) = &leaf.precertificate {
                push_u24_vector(&mut extra_data, precertificate);
            }
            push_u24_vector(&mut extra_data, &chain);
            entries.push(RawEntry {
                leaf_input: leaf.merkle_tree_leaf(),
                extra_data,
            });
        }
        Ok(entries)
    }
}

/// The proof that the tree of the first `second` leaves begins with that of the first `first`; both
/// must be stored.
pub(super) async fn consistency_proof(
    store: &dyn Store,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, StoreError> {
    roots_of(store, &consistency(first, second)).await
}

async fn roots_of(store: &dyn Store, ranges: &[Range<u64>]) -> Result<Vec<Hash>, StoreError> {
    let mut tiles = HashMap::new();
    for place in needed(ranges) {
        tiles.insert(place, stored_tile(store, place).await?);
    }
    let roots = ranges.iter().map(|range| root(range.clone(), &tiles));
    let roots: Option<Vec<Hash>> = roots.collect();
    roots.ok_or(StoreError::Malformed("a tile is too short"))
}

async fn stored_tile(store: &dyn Store, (level, n): (u8, u64)) -> Result<Vec<u8>, StoreError> {
    let tile = store.tile(level, n).await?;
    tile.ok_or(StoreError::Malformed("a tile is missing"))
}

/// The tiles that have the hashes of these ranges.
pub(super) fn needed(ranges: &[Range<u64>]) -> BTreeSet<TilePlace> {
    let all = ranges.iter();
    all.flat_map(|range| subtrees(range.clone()).map(Subtree::tile))
        .collect()
}

/// Stored tiles, by level and position.
pub(super) type Tiles = HashMap<TilePlace, Vec<u8>>;

/// A subtree of 2^`height` leaves, the `position`th of them.
#[derive(Debug, Clone, Copy)]
struct Subtree {
    height: u32,
    position: u64,
}

impl Subtree {
    /// The tile that has its root, or the nodes below it.
    fn tile(self) -> (u8, u64) {
        let (level, first) = self.nodes();
        (level, first / TILE_WIDTH as u64)
    }

    /// The tile level from which its root can be computed, and the position of its first node there.
    fn nodes(self) -> (u8, u64) {
        let level = self.height / TILE_HEIGHT;
        let first = self.position << (self.height % TILE_HEIGHT);
        // Trees have less than 2^48 leaves.
        (u8::try_from(level).unwrap_or(u8::MAX), first)
    }

    fn root(self, tiles: &Tiles) -> Option<Hash> {
        let (_, first) = self.nodes();
        let first = usize::try_from(first % TILE_WIDTH as u64).ok()?;
        let count = 1_usize << (self.height % TILE_HEIGHT);
        let (hashes, _) = tiles.get(&self.tile())?.as_chunks::<HASH_LENGTH>();
        Some(perfect_root(hashes.get(first..first + count)?))
    }
}

/// The tiles from which the root of the first `size` leaves can be computed.
pub(super) fn places(size: u64) -> Vec<TilePlace> {
    let places: BTreeSet<TilePlace> = subtrees(0..size).map(Subtree::tile).collect();
    places.into_iter().collect()
}

/// The root that the first `size` leaves had, if those tiles are among `tiles`.
pub(super) fn earlier_root(size: u64, tiles: &[Tile]) -> Option<Hash> {
    let tiles = tiles.iter();
    let tiles = tiles.map(|tile| ((tile.level, tile.n), tile.hashes.clone()));
    root(0..size, &tiles.collect())
}

/// The perfect subtrees of a range that begins where one of its size may, from left to right, each
/// smaller than the one before.
fn subtrees(range: Range<u64>) -> impl Iterator<Item = Subtree> {
    let Range { mut start, end } = range;
    std::iter::from_fn(move || {
        let height = (end - start).checked_ilog2()?;
        let subtree = Subtree {
            height,
            position: start >> height,
        };
        start += 1 << height;
        Some(subtree)
    })
}

/// The hash of a range of leaves.
pub(super) fn root(range: Range<u64>, tiles: &Tiles) -> Option<Hash> {
    let roots: Option<Vec<Hash>> = subtrees(range).map(|subtree| subtree.root(tiles)).collect();
    let right_to_left = roots?.into_iter().rev();
    let root = right_to_left.reduce(|right, left| node_hash(&left, &right));
    Some(root.unwrap_or_else(empty_root))
}

/// `PATH(m, D[n])`: the ranges whose hashes it has, the lowest first.
pub(super) fn inclusion(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    let mut within = 0..size;
    while within.end - within.start > 1 {
        let middle = split(&within);
        if index < middle {
            path.push(middle..within.end);
            within.end = middle;
        } else {
            path.push(within.start..middle);
            within.start = middle;
        }
    }
    path.reverse();
    path
}

/// `PROOF(m, D[n])`: the same.
fn consistency(first: u64, second: u64) -> Vec<Range<u64>> {
    let mut proof = Vec::new();
    if first == 0 || first == second {
        return proof;
    }
    let mut within = 0..second;
    while first < within.end {
        let middle = split(&within);
        if first <= middle {
            proof.push(middle..within.end);
            within.end = middle;
        } else {
            proof.push(within.start..middle);
            within.start = middle;
        }
    }
    // The whole first tree is known to whoever asks.
    if within.start > 0 {
        proof.push(within);
    }
    proof.reverse();
    proof
}

/// Where the left part of a range ends: after the largest power of two that is smaller than the whole.
fn split(range: &Range<u64>) -> u64 {
    let last = range.end - range.start - 1;
    range.start + (1 << last.checked_ilog2().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::merkle::{Edge, leaf_hash, verify_consistency, verify_inclusion};
    use super::*;

    /// The tiles of a tree and the roots of all trees it began with.
    fn grown(size: u64) -> (Tiles, Vec<Hash>) {
        let mut edge = Edge::default();
        let mut sealed = Vec::new();
        let mut roots = vec![edge.root()];
        for leaf in 0..size {
            edge.push(leaf_hash(&leaf.to_be_bytes()), &mut sealed);
            roots.push(edge.root());
        }
        sealed.extend(edge.changed_since(0));
        let tiles = sealed.into_iter();
        let tiles = tiles.map(|tile| ((tile.level, tile.n), tile.hashes));
        (tiles.collect(), roots)
    }

    fn proof(ranges: Vec<Range<u64>>, tiles: &Tiles) -> Vec<Hash> {
        let roots = ranges.into_iter().map(|range| root(range, tiles).unwrap());
        roots.collect()
    }

    /// Sizes around every boundary of tiles, and some between.
    fn sizes(most: u64) -> Vec<u64> {
        let mut sizes: Vec<u64> = (0..=20).collect();
        for boundary in [32, 128, 255, 256, 257, 300, 511, 512, 513, 65_536, 65_792] {
            sizes.extend([boundary - 1, boundary, boundary + 1]);
        }
        sizes.push(most);
        sizes.retain(|size| *size <= most);
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    #[test]
    fn every_leaf_is_proved_in_every_tree_that_has_it() {
        let (tiles, roots) = grown(66_000);
        for size in sizes(66_000).into_iter().filter(|size| *size > 0) {
            let indices = sizes(size - 1);
            for index in indices {
                let path = proof(inclusion(index, size), &tiles);
                let leaf = leaf_hash(&index.to_be_bytes());
                let root = &roots[usize::try_from(size).unwrap()];
                assert!(
                    verify_inclusion(&leaf, index, size, &path, root),
                    "{index} {size}"
                );
                let other = leaf_hash(b"another");
                assert!(!verify_inclusion(&other, index, size, &path, root));
            }
        }
    }

    #[test]
    fn every_tree_begins_with_every_smaller_one() {
        let (tiles, roots) = grown(66_000);
        let root = |size: u64| &roots[usize::try_from(size).unwrap()];
        for second in sizes(66_000) {
            for first in sizes(second) {
                let proof = proof(consistency(first, second), &tiles);
                let (old, new) = (root(first), root(second));
                assert!(
                    verify_consistency(first, old, second, new, &proof),
                    "{first} {second}"
                );
                if first == 0 || first == second {
                    assert!(proof.is_empty());
                } else {
                    assert!(!verify_consistency(first, new, second, new, &proof));
                }
            }
        }
    }
}
