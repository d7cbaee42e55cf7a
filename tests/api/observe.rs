//! What a running server tells those who watch it: numbers, records, lines and traces, of one and the
//! same few requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use prost::Message as _;
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use vouchsafe::api::v2;

use super::caller::Caller;
use super::house::{V2, deploy};
use super::process::Program;
use super::provider::Provider;
use super::schema;

/// A server as its own process, watched.
struct Watched {
    http: Client,
    provider: Provider,
    program: Program,
    url: String,
    metrics: String,
    audit: PathBuf,
    _directory: TempDir,
}

impl Watched {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let http = vouchsafe::client::http_client().unwrap();
        let provider = Provider::start().await;
        let free = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            (listener.local_addr().unwrap(), listener)
        };
        let ((address, first), (metrics, second)) = (free(), free());
        drop((first, second));
        let url = format!("http://{address}");
        let directory = tempfile::tempdir().unwrap();
        let file = deploy(directory.path(), &url, &provider).await;
        let audit = directory.path().join("audit.jsonl");
        let mut text = fs::read_to_string(&file).unwrap();
        text = text.replace("log-format: text", "log-format: json");
        text += &format!(
            "\nmetrics-listen: {metrics}\naudit: {{file: '{}'}}\n",
            audit.display()
        );
        fs::write(&file, text).unwrap();
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let program = Program::start_with(&arguments, environment, "info", "\"serving\"");
        Self {
            http,
            provider,
            program,
            url,
            metrics: format!("http://{metrics}/metrics"),
            audit,
            _directory: directory,
        }
    }

    /// One certificate and some refusals; answers with the tokens.
    async fn busy(&self, headers: &[(&str, &str)]) -> Vec<String> {
        let caller = Caller::new("watched@example.com");
        let good = self.provider.token(&caller.name);
        let (signed, _) = good.rsplit_once('.').unwrap();
        let tokens = [
            good.clone(),
            format!("{signed}.AAAA"),
            self.provider.sign(&super::provider::with(
                self.provider.person(&caller.name),
                serde_json::json!({"iss": self.provider.down()}),
            )),
        ];
        for (token, status) in tokens.iter().zip([200, 400, 503]) {
            let mut request = self.http.post(format!("{}{V2}", self.url));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let body = caller.v2(Some(token)).to_string();
            let answer = request.body(body).send().await.unwrap();
            assert_eq!(answer.status(), status);
        }
        let nonsense = self.http.post(format!("{}{V2}", self.url)).body("{");
        assert_eq!(nonsense.send().await.unwrap().status(), 400);
        tokens.to_vec()
    }

    /// One good call over gRPC and one of a method that is not there.
    async fn call(&self) {
        let channel = Channel::from_shared(self.url.clone()).unwrap();
        let channel = channel.connect().await.unwrap();
        for (path, code) in [
            ("/dev.sigstore.fulcio.v2.CA/GetTrustBundle", Code::Ok),
            ("/dev.sigstore.fulcio.v2.CA/Nothing", Code::Unimplemented),
        ] {
            let mut client = Grpc::new(channel.clone());
            client.ready().await.unwrap();
            let request = tonic::Request::new(v2::GetTrustBundleRequest {});
            let codec = ProstCodec::<_, v2::TrustBundle>::default();
            let path = PathAndQuery::from_static(path);
            let answer = client.unary(request, path, codec).await;
            assert_eq!(
                answer.map_or_else(|status| status.code(), |_| Code::Ok),
                code
            );
        }
    }

    async fn page(&self) -> Page {
        let answer = self.http.get(&self.metrics).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        Page::read(&answer.text().await.unwrap())
    }
}

type Labels = BTreeMap<String, String>;

