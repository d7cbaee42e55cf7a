use super::chain::ChainError;
use super::checkpoint::Checkpoint;
use super::entry::TileLeaf;
use super::store::{CommitError, StoreError};
use super::submission::SubmissionError;
use super::testing::{
    Fault, ORIGIN, TestAuthority, TestLog, at, config, entry, log_entries, log_entry, poison,
    signer,
};
use super::*;
use crate::database::both::{Home, on_both};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use sha2::Sha256;
use std::collections::BTreeMap;

on_both! {
    #[tokio::test(flavor = "multi_thread")]
    every_timestamp_verifies_and_its_leaf_stands_where_it_says,
    #[tokio::test(flavor = "multi_thread")]
    the_tree_is_right_at_every_tile_boundary_and_after_reopening_there,
    #[tokio::test(flavor = "multi_thread")]
    the_tree_is_right_where_the_third_tile_level_begins,
    #[tokio::test]
    a_repeated_entry_is_answered_with_the_very_same_timestamp,
    #[tokio::test]
    tiles_of_every_committed_width_are_served_and_nothing_beyond,
    #[tokio::test]
    a_quiet_log_signs_its_head_anew_with_a_later_time,
    #[tokio::test]
    a_clock_that_was_set_back_is_refused_and_a_small_step_is_not,
    #[tokio::test]
    a_changed_database_is_not_opened,
    #[tokio::test]
    the_long_look_finds_what_the_short_one_cannot,
    #[tokio::test]
    a_log_from_before_hashes_stood_with_entries_is_read_and_goes_on,
    #[tokio::test]
    a_full_queue_turns_entries_away_and_loses_none_it_took,
    #[tokio::test]
    entries_of_too_many_bytes_are_turned_away,
    #[tokio::test]
    an_entry_nobody_waits_for_any_more_harms_nothing,
    #[tokio::test]
    a_batch_that_was_not_written_fails_its_waiters_and_nothing_else,
    #[tokio::test]
    an_answered_entry_survives_the_end_of_the_process_at_any_moment,
    #[tokio::test]
    others_submit_what_their_chain_vouches_for_once,
    #[tokio::test]
    a_submitted_intermediate_is_stored_with_its_entry,
    #[tokio::test]
    chains_that_are_none_and_usages_that_are_none_are_refused,
    #[tokio::test]
    a_batch_whose_signatures_do_not_verify_is_not_written,
}

/// Verifies an SCT with another implementation, over a leaf written by hand.
fn verify_independently(log: &Log, number: u64, appended: &Appended) {
    let tbs = {
        let mut tbs = vec![number as u8; 40];
        tbs[..8].copy_from_slice(&number.to_be_bytes());
        tbs
    };
    let Appended { sct, index } = appended;
    let mut leaf = vec![0, 0];
    leaf.extend(sct.timestamp_ms.to_be_bytes());
    leaf.extend([0, 1]);
    leaf.extend([0x1a; 32]);
    leaf.extend([0, 0, 40]);
    leaf.extend(&tbs);
    leaf.extend([0, 8, 0, 0, 5]);
    leaf.extend(&index.unwrap().to_be_bytes()[3..]);
    assert_eq!(sct.log_id, log.log_id());
    assert_eq!(sct.extensions, leaf[leaf.len() - 8..]);
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(log.public_key_der()).unwrap();
    key.verify(
        &leaf,
        &p256::ecdsa::Signature::from_der(&sct.signature).unwrap(),
    )
    .unwrap();
}

/// What a stranger makes of the published log: the root over the data tiles.
async fn root_from_data_tiles(log: &Log) -> Hash {
    let size = log.head().size;
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for n in 0..size.div_ceil(256) {
        let width = u16::try_from((size - n * 256).min(256)).unwrap();
        let tile = log.reader().data_tile(n, width).await.unwrap().unwrap();
        let mut rest = tile.as_slice();
        while !rest.is_empty() {
            let (leaf, after) = TileLeaf::read(rest).unwrap();
            tree.push(leaf.merkle_tree_leaf());
            rest = after;
        }
    }
    assert_eq!(tree.len(), size);
    tree.root().as_bytes().as_slice().try_into().unwrap()
}

async fn every_timestamp_verifies_and_its_leaf_stands_where_it_says(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    let results = log_entries(&log, 0..600, at(10)).await;
    let mut by_index = BTreeMap::new();
    for (number, result) in (0..).zip(&results) {
        let appended = result.as_ref().unwrap();
        verify_independently(&log, number, appended);
        assert!(appended.sct.timestamp_ms <= log.head().timestamp_ms);
        assert!(
            by_index.insert(appended.index.unwrap(), number).is_none(),
            "index used twice"
        );
    }
    assert_eq!(
        by_index.keys().copied().collect::<Vec<_>>(),
        (0..600).collect::<Vec<_>>()
    );
    assert_eq!(root_from_data_tiles(&log).await, log.head().root);
    let report = log.check().await.unwrap();
    assert_eq!((report.head.size, report.tiles), (600, 4));
    let verifier = signer(1).verifier().clone();
    let checkpoint = log.reader().checkpoint().await.unwrap();
    let checkpoint = Checkpoint::verify(&checkpoint, ORIGIN, &verifier).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (600, log.head().root));
}

