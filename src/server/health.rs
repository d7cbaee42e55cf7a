//! Whether the server lives, whether it can issue, and the files that verifiers need.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::problem::Problem;
use super::reply::PEM_CHAIN;
use super::request_id::RequestId;
use super::{App, now};
use crate::certificate::profile::LIFETIME;
use crate::ctlog::remote::LogState;
use crate::issuance::{ReloadFailure, ReloadState};
use crate::telemetry::audit;

/// `GET /healthz`: what clients of Fulcio know. It says that the server answers and no more.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "SERVING"}))
}

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: a certificate could be issued now. 503 otherwise, with the reason. An OpenID
/// provider that is down is not a reason, since the others still work; nor is an issuers' file that
/// was refused, since the one before it is in force. `?verbose` lists every check, somebody else's logs
/// one by one, and what was last read.
pub(super) async fn readyz(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> impl IntoResponse {
    let logs = app.issuance.log.external().into_iter();
    let logs = logs.map(|LogState { url, condition }| match condition.is_usable() {
        true => format!("[+] {url} {}\n", condition.name()),
        false => format!("[-] {url} {}\n", condition.name()),
    });
    let issuers = reload_line(&app.issuance.issuers.reload_state());
    let more: String = logs.chain([issuers]).collect();
    verdict(&checks(&app).await, query.as_deref(), Some(more))
}

/// The answer to a question for readiness: the checks that failed, or with `?verbose` all of them and
/// what else there is to tell.
pub(super) fn verdict(
    checks: &[(&'static str, bool)],
    query: Option<&str>,
    more: Option<String>,
) -> (StatusCode, String) {
    let failed: Vec<&str> = checks
        .iter()
        .filter(|(_, good)| !good)
        .map(|(name, _)| *name)
        .collect();
    let (status, verdict) = if failed.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let verdict = format!("not ready: {}\n", failed.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, verdict)
    };
    let parameters = query.unwrap_or_default().split('&');
    let is_verbose = |parameter: &str| parameter.split('=').next() == Some("verbose");
    if !parameters.into_iter().any(is_verbose) {
        return (status, verdict);
    }
    let lines = checks.iter().map(|(name, good)| match good {
        true => format!("[+] {name} ok\n"),
        false => format!("[-] {name} failed\n"),
    });
    let lines = lines.chain(more).chain([verdict]);
    (status, lines.collect())
}

/// What has to be well for a certificate to be issued, and whether it is.
pub(super) async fn checks(app: &App) -> [(&'static str, bool); 5] {
    let (_, not_after) = app.issuance.authority.chain().validity();
    [
        ("authority", now() + LIFETIME < not_after),
        ("log", app.issuance.log.is_healthy(now()).await),
        ("ledger", app.issuance.ledger.healthy().await.is_ok()),
        ("audit", audit::accepts()),
        ("open", !app.is_closing.load(Ordering::Relaxed)),
    ]
}

fn reload_line(state: &ReloadState) -> String {
    let ReloadState {
        generation,
        last_success,
        last_failure,
        is_failing,
    } = state;
    let in_force = format!("generation {generation} of {}", timestamp(*last_success));
    match last_failure {
        Some(ReloadFailure { at, sentence }) if *is_failing => format!(
            "[-] issuers failed: {in_force} stays in force; refused at {}: {}\n",
            timestamp(*at),
            // One line, whatever the file has in it.
            sentence.replace(char::is_control, " ")
        ),
        Some(ReloadFailure { at, .. }) => format!(
            "[+] issuers ok: {in_force}; the last refusal was at {}\n",
            timestamp(*at)
        ),
        None => format!("[+] issuers ok: {in_force}\n"),
    }
}

/// RFC 3339, in UTC, to the second.
pub(super) fn timestamp(time: OffsetDateTime) -> String {
    let seconds = time.to_offset(UtcOffset::UTC).truncate_to_second();
    seconds.format(&Rfc3339).unwrap_or_default()
}

/// `GET /trust/{file}`: the files of `vouchsafe trust`, under the same names.
pub(super) async fn trust_file(
    State(app): State<Arc<App>>,
    id: RequestId,
    Path(file): Path<String>,
) -> Response {
    let files = &app.documents.trust;
    let (kind, text) = match file.as_str() {
        "trusted-root" => ("application/json", &files.trusted_root),
        "signing-config" => ("application/json", &files.signing_config),
        "client-config" => ("application/json", &files.client_config),
        "bundle" => (PEM_CHAIN, &files.bundle),
        _ => return Problem::not_found(&id).into_response(),
    };
    ([(header::CONTENT_TYPE, kind)], text.clone()).into_response()
}
