#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use super::*;
use crate::ctlog::guard::Rollback;
use crate::ctlog::testing::{TestLog, at, log_entries, signer};
use crate::ctlog::tile::TilePath as Tile;
use ct_merkle::RootHash;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How the next operations of a target go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing is done.
    NotPersisted,
    /// It is done, and answered with an error all the same.
    Persisted,
}

/// A target in memory that never lets a file change that must not, holds every checkpoint against the
/// files that are there at that moment, and fails as told.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, Vec<u8>>,
    /// Operations until the fault, and the fault.
    fault: Option<(usize, Fault)>,
    operations: usize,
    puts: Vec<String>,
    /// What somebody else writes just before the next put to its name.
    meanwhile: BTreeMap<String, Vec<u8>>,
}

/// What a store tells versions of a file by.
fn version(bytes: &[u8]) -> String {
    format!("{:?}", sha256(bytes))
}

impl Shelf {
    fn fail_at(&self, operation: usize, fault: Fault) {
        let mut inner = self.0.lock().unwrap();
        inner.operations = 0;
        inner.fault = Some((operation, fault));
    }

    fn recover(&self) -> bool {
        self.0.lock().unwrap().fault.take().is_none()
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    fn set(&self, path: &str, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), bytes.to_vec());
    }

    /// Runs an operation, or fails.
    fn operate<T>(&self, path: &str, work: impl FnOnce(&mut Inner) -> T) -> Result<T, TargetError> {
        let mut inner = self.0.lock().unwrap();
        let now = inner.operations;
        inner.operations += 1;
        match inner.fault {
            Some((at, fault)) if at == now => {
                inner.fault = None;
                if fault == Fault::Persisted {
                    work(&mut inner);
                }
                Err(TargetError::new(path, "no space left on device"))
            }
            Some(_) | None => Ok(work(&mut inner)),
        }
    }
}

#[async_trait::async_trait]
impl Target for Shelf {
    async fn get(&self, path: &str, limit: usize) -> Result<Option<Found>, TargetError> {
        let found = self.operate(path, |inner| inner.files.get(path).cloned())?;
        assert!(found.as_ref().is_none_or(|found| found.len() <= limit));
        Ok(found.map(|bytes| Found {
            version: Some(version(&bytes)),
            bytes,
        }))
    }

    async fn put(
        &self,
        path: &str,
        bytes: Vec<u8>,
        kind: Kind,
        over: Option<&Found>,
    ) -> Result<bool, TargetError> {
        self.operate(path, |inner| {
            // Another publisher, in the last moment.
            if let Some(meanwhile) = inner.meanwhile.remove(path) {
                inner.files.insert(path.to_owned(), meanwhile);
            }
            let present = inner.files.get(path).map(|present| version(present));
            if present != over.and_then(|found| found.version.clone()) {
                return false;
            }
            if kind == Kind::Checkpoint {
                assert_eq!(path, CHECKPOINT);
                check_whole(&inner.files, &bytes);
            } else if let Some(present) = inner.files.get(path) {
                assert_eq!(present, &bytes, "{path} was published and changes");
            }
            inner.puts.push(path.to_owned());
            inner.files.insert(path.to_owned(), bytes);
            true
        })
    }

    async fn remove(&self, directory: &str) -> Result<(), TargetError> {
        let below = format!("{directory}/");
        self.operate(directory, |inner| {
            inner.files.retain(|path, _| !path.starts_with(&below));
        })
    }
}

