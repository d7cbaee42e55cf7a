//! What it costs to log: `cargo bench --bench append`, with `-- --quick` for a short run.
//!
//! Precertificates of a real authority, each another one, made before the clock starts, go straight
//! into `Log::append`: a real key, real databases on disk. The same run measures the bare commit of one
//! row that no log can do without, and the two are compared. Then the log grows to a million entries
//! in commits of thousands, and is measured again.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program: it asks the clock, prints, and ends at the first surprise"
)]

mod authority;
mod bare;
#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../../tests/crash/seed.rs"]
mod seed;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use vouchsafe::certificate::precertificate::Precertificate;
use vouchsafe::ctlog::config::Database;
use vouchsafe::ctlog::signer::LogSigner;
use vouchsafe::ctlog::{Chains, Config, Log};
use vouchsafe::database::Server;

use self::authority::Issuer;
use self::harness::postgres::Cluster;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // Cargo says `--bench` only when asked to measure; otherwise this is one of the tests.
    let plan = match (has("--bench") && !has("--test"), has("--quick")) {
        (true, false) => &FULL,
        (true, true) => &QUICK,
        (false, _) => &SMOKE,
    };
    let directory =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a disk");
    let issuer = Issuer::new().await;
    println!(
        "  store       size  submitters  entries  entries/s    p50 ms    p99 ms  bare commit ms  p50 / bare"
    );

    let sqlite = Database::Sqlite(directory.path().join("log.sqlite"));
    let bare = async |samples| bare::sqlite(directory.path(), samples).await;
    let config = Config::new(sqlite, ORIGIN.to_owned());
    let (young, grown) = measure("SQLite", &config, &issuer, plan, bare).await;

    let cluster = Cluster::shared();
    let address = cluster.database();
    let server = Server::new(&address, Path::new("."), None).expect("an address");
    let bare = async |samples| bare::postgres(&address, samples).await;
    let config = Config::new(Database::Postgres(server), ORIGIN.to_owned());
    let (on_postgres, _) = measure("PostgreSQL", &config, &issuer, plan, bare).await;

    println!();
    for (name, rows) in [("SQLite", &young), ("PostgreSQL", &on_postgres)] {
        let alone = &rows[0];
        let ratio = alone.p50.div_duration_f64(alone.bare);
        let measured = format!("{ratio:.2} × the bare commit of one row");
        goal(
            &format!("{name}: p50 alone"),
            &measured,
            "at most 2.5 ×",
            ratio <= 2.5,
        );
    }
    let crowd = young.last().expect("a row").rate;
    goal(
        "SQLite: 256 submitters",
        &format!("{crowd:.0} entries/s"),
        "at least 3000",
        crowd >= 3000.0,
    );
    let change = |from: Duration, to: Duration| (to.div_duration_f64(from) - 1.0) * 100.0;
    let absolute = change(young[0].p50, grown.p50);
    let bare = change(young[0].bare, grown.bare);
    goal(
        &format!("SQLite: p50 alone after growing to {} entries", plan.grown),
        &format!("{absolute:+.0} %, while the bare commit changed by {bare:+.0} %"),
        "less than +20 %",
        absolute < 20.0,
    );
}

/// The rows of one store while it is small, and one when it has grown.
async fn measure(
    store: &'static str,
    config: &Config,
    issuer: &Issuer,
    plan: &Plan,
    bare: impl AsyncFn(usize) -> Vec<Duration>,
) -> (Vec<Row>, Row) {
    let (signer, key) = log_key();
    Log::create(config, &signer, now()).await.expect("a log");
    let mut rows = Vec::new();
    for (submitters, entries) in plan.rows {
        let row = run(config, &key, issuer, (*submitters, *entries), plan, &bare).await;
        row.print(store);
        rows.push(row);
    }
    let grown = match config.database {
        Database::Sqlite(_) => plan.grown,
        // The tree is the same; growing is measured once.
        Database::Postgres(_) => 0,
    };
    let sample = issuer.precertificates(1).await.remove(0);
    let other = authority::renumbering(&sample, issuer.key_hash());
    seed::grow(config, &signer, grown, other).await;
    let row = run(config, &key, issuer, plan.rows[0], plan, &bare).await;
    row.print(store);
    (rows, row)
}

