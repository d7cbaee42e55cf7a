//! What one certificate costs: `cargo bench --bench issue`, with `-- --quick` for a short run,
//! `-- --clients 32` for one row alone, and `-- --against PATH` to compare with another build of the
//! program, taking turns with it.
//!
//! The real server process on loopback, its databases on disk, clients that each wait for an answer
//! before they ask again. Every request has its own token and its own key, made before the clock
//! starts; every answer is read afterwards, and one that is not a certificate fails the run. The
//! same run measures what no certificate authority can do without (the signatures of one issuance,
//! one commit of the disk) and compares the two.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program: it asks the clock, prints, and ends at the first surprise"
)]

mod bare;
mod door;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod load;
mod process;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use self::bare::Bare;
use self::door::Door;
use self::harness::deployment::Deployment;
use self::harness::issuer::Issuer;
use self::harness::request::prepare;
use self::load::Row;
use self::process::Process;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // Cargo says `--bench` only when asked to measure; otherwise this is one of the tests.
    let plan = match (has("--bench") && !has("--test"), has("--quick")) {
        (true, false) => &FULL,
        (true, true) => &QUICK,
        (false, _) => &SMOKE,
    };
    let issuer = Issuer::start();
    let deployment = Deployment::create_with_tls(&issuer);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    if let Some(other) = value_of(&arguments, "--against") {
        return against(Path::new(other), &issuer, &deployment, plan, &runtime);
    }
    let bare = Bare::measure(&issuer, &deployment.path(), plan.samples, &runtime);
    println!(
        "bare cryptography of one issuance        {:>8.1} µs on one thread, {:.1} µs with both processors at it",
        micros(bare.cryptography),
        micros(bare.cryptography_crowded)
    );
    println!(
        "bare commit: append 3 kB, fdatasync      {:>8.2} ms",
        millis(bare.append)
    );
    println!(
        "bare commit: SQLite WAL FULL, 3 kB row   {:>8.2} ms",
        millis(bare.sqlite)
    );

    let new = median(
        (0..plan.starts)
            .map(|_| deployment.start().startup())
            .collect(),
    );

    let server = deployment.start();
    let process = Process::of(server.id());
    let mut first = 0;
    let mut failures = load::run(
        &deployment,
        &process,
        Door::HTTP,
        2,
        prepare(&issuer, first, plan.warm_up),
        &runtime,
    )
    .failures;
    first += plan.warm_up as u64;
    println!(
        "\n     door  clients  requests  certificates/s    p50 ms    p99 ms  CPU µs/certificate  certificates/commit  RSS MiB  CPUs taken by others"
    );
    let mut rows = Vec::new();
    let alone = value_of(&arguments, "--clients").and_then(|clients| clients.parse().ok());
    let plain = plan
        .rows
        .iter()
        .map(|(clients, count)| (Door::HTTP, *clients, *count));
    let (clients, count) = plan.doors;
    let others = DOORS.map(|door| (door, clients, count));
    let mut table: Vec<(Door, usize, usize)> = plain.chain(others).collect();
    if let Some(clients) = alone {
        table = vec![(Door::HTTP, clients, 4_000)];
    }
    for (door, clients, count) in table {
        let requests = prepare(&issuer, first, count);
        first += count as u64;
        let row = load::run(&deployment, &process, door, clients, requests, &runtime);
        println!(
            "{:>9}  {clients:>7}  {count:>8}  {:>14.0}  {:>8.2}  {:>8.2}  {:>18.0}  {:>19.1}  {:>7.1}  {:>20.2}",
            door.name(),
            row.rate,
            millis(row.p50),
            millis(row.p99),
            micros(row.cpu_per_certificate),
            row.per_commit,
            mebibytes(row.resident),
            row.others
        );
        failures.extend(row.failures.iter().cloned());
        if door == Door::HTTP {
            rows.push((clients, row));
        }
    }
    let peak = process.peak_resident();
    server.kill();
    let used = median(
        (0..plan.starts)
            .map(|_| deployment.start().startup())
            .collect(),
    );

    println!(
        "\ncold start, new deployment               {:>8.1} ms",
        millis(new)
    );
    println!(
        "cold start, after the load and a kill    {:>8.1} ms",
        millis(used)
    );
    println!(
        "peak resident memory                     {:>8.1} MiB\n",
        mebibytes(peak)
    );
    compare(&bare, &rows, peak, new.max(used));

    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "\n{} answers were not what they should be; the first:",
        failures.len()
    );
    failures
        .iter()
        .take(3)
        .for_each(|failure| println!("  {failure}"));
    println!("{}", deployment.talk());
    ExitCode::FAILURE
}

