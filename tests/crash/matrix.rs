//! The process dies at every named place of an append, on trees of every size at which a tile begins
//! or ends. After each death: what was acknowledged is there, what was not is whole or absent, and
//! asking again is safe.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vouchsafe::config::Config;
use vouchsafe::ctlog::entry::{Entry, EntryBody};

use super::harness::deployment::{Deployment, Server};
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::postgres::Cluster;
use super::harness::request::prepare;
use super::load::{Seen, run_until_ended};
use super::log::{Checkpoint, LogKey, entries};
use super::promise::{Promise, Submission};
use super::seed::grow;
use super::witness::Witness;

/// What a death at a place leaves of the batch it happened to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nothing: the tree is as large as it was.
    Nothing,
    /// All of it: the tree has grown.
    Everything,
    /// Nothing of this request; of those beside it perhaps something.
    Perhaps,
}
use Leaves::{Everything, Nothing, Perhaps};

/// Every place of an issuance or a submission, as the variable names it.
pub(crate) const PLACES: [(&str, Leaves); 13] = [
    ("request-parsed", Perhaps),
    ("log-queued", Nothing),
    ("log-head-written", Nothing),
    ("log-tiles-written", Nothing),
    ("log-entries-written", Nothing),
    ("log-committed", Everything),
    ("log-marked", Everything),
    ("log-swapped", Everything),
    ("submission-answered", Everything),
    ("sct-obtained", Everything),
    ("certificate-signed", Everything),
    ("ledger-committed", Everything),
    ("reply-ready", Everything),
];