/// What a reader does with a checkpoint: every tile of its tree must be there, each hash tile must be
/// made of the one below, the lowest of the entries, all of them of the root, and every certificate
/// that an entry names must be there. The tree is another library's.
fn check_whole(files: &BTreeMap<String, Vec<u8>>, note: &[u8]) -> u64 {
    let note = str::from_utf8(note).unwrap();
    let log = signer(1);
    let checkpoint = Checkpoint::verify(note, "ca.example/log", log.verifier()).unwrap();
    let size = checkpoint.size;
    let mut tree = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
    for n in 0..size.div_ceil(256) {
        let width = u16::try_from((size - n * 256).min(256)).unwrap();
        let data = &files[&Tile::Data { n, width }.to_string()];
        let hashes = &files[&Tile::Hashes { level: 0, n, width }.to_string()];
        let mut rest = &data[..];
        for hash in hashes.chunks(32) {
            // u64 | u16 1 | hash[32] | u24 | u16 8 bytes | u24 | u16
            let long = |at: usize| {
                usize::from(rest[at]) << 16
                    | usize::from(rest[at + 1]) << 8
                    | usize::from(rest[at + 2])
            };
            let body = 42 + 3 + long(42);
            let timestamped = body + 2 + 8;
            let precertificate = timestamped + 3 + long(timestamped);
            let chain = usize::from(u16::from_be_bytes([
                rest[precertificate],
                rest[precertificate + 1],
            ]));
            let leaf = [&[0, 0], &rest[..timestamped]].concat();
            let digest = sha2::Sha256::digest([&[0][..], &leaf].concat());
            assert_eq!(hash, digest.as_slice(), "an entry and its hash in tile {n}");
            tree.push(leaf);
            for fingerprint in rest[precertificate + 2..][..chain].chunks(32) {
                let hex: String = fingerprint
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                assert!(files.contains_key(&format!("issuer/{hex}")));
            }
            rest = &rest[precertificate + 2 + chain..];
        }
        assert!(rest.is_empty(), "tile {n} has more entries than hashes");
    }
    for level in 1..6_u8 {
        for n in 0..level_width(level, size).div_ceil(256) {
            let width = u16::try_from((level_width(level, size) - n * 256).min(256)).unwrap();
            let tile = &files[&Tile::Hashes { level, n, width }.to_string()];
            for (child, hash) in tile.chunks(32).enumerate() {
                let below = Tile::Hashes {
                    level: level - 1,
                    n: n * 256 + child as u64,
                    width: 256,
                };
                let (hashes, _) = files[&below.to_string()].as_chunks::<32>();
                assert_eq!(crate::ctlog::merkle::perfect_root(hashes), hash, "{below}");
            }
        }
    }
    let root: RootHash<sha2::Sha256> = tree.root();
    assert_eq!(
        root.as_bytes().as_slice(),
        checkpoint.root,
        "the root of {size} entries"
    );
    size
}

fn publisher(log: &Log, shelf: &Shelf) -> Publisher {
    let target = Box::new(shelf.clone());
    Publisher::to(
        log.clone(),
        target,
        "the shelf".to_owned(),
        Duration::from_secs(1),
    )
}

fn published_size(shelf: &Shelf) -> Option<u64> {
    let files = shelf.files();
    files.get(CHECKPOINT).map(|note| check_whole(&files, note))
}

/// Entries up to these sizes in turn, each published.
const SIZES: [u64; 11] = [0, 1, 2, 255, 256, 257, 511, 512, 513, 1100, 2600];

#[tokio::test]
async fn every_published_checkpoint_finds_its_whole_tree_and_nothing_ever_changes() {
    let test = TestLog::create().await;
    let log = test.open().await;
    let shelf = Shelf::default();
    let mut publisher = publisher(&log, &shelf);
    let mut old = 0;
    for size in SIZES {
        log_entries(&log, old..size, at(1)).await;
        old = size;
        publisher.publish(at(2)).await.unwrap();
        assert_eq!(published_size(&shelf), Some(size));
        let note = shelf.files()[CHECKPOINT].clone();
        assert_eq!(note, log.reader().checkpoint().await.unwrap().into_bytes());
        // Nothing new: nothing is put.
        let before = shelf.0.lock().unwrap().puts.len();
        publisher.publish(at(2)).await.unwrap();
        assert_eq!(shelf.0.lock().unwrap().puts.len(), before);
    }
    // Signed again: the checkpoint alone is new.
    let before = shelf.0.lock().unwrap().puts.len();
    log.refresh(at(3)).await.unwrap();
    publisher.publish(at(3)).await.unwrap();
    assert_eq!(shelf.0.lock().unwrap().puts[before..], [CHECKPOINT]);
    assert_eq!(
        shelf.files()[CHECKPOINT],
        log.reader().checkpoint().await.unwrap().into_bytes()
    );
}