async fn the_tree_is_right_at_every_tile_boundary_and_after_reopening_there(home: Home) {
    let test = TestLog::create_in(home).await;
    let mut log = test.open().await;
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut size = 0;
    for boundary in [1, 2, 255, 256, 257, 511, 512, 513, 4097] {
        let mut leaves = BTreeMap::new();
        for (number, result) in (size..).zip(log_entries(&log, size..boundary, at(10)).await) {
            let Appended { sct, index } = result.unwrap();
            let body = entry(number, 40).body().clone();
            let index = index.unwrap();
            leaves.insert(index, body.merkle_tree_leaf(sct.timestamp_ms, index));
        }
        leaves.into_values().for_each(|leaf| tree.push(leaf));
        size = boundary;
        assert_eq!(log.head().size, size);
        assert_eq!(
            log.head().root.as_slice(),
            tree.root().as_bytes().as_slice(),
            "size {size}"
        );
        log.check().await.unwrap();
        log.close().await;
        log = test.open().await;
    }
}

/// Sixty-five thousand entries take a while without optimisation.
async fn the_tree_is_right_where_the_third_tile_level_begins(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    let mut size = 0;
    while size < 65_535 {
        let next = (size + 4000).min(65_535);
        log_entries(&log, size..next, at(10))
            .await
            .into_iter()
            .for_each(|result| {
                result.unwrap();
            });
        size = next;
    }
    log.close().await;
    for expected in [65_535, 65_536, 65_537] {
        let log = test.open().await;
        assert_eq!(log.head().size, expected);
        assert_eq!(
            log.reader().tile(2, 0, 1).await.unwrap().is_some(),
            expected >= 65_536
        );
        if expected != 65_536 {
            assert_eq!(root_from_data_tiles(&log).await, log.head().root);
            log.check().await.unwrap();
        }
        log_entry(&log, expected, at(20)).await.unwrap();
        log.close().await;
    }
}

async fn a_repeated_entry_is_answered_with_the_very_same_timestamp(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    let (first, twin) = tokio::join!(log_entry(&log, 7, at(10)), log_entry(&log, 7, at(11)));
    let first = first.unwrap();
    assert_eq!(twin.unwrap(), first, "in the same batch");
    assert_eq!(log_entry(&log, 7, at(500)).await.unwrap(), first, "later");
    let (other, again, new) = tokio::join!(
        log_entry(&log, 8, at(600)),
        log_entry(&log, 7, at(600)),
        log_entry(&log, 9, at(600))
    );
    assert_eq!(again.unwrap(), first, "among new ones");
    let indices = (other.unwrap().index, new.unwrap().index);
    assert_eq!(indices, (Some(1), Some(2)));
    log.close().await;
    let log = test.open().await;
    assert_eq!(
        log_entry(&log, 7, at(900)).await.unwrap(),
        first,
        "after a restart"
    );
    assert_eq!(log.head().size, 3);
    log.check().await.unwrap();
}

async fn tiles_of_every_committed_width_are_served_and_nothing_beyond(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    assert_eq!(log.reader().tile(0, 0, 1).await.unwrap(), None);
    assert_eq!(log.reader().data_tile(0, 1).await.unwrap(), None);
    for result in log_entries(&log, 0..260, at(10)).await {
        result.unwrap();
    }
    let full = log.reader().tile(0, 0, 256).await.unwrap().unwrap();
    let data = log.reader().data_tile(0, 256).await.unwrap().unwrap();
    assert_eq!(full.len(), 8192);
    for width in [1, 2, 255] {
        let tile = log.reader().tile(0, 0, width).await.unwrap().unwrap();
        assert_eq!(tile, full[..usize::from(width) * 32]);
        assert!(data.starts_with(&log.reader().data_tile(0, width).await.unwrap().unwrap()));
    }
    let (hashes, _) = full.as_chunks();
    let upper = log.reader().tile(1, 0, 1).await.unwrap().unwrap();
    assert_eq!(upper, merkle::perfect_root(hashes));
    assert_eq!(
        log.reader().tile(0, 1, 4).await.unwrap().unwrap().len(),
        128
    );
    for (level, n, width) in [
        (0, 0, 0),
        (0, 0, 257),
        (0, 1, 5),
        (0, 2, 1),
        (1, 0, 2),
        (2, 0, 1),
        (0, u64::MAX, 1),
    ] {
        assert_eq!(
            log.reader().tile(level, n, width).await.unwrap(),
            None,
            "{level} {n} {width}"
        );
    }
    assert_eq!(log.reader().data_tile(1, 5).await.unwrap(), None);
    assert_eq!(
        log.reader().data_tile(u64::MAX / 256 + 1, 1).await.unwrap(),
        None
    );
}

