//! The Merkle tree of RFC 6962 section 2.1, grown at its right edge only.
//!
//! A log of any size needs very little of its tree to grow: the hashes in the rightmost tile of
//! each tile level, and the roots of the perfect subtrees the current size is made of. [`Edge`]
//! holds both. Pushing a leaf merges those roots as a binary counter carries, and the hash that
//! comes out of a carry at level 8, 16, … is by construction the one the next tile level wants.

use aws_lc_rs::digest;

/// A SHA-256 value: a leaf hash, an interior node or a root.
pub type Hash = [u8; HASH_LENGTH];

/// Bytes in a [`tyalias@Hash`].
pub const HASH_LENGTH: usize = 32;

/// Hashes in a full tile. A tile is eight levels of the tree high.
pub const TILE_WIDTH: usize = 256;

/// Tile levels a tree of at most [`MAX_SIZE`] leaves can have.
pub const TILE_LEVELS: u8 = 6;

/// Leaves a log may hold: the leaf index is written in 40 bits.
pub const MAX_SIZE: u64 = 1 << 40;

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    hash_parts(&[bytes])
}

/// RFC 6962 section 2.1: "The hash of a list with one entry […] is: MTH({d(0)}) = SHA-256(0x00 ||
/// d(0))."
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash_parts(&[&[0x00], leaf])
}

/// SHA-256(0x01 || left || right). The prefix keeps a leaf from passing for a node.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash_parts(&[&[0x01], left, right])
}

/// The root of a tree without leaves: "The hash of an empty list is the hash of an empty string".
#[must_use]
pub fn empty_root() -> Hash {
    hash_parts(&[])
}

/// A tile that changed: full ones never change again, the rightmost of a level grows in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Zero-based tile level; level 0 holds leaf hashes.
    pub level: u8,
    /// Zero-based position within the level.
    pub n: u64,
    /// One to 256 hashes, concatenated.
    pub hashes: Vec<u8>,
}

/// What is needed of a tree to append to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// Roots of the perfect subtrees that make up `size`, the largest (leftmost) first: one for
    /// each bit set in `size`.
    range: Vec<Hash>,
    /// For each tile level the bytes of its rightmost, incomplete tile; empty where the level ends
    /// at a tile boundary.
    tiles: [Vec<u8>; TILE_LEVELS as usize],
}