/// Prometheus' text format, read as its specification says and no more leniently.
struct Page {
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Page {
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut page = Self {
            kinds: BTreeMap::new(),
            samples: Vec::new(),
        };
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(helped.insert(name.to_owned()), "{name} is told of twice");
                assert!(!help.is_empty());
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, family, "a type follows its help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let before = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None);
            } else {
                let (name, labels, value) = sample(line);
                let kind = &page.kinds[&family];
                let parts = ["_bucket", "_sum", "_count"];
                let is_part = parts.iter().any(|part| name == format!("{family}{part}"));
                assert!(
                    if kind == "histogram" {
                        is_part
                    } else {
                        name == family
                    },
                    "{line}"
                );
                page.samples.push((name, labels, value));
            }
        }
        let series: BTreeSet<_> = page
            .samples
            .iter()
            .map(|(name, labels, _)| (name, labels))
            .collect();
        assert_eq!(series.len(), page.samples.len(), "a series is there twice");
        page.check_histograms();
        page
    }

    fn check_histograms(&self) {
        let mut seen = 0;
        for (name, labels, count) in &self.samples {
            let Some(family) = name.strip_suffix("_count") else {
                continue;
            };
            let mut buckets = Vec::new();
            for (name, of_bucket, value) in &self.samples {
                let mut of_bucket = of_bucket.clone();
                if *name == format!("{family}_bucket")
                    && let Some(bound) = of_bucket.remove("le")
                    && of_bucket == *labels
                {
                    buckets.push((bound.parse::<f64>().unwrap(), *value));
                }
            }
            assert!(
                buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
                "{name}"
            );
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name}");
            self.value(&format!("{family}_sum"), labels);
            seen += 1;
        }
        assert!(seen > 10);
    }

    fn value(&self, name: &str, labels: &Labels) -> f64 {
        let mut samples = self.samples.iter();
        let found = samples.find(|(of, with, _)| of == name && with == labels);
        found.unwrap_or_else(|| panic!("no {name}{labels:?}")).2
    }

    fn of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.value(name, &labels.collect())
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap();
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), Labels::new(), value);
    };
    let mut rest = labels.strip_suffix('}').unwrap();
    let mut found = Labels::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").unwrap();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(label.bytes().all(is_name), "{line}");
        let mut text = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().unwrap() {
                (at, '"') => break at + 1,
                (_, '\\') => text.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    escaped => escaped,
                }),
                (_, other) => text.push(other),
            }
        };
        assert_eq!(found.insert(label.to_owned(), text), None, "{line}");
        rest = &after[end..];
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None => rest,
        };
    }
    (name.to_owned(), found, value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_records_and_lines_tell_the_same_story_and_no_secret() {
    let watched = Watched::start(&[]).await;
    let before = watched.page().await;
    let tokens = watched.busy(&[]).await;
    watched.call().await;
    let page = watched.page().await;
    let grown =
        |name: &str, labels: &[(&str, &str)]| page.of(name, labels) - before.of(name, labels);
    let (email, down) = (watched.provider.email(), watched.provider.down().to_owned());
    assert_eq!(
        grown("fulcio_new_certs", &[]).total_cmp(&1.0),
        std::cmp::Ordering::Equal
    );
    let is = |number: f64, expected: f64, what: &str| {
        assert!((number - expected).abs() < 1e-9, "{what}: {number}");
    };
    let total = "vouchsafe_issuance_total";
    is(
        grown(total, &[("issuer", &email), ("outcome", "granted")]),
        1.0,
        "granted",
    );
    is(
        grown(total, &[("issuer", &email), ("outcome", "refused")]),
        1.0,
        "refused",
    );
    is(
        grown(total, &[("issuer", &down), ("outcome", "failed")]),
        1.0,
        "failed",
    );
    for reason in [
        "TOKEN_SIGNATURE_INVALID",
        "ISSUER_UNAVAILABLE",
        "REQUEST_MALFORMED",
    ] {
        is(
            page.of("vouchsafe_refusals_total", &[("reason", reason)]),
            1.0,
            reason,
        );
    }
    let steps = "vouchsafe_step_duration_seconds_count";
    is(
        grown(steps, &[("step", "authenticate")]),
        3.0,
        "authenticate",
    );
    for step in [
        "prove",
        "template",
        "precertificate",
        "log",
        "certificate",
        "ledger",
    ] {
        is(grown(steps, &[("step", step)]), 1.0, step);
    }
    is(
        grown("vouchsafe_log_commit_duration_seconds_count", &[]),
        1.0,
        "log",
    );
    is(
        grown("vouchsafe_ledger_commit_duration_seconds_count", &[]),
        1.0,
        "ledger",
    );
    is(page.of("vouchsafe_log_tree_size", &[]), 1.0, "tree");
    is(
        page.of("vouchsafe_issuer_keys_failing", &[("issuer", &down)]),
        1.0,
        "down",
    );
    is(
        page.of("vouchsafe_issuer_keys_failing", &[("issuer", &email)]),
        0.0,
        "up",
    );
    is(
        page.of(
            "http_requests_total",
            &[("code", "400"), ("method", "post")],
        ),
        2.0,
        "400",
    );
    is(
        page.of(
            "fulcio_api_latency_count",
            &[("code", "200"), ("method", "post")],
        ),
        1.0,
        "200",
    );
    let call = [
        ("grpc_type", "unary"),
        ("grpc_service", "dev.sigstore.fulcio.v2.CA"),
        ("grpc_method", "GetTrustBundle"),
    ];
    is(page.of("grpc_server_started_total", &call), 1.0, "begun");
    is(page.of("grpc_server_msg_sent_total", &call), 1.0, "sent");
    let handled = [&call[..], &[("grpc_code", "OK")]].concat();
    is(
        page.of("grpc_server_handled_total", &handled),
        1.0,
        "answered",
    );
    for check in ["authority", "log", "ledger", "audit", "open"] {
        is(page.of("vouchsafe_ready", &[("check", check)]), 1.0, check);
    }
    assert!(page.of("vouchsafe_ca_expiry_timestamp_seconds", &[]) > 1_800_000_000.0);
    assert!(page.of("process_resident_memory_bytes", &[]) > 1_000_000.0);
    // Nothing of a token is a label, and the public listener tells nothing.
    for (_, labels, _) in &page.samples {
        let mut values = labels.values();
        assert!(values.all(|value| !value.contains('@')), "{labels:?}");
    }
    let public = watched.http.get(format!("{}/metrics", watched.url)).send();
    assert_eq!(public.await.unwrap().status(), 404);

    watched.program.signal("TERM");
    let (status, lines) = watched.program.ended();
    assert!(status.success(), "{lines:?}");
    let schema = fs::read_to_string("docs/audit.schema.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let trail = fs::read_to_string(&watched.audit).unwrap();
    let records: Vec<Value> = trail
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for record in &records {
        schema::check(&schema, &schema, record).unwrap();
    }
    let told = |record: &Value| {
        let reason = record["reason"].as_str().unwrap_or_default().to_owned();
        (record["decision"].as_str().unwrap().to_owned(), reason)
    };
    let told: Vec<_> = records.iter().map(told).collect();
    let expected = [
        ("granted", ""),
        ("refused", "TOKEN_SIGNATURE_INVALID"),
        ("failed", "ISSUER_UNAVAILABLE"),
        ("refused", "REQUEST_MALFORMED"),
    ];
    assert_eq!(told, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let mut ids = BTreeSet::new();
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["timestamp", "level", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
        if ["issued", "refused", "failed"].contains(&line["message"].as_str().unwrap()) {
            ids.insert(line["request_id"].as_str().unwrap().to_owned());
        }
    }
    let recorded: BTreeSet<String> = records
        .iter()
        .map(|record| record["request_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, recorded, "a line and a record for each request");
    for token in &tokens {
        for part in token.split('.').skip(1).filter(|part| part.len() > 8) {
            assert!(!trail.contains(part));
            assert!(lines.iter().all(|line| !line.contains(part)));
        }
    }
}

/// The part of OTLP that is looked at (opentelemetry/proto/trace/v1).
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfResource {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_of_its_callers_trace_with_one_for_each_step() {
    let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
    let received = Arc::clone(&spans);
    let collect = move |body: Bytes| {
        let export = Export::decode(body).unwrap();
        let resources = export.resources.into_iter();
        let scopes = resources.flat_map(|resource| resource.scopes);
        received
            .lock()
            .unwrap()
            .extend(scopes.flat_map(|scope| scope.spans));
        async {}
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(collect));
    let collector = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let watched = Watched::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    watched.busy(&[("traceparent", traceparent)]).await;
    let passed = watched.provider.traceparents();
    watched.program.signal("TERM");
    let (status, lines) = tokio::task::spawn_blocking(move || watched.program.ended())
        .await
        .unwrap();
    assert!(status.success(), "{lines:?}");
    let begun = Instant::now();
    // Three requests, seven steps of the good one, and the first step of the others.
    let spans = loop {
        let spans = spans.lock().unwrap().clone();
        if spans.iter().filter(|span| span.trace == TRACE).count() == 12 {
            break spans;
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(10), "{spans:?} {lines:?}");
        tokio::task::yield_now().await;
    };
    collector.abort();

    const PARENT: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];
    const SERVER: i32 = 2;
    let requests: Vec<_> = spans
        .iter()
        .filter(|span| span.trace == TRACE && span.parent == PARENT)
        .collect();
    assert_eq!(requests.len(), 3, "{spans:?}");
    for request in &requests {
        assert_eq!(
            (&*request.name, request.kind),
            ("POST /api/v2/signingCert", SERVER)
        );
    }
    let steps_of = |request: &Span| -> Vec<String> {
        let of_request = spans.iter().filter(|span| span.parent == request.id);
        let names = of_request.map(|span| {
            assert_eq!(span.trace, TRACE);
            span.name.clone()
        });
        names.collect()
    };
    let mut steps: Vec<_> = requests.iter().map(|request| steps_of(request)).collect();
    steps.sort_by_key(Vec::len);
    // They end in this order, but are sent by several threads.
    steps[2].sort_unstable();
    let mut all = [
        "authenticate",
        "prove",
        "template",
        "precertificate",
        "log",
        "certificate",
        "ledger",
    ];
    all.sort_unstable();
    assert_eq!(steps[2], all);
    assert_eq!(steps[..2], [["authenticate"], ["authenticate"]]);
    // The provider is told whose trace it serves.
    assert!(!passed.is_empty());
    for header in passed {
        assert!(
            header.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
            "{header}"
        );
    }
}

/// That of the caller.
const TRACE: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
