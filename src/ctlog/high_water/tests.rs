#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use super::*;
use crate::ctlog::guard::{GuardError, Rollback, adopt};
use crate::ctlog::recovery::recover;
use crate::ctlog::sequencer::{Request, Sequencer};
use crate::ctlog::store::Store as _;
use crate::ctlog::store::sqlite::SqliteStore;
use crate::ctlog::testing::{ORIGIN, TestLog, at, log_entries, log_entry, signer};
use crate::ctlog::{AppendError, Chains, Config, Fatal, Log, LogError, guard};
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// A log with a mark beside its database.
async fn marked() -> TestLog {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        high_water: Some(directory.path().join("high-water")),
        ..crate::ctlog::testing::config(directory.path())
    };
    Log::create(&config, &signer(1), at(0)).await.unwrap();
    TestLog { directory, config }
}

fn path_of(test: &TestLog) -> PathBuf {
    test.config.high_water.clone().unwrap()
}

/// What the file says, by nothing but its bytes.
fn sizes_in(file: &Path) -> Vec<u64> {
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes.len(), 2 * SLOT);
    let sizes = bytes.chunks(SLOT).filter_map(|slot| {
        let text = String::from_utf8_lossy(slot).into_owned();
        text.split('\n').nth(1)?.parse().ok()
    });
    sizes.collect()
}

fn copy_database(test: &TestLog, to: &str) {
    fs::copy(test.database(), test.directory.path().join(to)).unwrap();
}

fn restore_database(test: &TestLog, from: &str) {
    fs::copy(test.directory.path().join(from), test.database()).unwrap();
}

fn rollback(refused: LogError) -> Rollback {
    let LogError::Guard(GuardError::Rollback(rollback)) = refused else {
        panic!("{refused}")
    };
    rollback
}

