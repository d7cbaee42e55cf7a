use super::*;

use std::fs;
use std::thread;
use std::time::Instant;

/// A disk that can be full. What it took is kept.
#[derive(Clone, Default)]
struct Disk {
    is_full: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Disk {
    /// Seven octets at a time: no line is written at once.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = &octets[..octets.len().min(7)];
        self.taken.lock().unwrap().extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk {
    fn lines(&self) -> Vec<serde_json::Value> {
        let taken = self.taken.lock().unwrap();
        let text = str::from_utf8(&taken).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn record(id: &str) -> Record<'_> {
    Record {
        time: rfc3339(OffsetDateTime::UNIX_EPOCH),
        decision: "refused",
        request_id: id,
        reason: Some("TOKEN_EXPIRED"),
        error: Some("two\nlines".to_owned()),
        ..Record::default()
    }
}

/// Waits for what another thread does, and not for long.
#[expect(clippy::disallowed_methods, reason = "a test's patience")]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never {what}");
        thread::yield_now();
    }
}

#[test]
fn a_record_is_one_line_whatever_is_in_it() {
    let disk = Disk::default();
    let trail = Trail::start(Box::new(disk.clone()), None, 8).unwrap();
    trail.refused(|| record("one"));
    trail.reserve().unwrap().fill(|| record("two"));
    // A place that is not needed leaves nothing.
    drop(trail.reserve().unwrap());
    assert!(trail.close(CLOSING));
    let lines = disk.lines();
    let ids: Vec<_> = lines.iter().map(|line| &line["request_id"]).collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(lines[0]["error"], "two\nlines");
    assert_eq!(trail.state().written, 2);
}

#[test]
fn a_full_disk_leaves_neither_a_hole_nor_half_a_line() {
    let disk = Disk::default();
    let trail = Trail::start(Box::new(disk.clone()), None, 4).unwrap();
    disk.is_full.store(true, Ordering::SeqCst);
    trail.refused(|| record("first"));
    wait("seen", || trail.state().is_failing);
    // The first one is with the writer; four more have places, and then there are none.
    for id in ["a", "b", "c", "d"] {
        trail.reserve().unwrap().fill(|| record(id));
    }
    assert!(matches!(trail.reserve(), Err(Full)));
    trail.refused(|| record("lost"));
    trail.refused(|| record("lost too"));
    let state = trail.state();
    assert_eq!((state.written, state.lost, state.waiting), (0, 2, 4));
    disk.is_full.store(false, Ordering::SeqCst);
    wait("written", || trail.state().written == 5);
    assert!(trail.reserve().is_ok() && !trail.state().is_failing);
    assert!(trail.close(CLOSING));
    let lines = disk.lines();
    let ids: Vec<_> = lines.iter().map(|line| &line["request_id"]).collect();
    assert_eq!(ids[..5], ["first", "a", "b", "c", "d"]);
    assert_eq!(
        (&lines[5]["decision"], &lines[5]["lost"]),
        (&"gap".into(), &2.into())
    );
}

#[test]
fn an_end_that_cannot_write_says_so() {
    let disk = Disk::default();
    let trail = Trail::start(Box::new(disk.clone()), None, 4).unwrap();
    disk.is_full.store(true, Ordering::SeqCst);
    trail.refused(|| record("one"));
    wait("seen", || trail.state().is_failing);
    assert!(!trail.close(Duration::from_millis(50)));
}

#[test]
fn a_file_that_was_moved_away_is_begun_again_between_two_lines() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (
        directory.path().join("audit.jsonl"),
        directory.path().join("old"),
    );
    // Half a line, as a loss of power leaves it.
    fs::write(&path, "{\"half").unwrap();
    let output = Box::new(open(&path).unwrap());
    let trail = Trail::start(output, Some(path.clone()), 8).unwrap();
    trail.refused(|| record("before"));
    wait("written", || trail.state().written == 1);
    fs::rename(&path, &old).unwrap();
    trail.refused(|| record("still there"));
    wait("written", || trail.state().written == 2);
    trail.reopen();
    wait("opened", || path.exists());
    trail.refused(|| record("after"));
    assert!(trail.close(CLOSING));
    let count = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((count(&old), count(&path)), (3, 1));
    assert!(fs::read_to_string(&path).unwrap().contains("after"));
    let last = fs::read_to_string(&old).unwrap();
    assert!(
        last.lines()
            .all(|line| line == "{\"half" || line.ends_with('}'))
    );
}