/// Why stored tiles do not make a tree's edge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// The size is beyond what a leaf index can number.
    #[error("a tree of {0} leaves is larger than a log can be")]
    TooLarge(u64),
    /// A rightmost tile has another number of hashes than the size demands.
    #[error("the rightmost tile of level {level} has {found} bytes instead of {expected}")]
    TileLength {
        /// Tile level.
        level: u8,
        /// Bytes the size demands.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

impl Edge {
    /// Rebuilds the edge of a tree of `size` leaves from its rightmost incomplete tiles, one for
    /// each level, empty where the size ends at a boundary.
    pub fn from_tiles(
        size: u64,
        tiles: [Vec<u8>; TILE_LEVELS as usize],
    ) -> Result<Self, EdgeError> {
        if size > MAX_SIZE {
            return Err(EdgeError::TooLarge(size));
        }
        let mut range = Vec::new();
        for level in (0..TILE_LEVELS).rev() {
            let tile = &tiles[usize::from(level)];
            let expected = edge_width(level, size) * HASH_LENGTH;
            if tile.len() != expected {
                return Err(EdgeError::TileLength {
                    level,
                    expected,
                    found: tile.len(),
                });
            }
            let (hashes, _) = tile.as_chunks::<HASH_LENGTH>();
            let mut rest = hashes;
            while !rest.is_empty() {
                let (subtree, right) = rest.split_at(1 << rest.len().ilog2());
                range.push(perfect_root(subtree));
                rest = right;
            }
        }
        Ok(Self { size, range, tiles })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf; tiles it completes are added to `sealed`.
    pub fn push(&mut self, leaf_hash: Hash, sealed: &mut Vec<Tile>) {
        let mut hash = leaf_hash;
        let mut index = self.size;
        let mut height = 0_u32;
        loop {
            if height.is_multiple_of(TILE_HEIGHT) {
                self.extend_tile(height / TILE_HEIGHT, index, &hash, sealed);
            }
            if index & 1 == 0 {
                break;
            }
            // A set bit in the index is a finished subtree to the left, by the invariant of `range`.
            let Some(left) = self.range.pop() else { break };
            hash = node_hash(&left, &hash);
            index >>= 1;
            height += 1;
        }
        self.range.push(hash);
        self.size += 1;
    }

    /// The hashes of the incomplete rightmost tile of a level, concatenated.
    #[must_use]
    pub fn tile(&self, level: u8) -> &[u8] {
        self.tiles
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut subtrees = self.range.iter().rev();
        let Some(smallest) = subtrees.next() else {
            return empty_root();
        };
        subtrees.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The incomplete rightmost tiles that differ from those at `old_size`.
    pub fn changed_since(&self, old_size: u64) -> impl Iterator<Item = Tile> {
        (0..TILE_LEVELS)
            .zip(&self.tiles)
            .filter_map(move |(level, tile)| {
                let shift = TILE_HEIGHT * u32::from(level);
                if tile.is_empty() || old_size >> shift == self.size >> shift {
                    return None;
                }
                Some(Tile {
                    level,
                    n: edge_position(level, self.size),
                    hashes: tile.clone(),
                })
            })
    }

    fn extend_tile(&mut self, level: u32, index: u64, hash: &Hash, sealed: &mut Vec<Tile>) {
        let Ok(level) = u8::try_from(level) else {
            return;
        };
        // A 41st bit of the index has no tile level; `MAX_SIZE` keeps a log below it.
        let Some(tile) = self.tiles.get_mut(usize::from(level)) else {
            return;
        };
        tile.extend_from_slice(hash);
        if tile.len() == TILE_WIDTH * HASH_LENGTH {
            let hashes = std::mem::take(tile);
            sealed.push(Tile {
                level,
                n: index >> TILE_HEIGHT,
                hashes,
            });
        }
    }
}

/// Hashes in the incomplete rightmost tile of `level` in a tree of `size` leaves, 0 to 255.
#[must_use]
pub fn edge_width(level: u8, size: u64) -> usize {
    // Masked to eight bits: it always fits.
    usize::from((level_width(level, size) & TILE_MASK) as u8)
}

/// Position of that tile within its level.
#[must_use]
pub fn edge_position(level: u8, size: u64) -> u64 {
    level_width(level, size) >> TILE_HEIGHT
}

/// The incomplete rightmost tiles of a tree of `size` leaves: level and position.
pub fn edge_places(size: u64) -> impl Iterator<Item = (u8, u64)> {
    (0..TILE_LEVELS)
        .filter(move |level| edge_width(*level, size) > 0)
        .map(move |level| (level, edge_position(level, size)))
}

/// Hashes that tile level `level` holds in all, in a tree of `size` leaves.
#[must_use]
pub fn level_width(level: u8, size: u64) -> u64 {
    size.checked_shr(TILE_HEIGHT * u32::from(level))
        .unwrap_or(0)
}

/// Checks that a leaf stands at `index` in the tree of `size` leaves with `root` (RFC 9162 section
/// 2.1.3.2, the same proofs as RFC 6962 section 2.1.1).
#[must_use]
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> bool {
    if index >= size {
        return false;
    }
    let mut position = index;
    let mut last = size - 1;
    let mut hash = *leaf_hash;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(sibling, &hash);
            // A node without a right sibling rises unchanged until it is somebody's right child.
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Checks that the tree of `new_size` leaves with `new_root` begins with the tree of `old_size`
/// leaves with `old_root` (RFC 9162 section 2.1.4.2).
#[must_use]
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut position = old_size - 1;
    let mut last = new_size - 1;
    while position & 1 == 1 {
        position >>= 1;
        last >>= 1;
    }
    // When the old tree is a perfect subtree of the new one its root is not sent again.
    let (seed, rest) = if position == 0 {
        (*old_root, proof)
    } else {
        let Some((first, rest)) = proof.split_first() else {
            return false;
        };
        (*first, rest)
    };
    let mut old = seed;
    let mut new = seed;
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *new_root
}

/// Root over a power of two of hashes: the root of a full tile, for one.
#[must_use]
pub fn perfect_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [only] => *only,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

fn hash_parts(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; HASH_LENGTH];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

pub(super) const TILE_HEIGHT: u32 = 8;
const TILE_MASK: u64 = 0xff;

#[cfg(test)]
mod tests;