async fn a_quiet_log_signs_its_head_anew_with_a_later_time(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    log_entry(&log, 0, at(10)).await.unwrap();
    let before = log.head();
    log.refresh(at(10)).await.unwrap();
    let after = log.head();
    assert_eq!((after.size, after.root), (before.size, before.root));
    assert_eq!(
        after.timestamp_ms,
        before.timestamp_ms + 1,
        "strictly later under a still clock"
    );
    log.refresh(at(60_000)).await.unwrap();
    log.check().await.unwrap();
    log.close().await;
    assert_eq!(test.try_open(at(60_000)).await.unwrap().head().size, 1);
}

async fn a_clock_that_was_set_back_is_refused_and_a_small_step_is_not(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    let first = log_entry(&log, 0, at(100_000)).await.unwrap();
    let late = log_entry(&log, 1, at(89_999)).await;
    assert_eq!(late, Err(AppendError::ClockBehind { behind_ms: 10_001 }));
    assert_eq!(
        log.refresh(at(0)).await,
        Err(AppendError::ClockBehind { behind_ms: 100_000 })
    );
    let second = log_entry(&log, 1, at(90_000)).await.unwrap();
    assert_eq!(second.sct.timestamp_ms, first.sct.timestamp_ms + 1);
    log.close().await;
    let refused = test.try_open(at(90_000)).await.unwrap_err();
    assert_eq!(refused, LogError::ClockBehind { behind_ms: 10_001 });
    let log = test.try_open(at(95_001)).await.unwrap();
    assert_eq!(log.head().size, 2);
}

#[tokio::test]
async fn a_second_writer_is_refused_at_once() {
    let test = TestLog::create().await;
    let log = test.open().await;
    let locked = LogError::Store(StoreError::Locked(test.database().display().to_string()));
    assert_eq!(test.try_open(at(0)).await.unwrap_err(), locked);
    assert_eq!(
        Log::create(&test.config, &signer(1), at(0)).await,
        Err(locked)
    );
    let child = |expected: bool| {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "ctlog::tests::another_process"])
            .env("CTLOG_TEST_DIRECTORY", test.directory.path())
            .output();
        assert_eq!(child.unwrap().status.success(), expected);
    };
    child(false);
    log_entry(&log, 0, at(0)).await.unwrap();
    log.close().await;
    child(true);
    assert_eq!(test.open().await.head().size, 1);
}

/// Run as another process by the test above.
#[tokio::test]
#[ignore = "does something only when another test runs it"]
async fn another_process() {
    let Some(directory) = std::env::var_os("CTLOG_TEST_DIRECTORY") else {
        return;
    };
    let config = config(std::path::Path::new(&directory));
    Log::open(&config, signer(1), &Chains::default(), at(0))
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test]
async fn a_log_is_created_once_and_opened_only_as_itself() {
    let test = TestLog::create().await;
    let path = test.database().display().to_string();
    let again = Log::create(&test.config, &signer(1), at(0)).await;
    assert_eq!(
        again,
        Err(LogError::Store(StoreError::Exists(path.clone())))
    );
    let other_key = Log::open(&test.config, signer(2), &Chains::default(), at(0)).await;
    assert_eq!(
        other_key.unwrap_err(),
        LogError::Recovery(RecoveryError::Key)
    );
    let mut other = test.config.clone();
    other.origin = "ca.example/other".to_owned();
    let refused = Log::open(&other, signer(1), &Chains::default(), at(0))
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        LogError::Recovery(RecoveryError::Origin { .. })
    ));
    other.origin = "https://ca.example/log".to_owned();
    assert!(matches!(
        Log::create(&other, &signer(1), at(0)).await,
        Err(LogError::Origin(_))
    ));
    std::fs::remove_file(test.database()).unwrap();
    let missing = LogError::Store(StoreError::Missing(path));
    assert_eq!(test.try_open(at(0)).await.unwrap_err(), missing);
    assert!(!test.database().exists(), "opening made a new database");
}

#[tokio::test]
async fn a_creation_that_did_not_finish_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let draft = directory.path().join("log.sqlite.new");
    std::fs::write(&draft, b"half a database").unwrap();
    std::fs::write(
        directory.path().join("log.sqlite.new-wal"),
        b"and its journal",
    )
    .unwrap();
    let opened = Log::open(&config, signer(1), &Chains::default(), at(0)).await;
    assert!(matches!(
        opened,
        Err(LogError::Store(StoreError::Missing(_)))
    ));
    Log::create(&config, &signer(1), at(0)).await.unwrap();
    assert!(!draft.exists());
    let log = Log::open(&config, signer(1), &Chains::default(), at(0))
        .await
        .unwrap();
    assert_eq!(log.head().root, merkle::empty_root());
}

