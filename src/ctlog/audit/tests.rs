use super::*;
use crate::ctlog::Log;
use crate::ctlog::files::Directory;
use crate::ctlog::merkle::{verify_consistency, verify_inclusion};
use crate::ctlog::testing::{ORIGIN, TestLog, at, log_entries, signer};
use std::path::Path;

/// Writes the files of the log as it is now.
async fn publish(log: &Log, place: &Path) {
    let size = log.head().size;
    let mut names = vec![CHECKPOINT.to_owned()];
    for level in 0..TILE_LEVELS {
        let hashes = size >> (8 * u32::from(level));
        for n in 0..hashes.div_ceil(256) {
            let width = u16::try_from((hashes - n * 256).min(256)).unwrap();
            names.push(TilePath::Hashes { level, n, width }.to_string());
            if level == 0 {
                names.push(TilePath::Data { n, width }.to_string());
            }
        }
    }
    for name in names {
        let bytes = log.reader().read(&name, usize::MAX).await.unwrap().unwrap();
        let file = place.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}

/// A log of this size, its files in a directory.
async fn published(size: u64) -> (TestLog, Log, tempfile::TempDir) {
    let test = TestLog::create().await;
    let log = test.open().await;
    for result in log_entries(&log, 0..size, at(10)).await {
        result.unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    publish(&log, place.path()).await;
    (test, log, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn database_and_directory_are_read_alike_and_every_proof_holds() {
    let (_test, log, place) = published(600).await;
    let directory = Directory(place.path().to_owned());
    let verifier = signer(1).verifier().clone();
    let all: [&dyn Files; 2] = [&directory, log.reader()];
    for files in all {
        let audit = Audit::open(files, ORIGIN, &verifier).await.unwrap();
        let mut told = Vec::new();
        let whole = audit.check(&mut |done, all| told.push((done, all))).await;
        assert_eq!(whole.unwrap(), Whole { issuers: 0 });
        assert_eq!(told, [(256, 600), (512, 600), (600, 600)]);
        for index in [0, 1, 255, 256, 511, 512, 599] {
            let leaf = audit.entry(index).await.unwrap();
            let hash = leaf_hash(&leaf.merkle_tree_leaf());
            let proof = audit.inclusion_proof(index).await.unwrap();
            let root = &audit.head.root;
            assert!(verify_inclusion(&hash, index, 600, &proof, root), "{index}");
        }
        for size in [0, 1, 255, 256, 257, 512, 599, 600] {
            let old = audit.edge_at(size).await.unwrap().root();
            let proof = log
                .reader()
                .consistency_proof(size, 600)
                .await
                .unwrap()
                .unwrap();
            let root = &audit.head.root;
            assert!(verify_consistency(size, &old, 600, root, &proof), "{size}");
        }
        for beyond in [600, u64::MAX] {
            let refused = audit.entry(beyond).await.unwrap_err();
            assert!(matches!(refused, AuditError::Beyond { .. }), "{refused}");
            assert!(audit.inclusion_proof(beyond).await.is_err());
        }
        assert!(audit.edge_at(601).await.is_err());
    }
    let other = signer(2);
    let refused = Audit::open(&directory, ORIGIN, other.verifier()).await;
    assert!(matches!(refused.err(), Some(AuditError::Checkpoint(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_called_by_its_name() {
    let (_test, _log, place) = published(520).await;
    let verifier = signer(1).verifier().clone();
    let directory = Directory(place.path().to_owned());
    let check = async || {
        let audit = Audit::open(&directory, ORIGIN, &verifier).await;
        let checked = match audit {
            Ok(audit) => audit.check(&mut |_, _| ()).await.map(|_| ()),
            Err(error) => Err(error),
        };
        checked.err().map(|error| error.to_string())
    };
    assert_eq!(check().await, None);
    // In the middle of a tile of entries there is an entry, and its number is known.
    let entry_length = std::fs::read(place.path().join("tile/data/000"))
        .unwrap()
        .len()
        / 256;
    for (name, at, expected) in [
        (
            "tile/0/000",
            40,
            "tile/0/000: its hashes do not lead to the root that was signed",
        ),
        (
            "tile/0/001",
            8000,
            "tile/0/001: its hashes do not lead to the root that was signed",
        ),
        (
            "tile/0/002.p/8",
            0,
            "the tiles at the tree's edge do not make the root that was signed",
        ),
        (
            "tile/1/000.p/2",
            33,
            "the tiles at the tree's edge do not make the root that was signed",
        ),
        (
            "tile/data/000",
            17 * entry_length + 20,
            "entry 17 in tile/data/000: it is not the one that the tree has there",
        ),
        (
            "tile/data/002.p/8",
            7 * entry_length + 20,
            "entry 519 in tile/data/002.p/8: it is not the one that the tree has there",
        ),
        (
            "checkpoint",
            17,
            "checkpoint: the checkpoint's signature does not verify",
        ),
    ] {
        let file = place.path().join(name);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, &bad).unwrap();
        assert_eq!(check().await.as_deref(), Some(expected), "{name} at {at}");
        std::fs::write(&file, &good[..good.len() - 1]).unwrap();
        assert!(check().await.is_some(), "{name} cut");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(check().await, Some(format!("{name} is missing")));
        std::fs::write(&file, &good).unwrap();
    }
    // Once the full tile is there, of which it is the beginning, a partial one may go.
    let grown = std::fs::read(place.path().join("tile/0/002.p/8")).unwrap();
    let full = [grown, vec![7; 248 * 32]].concat();
    std::fs::write(place.path().join("tile/0/002"), full).unwrap();
    std::fs::remove_file(place.path().join("tile/0/002.p/8")).unwrap();
    assert_eq!(check().await, None);
}
