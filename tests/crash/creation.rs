//! The making of an authority, of a log and of a high-water mark, cut short at every step by which
//! something comes onto the disk. The same command again completes it; what stands at its place is
//! whole, and nothing that a dead process left is ever taken for a part of it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::harness::deployment::Deployment;
use super::harness::issuer::Issuer;
use super::harness::postgres::Cluster;
use super::matrix::{copy, last_words};

/// Where the making of a log can be made to end.
pub(crate) const PLACE: &str = "log-drafted";

#[test]
fn an_authority_that_was_cut_short_at_any_step_is_made_by_asking_again() {
    let ground = Ground::new();
    let init = ["init", "--dir", &ground.place()];
    let deaths = ground.die_at_every_step(
        &init,
        |_| {},
        |ground| {
            ground.is_well(&["check", "--config"], "vouchsafe.yaml");
        },
    );
    assert!(deaths > 30, "only {deaths} steps");
}

#[test]
fn a_log_that_was_cut_short_at_any_step_is_made_by_asking_again() {
    let ground = Ground::new();
    let roots = ground.roots();
    let init = ["log", "init", "--dir", &ground.place(), "--roots", &roots];
    let deaths = ground.die_at_every_step(
        &init,
        |_| {},
        |ground| {
            ground.is_well(&["log", "fsck", "--config"], "log.yaml");
        },
    );
    assert!(deaths > 20, "only {deaths} steps");
}

#[test]
fn a_mark_that_was_cut_short_at_any_step_is_made_by_asking_again() {
    let ground = Ground::new();
    ground.succeeds(&["init", "--dir", &ground.place()]);
    let config = format!("{}/vouchsafe.yaml", ground.place());
    let adopt = ["log", "adopt", "--config", &config];
    let mark = Path::new(&ground.place()).join("high-water");
    let whole = fs::read(&mark).expect("a mark");
    let without = |_: &Ground| fs::remove_file(&mark).expect("a mark");
    let deaths = ground.die_at_every_step(&adopt, without, |ground| {
        assert_eq!(fs::read(&mark).expect("a mark").len(), whole.len());
        let again = ground.run(&adopt);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(said.contains("never overwritten"), "{said}");
    });
    assert!(deaths >= 4, "only {deaths} steps");
}

#[test]
fn a_shard_that_was_cut_short_at_any_step_is_begun_by_asking_again() {
    let ground = Ground::new();
    ground.succeeds(&["init", "--dir", &ground.place()]);
    let kept = ground.directory.path().join("kept");
    copy(Path::new(&ground.place()), &kept);
    let config = format!("{}/vouchsafe.yaml", ground.place());
    let rotate = ["log", "rotate", "--prefix", "/next", "--config", &config];
    let anew = |ground: &Ground| {
        fs::remove_dir_all(ground.place()).expect("what is there");
        copy(&kept, Path::new(&ground.place()));
    };
    let deaths = ground.die_at_every_step(&rotate, anew, |ground| {
        let text = fs::read_to_string(&config).expect("a configuration");
        assert_eq!(text.matches("prefix: /next").count(), 1, "{text}");
        ground.is_well(&["log", "fsck", "--config"], "vouchsafe.yaml");
    });
    assert!(deaths > 20, "only {deaths} steps");
}

/// The database has its rows and nobody has its key.
#[test]
fn a_log_that_died_before_its_database_had_its_name_is_no_log() {
    let ground = Ground::new();
    for command in [
        &["init", "--dir", &ground.place()][..],
        &[
            "log",
            "init",
            "--dir",
            &ground.place(),
            "--roots",
            &ground.roots(),
        ],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(command)
            .env("VOUCHSAFE_FAIL_POINT", PLACE)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
        assert!(said.lines().any(|line| line == last_words(PLACE)), "{said}");
        assert!(!Path::new(&ground.place()).exists(), "half of it is there");
        ground.succeeds(command);
        fs::remove_dir_all(ground.place()).expect("what was made");
    }
}

/// Its files come first, and a note among them that not everything is made.
#[test]
fn an_authority_on_a_database_server_that_was_cut_short_is_made_by_asking_again() {
    let ground = Ground::new();
    let cluster = Cluster::shared();
    let address = cluster.database();
    let (_, name) = address.rsplit_once('/').expect("a name");
    let place = ground.place();
    let init = ["init", "--dir", &place, "--database", &address];
    let empty = |_: &Ground| {
        cluster.sql(name, "DROP SCHEMA IF EXISTS ctlog, ledger CASCADE");
    };
    let deaths = ground.die_at_every_step(&init, empty, |ground| {
        ground.is_well(&["check", "--config"], "vouchsafe.yaml");
        ground.is_well(&["ledger", "audit", "--config"], "vouchsafe.yaml");
    });
    assert!(deaths > 20, "only {deaths} steps");
}

