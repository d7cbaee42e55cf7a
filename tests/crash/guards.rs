//! Starts that must not happen, and what a start must see: a second process, a clock that was set
//! back, an octet that is another one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::deployment::{Deployment, Server};
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::received::Received;
use super::harness::request::prepare;
use super::log::{Entry, LogKey, entries, issuer};
use super::tree::leaf_hash;
use super::witness::Witness;

#[tokio::test]
async fn a_second_process_is_refused_and_the_first_does_not_notice() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let server = deployment.start();
    let before = issue(&deployment, &provider, 0).await;
    // It says why, and in time for whoever watches it start.
    let second = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
        .args(["serve", "--config"])
        .arg(deployment.configuration())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success(), "{said}");
    assert!(said.contains("another process has the log at"), "{said}");
    let after = issue(&deployment, &provider, 1).await;
    assert_eq!(after.index(), before.index().map(|index| index + 1));
    server.kill();
}

/// The clock five minutes back: what is signed then would be older than what was signed before.
#[tokio::test]
async fn a_clock_that_was_set_back_stops_the_start_and_nothing_else() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let ahead = clock("+5m");
    let server = deployment.start_with(&borrowed(&ahead));
    issue(&deployment, &provider, 0).await;
    let mut witness = Witness::new(&deployment).await;
    witness.check_what_is_new("before").await;
    server.kill();
    let refused = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
        .args(["serve", "--config"])
        .arg(deployment.configuration())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("behind the newest tree head"), "{said}");
    let server = deployment.start_with(&borrowed(&ahead));
    issue(&deployment, &provider, 1).await;
    witness.check_what_is_new("after").await;
    witness.check_everything("after").await;
    server.kill();
}

/// The same while the server runs: no certificate leaves and nothing is logged until the clock is
/// right again, and then no restart is needed.
#[tokio::test]
async fn a_clock_that_is_set_back_under_way_stops_issuance_until_it_is_right() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let shift = deployment.path().with_file_name("shift");
    fs::write(&shift, "+5m").expect("a file");
    let file = shift.to_string_lossy().into_owned();
    let mut environment = clock("+5m");
    environment.retain(|(name, _)| name != "FAKETIME");
    environment.push(("FAKETIME_TIMESTAMP_FILE".to_owned(), file));
    environment.push(("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()));
    let server = deployment.start_with(&borrowed(&environment));
    let mut witness = Witness::new(&deployment).await;
    let first = issue(&deployment, &provider, 0).await;
    witness.check_what_is_new("before").await;

    fs::write(&shift, "+0").expect("a file");
    let request = prepare(&provider, 1, 1).remove(0);
    let mut connection = open(&deployment).await;
    let answer = connection.exchange(&request.http).await.expect("an answer");
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 503, "{said}");
    witness.check_what_is_new("meanwhile").await;
    assert_eq!(
        witness.size(),
        1,
        "something was logged under a wrong clock"
    );

    fs::write(&shift, "+5m").expect("a file");
    let second = issue(&deployment, &provider, 2).await;
    assert!(second.sct.timestamp_ms > first.sct.timestamp_ms);
    witness.check_what_is_new("after").await;
    witness.check_everything("after").await;
    server.kill();
}

/// One bit of one octet in each table of both databases. A start may overlook what is far from the
/// tree's edge; the long look, or the audit of the ledger, never.
#[tokio::test]
async fn one_octet_that_was_changed_is_found_whatever_table_it_is_in() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let server = deployment.start();
    for number in 0..3 {
        issue(&deployment, &provider, number).await;
    }
    let received = issue(&deployment, &provider, 3).await;
    let key = LogKey::fetch(deployment.address());
    let mut connection = open(&deployment).await;
    let head = key.checkpoint(&mut connection).await.expect("a checkpoint");
    let logged = entries(&mut connection, 0, head.size).await;
    let first: &Entry = logged.first().expect("an entry");
    let above = issuer(&mut connection, &first.chain[0]).await;
    drop(connection);
    stop(&server);
    assert!(server.end().success(), "{}", deployment.talk());

    // A copy is one file only when the journal is empty.
    super::audit::change(&deployment, "PRAGMA wal_checkpoint(TRUNCATE)").await;

    let (log, ledger) = ("log/log.sqlite", "ledger.sqlite");
    let origin = deployment.origin().replace("http://", "") + "/log";
    let changes: [(&str, &str, &[u8], &str); 6] = [
        (
            "the name in log",
            log,
            origin.as_bytes(),
            "the database holds the log",
        ),
        ("the root in head", log, &head.root, "checkpoint"),
        (
            "an entry",
            log,
            &first.precertificate[200..240],
            "entry 0 does not fit the tree head",
        ),
        (
            "a hash in tile",
            log,
            &leaf_hash(&first.merkle_tree_leaf),
            "does not fit",
        ),
        (
            "a certificate in issuer",
            log,
            &above[100..140],
            "does not fit the tree head",
        ),
        (
            "a certificate in the ledger",
            ledger,
            &received.certificate[received.certificate.len() - 40..],
            "certificate",
        ),
    ];
    for (what, file, octets, words) in changes {
        let path = deployment.path().join(file);
        let whole = fs::read(&path).expect("a database");
        flip(&path, &whole, octets, what);
        let command: &[&str] = if file == log {
            &["log", "fsck"]
        } else {
            &["ledger", "audit"]
        };
        let (is_well, said) = deployment.run(command);
        assert!(!is_well, "{what}: nobody noticed: {said}");
        assert!(said.contains(words), "{what}: not what is wrong: {said}");
        fs::write(&path, whole).expect("the database as it was");
    }
    for command in [["log", "fsck"], ["ledger", "audit"]] {
        let (is_well, said) = deployment.run(&command);
        assert!(is_well, "{said}");
    }
}

/// Changes one bit in the middle of every place of a file where `octets` stand.
fn flip(path: &Path, whole: &[u8], octets: &[u8], what: &str) {
    let mut changed = whole.to_vec();
    let places: Vec<usize> = whole
        .windows(octets.len())
        .enumerate()
        .filter(|(_, window)| *window == octets)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{what} is not in the file");
    for at in places {
        changed[at + octets.len() / 2] ^= 1;
    }
    fs::write(path, changed).expect("the changed database");
}

async fn issue(deployment: &Deployment, provider: &Issuer, number: u64) -> Received {
    let request = prepare(provider, number, 1).remove(0);
    let mut connection = open(deployment).await;
    let answer = connection.exchange(&request.http).await.expect("an answer");
    Received::read(&answer.body).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&answer.body);
        panic!("no certificate: {text}\n{}", deployment.talk())
    })
}

async fn open(deployment: &Deployment) -> Connection {
    Connection::open(deployment.address())
        .await
        .expect("the server listens")
}

/// Asks for an orderly end.
pub(crate) fn stop(server: &Server) {
    let status = Command::new("kill")
        .args(["-TERM", &server.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = environment.iter();
    pairs.map(|(name, value)| (&**name, &**value)).collect()
}

/// An environment in which a process's clock shows another time; only the time of day, not the one
/// that durations are measured by.
fn clock(shift: &str) -> Vec<(String, String)> {
    let library = fs::read_dir("/usr/lib")
        .expect("a directory")
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime, of Debian's package faketime");
    [
        ("LD_PRELOAD", &*library.to_string_lossy()),
        ("FAKETIME", shift),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