/// The goals, each against what was measured a moment ago on this machine.
fn compare(bare: &Bare, rows: &[(usize, Row)], peak: u64, start: Duration) {
    let row = |clients| {
        rows.iter()
            .find(|(of, _)| *of == clients)
            .map(|(_, row)| row)
    };
    if let Some(row) = row(32) {
        let ratio = row.cpu_per_certificate.as_secs_f64() / bare.cryptography.as_secs_f64();
        let crowded =
            row.cpu_per_certificate.as_secs_f64() / bare.cryptography_crowded.as_secs_f64();
        let measured = format!("{ratio:.2} × ({crowded:.2} × with both processors at it)");
        goal(
            "CPU of a certificate at 32 clients",
            &measured,
            "1.60 × bare cryptography",
            ratio <= 1.6,
        );
    }
    if let Some(row) = row(1) {
        let beyond = |commit: Duration| row.p50.saturating_sub(commit * 2);
        let measured = format!(
            "{:.2} ms = 2 SQLite commits + {:.2} ms = 2 appends + {:.2} ms",
            millis(row.p50),
            millis(beyond(bare.sqlite)),
            millis(beyond(bare.append))
        );
        goal(
            "p50 at 1 client",
            &measured,
            "2 SQLite commits + 1.5 ms",
            beyond(bare.sqlite) <= Duration::from_micros(1500),
        );
    }
    goal(
        "peak resident memory",
        &format!("{:.1} MiB", mebibytes(peak)),
        "48 MiB",
        peak <= 48 << 20,
    );
    goal(
        "cold start",
        &format!("{:.0} ms", millis(start)),
        "200 ms",
        start <= Duration::from_millis(200),
    );
}

/// Takes turns with another build at the row that counts, and compares the medians.
fn against(
    other: &Path,
    issuer: &Issuer,
    ours: &Deployment,
    plan: &Plan,
    runtime: &Runtime,
) -> ExitCode {
    let theirs = Deployment::create_by(other, issuer);
    let (clients, count) = plan.doors;
    let mut first = 0;
    let mut costs = [Vec::new(), Vec::new()];
    let mut rates = [Vec::new(), Vec::new()];
    for turn in 0..plan.turns {
        for (at, deployment) in [ours, &theirs].into_iter().enumerate() {
            let server = deployment.start();
            let process = Process::of(server.id());
            let mut measure = |count| {
                let requests = prepare(issuer, first, count);
                first += count as u64;
                load::run(deployment, &process, Door::HTTP, clients, requests, runtime)
            };
            measure(plan.warm_up);
            let row = measure(count);
            if let Some(failure) = row.failures.first() {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
            let name = ["this build", "the other"][at];
            let (rate, cost) = (row.rate, micros(row.cpu_per_certificate));
            let memory = mebibytes(row.resident);
            println!(
                "turn {turn}: {name:>10}: {rate:>6.0} certificates/s, {cost:>5.0} µs of CPU each, {:>5.1} per commit, {memory:>5.1} MiB",
                row.per_commit
            );
            rates[at].push(Duration::from_secs_f64(rate.recip()));
            costs[at].push(row.cpu_per_certificate);
        }
    }
    let ratio = |[ours, theirs]: [Vec<Duration>; 2]| median(ours).div_duration_f64(median(theirs));
    println!(
        "\ntime for one certificate, this build to the other: {:.3}",
        ratio(rates)
    );
    println!(
        "CPU for one certificate, this build to the other:  {:.3}",
        ratio(costs)
    );
    ExitCode::SUCCESS
}

/// What stands after an argument's name.
fn value_of<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}

fn goal(what: &str, measured: &str, at_most: &str, met: bool) {
    let verdict = if met { "met" } else { "missed" };
    println!("{verdict:<6}  {what}: {measured}; goal: at most {at_most}");
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How much of everything.
struct Plan {
    /// Clients, and requests that they send between them.
    rows: &'static [(usize, usize)],
    /// The same for each of the other doors.
    doors: (usize, usize),
    /// Turns of a comparison.
    turns: usize,
    warm_up: usize,
    /// Starts of which the median counts.
    starts: usize,
    /// Batches of the bare measurements.
    samples: usize,
}

const FULL: Plan = Plan {
    rows: &[(1, 1_500), (8, 3_500), (32, 5_000), (128, 5_000)],
    doors: (32, 5_000),
    turns: 7,
    warm_up: 400,
    starts: 5,
    samples: 31,
};
const QUICK: Plan = Plan {
    rows: &[(1, 200), (8, 400), (32, 800), (128, 800)],
    doors: (32, 800),
    turns: 3,
    warm_up: 100,
    starts: 3,
    samples: 11,
};
const SMOKE: Plan = Plan {
    rows: &[(1, 5), (8, 40)],
    doors: (8, 40),
    turns: 1,
    warm_up: 4,
    starts: 1,
    samples: 3,
};

/// The ways in beside plain HTTP.
const DOORS: [Door; 3] = [
    Door {
        is_grpc: true,
        is_tls: false,
    },
    Door {
        is_grpc: false,
        is_tls: true,
    },
    Door {
        is_grpc: true,
        is_tls: true,
    },
];
