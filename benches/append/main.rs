//! What it costs to log: `cargo bench --bench append`, with `-- --quick` for a short run.
//!
//! Precertificates of a real authority, each another one, made before the clock starts, go straight
//! into `Log::append`: a real key, real databases on disk, the high-water mark as `vouchsafe init` makes
//! it. The same run measures the bare commit of one row that no log can do without, and the two are
//! compared. Then a log grows to a million entries in commits of thousands, and takes turns with one that
//! has not.

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

    let at = |name: &str| directory.path().join(name);
    let logs = ["log", "unmarked", "small", "grown"].map(|name| Config {
        high_water: (name != "unmarked").then(|| at(&format!("{name}.mark"))),
        ..Config::new(
            Database::Sqlite(at(&format!("{name}.sqlite"))),
            ORIGIN.to_owned(),
        )
    });
    let [log, unmarked, small, grown] = &logs;
    let bare = async |samples| bare::sqlite(directory.path(), samples).await;
    let keys = log_key();
    for config in &logs {
        Log::create(config, &keys.0, now()).await.expect("a log");
    }
    let measuring = Measuring {
        key: &keys.1,
        issuer: &issuer,
        plan,
    };
    let on_sqlite = measuring.rows("SQLite", log, &bare).await;
    let [marked, unmarked] = measuring
        .turns([small, unmarked], plan.rows[0], &bare)
        .await;
    marked.print("SQLite");
    unmarked.print("no mark");
    let sample = issuer.precertificates(1).await.remove(0);
    let other = authority::renumbering(&sample, issuer.key_hash());
    seed::grow(grown, &keys.0, plan.grown, other).await;
    // The seed knows no marks; a server that ends between a commit and its mark leaves the same.
    let [small, grown] = measuring.turns([small, grown], plan.rows[0], &bare).await;
    small.print("SQLite");
    grown.print("SQLite");

    let cluster = Cluster::shared();
    let address = cluster.database();
    let server = Server::new(&address, Path::new("."), None).expect("an address");
    let bare = async |samples| bare::postgres(&address, samples).await;
    let config = Config {
        high_water: Some(at("postgres.mark")),
        ..Config::new(Database::Postgres(server), ORIGIN.to_owned())
    };
    Log::create(&config, &keys.0, now()).await.expect("a log");
    let on_postgres = measuring.rows("PostgreSQL", &config, &bare).await;

    println!();
    let mark = marked.p50.div_duration_f64(unmarked.p50);
    println!("with a high-water mark p50 alone is {mark:.2} × that without, in turns");
    for (name, rows) in [("SQLite", &on_sqlite), ("PostgreSQL", &on_postgres)] {
        let ratio = rows[0].p50.div_duration_f64(rows[0].bare);
        let measured = format!("{ratio:.2} × the bare commit of one row");
        goal(
            &format!("{name}: p50 alone"),
            &measured,
            "at most 2.5 ×",
            ratio <= 2.5,
        );
    }
    let crowd = on_sqlite.last().expect("a row").rate;
    goal(
        "SQLite: 256 submitters",
        &format!("{crowd:.0} entries/s"),
        "at least 3000",
        crowd >= 3000.0,
    );
    let growth = (grown.p50.div_duration_f64(small.p50) - 1.0) * 100.0;
    goal(
        &format!("SQLite: p50 alone at {} entries", grown.size),
        &format!("{growth:+.0} % of that at {}, in turns", small.size),
        "less than +20 %",
        growth < 20.0,
    );
}

/// What all rows have in common.
struct Measuring<'a> {
    key: &'a [u8],
    issuer: &'a Issuer,
    plan: &'a Plan,
}

impl Measuring<'_> {
    /// The rows of one log.
    async fn rows(
        &self,
        store: &str,
        config: &Config,
        bare: &impl AsyncFn(usize) -> Vec<Duration>,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for load in self.plan.rows {
            let [row] = self.turns([config], *load, bare).await;
            row.print(store);
            rows.push(row);
        }
        rows
    }

    /// Submitters that each wait for an answer before they submit again, for each log in turn and in
    /// turns with bare commits, because a disk is another one every minute.
    async fn turns<const LOGS: usize>(
        &self,
        configs: [&Config; LOGS],
        (submitters, entries): (usize, usize),
        bare: &impl AsyncFn(usize) -> Vec<Duration>,
    ) -> [Row; LOGS] {
        let mut logs = Vec::new();
        for config in configs {
            let log = self.open(config).await;
            let size = log.head().size;
            logs.push((log, size, Vec::with_capacity(entries), Duration::ZERO));
        }
        let mut commits = Vec::new();
        for _ in 0..TURNS {
            commits.extend(bare(self.plan.samples / TURNS + 1).await);
            for (log, _, took, elapsed) in &mut logs {
                let mut shares: Vec<Vec<Precertificate>> = Vec::new();
                shares.resize_with(submitters, Vec::new);
                let made = self.issuer.precertificates(entries / TURNS).await;
                for (number, precertificate) in made.into_iter().enumerate() {
                    shares[number % submitters].push(precertificate);
                }
                let begin = Instant::now();
                let shares = shares.into_iter();
                let running: Vec<_> = shares
                    .map(|share| tokio::spawn(submit(log.clone(), share)))
                    .collect();
                for submitter in running {
                    took.extend(submitter.await.expect("a submitter ends by itself"));
                }
                *elapsed += begin.elapsed();
            }
        }
        let bare = median(commits);
        let mut rows = Vec::new();
        for (log, size, mut took, elapsed) in logs {
            let logged = log.head().size - size;
            assert_eq!(logged, took.len() as u64, "not all were logged");
            log.close().await;
            took.sort_unstable();
            let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
            rows.push(Row {
                size,
                submitters,
                entries: took.len(),
                rate: took.len() as f64 / elapsed.as_secs_f64(),
                p50: at(50),
                p99: at(99),
                bare,
            });
        }
        rows.try_into()
            .unwrap_or_else(|_| unreachable!("a row for each log"))
    }

    async fn open(&self, config: &Config) -> Log {
        let signer = LogSigner::from_private_key(self.key).expect("the log's key");
        let chains = Chains {
            issuer: self.issuer.chain(),
            roots: Vec::new(),
        };
        let log = Log::open(config, signer, &chains, now()).await;
        log.expect("the log")
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
