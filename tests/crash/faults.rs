//! Every write and every sync of one issuance fails once as a bad disk fails it, once as a full one,
//! and once because the process dies in front of it. Nothing leaves that is not durable; the process
//! goes on or ends; and the next one finds everything whole.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::harness::deployment::{Deployment, Server};
use super::harness::http::{Connection, Response};
use super::harness::issuer::Issuer;
use super::harness::request::{SigningRequest, prepare};
use super::load::Seen;
use super::matrix::marked;
use super::strace::Strace;
use super::witness::Witness;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Error(&'static str),
    Kill,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_log_fails_once_as_on_a_bad_disk() {
    every_call_once("log/log.sqlite", Fault::Error("EIO")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_log_fails_once_as_on_a_full_disk() {
    every_call_once("log/log.sqlite", Fault::Error("ENOSPC")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_dies_once_before_every_write_of_the_log() {
    every_call_once("log/log.sqlite", Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_ledger_fails_once_as_on_a_bad_disk() {
    every_call_once("ledger.sqlite", Fault::Error("EIO")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_ledger_fails_once_as_on_a_full_disk() {
    every_call_once("ledger.sqlite", Fault::Error("ENOSPC")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_dies_once_before_every_write_of_the_ledger() {
    every_call_once("ledger.sqlite", Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_high_water_mark_fails_once_as_on_a_bad_disk() {
    every_call_once("high-water", Fault::Error("EIO")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_high_water_mark_fails_once_as_on_a_full_disk() {
    every_call_once("high-water", Fault::Error("ENOSPC")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_dies_once_before_every_write_of_the_high_water_mark() {
    every_call_once("high-water", Fault::Kill).await;
}

/// A full disk that is given room again: no certificate meanwhile, the log can be read, and then it
/// goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_issuance_until_there_is_room_and_no_longer() {
    for database in ["log/log.sqlite", "ledger.sqlite"] {
        let mut ground = Ground::prepare();
        let server = ground.deployment.start();
        let mut witness = Witness::new(&ground.deployment).await;
        let full = "inject=pwrite64,write,ftruncate,fallocate:error=ENOSPC";
        let strace = ground.attach(&server, database, &["-e", full]);
        let mut requests = ground.requests(4 + RETRIES);
        for request in requests.drain(..4) {
            let answer = ground.ask(&request).await.expect("an answer");
            assert_eq!(answer.status, 503, "{database}: on a full disk");
        }
        let address = ground.deployment.address();
        let read = Connection::get_once(address, "/log/checkpoint").expect("an answer");
        assert_eq!(read.status, 200, "{database}: the log cannot be read");
        let seen = strace.detach();
        assert!(
            seen.contains("(INJECTED)"),
            "{database}: nothing was written"
        );

        let begin = Instant::now();
        let mut given = Seen::default();
        while given.certificates.is_empty() {
            assert!(
                begin.elapsed() < RECOVERY,
                "{database}: room, and still nothing"
            );
            let request = requests.pop().expect("more than five seconds' requests");
            let answer = ground.ask(&request).await.expect("an answer");
            if answer.status == 200 {
                given.certificates.push((request, answer.body));
            } else {
                assert_eq!(answer.status, 503, "{database}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        witness.take(given, database).await;
        witness.check_what_is_new(database).await;
        witness.check_everything(database).await;
        server.kill();
    }
}

/// A disk that takes a fifth of a second for each sync: requests wait or are turned away, and whoever
/// is answered is answered rightly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_costs_time_and_nothing_else() {
    let mut ground = Ground::prepare();
    let server = ground.deployment.start();
    let mut witness = Witness::new(&ground.deployment).await;
    let slow = "inject=fdatasync,fsync:delay_enter=200000";
    let strace = ground.attach(&server, "log/log.sqlite", &["-e", slow]);
    let asked = ground.requests(24).into_iter().map(|request| {
        let address = ground.deployment.address();
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await.expect("a server");
            let answer = connection.exchange(&request.http).await.expect("an answer");
            (request, answer)
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut seen = Seen::default();
    for answered in asked {
        let (request, answer) = answered.await.expect("a client");
        match answer.status {
            200 => seen.certificates.push((request, answer.body)),
            429 | 503 => {}
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    assert!(!seen.certificates.is_empty(), "nobody was answered");
    assert!(strace.detach().contains("(DELAYED)"), "nothing was synced");
    witness.take(seen, "slow").await;
    witness.check_what_is_new("slow").await;
    witness.check_everything("slow").await;
    server.kill();
}

/// Opening moves what the last process left in its journal into the database; one start after another
/// dies before the first of those writes, the second, the third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_while_the_journal_is_moved_into_the_database_loses_nothing() {
    for database in ["log/log.sqlite", "ledger.sqlite"] {
        let mut ground = Ground::prepare();
        let server = ground.deployment.start();
        let mut witness = Witness::new(&ground.deployment).await;
        let mut seen = Seen::default();
        for request in ground.requests(3) {
            let answer = ground.ask(&request).await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", ground.deployment.talk());
            seen.certificates.push((request, answer.body));
        }
        server.kill();
        let file = ground.deployment.path().join(database);
        let (file, output) = (file.to_string_lossy(), ground.output());
        let output = output.to_string_lossy();
        let mut deaths = 0;
        loop {
            let kill = format!("inject={CALLS}:signal=KILL:when={}", deaths + 1);
            let tracer = [
                "strace", "-D", "-f", "-y", "-o", &output, "-P", &file, "-e", &kill,
            ];
            match ground.deployment.try_start_under(&tracer) {
                None => deaths += 1,
                Some(server) => break server.kill(),
            }
        }
        assert!(deaths >= 2, "{database}: only {deaths} writes at the start");
        let server = ground.deployment.start();
        witness.take(seen, database).await;
        witness.check_what_is_new(database).await;
        witness.check_everything(database).await;
        server.kill();
    }
}

async fn every_call_once(database: &str, fault: Fault) {
    let mut ground = Ground::prepare();
    let mut server = ground.deployment.start();
    let mut witness = Witness::new(&ground.deployment).await;
    let mut seen = Seen::default();
    let strace = ground.attach(&server, database, &[]);
    for request in ground.requests(1) {
        let answer = ground.ask(&request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", ground.deployment.talk());
        seen.certificates.push((request, answer.body));
    }
    let calls = calls_in(&strace.detach());
    let count = |name| {
        calls
            .iter()
            .find(|(call, _)| *call == name)
            .map_or(0, |(_, count)| *count)
    };
    // The mark is one write in place.
    let writes = if database == "high-water" { 1 } else { 5 };
    assert!(
        count("fdatasync") > 0 && count("pwrite64") >= writes,
        "{database}: these cannot be all: {calls:?}"
    );
    server.kill();
    server = ground.deployment.start();
    let (mut missed, mut refused) = (0, 0);
    for (call, count) in calls {
        for number in 1..=count {
            let when = format!("{database}: {call} {number}: {fault:?}");
            let inject = match fault {
                Fault::Error(error) => format!("inject={call}:error={error}:when={number}"),
                Fault::Kill => format!("inject={call}:signal=KILL:when={number}"),
            };
            let strace = ground.attach(&server, database, &["-e", &inject]);
            for request in ground.requests(1) {
                match ground.ask(&request).await {
                    Ok(answer) if answer.status == 200 => {
                        seen.certificates.push((request, answer.body));
                    }
                    Ok(answer) => {
                        let said = String::from_utf8_lossy(&answer.body).into_owned();
                        assert_eq!(answer.status, 503, "{when}: {said}");
                        refused += 1;
                    }
                    // It has ended.
                    Err(_) => refused += 1,
                }
            }
            let traced = strace.detach();
            let came = traced.contains("(INJECTED)") || traced.contains("killed by SIGKILL");
            missed += usize::from(!came);
            // Whether it goes on or has ended is its choice. The next one begins anew, and is the one
            // that the next fault happens to.
            drop(server);
            let mark = marked(&ground.deployment, &witness.key);
            server = ground.deployment.start();
            witness.take(std::mem::take(&mut seen), &when).await;
            witness.check_what_is_new(&when).await;
            witness.check_mark(mark, &when);
        }
    }
    // A page more or less: certificates differ by an octet, and trees by a tile.
    assert!(missed <= 2, "{missed} faults never came");
    assert!(refused > 0, "no fault had any effect");
    witness.check_everything("at the end").await;
    for command in [
        &["log", "fsck"][..],
        &["ledger", "audit", "--grace-seconds", "0"],
    ] {
        let (is_well, said) = ground.deployment.run(command);
        assert!(is_well, "{database}: {fault:?}: {said}");
    }
    server.kill();
}

/// The calls in a trace, and how many of each.
fn calls_in(traced: &str) -> Vec<(&'static str, usize)> {
    let counted = CALLS.split(',').map(|name| {
        let begins = format!(" {name}(");
        let count = traced.lines().filter(|line| line.contains(&begins));
        (name, count.count())
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

/// A deployment, and those who ask it.
struct Ground {
    provider: Issuer,
    deployment: Deployment,
    used: u64,
}

impl Ground {
    fn prepare() -> Self {
        let provider = Issuer::start();
        let deployment = Deployment::create(&provider);
        Self {
            provider,
            deployment,
            used: 0,
        }
    }

    fn requests(&mut self, count: usize) -> Vec<SigningRequest> {
        let first = self.used;
        self.used += count as u64;
        prepare(&self.provider, first, count)
    }

    async fn ask(&self, request: &SigningRequest) -> std::io::Result<Response> {
        let mut connection = Connection::open(self.deployment.address()).await?;
        connection.exchange(&request.http).await
    }

    fn output(&self) -> PathBuf {
        self.deployment.path().with_file_name("trace")
    }

    /// Watches the calls that concern a database and its journal.
    fn attach(&self, server: &Server, database: &str, more: &[&str]) -> Strace {
        let file = self.deployment.path().join(database);
        let file = file.to_string_lossy();
        let (journal, calls) = (format!("{file}-wal"), format!("trace={CALLS}"));
        let options = [&["-P", &*file, "-P", &*journal, "-e", &*calls], more].concat();
        Strace::attach(server, &self.output(), &options)
    }
}

/// The calls by which something could come onto a disk, or not.
const CALLS: &str = "pwrite64,write,fdatasync,fsync,ftruncate,fallocate,rename,unlink";
/// Requests enough for all of [`RECOVERY`].
const RETRIES: usize = 60;
/// After which a disk with room must have been noticed.
const RECOVERY: Duration = Duration::from_secs(5);