async fn a_changed_database_is_not_opened(home: Home) {
    let statements = [
        ["UPDATE head SET size = size - 1"; 2],
        ["UPDATE head SET size = size + 1"; 2],
        ["UPDATE head SET root = zeroblob(32)"; 2],
        ["UPDATE head SET timestamp_ms = timestamp_ms + 1"; 2],
        ["UPDATE head SET checkpoint = replace(checkpoint, 'ca.example', 'cb.example')"; 2],
        ["DELETE FROM head"; 2],
        // On a server the name of the log is what is found by its key.
        ["DELETE FROM log", "UPDATE log SET origin = 'cb.example/log'"],
        ["DELETE FROM entry WHERE leaf_index = 299"; 2],
        [
            "INSERT INTO entry SELECT 300, zeroblob(32), leaf, sct_signature, leaf_hash FROM entry LIMIT 1",
            "INSERT INTO entry SELECT log, 300, zeroblob(32), leaf, sct_signature, leaf_hash FROM entry LIMIT 1",
        ],
        ["UPDATE entry SET leaf = zeroblob(length(leaf)) WHERE leaf_index = 270"; 2],
        ["DELETE FROM entry WHERE leaf_index = 270"; 2],
        ["UPDATE entry SET leaf_hash = zeroblob(32) WHERE leaf_index = 256"; 2],
        ["UPDATE entry SET leaf_hash = NULL WHERE leaf_index = 299"; 2],
        [
            "INSERT INTO tile VALUES (1, zeroblob(32))",
            "INSERT INTO tile SELECT id, 0, 1, zeroblob(32) FROM log",
        ],
        [
            "INSERT INTO tile VALUES (1, zeroblob(45 * 32))",
            "INSERT INTO tile SELECT id, 0, 1, zeroblob(45 * 32) FROM log",
        ],
        [
            "UPDATE tile SET hashes = zeroblob(32) WHERE id = 1 << 40",
            "UPDATE tile SET hashes = zeroblob(32) WHERE level = 1 AND n = 0",
        ],
        [
            "UPDATE tile SET hashes = CAST(hashes || zeroblob(32) AS BLOB) WHERE id = 1 << 40",
            "UPDATE tile SET hashes = hashes || zeroblob(32) WHERE level = 1 AND n = 0",
        ],
        [
            "UPDATE tile SET hashes = zeroblob(8192) WHERE id = 0",
            "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND n = 0",
        ],
        [
            "DELETE FROM tile WHERE id = 0",
            "DELETE FROM tile WHERE level = 0 AND n = 0",
        ],
        [
            "DELETE FROM tile WHERE id = 1 << 40",
            "DELETE FROM tile WHERE level = 1 AND n = 0",
        ],
        [
            "INSERT INTO tile VALUES (2, zeroblob(32))",
            "INSERT INTO tile SELECT id, 0, 2, zeroblob(32) FROM log",
        ],
        [
            "INSERT INTO tile VALUES (2 << 40, zeroblob(32))",
            "INSERT INTO tile SELECT id, 2, 0, zeroblob(32) FROM log",
        ],
    ]
    .map(|both| home.choose(both));
    for statement in statements {
        let test = TestLog::create_in(home).await;
        let log = test.open().await;
        for result in log_entries(&log, 0..300, at(10)).await {
            result.unwrap();
        }
        log.close().await;
        test.tamper(statement).await;
        let refused = test.try_open(at(10)).await;
        let is_right = matches!(
            refused,
            Err(LogError::Recovery(_) | LogError::Store(StoreError::Malformed(_)))
        );
        assert!(is_right, "{statement}: {refused:?}");
    }
}

async fn the_long_look_finds_what_the_short_one_cannot(home: Home) {
    let statements = [
        (
            ["UPDATE entry SET leaf = zeroblob(length(leaf)) WHERE leaf_index = 3"; 2],
            "entry 3",
        ),
        (
            ["UPDATE entry SET sct_signature = zeroblob(70) WHERE leaf_index = 3"; 2],
            "entry 3",
        ),
        (
            ["UPDATE entry SET dedup = zeroblob(32) WHERE leaf_index = 3"; 2],
            "entry 3",
        ),
        (
            [
                "UPDATE tile SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE id = 0",
                "UPDATE tile SET hashes = zeroblob(32) || substr(hashes, 33) WHERE level = 0 AND n = 0",
            ],
            "tile/0/000",
        ),
        (
            ["DELETE FROM entry WHERE leaf_index = 3"; 2],
            "entry 3",
        ),
        (
            ["UPDATE entry SET leaf_hash = zeroblob(32) WHERE leaf_index = 515"; 2],
            "tile/0/002",
        ),
        (
            ["UPDATE entry SET leaf_hash = NULL WHERE leaf_index = 515"; 2],
            "tile/0/002",
        ),
        (
            [
                "DELETE FROM tile WHERE id = 0",
                "DELETE FROM tile WHERE level = 0 AND n = 0",
            ],
            "tile/0/000",
        ),
    ]
    .map(|(both, damaged)| (home.choose(both), damaged));
    let signer = signer(1);
    for (statement, damaged) in statements {
        let test = TestLog::create_in(home).await;
        let log = test.open().await;
        for result in log_entries(&log, 0..520, at(10)).await {
            result.unwrap();
        }
        log.close().await;
        let mut progress = Vec::new();
        let mut check = async || {
            let told = &mut |done, all| progress.push((done, all));
            check::check_file(&test.config.database, ORIGIN, signer.verifier(), told).await
        };
        assert_eq!(check().await.unwrap().head.size, 520);
        test.tamper(statement).await;
        let name = damaged.to_owned();
        assert_eq!(
            check().await,
            Err(RecoveryError::Inconsistent { name }),
            "{statement}"
        );
        assert_eq!(progress[..3], [(256, 520), (512, 520), (520, 520)]);
    }
}

