//! Whether the server lives, whether it can issue, and the files that verifiers need.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::problem;
use super::{App, now};
use crate::certificate::profile::LIFETIME;

/// `GET /healthz`: what clients of Fulcio know. It says that the server answers and no more.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "SERVING"}))
}

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: a certificate could be issued now. 503 otherwise, with the reason. An OpenID
/// provider that is down is not a reason, since the others still work.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let (_, not_after) = app.issuance.authority.chain().validity();
    let checks = [
        ("authority", now() + LIFETIME < not_after),
        ("log", app.issuance.log.in_service()),
        ("ledger", app.issuance.ledger.healthy().await.is_ok()),
    ];
    let failed: Vec<&str> = checks
        .iter()
        .filter(|(_, good)| !good)
        .map(|(name, _)| *name)
        .collect();
    if failed.is_empty() {
        return "ok\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {}\n", failed.join(", ")),
    )
        .into_response()
}

/// `GET /trust/{file}`: the files of `vouchsafe trust`, under the same names.
pub(super) async fn trust_file(State(app): State<Arc<App>>, Path(file): Path<String>) -> Response {
    let files = &app.documents.trust;
    let (kind, text) = match file.as_str() {
        "trusted-root" => ("application/json", &files.trusted_root),
        "signing-config" => ("application/json", &files.signing_config),
        "client-config" => ("application/json", &files.client_config),
        "bundle" => ("application/pem-certificate-chain", &files.bundle),
        _ => return problem::not_found().await.into_response(),
    };
    ([(header::CONTENT_TYPE, kind)], text.clone()).into_response()
}