/// Submitters that each wait for an answer before they submit again, taking turns with bare commits,
/// because a disk is another one every minute.
async fn run(
    config: &Config,
    key: &[u8],
    issuer: &Issuer,
    (submitters, entries): (usize, usize),
    plan: &Plan,
    bare: &impl AsyncFn(usize) -> Vec<Duration>,
) -> Row {
    let signer = LogSigner::from_private_key(key).expect("the log's key");
    let chains = Chains {
        issuer: issuer.chain(),
        roots: Vec::new(),
    };
    let log = Log::open(config, signer, &chains, now())
        .await
        .expect("the log");
    let size = log.head().size;
    let (mut took, mut commits) = (Vec::with_capacity(entries), Vec::new());
    let mut elapsed = Duration::ZERO;
    for _ in 0..TURNS {
        commits.extend(bare(plan.samples / TURNS + 1).await);
        let mut shares: Vec<Vec<Precertificate>> = (0..submitters).map(|_| Vec::new()).collect();
        let made = issuer.precertificates(entries / TURNS).await;
        for (number, precertificate) in made.into_iter().enumerate() {
            shares[number % submitters].push(precertificate);
        }
        let begin = Instant::now();
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| tokio::spawn(submit(log.clone(), share)))
            .collect();
        for submitter in running {
            took.extend(submitter.await.expect("a submitter ends by itself"));
        }
        elapsed += begin.elapsed();
    }
    assert_eq!(
        log.head().size,
        size + took.len() as u64,
        "not all were logged"
    );
    log.close().await;
    took.sort_unstable();
    let percentile = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    Row {
        size,
        submitters,
        entries: took.len(),
        rate: took.len() as f64 / elapsed.as_secs_f64(),
        p50: percentile(50),
        p99: percentile(99),
        bare: median(commits),
    }
}

async fn submit(log: Log, share: Vec<Precertificate>) -> Vec<Duration> {
    let mut took = Vec::with_capacity(share.len());
    for precertificate in share {
        let asked = Instant::now();
        log.append(&precertificate, now())
            .await
            .expect("it is logged");
        took.push(asked.elapsed());
    }
    took
}

/// One row of the table.
struct Row {
    /// Of the log before.
    size: u64,
    submitters: usize,
    entries: usize,
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// A commit of one row of 3 kB in between.
    bare: Duration,
}

impl Row {
    fn print(&self, store: &str) {
        let Self {
            size,
            submitters,
            entries,
            rate,
            p50,
            p99,
            bare,
        } = self;
        let millis = |duration: &Duration| duration.as_secs_f64() * 1e3;
        println!(
            "{store:>10}  {size:>7}  {submitters:>10}  {entries:>7}  {rate:>9.0}  {:>8.2}  {:>8.2}  {:>14.2}  {:>10.2}",
            millis(p50),
            millis(p99),
            millis(bare),
            p50.div_duration_f64(*bare)
        );
    }
}

fn log_key() -> (LogSigner, Arc<[u8]>) {
    let key = vouchsafe::authority::hierarchy::new_p256_key().expect("a key");
    let signer = LogSigner::from_private_key(&key).expect("the log's key");
    (signer, Arc::from(&key[..]))
}

fn goal(what: &str, measured: &str, wanted: &str, met: bool) {
    let verdict = if met { "met" } else { "missed" };
    println!("{verdict:<6}  {what}: {measured}; goal: {wanted}");
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// How much of everything.
struct Plan {
    /// Submitters, and entries that they submit between them.
    rows: &'static [(usize, usize)],
    /// Entries of the grown log.
    grown: u64,
    /// Bare commits beside each row.
    samples: usize,
}

const FULL: Plan = Plan {
    rows: &[(1, 1_000), (16, 8_000), (256, 30_000)],
    grown: 1_000_000,
    samples: 300,
};
const QUICK: Plan = Plan {
    rows: &[(1, 150), (16, 1_500), (256, 8_000)],
    grown: 30_000,
    samples: 50,
};
const SMOKE: Plan = Plan {
    rows: &[(1, 5), (4, 20)],
    grown: 600,
    samples: 3,
};
/// Turns of submitters and bare commits in one row.
const TURNS: usize = 5;
const ORIGIN: &str = "bench.example/log";
