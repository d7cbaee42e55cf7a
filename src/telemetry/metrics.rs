//! What is counted. One process, one registry: like log lines, numbers are written from every room
//! and read in one place.

mod page;
mod upkeep;

use std::future::Future;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use self::upkeep::{Publishing, Witnesses};
use super::exposition::{Cells, Counter, Histogram};
use super::steps::{STEPS, Step};
use super::tick;

/// The numbers of this process.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

/// Everything that is counted while it happens.
#[derive(Debug)]
pub struct Metrics {
    /// Commits of the transparency log.
    pub log: Commits,
    /// Commits of the ledger.
    pub ledger: Commits,
    /// The copy of the transparency log for others.
    pub publishing: Publishing,
    /// Those who vouch for it.
    pub witnesses: Witnesses,
    log_busy: Cells<&'static str, Counter>,
    new_certs: Counter,
    http: Cells<(&'static str, &'static str), Http>,
    log_http: Cells<(&'static str, &'static str), Counter>,
    grpc: Vec<Grpc>,
    issuance: Cells<(String, Outcome), Counter>,
    durations: [Histogram; 3],
    refusals: Cells<&'static str, Counter>,
    steps: [Histogram; STEPS.len()],
    /// Comparisons of ledger and log.
    pub reconciliation: Reconciled,
    external_log: Cells<(String, &'static str), Counter>,
    external_log_times: Cells<String, Histogram>,
    tls_expiry: Cells<&'static str, Counter>,
    tls_failing: Cells<&'static str, Counter>,
}

/// How a request that came as far as issuance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// With a certificate.
    Granted,
    /// Without, by the caller's fault.
    Refused,
    /// Without, by ours or a provider's.
    Failed,
}

/// Commits of a database: how much each had, and how long it took.
#[derive(Debug)]
pub struct Commits {
    sizes: Histogram,
    durations: Histogram,
}

/// What comparisons of ledger and log have found.
#[derive(Debug, Default)]
pub struct Reconciled {
    finished: Counter,
    trouble: Counter,
    unrecorded: Counter,
    is_failing: Counter,
}

/// What is known at the moment of asking, and counted nowhere.
#[derive(Debug, Default)]
pub struct Gauges {
    /// The checks of readiness.
    pub ready: Vec<(&'static str, bool)>,
    /// Requests being issued or waiting, and how many may.
    pub outstanding: (usize, usize),
    /// Entries of the built-in transparency log, if that is where certificates go.
    pub log_size: Option<u64>,
    /// Somebody else's transparency logs, if they go there.
    pub external_logs: Vec<ExternalLog>,
    /// The end of the chain's first certificate to end, in seconds since 1970.
    pub ca_expiry: i64,
    /// The configuration in force: its number, since when, and whether the last one was refused.
    pub config: (u64, i64, bool),
    /// The configured issuers.
    pub issuers: Vec<IssuerKeys>,
}

/// The keys of the issuers that one entry of the configuration stands for.
#[derive(Debug)]
pub struct IssuerKeys {
    /// The entry's URL or pattern.
    pub issuer: String,
    /// How many could not be fetched when last tried.
    pub failing: usize,
    /// When some were last fetched, in seconds since 1970.
    pub fetched: Option<i64>,
}

/// Somebody else's transparency log.
#[derive(Debug)]
pub struct ExternalLog {
    /// Its address in the configuration.
    pub url: String,
    /// Whether certificates are sent to it.
    pub is_usable: bool,
    /// Whether it gave an answer that must not get into a certificate, and no good one since.
    pub is_suspect: bool,
}

#[derive(Debug)]
struct Http {
    requests: Counter,
    latency: Histogram,
}

/// A method of gRPC that this server offers.
#[derive(Debug)]
struct Grpc {
    service: &'static str,
    method: &'static str,
    kind: &'static str,
    started: Counter,
    received: Counter,
    sent: Counter,
    handled: [Counter; GRPC_CODES.len()],
}

impl Outcome {
    /// Its name in a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Commits {
    fn new() -> Self {
        Self {
            sizes: Histogram::new(SIZES),
            durations: Histogram::new(COMMITS),
        }
    }

