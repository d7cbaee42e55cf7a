//! The log's public face: RFC 6962 submission and the tiles of C2SP static-ct-api, under one prefix.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::health::timestamp;
use super::{now, rfc6962};
use crate::config::{Mounts, Retired};
use crate::ctlog::store::StoreError;
use crate::ctlog::submission::Submission;
use crate::ctlog::tile::TilePath;
use crate::ctlog::{AppendError, Log, Reader};
use crate::failpoint::FailPoint;

/// Every log of a server, each at its place. The prefixes are those of a checked configuration, so no
/// two of them meet.
pub(super) fn mount_all(log: Option<&Log>, mounts: &Mounts) -> Router {
    let mut all = Router::new();
    if let (Some(log), Some(prefix)) = (log, &mounts.prefix) {
        all = at(all, prefix, mount(log, mounts.rfc6962_reads));
    }
    for retired in &mounts.retired {
        all = at(all, &retired.prefix, mount_retired(retired));
    }
    all
}

/// The paths below which they are.
pub(super) fn prefixes(mounts: &Mounts) -> Arc<[String]> {
    let retired = mounts.retired.iter().map(|retired| &retired.prefix);
    (mounts.prefix.iter()).chain(retired).cloned().collect()
}

fn at(all: Router, prefix: &str, log: Router) -> Router {
    match prefix {
        "" => all.merge(log),
        prefix => all.nest(prefix, log),
    }
}

/// A log that takes entries. Nothing else is needed to serve it.
fn mount(log: &Log, has_rfc6962_reads: bool) -> Router {
    let submissions = Router::new()
        .route("/ct/v1/add-chain", post(add_chain))
        .route("/ct/v1/add-pre-chain", post(add_pre_chain))
        .route("/ct/v1/get-roots", get(roots))
        .with_state(log.clone());
    finish(submissions.merge(reads(log.reader(), has_rfc6962_reads)))
}

/// A log that took its last entry. It accepts no chain to any root.
fn mount_retired(retired: &Retired) -> Router {
    let sentence = format!(
        "this log took its last entry at {}; it can be read for good",
        timestamp(retired.until)
    );
    let gone = move || {
        let sentence = sentence.clone();
        async move { refusal(StatusCode::GONE, &sentence) }
    };
    let submissions = Router::new()
        .route("/ct/v1/add-chain", post(gone.clone()))
        .route("/ct/v1/add-pre-chain", post(gone))
        .route(
            "/ct/v1/get-roots",
            get(async || Json(json!({"certificates": []}))),
        );
    finish(submissions.merge(reads(&retired.reader, retired.rfc6962_reads)))
}

fn reads(log: &Reader, has_rfc6962_reads: bool) -> Router {
    let tiles = Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/issuer/{fingerprint}", get(issuer))
        .with_state(log.clone());
    match has_rfc6962_reads {
        true => tiles.merge(rfc6962::routes(log)),
        false => tiles,
    }
}

fn finish(routes: Router) -> Router {
    routes
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .layer(DefaultBodyLimit::max(MAX_SUBMISSION))
}

/// `{"chain": [base64 DER, …]}`, the certificate first.
#[derive(Deserialize)]
struct Chain {
    chain: Vec<String>,
}

async fn add_chain(State(log): State<Log>, body: Bytes) -> Response {
    submit(&log, &body, Submission::Certificate).await
}

async fn add_pre_chain(State(log): State<Log>, body: Bytes) -> Response {
    submit(&log, &body, Submission::Precertificate).await
}

async fn submit(log: &Log, body: &[u8], kind: fn(Vec<Vec<u8>>) -> Submission) -> Response {
    let chain = serde_json::from_slice::<Chain>(body).ok();
    let decoded = chain
        .and_then(|Chain { chain }| chain.iter().map(|one| STANDARD.decode(one).ok()).collect());
    let Some(chain) = decoded else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "the body is not {\"chain\": [base64 DER, ...]}",
        );
    };
    match log.submit(kind(chain), now()).await {
        Ok(sct) => {
            FailPoint::SubmissionAnswered.reach();
            Json(json!({
                "sct_version": 0,
                "id": STANDARD.encode(sct.log_id),
                "timestamp": sct.timestamp_ms,
                "extensions": STANDARD.encode(&sct.extensions),
                "signature": STANDARD.encode(sct.digitally_signed()),
            }))
            .into_response()
        }
        Err(error) => {
            let status = match &error {
                AppendError::Refused(_) => StatusCode::BAD_REQUEST,
                AppendError::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
                AppendError::ClockBehind { .. }
                | AppendError::NotWritten
                | AppendError::Undecided
                | AppendError::Unavailable
                | AppendError::Full
                | AppendError::Window { .. }
                | AppendError::Signature => StatusCode::SERVICE_UNAVAILABLE,
                AppendError::Entry(_) | AppendError::NoAuthority | AppendError::Mismatch => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            tracing::info!(status = status.as_u16(), %error, "submission refused");
            let mut response = refusal(status, &error.to_string());
            if status != StatusCode::BAD_REQUEST {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            response
        }
    }
}

async fn roots(State(log): State<Log>) -> Response {
    let certificates: Vec<String> = log.roots().map(|der| STANDARD.encode(der)).collect();
    Json(json!({"certificates": certificates})).into_response()
}

async fn checkpoint(State(log): State<Reader>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match log.checkpoint().await {
        Ok(checkpoint) => (headers, checkpoint).into_response(),
        Err(error) => unreadable(&error),
    }
}

async fn tile(State(log): State<Reader>, Path(path): Path<String>) -> Response {
    let found = match TilePath::parse(&format!("tile/{path}")) {
        Some(TilePath::Hashes { level, n, width }) => log.tile(level, n, width).await,
        Some(TilePath::Data { n, width }) => log.data_tile(n, width).await,
        None => Ok(None),
    };
    immutable(found, "application/octet-stream")
}

async fn issuer(State(log): State<Reader>, Path(fingerprint): Path<String>) -> Response {
    let mut hash = [0; 32];
    let is_canonical = fingerprint.len() == 64
        && fingerprint
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let decoded = is_canonical
        && hash
            .iter_mut()
            .zip(fingerprint.as_bytes().chunks(2))
            .all(|(byte, digits)| {
                let parsed = str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                parsed.map(|parsed| *byte = parsed).is_some()
            });
    if !decoded {
        return StatusCode::NOT_FOUND.into_response();
    }
    immutable(log.issuer(&hash).await, "application/pkix-cert")
}

/// What is under such a name never changes; what is not there yet is 404, which readers tell from an
/// error.
fn immutable(found: Result<Option<Vec<u8>>, StoreError>, kind: &'static str) -> Response {
    match found {
        Ok(Some(bytes)) => {
            let headers: [(HeaderName, &str); 2] = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, bytes).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unreadable(&error),
    }
}

/// A database that is away comes back; one that is damaged is an operator's to look at, and readers may
/// ask again all the same.
pub(super) fn unreadable(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "the log cannot be read");
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("2"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry).into_response()
}

pub(super) fn refusal(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

/// A chain for the log.
const MAX_SUBMISSION: usize = 128 << 10;