#[tokio::test]
async fn whoever_is_answered_stands_below_the_mark() {
    let test = marked().await;
    let log = test.open().await;
    for number in 0..20 {
        let appended = log_entry(&log, number, at(1)).await.unwrap();
        let newest = sizes_in(&path_of(&test)).into_iter().max();
        assert_eq!(newest, Some(appended.index.unwrap() + 1));
    }
    log.refresh(at(5)).await.unwrap();
    log.close().await;
    let mark = HighWater::open(&path_of(&test), ORIGIN, signer(1).verifier()).unwrap();
    assert_eq!(mark.mark().timestamp_ms, log.head().timestamp_ms);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path_of(&test)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_refused_by_the_mark_alone() {
    let test = marked().await;
    let log = test.open().await;
    log_entries(&log, 0..3, at(1)).await;
    log.close().await;
    copy_database(&test, "backup");
    let log = test.open().await;
    log_entries(&log, 3..5, at(2)).await;
    log.close().await;
    copy_database(&test, "newest");

    restore_database(&test, "backup");
    let refused = test.try_open(at(3)).await.unwrap_err();
    assert!(refused.to_string().contains("docs/log.md"), "{refused}");
    let looked = guard::look(&test.config, signer(1).verifier(), at(3)).await;
    assert_eq!(looked.unwrap_err(), refused);
    match rollback(refused) {
        Rollback::Behind { seen, stored, .. } => assert_eq!((seen, stored), (5, 3)),
        Rollback::Forked { .. } => panic!("not longer, but another tree"),
    }
    // The newest one is as good as ever.
    restore_database(&test, "newest");
    let log = test.try_open(at(3)).await.unwrap();
    assert_eq!(log.head().size, 5);
}

#[tokio::test]
async fn a_clone_that_went_its_own_way_is_refused() {
    let test = marked().await;
    let log = test.open().await;
    log_entries(&log, 0..3, at(1)).await;
    log.close().await;
    copy_database(&test, "clone.sqlite");
    // Ours goes on to 5; the clone, where nothing remembers, to 7.
    let log = test.open().await;
    log_entries(&log, 3..5, at(2)).await;
    log.close().await;
    let clone = Config {
        database: test.directory.path().join("clone.sqlite").into(),
        high_water: None,
        ..test.config.clone()
    };
    let log = Log::open(&clone, signer(1), &Chains::default(), at(2)).await;
    let log = log.unwrap();
    log_entries(&log, 100..104, at(2)).await;
    log.close().await;

    restore_database(&test, "clone.sqlite");
    match rollback(test.try_open(at(3)).await.unwrap_err()) {
        Rollback::Forked { size, .. } => assert_eq!(size, 5),
        Rollback::Behind { .. } => panic!("it is longer than ours"),
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_mark_is_made_good_at_the_next_start() {
    let test = marked().await;
    let before = fs::read(path_of(&test)).unwrap();
    let log = test.open().await;
    log_entries(&log, 0..3, at(1)).await;
    log.close().await;
    fs::write(path_of(&test), before).unwrap();
    let log = test.try_open(at(2)).await.unwrap();
    assert_eq!(log.head().size, 3);
    assert!(sizes_in(&path_of(&test)).contains(&3));
}

#[tokio::test]
async fn a_torn_write_leaves_the_mark_before_it() {
    let test = marked().await;
    let log = test.open().await;
    for number in 0..4 {
        log_entry(&log, number, at(1)).await.unwrap();
    }
    log.close().await;
    let whole = fs::read(path_of(&test)).unwrap();
    let sizes = sizes_in(&path_of(&test));
    let newest = usize::from(sizes[1] > sizes[0]);
    let older = &whole[(1 - newest) * SLOT..][..SLOT];
    let note = whole[newest * SLOT..].iter().position(|byte| *byte == 0);
    for torn_at in (0..note.unwrap()).step_by(7) {
        // The beginning is the new write's, the rest what stood there: here the older mark.
        let mut torn = whole.clone();
        torn[newest * SLOT + torn_at..][..SLOT - torn_at].copy_from_slice(&older[torn_at..]);
        fs::write(path_of(&test), torn).unwrap();
        let mark = HighWater::open(&path_of(&test), ORIGIN, signer(1).verifier()).unwrap();
        assert_eq!(mark.mark().size, 3, "torn at {torn_at}");
        // The next write spares what is left.
        assert_eq!(mark.next, newest as u64);
    }
}

#[tokio::test]
async fn a_mark_that_is_lost_or_damaged_or_anothers_is_not_made_again_by_itself() {
    let test = marked().await;
    let path = path_of(&test);
    let verifier = signer(1).verifier().clone();
    fs::write(&path, vec![0x5a; 2 * SLOT]).unwrap();
    let damaged = LogError::HighWater(HighWaterError::Damaged(text(&path)));
    assert_eq!(test.try_open(at(1)).await.unwrap_err(), damaged);
    let other = Log::create(&test.config, &signer(1), at(0)).await;
    let exists = LogError::HighWater(HighWaterError::Exists(text(&path)));
    assert_eq!(other.unwrap_err(), exists, "an earlier log's mark");
    assert_eq!(
        adopt(&test.config, &path, &verifier).await.unwrap_err(),
        exists
    );

    fs::remove_file(&path).unwrap();
    let missing = LogError::HighWater(HighWaterError::Missing(text(&path)));
    assert_eq!(test.try_open(at(1)).await.unwrap_err(), missing);
    assert!(missing.to_string().contains("vouchsafe log adopt"));
    assert_eq!(adopt(&test.config, &path, &verifier).await.unwrap(), 0);
    let log = test.try_open(at(1)).await.unwrap();
    let again = HighWater::open(&path, ORIGIN, &verifier).unwrap_err();
    assert_eq!(again, HighWaterError::Locked(text(&path)));
    drop(log);
}

/// K11: whatever step of its creation a log was cut short at, it is finished or refused; never is
/// there a second one under its key.
#[tokio::test]
async fn a_creation_that_was_cut_short_never_becomes_a_second_log() {
    let test = marked().await;
    let path = path_of(&test);
    // Neither database nor mark: nothing was begun.
    let files = [test.database(), path.clone()];
    let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    assert!(test.try_open(at(1)).await.is_err());
    // The database, but not yet the mark.
    fs::write(test.database(), &before[0]).unwrap();
    assert!(test.try_open(at(1)).await.is_err());
    assert!(Log::create(&test.config, &signer(1), at(1)).await.is_err());
    adopt(&test.config, &path, signer(1).verifier())
        .await
        .unwrap();
    test.try_open(at(1)).await.unwrap().close().await;
    // The mark of a log whose database is gone.
    fs::remove_file(test.database()).unwrap();
    assert!(test.try_open(at(1)).await.is_err());
    assert!(Log::create(&test.config, &signer(1), at(1)).await.is_err());
    assert!(!test.database().exists());
}

/// What lies at the path may be anything, for instance because the path is wrong.
#[tokio::test]
async fn only_what_a_cut_short_making_left_is_made_anew() {
    let test = marked().await;
    let path = path_of(&test);
    let verifier = signer(1).verifier().clone();
    let whole = fs::read(&path).unwrap();
    for (left, is_ours) in [
        (&b""[..], true),
        (&whole[..SLOT], true),
        (&whole[..100], true),
        (b"issuers:\n", false),
        (b"other.example/log\n0\n", false),
        (&[0; SLOT], false),
        (&[0; 2 * SLOT], false),
        (&whole, false),
    ] {
        fs::write(&path, left).unwrap();
        let adopted = adopt(&test.config, &path, &verifier).await;
        if is_ours {
            assert_eq!(adopted.unwrap(), 0);
            assert_eq!(fs::read(&path).unwrap(), whole);
            test.try_open(at(1)).await.unwrap().close().await;
        } else {
            let exists = LogError::HighWater(HighWaterError::Exists(text(&path)));
            assert_eq!(adopted.unwrap_err(), exists);
            assert_eq!(fs::read(&path).unwrap(), left, "it was written over");
        }
    }
    fs::write(&path, b"").unwrap();
    let missing = LogError::HighWater(HighWaterError::Missing(text(&path)));
    assert_eq!(test.try_open(at(1)).await.unwrap_err(), missing);
}

#[tokio::test]
async fn a_restored_tree_that_was_only_signed_again_waits_for_the_clock() {
    let test = marked().await;
    let log = test.open().await;
    log_entries(&log, 0..3, at(1)).await;
    log.close().await;
    copy_database(&test, "backup");
    let log = test.open().await;
    log.refresh(at(5_000)).await.unwrap();
    log.close().await;
    restore_database(&test, "backup");
    let refused = test.try_open(at(4_000)).await.unwrap_err();
    assert_eq!(refused, LogError::ClockBehind { behind_ms: 1_000 });
    let log = test.try_open(at(6_000)).await.unwrap();
    assert_eq!(log.head().size, 3);
    log_entry(&log, 3, at(6_000)).await.unwrap();
    assert!(log.head().timestamp_ms > u64::try_from(at(5_000).unix_timestamp()).unwrap() * 1000);
}

/// K15: the clock set back an hour while the process was away.
#[tokio::test]
async fn a_clock_an_hour_back_keeps_the_log_closed() {
    let test = marked().await;
    let log = test.open().await;
    log_entry(&log, 0, at(1)).await.unwrap();
    log.close().await;
    let hour = 3_600_000;
    let refused = test.try_open(at(1 - hour)).await.unwrap_err();
    let behind_ms = hour.unsigned_abs();
    assert_eq!(refused, LogError::ClockBehind { behind_ms });
    let log = test.try_open(at(2)).await.unwrap();
    let earlier = log_entry(&log, 1, at(1 - hour)).await.unwrap_err();
    assert!(
        matches!(earlier, AppendError::ClockBehind { .. }),
        "{earlier}"
    );
    log_entry(&log, 1, at(3)).await.unwrap();
}

#[tokio::test]
async fn a_batch_whose_mark_cannot_be_written_is_committed_but_never_answered() {
    let test = marked().await;
    let store = Arc::new(SqliteStore::open(&test.database()).await.unwrap());
    let verifier = signer(1).verifier().clone();
    let (head, edge) = recover(&*store, ORIGIN, &verifier).await.unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (fatal_sender, mut fatal) = watch::channel(None);
    let shown = Arc::new(ArcSwap::from_pointee(head.clone()));
    let sequencer = Sequencer {
        store: store.clone(),
        signer: signer(1),
        origin: ORIGIN.to_owned(),
        edge,
        base: head.clone(),
        head: shown.clone(),
        is_alone: true,
        issuers: HashSet::new(),
        high_water: Some(HighWater {
            file: full,
            path: "/dev/full".into(),
            mark: head.signed(ORIGIN),
            next: 0,
        }),
        is_failing: Arc::default(),
        fatal: fatal_sender,
    };
    let (requests, received) = mpsc::channel(1);
    tokio::spawn(sequencer.run(received));
    let (answer, answered) = oneshot::channel();
    let now_ms = head.timestamp_ms + 1;
    requests
        .send(Request::Refresh { now_ms, answer })
        .await
        .unwrap();
    assert_eq!(answered.await.unwrap(), Err(AppendError::Unavailable));
    let reason = fatal.wait_for(Option::is_some).await.unwrap().clone();
    assert!(matches!(
        reason,
        Some(Fatal::HighWater(HighWaterError::File { .. }))
    ));
    let stored = store.state().await.unwrap().head;
    assert_eq!(stored.timestamp_ms, now_ms, "it was committed before");
    assert_eq!(**shown.load(), head, "and is not shown to anybody");
}