    /// Measures one commit.
    pub async fn measure<T>(&self, size: usize, commit: impl Future<Output = T>) -> T {
        let began = tick();
        let result = commit.await;
        self.sizes.observe_count(size);
        self.durations.observe(began.elapsed());
        result
    }
}

impl Reconciled {
    /// A comparison came to its end at `now`, in seconds since 1970; the sums are those since the last
    /// full one began.
    pub fn finished(&self, now: u64, trouble: u64, unrecorded: u64) {
        self.finished.set(now);
        self.trouble.set(trouble);
        self.unrecorded.set(unrecorded);
        self.is_failing.set(0);
    }

    /// A comparison could not be carried through.
    pub fn failed(&self) {
        self.is_failing.set(1);
    }
}

impl Metrics {
    fn new() -> Self {
        let grpc = GRPC_METHODS.iter().map(|(service, method, kind)| Grpc {
            service,
            method,
            kind,
            started: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            handled: std::array::from_fn(|_| Counter::default()),
        });
        let issuance = Cells::new();
        for outcome in OUTCOMES {
            for known in [UNKNOWN, OTHER] {
                drop(issuance.of(&(known.to_owned(), outcome), Counter::default));
            }
        }
        Self {
            log: Commits::new(),
            ledger: Commits::new(),
            publishing: Publishing::default(),
            witnesses: Witnesses::new(),
            log_busy: Cells::new(),
            new_certs: Counter::default(),
            http: Cells::new(),
            log_http: Cells::new(),
            grpc: grpc.collect(),
            issuance,
            durations: std::array::from_fn(|_| Histogram::new(REQUESTS)),
            refusals: Cells::new(),
            steps: std::array::from_fn(|_| Histogram::new(STEP_TIMES)),
            reconciliation: Reconciled::default(),
            external_log: Cells::new(),
            external_log_times: Cells::new(),
            tls_expiry: Cells::new(),
            tls_failing: Cells::new(),
        }
    }

    /// One answer over HTTP. Methods and codes that this server does not know share a name, so that
    /// no stranger makes a series.
    pub fn http(&self, method: &str, code: u16, duration: Duration) {
        let key = (code_name(code), method_name(method));
        let new = || Http {
            requests: Counter::default(),
            latency: Histogram::new(API),
        };
        if let Some(cell) = self.http.of(&key, new) {
            cell.requests.increment();
            cell.latency.observe(duration);
        }
    }

    /// One answer of the transparency log's public face.
    pub fn log_http(&self, method: &str, code: u16) {
        let key = (code_name(code), method_name(method));
        if let Some(cell) = self.log_http.of(&key, Counter::default) {
            cell.increment();
        }
    }

    /// One entry that the transparency log had no room for.
    pub fn log_busy(&self, reason: &'static str) {
        if let Some(cell) = self.log_busy.of(&reason, Counter::default) {
            cell.increment();
        }
    }

    /// One call over gRPC, by the path it was made at. Nothing, if no such method is offered.
    pub fn grpc_started(&self, path: &str) {
        if let Some(method) = self.grpc_method(path) {
            method.started.increment();
            method.received.increment();
        }
    }

    /// The end of a call, with its code as a number.
    pub fn grpc_handled(&self, path: &str, code: usize) {
        if let Some(method) = self.grpc_method(path) {
            let unknown = method.handled.get(GRPC_UNKNOWN);
            if let Some(handled) = method.handled.get(code).or(unknown) {
                handled.increment();
            }
            if code == 0 {
                method.sent.increment();
            }
        }
    }

    fn grpc_method(&self, path: &str) -> Option<&Grpc> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let mut all = self.grpc.iter();
        all.find(|offered| offered.service == service && offered.method == method)
    }