async fn a_log_from_before_hashes_stood_with_entries_is_read_and_goes_on(home: Home) {
    let test = TestLog::create_in(home).await;
    let log = test.open().await;
    for result in log_entries(&log, 0..300, at(10)).await {
        result.unwrap();
    }
    let growing = log.reader().tile(0, 1, 44).await.unwrap().unwrap();
    log.close().await;
    let growing: String = growing.iter().map(|byte| format!("{byte:02x}")).collect();
    let back = home.choose([
        format!("INSERT INTO tile VALUES (1, x'{growing}')"),
        format!("INSERT INTO tile SELECT id, 0, 1, '\\x{growing}' FROM log"),
    ]);
    test.tamper(&format!(
        "{back}; ALTER TABLE entry DROP COLUMN leaf_hash;
         DELETE FROM _sqlx_migrations WHERE version = 2"
    ))
    .await;
    let signer = signer(1);
    let check = async || {
        let database = &test.config.database;
        check::check_file(database, ORIGIN, signer.verifier(), &mut |_, _| {}).await
    };
    if let Database::Postgres(server) = &test.config.database {
        let refused = test.try_open(at(10)).await.unwrap_err().to_string();
        assert!(refused.contains("vouchsafe database upgrade"), "{refused}");
        upgrade(server).await.unwrap();
    }
    // A file is looked at as it is, and brought up to date by who opens it to write.
    assert_eq!(check().await.unwrap().head.size, 300);
    let log = test.open().await;
    for size in [301, 511, 512, 513] {
        for result in log_entries(&log, log.head().size..size, at(10)).await {
            result.unwrap();
        }
        assert_eq!(log.check().await.unwrap().head.size, size);
    }
    log.close().await;
    assert_eq!(check().await.unwrap().head.size, 513);
}

async fn a_full_queue_turns_entries_away_and_loses_none_it_took(home: Home) {
    let mut test = TestLog::create_in(home).await;
    test.config.queue = 3;
    let (log, store) = test.open_faulty().await;
    store.close_gate();
    let first = tokio::spawn({
        let log = log.clone();
        async move { log_entry(&log, 0, at(10)).await }
    });
    store.begun.acquire().await.unwrap().forget();
    let waiting: Vec<_> = (1..=3)
        .map(|number| {
            let mut waiting = Box::pin({
                let log = log.clone();
                async move { log_entry(&log, number, at(10)).await }
            });
            // Polled once, so that it stands in the queue.
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waiting.as_mut().poll(context).is_pending());
            waiting
        })
        .collect();
    let busy = AppendError::Busy(Busy::Entries);
    assert_eq!(log_entry(&log, 4, at(10)).await, Err(busy.clone()));
    assert_eq!(log.refresh(at(10)).await, Err(busy));
    store.open_gate();
    first.await.unwrap().unwrap();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert_eq!(log.head().size, 4);
    log.check().await.unwrap();
}

async fn entries_of_too_many_bytes_are_turned_away(home: Home) {
    let test = TestLog::create_in(home).await;
    let (log, store) = test.open_faulty().await;
    store.close_gate();
    let mut waiting = Vec::new();
    let busy = (0..2000).find(|&number| {
        let entry = entry(number, 60_000);
        let dedup = entry.body().dedup_key();
        let log = log.clone();
        let mut task = Box::pin(async move { log.enqueue(entry, dedup, Vec::new(), at(1)).await });
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        match task.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                assert_eq!(result, Err(AppendError::Busy(Busy::Bytes)));
                true
            }
            std::task::Poll::Pending => {
                waiting.push(task);
                false
            }
        }
    });
    let expected = MAX_WAITING_BYTES / entry(0, 60_000).weight();
    assert_eq!(busy, Some(expected as u64));
    store.open_gate();
    for task in waiting {
        task.await.unwrap();
    }
    log_entry(&log, 9999, at(1)).await.unwrap();
    assert!(log.head().size == expected as u64 + 1);
}

async fn an_entry_nobody_waits_for_any_more_harms_nothing(home: Home) {
    let test = TestLog::create_in(home).await;
    let (log, store) = test.open_faulty().await;
    store.close_gate();
    let in_commit = tokio::spawn({
        let log = log.clone();
        async move { log_entry(&log, 0, at(10)).await }
    });
    store.begun.acquire().await.unwrap().forget();
    let queued = tokio::spawn({
        let log = log.clone();
        async move { log_entry(&log, 1, at(10)).await }
    });
    while log.shared.requests.capacity() == log.shared.requests.max_capacity() {
        tokio::task::yield_now().await;
    }
    in_commit.abort();
    queued.abort();
    assert!(in_commit.await.is_err() && queued.await.is_err());
    store.open_gate();
    let zero = log_entry(&log, 0, at(20)).await.unwrap();
    assert_eq!(zero.index, Some(0), "what was in a commit is there");
    let two = log_entry(&log, 2, at(20)).await.unwrap();
    assert_eq!(two.index, Some(1), "what waited was not logged for nobody");
    assert_eq!(
        log.shared.room.available_permits(),
        MAX_WAITING_BYTES,
        "no memory is kept"
    );
    log.check().await.unwrap();
}

