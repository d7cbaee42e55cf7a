//! The tree of RFC 6962 section 2.1, grown leaf by leaf, with the root it had at every size.

use super::harness::received::sha256;

pub(crate) type Hash = [u8; 32];

/// A tree that remembers its past roots.
pub(crate) struct Tree {
    /// Roots of the perfect subtrees of the present size, largest first, each with its height.
    perfect: Vec<(u32, Hash)>,
    /// The root at each size from 0.
    roots: Vec<Hash>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            perfect: Vec::new(),
            roots: vec![sha256(b"")],
        }
    }

    /// Leaves in the tree.
    pub(crate) fn size(&self) -> u64 {
        self.roots.len() as u64 - 1
    }

    /// The root the tree had when it held `size` leaves.
    pub(crate) fn root_at(&self, size: u64) -> Option<&Hash> {
        self.roots.get(usize::try_from(size).ok()?)
    }

    pub(crate) fn push(&mut self, merkle_tree_leaf: &[u8]) {
        let mut node = (0, leaf_hash(merkle_tree_leaf));
        while let Some(left) = self.perfect.pop_if(|left| left.0 == node.0) {
            node = (node.0 + 1, parent(&left.1, &node.1));
        }
        self.perfect.push(node);
        let from_right = self.perfect.iter().rev().map(|(_, hash)| *hash);
        let root = from_right
            .reduce(|right, left| parent(&left, &right))
            .unwrap_or_default();
        self.roots.push(root);
    }
}

/// The hash of a leaf.
pub(crate) fn leaf_hash(merkle_tree_leaf: &[u8]) -> Hash {
    sha256(&[&[0], merkle_tree_leaf].concat())
}

/// The root over a power of two of hashes.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        let (pairs, _) = level.as_chunks::<2>();
        level = pairs
            .iter()
            .map(|[left, right]| parent(left, right))
            .collect();
    }
    level.first().copied().unwrap_or_default()
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left[..], &right[..]].concat())
}

/// The definition of the standard, word for word, to hold the other against.
fn defined_root(leaves: &[Vec<u8>]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => sha256(&[&[0], &leaf[..]].concat()),
        [_, _, ..] => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            parent(&defined_root(left), &defined_root(right))
        }
    }
}

#[test]
fn the_checkers_own_tree_is_that_of_the_standard() {
    let mut tree = Tree::new();
    let leaves: Vec<Vec<u8>> = (0..70_u8)
        .map(|leaf| vec![leaf; usize::from(leaf)])
        .collect();
    for (size, leaf) in leaves.iter().enumerate() {
        assert_eq!(
            tree.root_at(size as u64),
            Some(&defined_root(&leaves[..size])),
            "{size} leaves"
        );
        tree.push(leaf);
    }
}