#[tokio::test]
async fn no_publisher_puts_its_checkpoint_over_that_of_another() {
    let test = TestLog::create().await;
    let log = test.open().await;
    let (shelf, others) = (Shelf::default(), Shelf::default());
    let mut publisher = publisher(&log, &shelf);
    publisher.publish(at(1)).await.unwrap();
    log_entries(&log, 0..5, at(1)).await;
    self::publisher(&log, &others).publish(at(1)).await.unwrap();
    log_entries(&log, 5..9, at(1)).await;

    // The other one is behind, and its checkpoint comes between our look and our put.
    let theirs = others.files();
    let note = theirs[CHECKPOINT].clone();
    for (path, bytes) in &theirs {
        if path != CHECKPOINT {
            shelf.set(path, bytes);
        }
    }
    let meanwhile = BTreeMap::from([(CHECKPOINT.to_owned(), note.clone())]);
    shelf.0.lock().unwrap().meanwhile = meanwhile;
    let contended = publisher.publish(at(2)).await.unwrap_err();
    assert_eq!(contended, PublishError::Contended);
    assert!(contended.is_passing());
    assert_eq!(shelf.files()[CHECKPOINT], note, "written over unseen");
    publisher.publish(at(3)).await.unwrap();
    assert_eq!(published_size(&shelf), Some(9));

    // The other one is ahead by what is not in this database: that is found, and not written over.
    let test = TestLog::create().await;
    let ahead = test.open().await;
    log_entries(&ahead, 0..12, at(1)).await;
    let note = ahead.reader().checkpoint().await.unwrap().into_bytes();
    let meanwhile = BTreeMap::from([(CHECKPOINT.to_owned(), note.clone())]);
    shelf.0.lock().unwrap().meanwhile = meanwhile;
    log_entries(&log, 9..10, at(4)).await;
    let contended = publisher.publish(at(4)).await.unwrap_err();
    assert_eq!(contended, PublishError::Contended);
    let rollback = publisher.publish(at(5)).await.unwrap_err();
    assert!(matches!(rollback, PublishError::Rollback(_)), "{rollback}");
    assert_eq!(shelf.files()[CHECKPOINT], note);

    // A tile that somebody puts first: the same is no trouble, another one stops the publisher.
    let name = "tile/0/000.p/12";
    let shelf = Shelf::default();
    self::publisher(&ahead, &shelf)
        .publish(at(1))
        .await
        .unwrap();
    let tile = shelf.files()[name].clone();
    for (bytes, is_same) in [(tile, true), (vec![1], false)] {
        let shelf = Shelf::default();
        let meanwhile = BTreeMap::from([(name.to_owned(), bytes)]);
        shelf.0.lock().unwrap().meanwhile = meanwhile;
        let published = self::publisher(&ahead, &shelf).publish(at(2)).await;
        match is_same {
            true => published.unwrap(),
            false => assert_eq!(published, Err(PublishError::Conflict(name.to_owned()))),
        }
    }
}

/// K8 to K10, at every single operation of the target, done and not done; once by the same process
/// that tries again, once by another that knows nothing but the target.
#[tokio::test]
async fn a_target_that_fails_at_any_step_is_resumed_and_never_ahead_of_its_tiles() {
    let test = TestLog::create().await;
    let log = test.open().await;
    let before = Shelf::default();
    log_entries(&log, 0..250, at(1)).await;
    publisher(&log, &before).publish(at(1)).await.unwrap();
    log_entries(&log, 250..530, at(1)).await;
    for fault in [Fault::NotPersisted, Fault::Persisted] {
        for is_restarted in [false, true] {
            for step in 0.. {
                let shelf = Shelf::default();
                shelf.0.lock().unwrap().files = before.files();
                let mut first = publisher(&log, &shelf);
                shelf.fail_at(step, fault);
                let outcome = first.publish(at(2)).await;
                if !shelf.recover() {
                    // There was no such step any more.
                    outcome.unwrap();
                    assert!(step > 10, "so few steps?");
                    break;
                }
                let error = outcome.unwrap_err();
                assert!(error.is_passing(), "{error}");
                assert!(matches!(published_size(&shelf), Some(250 | 530)));
                if is_restarted {
                    first = publisher(&log, &shelf);
                }
                first.publish(at(3)).await.unwrap();
                assert_eq!(published_size(&shelf), Some(530), "{fault:?} at {step}");
            }
        }
    }
}