async fn a_batch_that_was_not_written_fails_its_waiters_and_nothing_else(home: Home) {
    for start in [0, 5, 255, 256, 300] {
        let test = TestLog::create_in(home).await;
        let (log, store) = test.open_faulty().await;
        for result in log_entries(&log, 0..start, at(10)).await {
            result.unwrap();
        }
        let head = log.head();
        store.fail(Fault::NotPersisted(CommitError::NotWritten(
            "no room".to_owned(),
        )));
        assert_eq!(
            log_entry(&log, start, at(20)).await,
            Err(AppendError::NotWritten)
        );
        assert_eq!(log.head(), head, "size {start}");
        for result in log_entries(&log, start..start + 300, at(30)).await {
            result.unwrap();
        }
        log.check().await.unwrap();
        log.close().await;
        assert_eq!(test.open().await.head().size, start + 300);
    }
}

#[tokio::test]
async fn a_log_that_cannot_commit_says_so_until_it_can() {
    let test = TestLog::create().await;
    let (log, store) = test.open_faulty().await;
    let full = || Fault::NotPersisted(CommitError::NotWritten("no room".to_owned()));
    assert!(log.is_healthy(at(10)).await);
    store.fail(full());
    log_entry(&log, 0, at(20)).await.unwrap_err();
    store.fail(full());
    assert!(!log.is_healthy(at(30)).await, "there is no room yet");
    assert!(log.in_service());
    assert!(
        log.is_healthy(at(40)).await,
        "the room that was made is not found"
    );
    log_entry(&log, 0, at(50)).await.unwrap();
}

#[tokio::test]
async fn a_log_whose_task_has_ended_says_that_it_stopped() {
    let log = TestLog::create().await.open().await;
    log.close().await;
    assert_eq!(log.fatal().await, Fatal::Stopped);
}

#[tokio::test]
async fn after_an_unknown_outcome_the_log_stops_and_a_fresh_start_knows() {
    for (start, added) in [(0, 1), (0, 300), (255, 1), (255, 2), (256, 1), (300, 600)] {
        for is_persisted in [false, true] {
            let test = TestLog::create().await;
            let (log, store) = test.open_faulty().await;
            for result in log_entries(&log, 0..start, at(10)).await {
                result.unwrap();
            }
            let old = log.head();
            let unknown = CommitError::Unknown("disk I/O error".to_owned());
            store.fail(if is_persisted {
                Fault::Persisted(unknown)
            } else {
                Fault::NotPersisted(unknown)
            });
            for result in log_entries(&log, start..start + added, at(20)).await {
                assert_eq!(result, Err(AppendError::Unavailable));
            }
            assert_eq!(
                log.fatal().await,
                Fatal::UnknownOutcome("disk I/O error".to_owned())
            );
            assert_eq!(
                log_entry(&log, 9999, at(30)).await,
                Err(AppendError::Unavailable)
            );
            assert_eq!(log.refresh(at(30)).await, Err(AppendError::Unavailable));
            assert_eq!(log.head(), old, "a head of unknown durability was shown");
            log.close().await;

            let log = test.open().await;
            let size = log.head().size;
            assert_eq!(
                size > start,
                is_persisted,
                "from {start} to {}",
                start + added
            );
            for result in log_entries(&log, start..start + added, at(40)).await {
                result.unwrap();
            }
            assert_eq!(log.head().size, start + added, "an entry was logged twice");
            assert_eq!(root_from_data_tiles(&log).await, log.head().root);
            log.check().await.unwrap();
        }
    }
}

async fn an_answered_entry_survives_the_end_of_the_process_at_any_moment(home: Home) {
    let test = TestLog::create_in(home).await;
    for round in 0..5 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let config = test.config.clone();
        let (answered, mut answers) = mpsc::unbounded_channel();
        runtime.spawn(async move {
            let log = Log::open(&config, signer(1), &Chains::default(), at(0))
                .await
                .unwrap();
            for number in round * 1000..round * 1000 + 1000 {
                let (log, answered) = (log.clone(), answered.clone());
                tokio::spawn(async move {
                    if let Ok(appended) = log_entry(&log, number, at(10)).await {
                        drop(answered.send((number, appended)));
                    }
                });
                tokio::task::yield_now().await;
            }
        });
        let mut received = Vec::new();
        while received.len() < 20 * (round as usize + 1) {
            received.push(answers.recv().await.unwrap());
        }
        // Everything that runs is dropped where it stands.
        runtime.shutdown_background();
        while let Some(answer) = answers.recv().await {
            received.push(answer);
        }
        let log = loop {
            match test.try_open(at(10)).await {
                Ok(log) => break log,
                Err(LogError::Store(StoreError::Locked(_))) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        };
        log.check().await.unwrap();
        for (number, appended) in received {
            assert_eq!(log_entry(&log, number, at(10)).await.unwrap(), appended);
        }
        log.close().await;
    }
}