    /// How a request ended. `issuer` is the configuration's own text for it, never the token's.
    pub fn issuance(&self, issuer: Option<&str>, outcome: Outcome, began: Instant) {
        if outcome == Outcome::Granted {
            self.new_certs.increment();
        }
        let [granted, refused, failed] = &self.durations;
        let durations = match outcome {
            Outcome::Granted => granted,
            Outcome::Refused => refused,
            Outcome::Failed => failed,
        };
        durations.observe(began.elapsed());
        let cell = |issuer: &str| {
            let key = (issuer.to_owned(), outcome);
            self.issuance.of(&key, Counter::default)
        };
        if let Some(cell) = cell(issuer.unwrap_or(UNKNOWN)).or_else(|| cell(OTHER)) {
            cell.increment();
        }
    }

    /// A request without a certificate.
    pub fn refused(&self, reason: &'static str) {
        if let Some(cell) = self.refusals.of(&reason, Counter::default) {
            cell.increment();
        }
    }

    /// What became of a certificate that was sent to somebody else's log, repetitions included. `log` is
    /// the configuration's own text for it, and `outcome` one of `LOG_OUTCOMES`.
    pub fn external_log(&self, log: &str, outcome: &'static str, duration: Duration) {
        let key = (log.to_owned(), outcome);
        if let Some(cell) = self.external_log.of(&key, Counter::default) {
            cell.increment();
        }
        let new = || Histogram::new(API);
        if let Some(cell) = self.external_log_times.of(&key.0, new) {
            cell.observe(duration);
        }
    }

    /// When the certificate ends that a listener shows, in seconds since 1970; each time one is
    /// loaded.
    pub fn tls_loaded(&self, listener: &'static str, expiry: u64) {
        if let Some(cell) = self.tls_expiry.of(&listener, Counter::default) {
            cell.set(expiry);
        }
        self.tls_failing(listener, false);
    }

    /// Whether a listener's certificate could not be loaded.
    pub fn tls_failing(&self, listener: &'static str, is_failing: bool) {
        if let Some(cell) = self.tls_failing.of(&listener, Counter::default) {
            cell.set(is_failing.into());
        }
    }

    pub(super) fn step(&self, step: Step) -> Option<&Histogram> {
        self.steps.get(step.position())
    }
}

fn code_name(code: u16) -> &'static str {
    let known = CODES.iter().find(|(known, _)| *known == code);
    known.map_or("other", |(_, name)| name)
}

fn method_name(method: &str) -> &'static str {
    let mut known = METHODS.iter();
    let known = known.find(|known| known.eq_ignore_ascii_case(method));
    known.copied().unwrap_or("unknown")
}

/// How it can end with somebody else's log: a timestamp that holds, a refusal, no answer, or one that
/// must not get into a certificate.
const LOG_OUTCOMES: [&str; 4] = ["taken", "refused", "failed", "wrong"];
const OUTCOMES: [Outcome; 3] = [Outcome::Granted, Outcome::Refused, Outcome::Failed];
/// Requests by nobody who is configured.
const UNKNOWN: &str = "unknown";
/// Requests by those for whom there was no series left.
const OTHER: &str = "other";

/// The buckets of Fulcio's latencies.
const API: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const REQUESTS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
];
const STEP_TIMES: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 5.0,
];
const COMMITS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];
const SIZES: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// The statuses this server answers with.
const CODES: [(u16, &str); 23] = [
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (410, "410"),
    (411, "411"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (416, "416"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
    (504, "504"),
];
const METHODS: [&str; 9] = [
    "get", "head", "post", "put", "patch", "delete", "options", "connect", "trace",
];

/// The methods that are offered over gRPC: service, method, and whether answers are a stream.
const GRPC_METHODS: [(&str, &str, &str); 7] = [
    (CA_V2, "CreateSigningCertificate", "unary"),
    (CA_V2, "GetTrustBundle", "unary"),
    (CA_V2, "GetConfiguration", "unary"),
    ("grpc.health.v1.Health", "Check", "unary"),
    ("grpc.health.v1.Health", "Watch", "server_stream"),
    (CA_V1, "CreateSigningCertificate", "unary"),
    (CA_V1, "GetRootCertificate", "unary"),
];
const CA_V2: &str = "dev.sigstore.fulcio.v2.CA";
const CA_V1: &str = "dev.sigstore.fulcio.v1beta.CA";

/// The codes of gRPC by their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const GRPC_UNKNOWN: usize = 2;
