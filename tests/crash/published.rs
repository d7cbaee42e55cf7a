//! What a publisher leaves in a directory, whatever happens to it: a log that is whole, and the
//! beginning of the one that is served.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use vouchsafe::config::Config;

use super::faults::Fault;
use super::guards::stop;
use super::harness::deployment::{Deployment, Server};
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::received::sha256;
use super::harness::request::prepare;
use super::load::Seen;
use super::log::{Checkpoint, Entry, LogKey, data_tiles, hash_tiles, read_tile};
use super::matrix::Leaves::{self, Everything, Nothing};
use super::matrix::{check_died_at, copy, foreign, marked};
use super::seed::grow;
use super::strace::Strace;
use super::tree::Tree;
use super::witness::Witness;

/// The places of a publication, how often they are passed in one, and what a death there leaves.
pub(crate) const PLACES: [(&str, u64, Leaves); 4] = [
    ("publication-begun", 1, Nothing),
    ("file-published", 4, Nothing),
    ("tiles-published", 1, Nothing),
    ("checkpoint-published", 1, Everything),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_of_a_publication_leaves_a_log_that_is_whole() {
    let mut ground = Ground::prepare().await;
    let snapshot = ground.deployment.path().with_file_name("snapshot");
    copy(&ground.deployment.path(), &snapshot);
    for (name, times, leaves) in PLACES {
        for time in 1..=times {
            let when = format!("{name}:{time}");
            fs::remove_dir_all(ground.deployment.path()).expect("what the last life left");
            copy(&snapshot, &ground.deployment.path());
            let armed = [("VOUCHSAFE_FAIL_POINT", &*when)];
            let server = ground.deployment.start_with(&armed);
            let mut witness = Witness::new(&ground.deployment).await;
            witness.check_what_is_new(&when).await;
            let mut seen = Seen::default();
            ground.issue_until_the_end(&mut seen, &when).await;
            check_died_at(name, server, &ground.deployment, &when);
            let left = ground.published(&when).expect("a checkpoint");
            let has_grown = left.0.size > SEEDED;
            assert!(has_grown == (leaves == Everything), "{when}: {:?}", left.0);
            let mark = marked(&ground.deployment, &witness.key);

            let server = ground.deployment.start();
            witness.take(seen, &when).await;
            witness.check_what_is_new(&when).await;
            witness.check_mark(mark, &when);
            assert!(witness.begins_with(&left.1), "{when}: another log");
            ground.heals(&witness, &when).await;
            server.kill();
        }
    }
    ground.is_found_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_publisher_fails_once_as_on_a_bad_disk() {
    every_call_once(Fault::Error("EIO")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_publisher_fails_once_as_on_a_full_disk() {
    every_call_once(Fault::Error("ENOSPC")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_dies_once_before_every_write_of_the_publisher() {
    every_call_once(Fault::Kill).await;
}

/// Two that write to one place would each undo what the other has done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_publisher_to_one_directory_is_refused_and_the_first_does_not_notice() {
    let mut ground = Ground::prepare().await;
    let server = ground.deployment.start();
    let other = Deployment::create(&ground.provider);
    let place = ground.place();
    configure(&other, &format!("  publish: {{to: {}}}\n", place.display()));
    let (is_well, said) = other.run(&["serve"]);
    assert!(!is_well, "two publish to one place: {said}");
    assert!(said.contains("another process publishes here"), "{said}");
    let mut seen = Seen::default();
    assert!(ground.issue(&mut seen).await);
    ground.becomes(SEEDED + 1, "beside the other one").await;
    server.kill();
    // The lock ends with its holder. What it has published is still nobody else's.
    let (is_well, said) = other.run(&["serve"]);
    assert!(!is_well, "over another log: {said}");
    assert!(said.contains("is not this log"), "{said}");
    ground.is_found_clean();
}

/// The next log may be begun then, and nothing would publish what this one took last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_leaves_nothing_unpublished() {
    let mut ground = Ground::prepare().await;
    let settings = fs::read_to_string(ground.deployment.configuration()).expect("a configuration");
    let seldom = settings.replace("to: published", "to: published, interval-seconds: 3600");
    fs::write(ground.deployment.configuration(), seldom).expect("the configuration");
    let server = ground.deployment.start();
    let mut seen = Seen::default();
    for _ in 0..3 {
        assert!(ground.issue(&mut seen).await);
    }
    stop(&server);
    assert!(server.end().success(), "{}", ground.deployment.talk());
    let (head, _) = ground.published("at the end").expect("a checkpoint");
    assert_eq!(head.size, SEEDED + 3);
}

/// Nobody who asks for a certificate hears of it, and the publisher comes back to it by itself.
async fn every_call_once(fault: Fault) {
    let mut ground = Ground::prepare().await;
    let mut server = ground.deployment.start();
    let mut witness = Witness::new(&ground.deployment).await;
    witness.check_what_is_new("before").await;
    for (call, files) in ground.steps() {
        let when = format!("{call} {}: {fault:?}", files[0]);
        let inject = match fault {
            Fault::Error(error) => format!("inject={call}:error={error}:when=1"),
            Fault::Kill => format!("inject={call}:signal=KILL:when=1"),
        };
        let strace = ground.attach(&server, call, &files, &inject);
        let mut seen = Seen::default();
        if !ground.issue(&mut seen).await {
            assert_eq!(fault, Fault::Kill, "{when}: no certificate");
        }
        let begin = Instant::now();
        while !server.has_ended() && !strace.seen().contains("(INJECTED)") {
            assert!(begin.elapsed() < PATIENCE, "{when}: the fault never came");
            tokio::time::sleep(POLL).await;
        }
        let has_ended = server.has_ended();
        strace.detach();
        assert!(
            has_ended == (fault == Fault::Kill),
            "{when}: an end, or none"
        );
        let (_, left) = ground.published(&when).expect("a checkpoint");
        if has_ended {
            drop(server);
            server = ground.deployment.start();
        }
        witness.take(seen, &when).await;
        witness.check_what_is_new(&when).await;
        assert!(witness.begins_with(&left), "{when}: another log");
        ground.heals(&witness, &when).await;
    }
    witness.check_everything("at the end").await;
    server.kill();
    ground.is_found_clean();
}

/// A deployment that publishes, whose log ends just before its first tile is full.
struct Ground {
    provider: Issuer,
    deployment: Deployment,
    key: LogKey,
    used: u64,
}

impl Ground {
    async fn prepare() -> Self {
        let provider = Issuer::start();
        let deployment = Deployment::create(&provider);
        configure(&deployment, "  publish: {to: published}\n");
        let config = Config::read(&deployment.configuration()).expect("a configuration");
        let signer = config.log_signer().expect("the log's key");
        grow(&config.log_config().unwrap(), &signer, SEEDED, foreign).await;
        let server = deployment.start();
        let ground = Self {
            key: LogKey::fetch(deployment.address()),
            provider,
            deployment,
            used: 0,
        };
        ground.becomes(SEEDED, "the first time").await;
        server.kill();
        ground
    }

    fn place(&self) -> PathBuf {
        self.deployment.path().join("published")
    }

    fn published(&self, when: &str) -> Option<(Checkpoint, Vec<Entry>)> {
        published(&self.place(), &self.key, when)
    }

    /// Asks for one certificate: whether there was one.
    async fn issue(&mut self, seen: &mut Seen) -> bool {
        let request = prepare(&self.provider, self.used, 1).remove(0);
        self.used += 1;
        let Ok(mut connection) = Connection::open(self.deployment.address()).await else {
            return false;
        };
        let Ok(answer) = connection.exchange(&request.http).await else {
            return false;
        };
        assert_eq!(answer.status, 200, "{}", self.deployment.talk());
        seen.certificates.push((request, answer.body));
        true
    }

    async fn issue_until_the_end(&mut self, seen: &mut Seen, when: &str) {
        let begin = Instant::now();
        while self.issue(seen).await {
            assert!(begin.elapsed() < PATIENCE, "{when}: it goes on and on");
        }
    }

    /// Waits until so many entries are published.
    async fn becomes(&self, size: u64, when: &str) {
        let begin = Instant::now();
        while self
            .published(when)
            .is_none_or(|(head, _)| head.size < size)
        {
            assert!(
                begin.elapsed() < PATIENCE,
                "{when}: not published: {}",
                self.deployment.talk()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until everything is published, and compares it.
    async fn heals(&self, witness: &Witness, when: &str) {
        self.becomes(witness.size(), when).await;
        let (_, entries) = self.published(when).expect("a checkpoint");
        assert!(witness.begins_with(&entries), "{when}: another log");
    }

    /// The program's own long look at the directory.
    fn is_found_clean(&self) {
        let key = self.deployment.path().join("log.pub");
        let (is_well, pem) = self
            .deployment
            .run(&["log", "export-key", "--format", "public"]);
        assert!(is_well, "{pem}");
        fs::write(&key, pem).expect("a file");
        let output = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(["log", "fsck", "--directory"])
            .arg(self.place())
            .arg("--public-key")
            .arg(&key)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// Watches a call on these files of the publisher.
    fn attach(&self, server: &Server, call: &str, files: &[String], inject: &str) -> Strace {
        let trace = format!("trace={call}");
        let mut options = vec!["-e", &trace, "-e", inject];
        options.extend(files.iter().flat_map(|file| ["-P", file]));
        let output = self.deployment.path().with_file_name("trace");
        fs::write(&output, "").expect("a file");
        Strace::attach(server, &output, &options)
    }

    /// Every kind of step of a publication: the call, and the files of which it concerns one. The log
    /// grows by one entry in each: the first fills a tile, the second begins the next.
    fn steps(&self) -> Vec<(&'static str, Vec<String>)> {
        let place = self.place();
        let at = |name: &str| place.join(name).to_string_lossy().into_owned();
        let mut steps = vec![
            ("mkdir", vec![at("tile/1")]),
            ("mkdir", vec![at("tile/0/001.p")]),
        ];
        for directory in ["tile/0/001.p", "tile/data/001.p"] {
            // A file is written beside its name and then moved.
            let drafts = (1..256).map(|width| at(&format!("{directory}/.{width}.new")));
            let drafts: Vec<String> = drafts.collect();
            steps.extend(["write", "fsync", "rename"].map(|call| (call, drafts.clone())));
            steps.push(("fsync", vec![at(directory)]));
        }
        let draft = vec![at(".checkpoint.new")];
        steps.extend(["write", "fsync", "rename"].map(|call| (call, draft.clone())));
        steps.push(("fsync", vec![place.to_string_lossy().into_owned()]));
        steps
    }
}

/// Settings of a deployment's log beside those that `init` wrote; its head is signed again for new
/// entries only.
pub(crate) fn configure(deployment: &Deployment, settings: &str) {
    let text = fs::read_to_string(deployment.configuration()).expect("a configuration");
    let refresh = "  refresh-seconds: 30\n";
    assert!(text.contains(refresh), "{text}");
    let text = text.replace(refresh, &format!("  refresh-seconds: 0\n{settings}"));
    fs::write(deployment.configuration(), text).expect("the configuration");
}

/// The published log, if there is a checkpoint: read as any reader would, and whole.
pub(crate) fn published(
    place: &Path,
    key: &LogKey,
    when: &str,
) -> Option<(Checkpoint, Vec<Entry>)> {
    let note = fs::read_to_string(place.join("checkpoint")).ok()?;
    let read = key.read(&note);
    let checkpoint = read.unwrap_or_else(|| panic!("{when}: not a checkpoint: {note}"));
    let file = |path: &str| {
        fs::read(place.join(path)).unwrap_or_else(|error| panic!("{when}: {path}: {error}"))
    };
    let mut entries = Vec::new();
    for (path, indices) in data_tiles(0, checkpoint.size) {
        entries.extend(read_tile(&file(&path), indices, &path));
    }
    let mut tree = Tree::new();
    entries
        .iter()
        .for_each(|entry| tree.push(&entry.merkle_tree_leaf));
    let root = tree.root_at(checkpoint.size);
    assert_eq!(
        root,
        Some(&checkpoint.root),
        "{when}: the tree as published"
    );
    for (path, expected) in hash_tiles(&entries) {
        assert!(file(&path) == expected, "{when}: {path}");
    }
    for fingerprint in entries.iter().flat_map(|entry| &entry.chain) {
        let hex: String = fingerprint
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            sha256(&file(&format!("issuer/{hex}"))),
            *fingerprint,
            "{when}"
        );
    }
    Some((checkpoint, entries))
}

const SEEDED: u64 = 255;
const POLL: Duration = Duration::from_millis(10);
/// Some rounds of the publisher, which are a second each and more after a failure.
const PATIENCE: Duration = Duration::from_secs(30);