#[tokio::test]
async fn another_writer_behind_the_lock_stops_the_log() {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entry(&log, 0, at(10)).await.unwrap();
    test.tamper("UPDATE head SET root = zeroblob(32)").await;
    assert_eq!(
        log_entry(&log, 1, at(10)).await,
        Err(AppendError::Unavailable)
    );
    assert_eq!(log.fatal().await, Fatal::HeadMoved);
}

async fn others_submit_what_their_chain_vouches_for_once(home: Home) {
    let test = TestLog::create_in(home).await;
    let ca = TestAuthority::new();
    let chains = Chains {
        issuer: vec![ca.intermediate_der(), ca.root_der()],
        roots: Vec::new(),
    };
    let log = Log::open(&test.config, signer(1), &chains, at(0))
        .await
        .unwrap();
    assert_eq!(log.roots().collect::<Vec<_>>(), [ca.root_der()]);
    let leaf = ca.leaf(vec![poison()]);
    let submission = || Submission::Precertificate(vec![leaf.clone(), ca.intermediate_der()]);
    let sct = log.submit(submission(), at(10)).await.unwrap();
    assert_eq!(log.submit(submission(), at(99)).await.unwrap(), sct);
    let without_poison = Submission::Certificate(vec![ca.leaf(Vec::new()), ca.intermediate_der()]);
    log.submit(without_poison, at(10)).await.unwrap();
    assert_eq!(log.head().size, 2);
    for der in [ca.intermediate_der(), ca.root_der()] {
        assert_eq!(
            log.reader().issuer(&merkle::sha256(&der)).await.unwrap(),
            Some(der)
        );
    }
    assert_eq!(log.check().await.unwrap().issuers, 2);

    let stranger = TestAuthority::new();
    let unknown = vec![stranger.leaf(Vec::new()), stranger.intermediate_der()];
    let refused = log.submit(Submission::Certificate(unknown), at(10)).await;
    assert_eq!(
        refused,
        Err(AppendError::Refused(SubmissionError::UnknownRoot))
    );
}

async fn a_submitted_intermediate_is_stored_with_its_entry(home: Home) {
    let test = TestLog::create_in(home).await;
    let ca = TestAuthority::new();
    let chains = Chains {
        issuer: Vec::new(),
        roots: vec![ca.root_der()],
    };
    let log = Log::open(&test.config, signer(1), &chains, at(0))
        .await
        .unwrap();
    let fingerprint = merkle::sha256(&ca.intermediate_der());
    assert_eq!(log.reader().issuer(&fingerprint).await.unwrap(), None);
    for _ in 0..2 {
        let chain = vec![ca.leaf(Vec::new()), ca.intermediate_der(), ca.root_der()];
        log.submit(Submission::Certificate(chain), at(10))
            .await
            .unwrap();
        assert_eq!(
            log.reader().issuer(&fingerprint).await.unwrap(),
            Some(ca.intermediate_der())
        );
    }
    assert_eq!(log.check().await.unwrap().issuers, 2);
}

async fn chains_that_are_none_and_usages_that_are_none_are_refused(home: Home) {
    let test = TestLog::create_in(home).await;
    let ca = TestAuthority::new();
    let open = |config: Config, issuer: Vec<Vec<u8>>| async move {
        let chains = Chains {
            issuer,
            roots: Vec::new(),
        };
        Log::open(&config, signer(1), &chains, at(0))
            .await
            .map(drop)
    };
    let chain = vec![ca.root_der(), ca.intermediate_der()];
    let refused = open(test.config.clone(), chain).await;
    assert!(
        matches!(refused, Err(LogError::Chain { position: 0, .. })),
        "{refused:?}"
    );
    let refused = open(test.config.clone(), vec![vec![0x30, 0]]).await;
    assert!(matches!(
        refused,
        Err(LogError::Chain {
            error: ChainError::Malformed,
            ..
        })
    ));
    for usages in [
        &[][..],
        &["codesigning"],
        &["any", "codeSigning"],
        &["1.2.x"],
    ] {
        let mut config = test.config.clone();
        config.extended_key_usages = usages.iter().map(|usage| (*usage).to_owned()).collect();
        assert!(
            matches!(open(config, Vec::new()).await, Err(LogError::Usage(_))),
            "{usages:?}"
        );
    }
    let mut config = test.config.clone();
    config.extended_key_usages = vec!["codeSigning".to_owned(), "1.3.6.1.5.5.7.3.8".to_owned()];
    open(config, vec![ca.intermediate_der(), ca.root_der()])
        .await
        .unwrap();
}