/// Places that differ in what they leave behind, for trees that take long to look at.
const TELLING: [usize; 3] = [4, 5, 11];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_while_the_first_tile_begins_loses_nothing() {
    for size in [0, 1, 2] {
        at_every_place(size, &PLACES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_while_the_second_tile_begins_loses_nothing() {
    for size in [255, 256, 257] {
        at_every_place(size, &PLACES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_while_the_third_tile_begins_loses_nothing() {
    for size in [511, 512] {
        at_every_place(size, &PLACES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_while_the_third_level_of_tiles_begins_loses_nothing() {
    let places = TELLING.map(|place| PLACES[place]);
    for size in [65_535, 65_536, 65_537] {
        at_every_place(size, &places).await;
    }
}

/// On a server a batch is one statement, so its parts cannot be told apart; in return the process dies
/// with the head's row locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_loses_nothing_on_a_database_server() {
    let parts = ["log-head-written", "log-tiles-written"];
    let places = PLACES.into_iter().filter(|(name, _)| !parts.contains(name));
    let places: Vec<_> = places.collect();
    for size in [255, 256] {
        let deployment = |issuer: &Issuer| {
            let database = Cluster::shared().database();
            Deployment::create_in(&database, issuer)
        };
        deaths(Ground::prepare(size, deployment).await, &places).await;
    }
}

/// Two deaths at each place: in the very first batch, and in a later one that more requests share
/// and that may begin in one tile and end in the next.
async fn at_every_place(size: u64, places: &[(&str, Leaves)]) {
    deaths(Ground::prepare(size, Deployment::create).await, places).await;
}

async fn deaths(ground: Ground, places: &[(&str, Leaves)]) {
    for (name, leaves) in places {
        ground.case(name, 1, *leaves).await;
        ground.case(name, 2, Perhaps).await;
    }
    for command in [
        &["log", "fsck"][..],
        &["ledger", "audit", "--grace-seconds", "0"],
    ] {
        let (is_well, said) = ground.deployment.run(command);
        assert!(is_well, "{command:?}: {said}");
    }
}

/// A deployment whose log has a certain size, and can be made to have it again.
struct Ground {
    issuer: Issuer,
    deployment: Deployment,
    size: u64,
    snapshot: PathBuf,
    /// Precertificates of this authority that its log does not hold.
    submissions: Vec<Submission>,
    used: AtomicU64,
}

impl Ground {
    async fn prepare(size: u64, deployment: impl Fn(&Issuer) -> Deployment) -> Self {
        let issuer = Issuer::start();
        let deployment = deployment(&issuer);
        let config = Config::read(&deployment.configuration()).expect("a configuration");
        let signer = config.log_signer().expect("the log's key");
        grow(&config.log_config().unwrap(), &signer, size, foreign).await;
        let snapshot = deployment.path().with_file_name("snapshot");
        copy(&deployment.path(), &snapshot);
        if let Some(name) = database(&deployment) {
            let keep = format!("CREATE DATABASE {name}_kept TEMPLATE {name}");
            Cluster::shared().sql("postgres", &keep);
        }

        // Precertificates can only come from the authority. Those of a life that is then taken back
        // are as good as new.
        let server = deployment.start();
        for request in prepare(&issuer, 0, SUBMISSIONS) {
            let mut connection = open(&deployment).await;
            let answer = connection.exchange(&request.http).await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", deployment.talk());
        }
        let mut connection = open(&deployment).await;
        let mut submissions = Vec::new();
        for entry in entries(&mut connection, size, size + SUBMISSIONS as u64).await {
            submissions.push(Submission::of(&entry, &mut connection).await);
        }
        server.kill();
        Self {
            issuer,
            deployment,
            size,
            snapshot,
            submissions,
            used: AtomicU64::new(SUBMISSIONS as u64),
        }
    }

    fn restore(&self) {
        fs::remove_dir_all(self.deployment.path()).expect("what the last life left");
        copy(&self.snapshot, &self.deployment.path());
        if let Some(name) = database(&self.deployment) {
            for statement in [
                format!("DROP DATABASE {name} WITH (FORCE)"),
                format!("CREATE DATABASE {name} TEMPLATE {name}_kept"),
            ] {
                Cluster::shared().sql("postgres", &statement);
            }
        }
    }

    /// One life that ends at a place, and the one after it.
    async fn case(&self, name: &str, count: u64, leaves: Leaves) {
        let when = format!("{name}:{count} at {} entries", self.size);
        self.restore();
        let armed = format!("{name}:{count}");
        let server = self
            .deployment
            .start_with(&[("VOUCHSAFE_FAIL_POINT", &armed)]);
        let mut witness = Witness::new(&self.deployment).await;
        witness.check_what_is_new(&when).await;
        assert_eq!(witness.size(), self.size, "{when}: the size to begin with");

        let address = self.deployment.address();
        let requests = self.requests(REQUESTS);
        let seen = run_until_ended(address, &witness.key, requests, &self.submissions).await;
        let seen = seen.unwrap_or_else(|fault| panic!("{when}: {fault}"));
        check_died_at(name, server, &self.deployment, &when);
        let mark = marked(&self.deployment, &witness.key);

        let promises = seen.promises.clone();
        let server = self.deployment.start();
        witness.take(seen, &when).await;
        witness.check_what_is_new(&when).await;
        witness.check_mark(mark, &when);
        match leaves {
            Nothing => assert_eq!(witness.size(), self.size, "{when}: something was left"),
            Everything => assert!(witness.size() > self.size, "{when}: a batch was lost"),
            Perhaps => {}
        }
        self.ask_again(&mut witness, &promises, &when).await;
        // The log goes on where it was.
        let mut connection = open(&self.deployment).await;
        for request in self.requests(1) {
            let answer = connection.exchange(&request.http).await.expect("an answer");
            assert_eq!(answer.status, 200, "{when}: {}", self.deployment.talk());
            let mut seen = Seen::default();
            seen.certificates.push((request, answer.body));
            witness.take(seen, &when).await;
        }
        witness.check_what_is_new(&when).await;
        witness.check_everything(&when).await;
        server.kill();
    }

    /// Submits everything again, twice. Who was answered before is answered the same, octet for
    /// octet; what the log held already it does not take again.
    async fn ask_again(&self, witness: &mut Witness, before: &[Promise], when: &str) {
        let address = self.deployment.address();
        let held = |witness: &Witness| {
            let of_ours = |submission: &&Submission| witness.holds(submission.tbs());
            self.submissions.iter().filter(of_ours).count() as u64
        };
        let (size, known) = (witness.size(), held(witness));
        let mut seen = Seen::default();
        for submission in &self.submissions {
            let first = submission.send(address).await;
            let second = submission.send(address).await;
            assert!(first == second, "{when}: asked twice, answered differently");
            if let Some(promise) = before.iter().find(|promise| submission.is_of(promise)) {
                assert!(
                    first == *promise,
                    "{when}: another answer than before the death"
                );
            }
            seen.promises.push(first);
        }
        witness.take(seen, when).await;
        witness.check_what_is_new(when).await;
        let new = self.submissions.len() as u64 - known;
        assert_eq!(
            witness.size(),
            size + new,
            "{when}: something was logged twice"
        );
        assert_eq!(held(witness), self.submissions.len() as u64, "{when}");
    }

    fn requests(&self, count: usize) -> Vec<super::harness::request::SigningRequest> {
        let first = self.used.fetch_add(count as u64, Ordering::Relaxed);
        prepare(&self.issuer, first, count)
    }
}

/// Waits for the end of a server, which must be the one at the place that it was armed with.
pub(crate) fn check_died_at(name: &str, server: Server, deployment: &Deployment, when: &str) {
    let status = server.end();
    assert_eq!(status.signal(), Some(SIGABRT), "{when}: {status}");
    // Another thread may have had a line ready when it died.
    let talk = deployment.talk();
    let mut life = talk
        .lines()
        .rev()
        .take_while(|line| !line.contains(" serving "));
    let last_words = last_words(name);
    assert!(
        life.any(|line| line == last_words),
        "{when}: another death than this one: {talk}"
    );
}

/// What a process says that dies at a place.
pub(crate) fn last_words(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    format!("fail point reached: {}", words.collect::<String>())
}

/// The checkpoint that the deployment's high-water mark has: the newest in either half of the file.
pub(crate) fn marked(deployment: &Deployment, key: &LogKey) -> Checkpoint {
    let file = fs::read(deployment.path().join("high-water")).expect("a high-water mark");
    assert_eq!(file.len(), 8192, "a mark of two halves");
    let halves = file.chunks(4096).filter_map(|half| {
        let end = half.iter().position(|octet| *octet == 0)?;
        key.read(str::from_utf8(&half[..end]).ok()?)
    });
    halves.max().expect("a half that verifies")
}

/// The name of the deployment's database, if it is on a server.
fn database(deployment: &Deployment) -> Option<&str> {
    let (_, name) = deployment.database()?.rsplit_once('/')?;
    Some(name)
}

/// An entry of another authority, different for each number.
pub(crate) fn foreign(number: u64) -> Entry {
    let mut tbs = vec![0x5a; 48];
    tbs[..8].copy_from_slice(&number.to_be_bytes());
    let body = EntryBody::precertificate(&[0x1a; 32], &tbs).expect("a small entry");
    Entry::precertificate(body, &[&tbs[..], &[0x5c; 80]].concat(), Arc::new([]))
        .expect("a small entry")
}

async fn open(deployment: &Deployment) -> Connection {
    Connection::open(deployment.address())
        .await
        .expect("the server listens")
}

/// A whole directory, as it is.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

const SUBMISSIONS: usize = 4;
const REQUESTS: usize = 16;
const SIGABRT: i32 = 6;