/// Two at once: one is refused, or comes after the other; what stands there is one's work.
#[test]
fn two_that_make_an_authority_at_one_place_do_not_mix() {
    let ground = Ground::new();
    for _ in 0..4 {
        let spawn = || {
            Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
                .args(["init", "--dir", &ground.place()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs")
        };
        let ended = [spawn(), spawn()].map(|child| child.wait_with_output().expect("its end"));
        let made = ended.iter().filter(|ended| ended.status.success()).count();
        let said = ended.map(|ended| String::from_utf8_lossy(&ended.stderr).into_owned());
        assert_eq!(made, 1, "{said:?}");
        ground.is_well(&["ledger", "audit", "--config"], "vouchsafe.yaml");
        ground.is_well(&["log", "fsck", "--config"], "vouchsafe.yaml");
        fs::remove_dir_all(ground.place()).expect("what was made");
    }
}

/// A place at which something is made.
struct Ground {
    directory: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self {
            directory: directory.expect("a temporary directory"),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("new")
    }

    fn place(&self) -> String {
        self.path().to_string_lossy().into_owned()
    }

    /// A file with the root of some authority.
    fn roots(&self) -> String {
        let deployment = Deployment::create(&Issuer::start());
        let roots = self.directory.path().join("roots");
        fs::copy(deployment.path().join("ca/root.pem"), &roots).expect("a root");
        roots.to_string_lossy().into_owned()
    }

    /// Kills the command before its first step, its second, and so on until it comes to its end, each
    /// time from what `before` leaves. After each death the same command must succeed, unless the work
    /// was done, and `after` must find everything well. Returns the number of deaths.
    fn die_at_every_step(
        &self,
        command: &[&str],
        before: impl Fn(&Self),
        after: impl Fn(&Self),
    ) -> usize {
        let makes_a_place = command.contains(&"init");
        let mut deaths = 0;
        let mut steps = STEPS.iter();
        let (mut step, mut n) = (steps.next().expect("a step"), 1);
        loop {
            before(self);
            let when = format!("{step:?} {n}");
            if self.dies_at(step, n, command) {
                (deaths, n) = (deaths + 1, n + 1);
            } else {
                after(self);
                if makes_a_place {
                    fs::remove_dir_all(self.path()).expect("what was made");
                }
                let Some(next) = steps.next() else {
                    return deaths;
                };
                (step, n) = (next, 1);
                continue;
            }
            let is_begun = self.path().join(UNFINISHED).exists();
            let is_there = makes_a_place && self.path().exists() && !is_begun;
            let output = self.run(command);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() {
                assert!(!is_there, "{when}: made over what was there");
            } else {
                // The work was done, only its end was not told: one look at a time.
                let is_done = said.contains("nothing was changed")
                    || said.contains("never overwritten")
                    || said.contains("another log's already");
                assert!(is_done, "{when}: {said}");
            }
            after(self);
            if makes_a_place {
                let left: Vec<_> = fs::read_dir(self.directory.path())
                    .expect("a directory")
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .filter(|name| name.starts_with('.'))
                    .collect();
                assert!(left.is_empty(), "{when}: {left:?} is left");
                fs::remove_dir_all(self.path()).expect("what was made");
            }
        }
    }

    /// Whether the command dies in front of its call of this kind and number. The kernel's tracer counts
    /// in each thread alone, so calls of the database library are counted file by file.
    fn dies_at(&self, (call, file): &(&str, &str), n: usize, command: &[&str]) -> bool {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
        if !file.is_empty() {
            for place in ["new", ".new.unfinished", "new/.next.unfinished"] {
                for journal in ["", "-wal", "-journal"] {
                    let file = self.directory.path().join(place).join(file);
                    strace.arg("-P").arg(format!("{}{journal}", file.display()));
                }
            }
        }
        let output = strace
            .arg(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(command)
            .stdin(Stdio::null())
            .output()
            .expect("strace, which .ci/run installs");
        // The tracer dies of what its program died of.
        let is_killed = output.status.signal() == Some(SIGKILL);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(is_killed || output.status.success(), "{call} {n}: {said}");
        is_killed
    }

    fn run(&self, command: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(command)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    }

    fn succeeds(&self, command: &[&str]) {
        let output = self.run(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
    }

    fn is_well(&self, command: &[&str], file: &str) {
        let file = self.path().join(file);
        self.succeeds(&[command, &[&*file.to_string_lossy()]].concat());
    }
}

/// The calls by which a step is made durable or gets its name, and the file that they concern, if not
/// any.
const STEPS: [(&str, &str); 11] = [
    ("mkdir", ""),
    ("rename", ""),
    ("fsync", ""),
    ("unlink", ""),
    ("pwrite64", "high-water"),
    ("fdatasync", "ledger.sqlite"),
    ("fdatasync", "log/log.sqlite.new"),
    ("fdatasync", "log.sqlite.new"),
    ("ftruncate", "ledger.sqlite"),
    ("ftruncate", "log/log.sqlite.new"),
    ("ftruncate", "log.sqlite.new"),
];
/// The note in a directory of which not everything is made on the server.
const UNFINISHED: &str = ".unfinished";
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