#[tokio::test]
async fn a_published_file_with_other_bytes_stops_the_publisher_and_stays() {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entries(&log, 0..300, at(1)).await;
    let shelf = Shelf::default();
    shelf.set("tile/0/000", b"something else");
    let error = publisher(&log, &shelf).publish(at(2)).await.unwrap_err();
    assert_eq!(error, PublishError::Conflict("tile/0/000".to_owned()));
    assert!(!error.is_passing());
    assert_eq!(published_size(&shelf), None);
    assert_eq!(shelf.files()["tile/0/000"], b"something else");
}

#[tokio::test]
async fn what_the_database_has_damaged_is_not_published() {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entries(&log, 0..600, at(1)).await;
    // An entry in the middle of a full tile, which no start looks at.
    test.tamper("UPDATE entry SET leaf = (SELECT leaf FROM entry WHERE leaf_index = 41) WHERE leaf_index = 40")
        .await;
    let shelf = Shelf::default();
    let error = publisher(&log, &shelf).publish(at(2)).await.unwrap_err();
    assert_eq!(error, PublishError::Damaged(0));
    assert!(shelf.files().keys().all(|path| path.starts_with("issuer/")));
}

/// A log of which 302 entries are published, by a publisher that knows, and of which an older copy with 300
/// was put back.
async fn gone_back() -> (TestLog, Shelf, Publisher) {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entries(&log, 0..300, at(1)).await;
    log.close().await;
    let backup = test.directory.path().join("backup");
    std::fs::copy(test.database(), &backup).unwrap();
    let log = test.open().await;
    log_entries(&log, 300..302, at(1)).await;
    let shelf = Shelf::default();
    let mut publisher = publisher(&log, &shelf);
    publisher.publish(at(2)).await.unwrap();
    log.close().await;
    std::fs::copy(&backup, test.database()).unwrap();
    (test, shelf, publisher)
}