async fn a_batch_whose_signatures_do_not_verify_is_not_written(home: Home) {
    let test = TestLog::create_in(home).await;
    let store = test.open_store().await;
    let verifier = signer(1).verifier().clone();
    let (head, edge) = recover(&*store, ORIGIN, &verifier).await.unwrap();
    let (requests, received) = mpsc::channel(10);
    let (fatal, stopped) = watch::channel(None);
    let sequencer = Sequencer {
        store: store.clone(),
        signer: signer(1).broken(&signer(2)),
        origin: ORIGIN.to_owned(),
        edge,
        base: head.clone(),
        head: Arc::new(ArcSwap::from_pointee(head.clone())),
        is_alone: true,
        issuers: Default::default(),
        high_water: None,
        is_failing: Arc::default(),
        fatal,
    };
    let running = tokio::spawn(sequencer.run(received));
    let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
    let (answer, answered) = oneshot::channel();
    let append = Append {
        dedup: entry(0, 40).body().dedup_key(),
        entry: Arc::new(entry(0, 40)),
        issuers: Vec::new(),
        now_ms: head.timestamp_ms,
        answer,
        weight: room.acquire_owned().await.unwrap(),
    };
    requests.send(Request::Append(append)).await.unwrap();
    assert_eq!(answered.await.unwrap(), Err(AppendError::Signature));
    assert_eq!(store.state().await.unwrap().head, head);
    assert_eq!(*stopped.borrow(), None);
    drop(requests);
    running.await.unwrap();
}

/// Run by hand with `CTLOG_TEST_DIRECTORY` on a file system of some eight megabytes.
#[tokio::test]
#[ignore = "needs a file system that can be filled"]
async fn a_full_file_system_refuses_entries_and_takes_them_again_with_room() {
    let Some(directory) = std::env::var_os("CTLOG_TEST_DIRECTORY") else {
        return;
    };
    let directory = std::path::PathBuf::from(directory);
    let config = config(&directory);
    Log::create(&config, &signer(1), at(0)).await.unwrap();
    let log = Log::open(&config, signer(1), &Chains::default(), at(0))
        .await
        .unwrap();
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let large = |number| {
        let entry = entry(number, 30_000);
        let dedup = entry.body().dedup_key();
        log.enqueue(entry, dedup, Vec::new(), at(10))
    };
    let mut logged = 0;
    let refused = loop {
        match large(logged).await {
            Ok(_) => logged += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, AppendError::NotWritten);
    assert_eq!(large(logged).await, Err(AppendError::NotWritten));
    assert_eq!(
        large(0).await.unwrap().index,
        Some(0),
        "what is there is still answered"
    );
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(large(logged).await.unwrap().index, Some(logged));
    log.check().await.unwrap();
    log.close().await;
    let log = Log::open(&config, signer(1), &Chains::default(), at(10))
        .await
        .unwrap();
    assert_eq!(log.head().size, logged + 1);
}

/// Prints what one entry costs; run with `--release --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cpu_per_entry() {
    let signer_to_compare = signer(2);
    let filler =
        rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1], vec![7; 2000]);
    let precertificate = TestAuthority::new().leaf(vec![filler, poison()]);
    let test = TestLog::create().await;
    let log = test.open().await;
    let before = process_cpu_ticks();
    for number in 0..10_000_u64 {
        let message = [precertificate.as_slice(), &number.to_be_bytes()].concat();
        signer_to_compare.sign(&message).unwrap();
    }
    let signature_us = (process_cpu_ticks() - before) as f64;
    println!("one signature: {signature_us:.1} us CPU");
    for (waiting, now) in (1..)
        .map(|phase| at(phase * 1_000_000))
        .zip([1_u64, 16, 64, 256])
        .map(|(now, waiting)| (waiting, now))
    {
        // Under a still clock every commit adds a millisecond, and five seconds of that are the limit.
        let total = (waiting * 2_000).min(32_000);
        let logged_before = log.head().size;
        let entries: Vec<_> = (0..total)
            .map(|number| real_entry(&precertificate, logged_before * 1_000 + number))
            .collect();
        let mut shares: Vec<Vec<_>> = (0..waiting).map(|_| Vec::new()).collect();
        for (number, entry) in entries.into_iter().enumerate() {
            let share = number % shares.len();
            shares[share].push(entry);
        }
        log.refresh(now).await.unwrap();
        let commits_before = log.head().timestamp_ms;
        let before = process_cpu_ticks();
        let tasks: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let log = log.clone();
                tokio::spawn(async move {
                    for entry in share {
                        let dedup = entry.body().dedup_key();
                        log.enqueue(entry, dedup, Vec::new(), now).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        // Ticks are hundredths of a second.
        let per_entry = (process_cpu_ticks() - before) as f64 * 10_000.0 / total as f64;
        let batch = total as f64 / (log.head().timestamp_ms - commits_before) as f64;
        let rest = per_entry - signature_us;
        println!(
            "{waiting:4} waiting: batches of {batch:.1}, {per_entry:.1} us CPU an entry, {rest:.1} without the SCT's signature"
        );
    }
}

/// An entry for a precertificate of its own serial number.
fn real_entry(precertificate: &[u8], number: u64) -> Entry {
    let mut der = precertificate.to_vec();
    // Two SEQUENCE headers, version, INTEGER header, and some octets into the number.
    der[18..26].copy_from_slice(&number.to_be_bytes());
    let poison = crate::certificate::precertificate::POISON_OID;
    let tbs = crate::certificate::precertificate::tbs_without(&der, poison).unwrap();
    let body = EntryBody::precertificate(&[0x1a; 32], &tbs).unwrap();
    Entry::precertificate(body, &der, Arc::new([[1; 32], [2; 32]])).unwrap()
}

/// User and system time of this process.
fn process_cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
