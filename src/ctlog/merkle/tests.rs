use super::*;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

type Oracle = MemoryBackedTree<Sha256, Vec<u8>>;

fn leaf(index: usize) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

fn oracle(size: usize) -> Oracle {
    let mut tree = Oracle::new();
    (0..size).for_each(|index| tree.push(leaf(index)));
    tree
}

fn edge_tiles(edge: &Edge) -> [Vec<u8>; TILE_LEVELS as usize] {
    edge.tiles.clone()
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<HASH_LENGTH>().0.to_vec()
}

#[test]
fn every_root_up_to_600_is_the_oracles_and_every_edge_can_be_reopened() {
    let mut edge = Edge::default();
    let mut tree = Oracle::new();
    for index in 0..=600 {
        assert_eq!(
            edge.root().as_slice(),
            tree.root().as_bytes().as_slice(),
            "size {index}"
        );
        let reopened = Edge::from_tiles(edge.size(), edge_tiles(&edge)).unwrap();
        assert_eq!(reopened, edge, "size {index}");
        edge.push(leaf_hash(&leaf(index)), &mut Vec::new());
        tree.push(leaf(index));
    }
}

#[test]
fn roots_at_the_second_and_third_tile_level_are_the_oracles() {
    let mut edge = Edge::default();
    let mut sealed = Vec::new();
    let boundaries = [255, 256, 257, 511, 512, 65_535, 65_536, 65_537];
    let tree = oracle(65_537);
    for index in 0..65_537 {
        edge.push(leaf_hash(&leaf(index)), &mut sealed);
        if boundaries.contains(&(index + 1)) {
            let reopened = Edge::from_tiles(edge.size(), edge_tiles(&edge)).unwrap();
            assert_eq!(reopened, edge, "size {}", index + 1);
            let expected = if index + 1 == 65_537 {
                tree.root()
            } else {
                oracle(index + 1).root()
            };
            assert_eq!(edge.root().as_slice(), expected.as_bytes().as_slice());
        }
    }
    assert_eq!(sealed.iter().filter(|tile| tile.level == 0).count(), 256);
    assert_eq!(sealed.iter().filter(|tile| tile.level == 1).count(), 1);
    assert!(
        sealed
            .iter()
            .all(|tile| tile.hashes.len() == TILE_WIDTH * HASH_LENGTH)
    );
    // The only hash of level 2 is the root over the first 65,536 leaves.
    let top = edge.changed_since(0).find(|tile| tile.level == 2).unwrap();
    assert_eq!(top.hashes, oracle(65_536).root().as_bytes().as_slice());
}

#[test]
fn a_batch_over_a_tile_boundary_reports_the_sealed_tile_and_both_new_edges() {
    let mut edge = Edge::default();
    let mut sealed = Vec::new();
    (0..250).for_each(|index| edge.push(leaf_hash(&leaf(index)), &mut sealed));
    assert!(sealed.is_empty());
    (250..260).for_each(|index| edge.push(leaf_hash(&leaf(index)), &mut sealed));
    assert_eq!(
        sealed
            .iter()
            .map(|tile| (tile.level, tile.n))
            .collect::<Vec<_>>(),
        [(0, 0)]
    );
    let changed: Vec<_> = edge
        .changed_since(250)
        .map(|tile| (tile.level, tile.n, tile.hashes.len()))
        .collect();
    assert_eq!(changed, [(0, 1, 4 * HASH_LENGTH), (1, 0, HASH_LENGTH)]);
    assert_eq!(edge.changed_since(260).count(), 0);
    let changed: Vec<_> = edge
        .changed_since(259)
        .map(|tile| (tile.level, tile.n))
        .collect();
    assert_eq!(changed, [(0, 1)], "level 1 did not change after leaf 256");
}

#[test]
fn edge_tiles_of_another_length_are_refused() {
    let mut edge = Edge::default();
    (0..300).for_each(|index| edge.push(leaf_hash(&leaf(index)), &mut Vec::new()));
    for level in 0..usize::from(TILE_LEVELS) {
        let mut tiles = edge_tiles(&edge);
        tiles[level].push(0);
        let result = Edge::from_tiles(300, tiles);
        assert!(
            matches!(result, Err(EdgeError::TileLength { .. })),
            "level {level}"
        );
    }
    let tiles = edge_tiles(&edge);
    assert!(Edge::from_tiles(299, tiles.clone()).is_err());
    assert_eq!(
        Edge::from_tiles(MAX_SIZE + 1, tiles),
        Err(EdgeError::TooLarge(MAX_SIZE + 1))
    );
}

#[test]
fn inclusion_proofs_verify_for_their_leaf_alone() {
    for size in [1, 2, 3, 7, 8, 9, 100, 255, 256, 257] {
        let tree = oracle(size);
        let root: Hash = tree.root().as_bytes().as_slice().try_into().unwrap();
        let size_u64 = size as u64;
        for index in 0..size {
            let proof = hashes(tree.prove_inclusion(index).as_bytes());
            let hash = leaf_hash(&leaf(index));
            let index = index as u64;
            assert!(verify_inclusion(&hash, index, size_u64, &proof, &root));
            assert!(!verify_inclusion(&hash, index + 1, size_u64, &proof, &root));
            assert!(!verify_inclusion(
                &leaf_hash(b"other"),
                index,
                size_u64,
                &proof,
                &root
            ));
            assert!(!verify_inclusion(
                &hash,
                index,
                size_u64,
                &proof,
                &empty_root()
            ));
            let longer = [proof.as_slice(), &[hash]].concat();
            assert!(!verify_inclusion(&hash, index, size_u64, &longer, &root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!verify_inclusion(&hash, index, size_u64, shorter, &root));
            }
        }
    }
}

#[test]
fn consistency_proofs_verify_for_their_two_trees_alone() {
    for new in [2_usize, 3, 7, 8, 9, 65, 256, 257] {
        let tree = oracle(new);
        let new_root: Hash = tree.root().as_bytes().as_slice().try_into().unwrap();
        for old in 1..new {
            let proof = hashes(tree.prove_consistency(new - old).as_bytes());
            let old_root: Hash = oracle(old).root().as_bytes().as_slice().try_into().unwrap();
            let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                verify_consistency(old as u64, old_root, new as u64, new_root, proof)
            };
            assert!(check(&old_root, &new_root, &proof), "{old} to {new}");
            assert!(!check(&new_root, &new_root, &proof), "{old} to {new}");
            assert!(!check(&old_root, &old_root, &proof), "{old} to {new}");
            assert!(!check(
                &old_root,
                &new_root,
                &[proof.as_slice(), &[old_root]].concat()
            ));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!check(&old_root, &new_root, shorter), "{old} to {new}");
            }
        }
    }
    let root = [7; HASH_LENGTH];
    assert!(verify_consistency(0, &empty_root(), 5, &root, &[]));
    assert!(!verify_consistency(0, &root, 5, &root, &[]));
    assert!(verify_consistency(5, &root, 5, &root, &[]));
    assert!(!verify_consistency(6, &root, 5, &root, &[]));
}

#[test]
fn widths_at_the_largest_size_do_not_overflow() {
    assert_eq!(edge_width(0, MAX_SIZE), 0);
    assert_eq!(level_width(4, MAX_SIZE), 256);
    assert_eq!(edge_width(5, MAX_SIZE), 1);
    assert_eq!(level_width(200, MAX_SIZE), 0);
}