/// K14, by what is published alone.
#[tokio::test]
async fn a_database_that_is_behind_what_is_published_does_not_open() {
    let (test, shelf, _) = gone_back().await;
    let log = test.open().await;
    let mut again = publisher(&log, &shelf);
    let refused = again.check(at(3)).await.unwrap_err();
    let PublishError::Rollback(Rollback::Behind { seen, stored, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!((seen, stored), (302, 300));
    // The same found out later, by a target that could not be reached at the start, ends the log.
    log_entries(&log, 1000..1003, at(3)).await;
    let clock: Clock = || at(4);
    again.run(clock, std::future::pending()).await;
    let fatal = log.fatal().await;
    assert!(
        matches!(fatal, Fatal::Rollback(Rollback::Forked { size: 302, .. })),
        "{fatal}"
    );
    let refused = log_entries(&log, 2000..2001, at(5)).await.remove(0);
    assert_eq!(refused, Err(crate::ctlog::AppendError::Unavailable));
    assert_eq!(published_size(&shelf), Some(302));
}

/// A database server that fails over to an older copy takes the log back while it is being published.
#[tokio::test]
async fn what_is_published_is_not_taken_back_by_a_log_that_went_back() {
    let (test, shelf, mut publisher) = gone_back().await;
    let published = shelf.files();
    publisher.log = test.open().await;
    for (more, way) in [
        (0..0, "behind"),
        (1000..1002, "as long"),
        (1002..1400, "longer"),
    ] {
        log_entries(&publisher.log, more, at(3)).await;
        let refused = publisher.publish(at(4)).await.unwrap_err();
        assert!(
            matches!(refused, PublishError::Rollback(_)),
            "{way}: {refused}"
        );
        assert_eq!(shelf.files(), published, "{way}");
    }
}

#[tokio::test]
async fn another_logs_checkpoint_is_not_overwritten() {
    let test = TestLog::create().await;
    let log = test.open().await;
    let shelf = Shelf::default();
    let other = TestLog::create().await;
    let head = other.open().await.head();
    let note = head.signed("other.example/log").sign(&signer(2)).unwrap();
    shelf.set(CHECKPOINT, note.as_bytes());
    let error = publisher(&log, &shelf).publish(at(2)).await.unwrap_err();
    assert_eq!(error, PublishError::Foreign(CheckpointError::Origin));
    assert_eq!(shelf.files()[CHECKPOINT], note.as_bytes());
}

#[tokio::test]
async fn narrower_tiles_outlive_the_full_one_by_some_minutes() {
    let test = TestLog::create().await;
    let log = test.open().await;
    let shelf = Shelf::default();
    let mut first = publisher(&log, &shelf);
    log_entries(&log, 0..10, at(1)).await;
    first.publish(at(1)).await.unwrap();
    log_entries(&log, 10..300, at(1)).await;
    first.publish(at(2)).await.unwrap();
    let narrower = ["tile/0/000.p/10", "tile/data/000.p/10"];
    let are_there = |shelf: &Shelf| narrower.map(|path| shelf.files().contains_key(path));
    first.publish(at(9 * 60_000)).await.unwrap();
    assert_eq!(are_there(&shelf), [true, true], "a reader may be at it");
    // A process that begins meanwhile takes its own time, but takes them too.
    let mut second = publisher(&log, &shelf);
    second.publish(at(9 * 60_000)).await.unwrap();
    second.publish(at(20 * 60_000)).await.unwrap();
    assert_eq!(are_there(&shelf), [false, false]);
    assert!(
        shelf.files().contains_key("tile/0/001.p/44"),
        "of no full tile"
    );
    first.publish(at(20 * 60_000)).await.unwrap();
    assert_eq!(published_size(&shelf), Some(300));
}

#[tokio::test]
async fn a_directory_has_the_bytes_that_the_log_serves() {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entries(&log, 0..600, at(1)).await;
    let config = Config {
        to: "public/log".to_owned(),
        interval_seconds: 1,
        endpoint: None,
        region: None,
        path_style: false,
        credentials: None,
        allow_http_loopback: false,
    };
    let base = test.directory.path();
    let mut publisher = Publisher::new(log.clone(), &config, base, None).unwrap();
    publisher.publish(at(2)).await.unwrap();
    let read = |path: &str| std::fs::read(base.join("public/log").join(path)).unwrap();
    assert_eq!(
        read(CHECKPOINT),
        log.reader().checkpoint().await.unwrap().into_bytes()
    );
    for (n, width) in [(0, 256), (1, 256), (2, 88)] {
        let served = log.reader().data_tile(n, width).await.unwrap().unwrap();
        assert_eq!(read(&Tile::Data { n, width }.to_string()), served);
        let served = log.reader().tile(0, n, width).await.unwrap().unwrap();
        assert_eq!(
            read(&Tile::Hashes { level: 0, n, width }.to_string()),
            served
        );
    }
    assert_eq!(
        read("tile/1/000.p/2"),
        log.reader().tile(1, 0, 2).await.unwrap().unwrap()
    );
    let second = Publisher::new(log.clone(), &config, base, None).unwrap_err();
    assert!(
        second
            .to_string()
            .contains("another process publishes here"),
        "{second}"
    );
}

#[test]
fn a_target_that_is_none_is_refused() {
    let allowed = |endpoint, asked| bucket::is_allowed_http(endpoint, asked);
    assert_eq!(allowed("https://s3.example", true), Ok(false));
    assert_eq!(allowed("http://127.0.0.1:9000", true), Ok(true));
    assert_eq!(allowed("http://[::1]:9000", true), Ok(true));
    for (endpoint, asked) in [
        ("http://127.0.0.1:9000", false),
        ("http://s3.example", true),
        ("http://localhost:9000", true),
        ("http://10.0.0.1", true),
        ("http://127.0.0.1.example", true),
    ] {
        assert!(allowed(endpoint, asked).is_err(), "{endpoint}");
    }
}

#[test]
fn keys_are_found_where_the_usual_tools_find_them() {
    let text = "[other]\naws_access_key_id=x\n[default]\naws_access_key_id = AKID\n\naws_secret_access_key=s=1\n";
    let found = Credentials::parse(text).unwrap();
    let shown = format!("{found:?}");
    assert!(shown.contains("AKID") && !shown.contains("s=1"), "{shown}");
    assert!(
        Credentials::parse("[other]\naws_access_key_id=x\naws_secret_access_key=y\n").is_none()
    );
    assert!(Credentials::parse("aws_access_key_id=x\n").is_none());
}
