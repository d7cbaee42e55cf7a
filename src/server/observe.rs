//! What the door tells those who watch: a number and a span for each request, and the page that
//! Prometheus collects, which has a listener of its own.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use time::OffsetDateTime;
use tracing::Instrument as _;

use super::{App, health, problem};
use crate::ctlog::remote::{Condition, LogState};
use crate::telemetry::metrics::{ExternalLog, Gauges, IssuerKeys};
use crate::telemetry::{metrics, tick, traces};

/// Counts and times every request, and gives those for certificates a span.
pub(super) async fn measure(
    State(logs): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let seen = Seen::of(&logs, request.method(), request.uri(), request.headers());
    let method = request.method().clone();
    let path = match seen {
        Seen::Grpc(_) => request.uri().path().to_owned(),
        Seen::Http(_) | Seen::Log => String::new(),
    };
    let span = match seen {
        Seen::Http(Some(name)) | Seen::Grpc(Some(name)) => traces::request(request.headers(), name),
        Seen::Http(None) | Seen::Grpc(None) | Seen::Log => tracing::Span::none(),
    };
    if matches!(seen, Seen::Grpc(_)) {
        metrics().grpc_started(&path);
    }
    let began = tick();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    match seen {
        Seen::Http(_) => metrics().http(method.as_str(), status, began.elapsed()),
        Seen::Log => metrics().log_http(method.as_str(), status),
        Seen::Grpc(_) => metrics().grpc_handled(&path, grpc_code(response.headers())),
    }
    traces::answered(&span, status);
    response
}

/// What kind of request it is, as far as numbers go, and its span's name if it gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Http(Option<&'static str>),
    Log,
    Grpc(Option<&'static str>),
}

impl Seen {
    /// `logs` are the paths below which logs are.
    fn of(logs: &[String], method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path();
        let name = SPANS.iter().find(|(known, _)| *known == path);
        let name = name.filter(|_| *method == Method::POST);
        let name = name.map(|(_, name)| *name);
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            return Self::Grpc(name);
        }
        let is_below = |prefix: &String| {
            let rest = path.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match logs.iter().any(is_below) {
            true => Self::Log,
            false => Self::Http(name),
        }
    }
}

/// A refusal has its code among the headers, since it has no message. What has it after its message
/// went well.
fn grpc_code(headers: &HeaderMap) -> usize {
    let Some(code) = headers.get("grpc-status") else {
        return 0;
    };
    code.to_str()
        .ok()
        .and_then(|code| code.parse().ok())
        .unwrap_or(UNKNOWN)
}

impl App {
    /// The routes of the listener for metrics.
    pub fn metrics_router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/metrics", get(page))
            .method_not_allowed_fallback(problem::method_not_allowed)
            .fallback(problem::not_found)
            .with_state(Arc::clone(self))
    }
}

/// `GET /metrics`
async fn page(State(app): State<Arc<App>>) -> impl IntoResponse {
    let ready = health::checks(&app).await.to_vec();
    let issuers = app.issuance.issuers.current();
    let keys = issuers.key_health().into_iter().map(|health| IssuerKeys {
        issuer: health.entry.to_owned(),
        failing: health.failing,
        fetched: health.fetched.map(OffsetDateTime::unix_timestamp),
    });
    let (_, ca_expiry) = app.issuance.authority.chain().validity();
    let reload = app.issuance.issuers.reload_state();
    let external = app.issuance.log.external().into_iter();
    let external = external.map(|LogState { url, condition }| ExternalLog {
        url,
        is_usable: condition.is_usable(),
        is_suspect: condition == Condition::Suspect,
    });
    let gauges = Gauges {
        ready,
        outstanding: app.pool.occupied(),
        log_size: app.issuance.log.built_in().map(|log| log.head().size),
        external_logs: external.collect(),
        ca_expiry: ca_expiry.unix_timestamp(),
        config: (
            reload.generation,
            reload.last_success.unix_timestamp(),
            reload.is_failing,
        ),
        issuers: keys.collect(),
    };
    ([(CONTENT_TYPE, TEXT)], metrics().render(&gauges))
}

/// The requests that get a span, and its name.
const SPANS: [(&str, &str); 4] = [
    ("/api/v2/signingCert", "POST /api/v2/signingCert"),
    ("/api/v1/signingCert", "POST /api/v1/signingCert"),
    (
        "/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate",
        "dev.sigstore.fulcio.v2.CA/CreateSigningCertificate",
    ),
    (
        "/dev.sigstore.fulcio.v1beta.CA/CreateSigningCertificate",
        "dev.sigstore.fulcio.v1beta.CA/CreateSigningCertificate",
    ),
];

/// The code that says that the code is not known.
const UNKNOWN: usize = 2;

pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
