//! The second version of the API, over JSON.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use super::App;
use super::body::V2Request;
use super::problem::Problem;
use super::reply::{CertificateChain, EmbeddedSct, SigningCertificate, prepared_json};
use super::request_id::RequestId;

/// `POST /api/v2/signingCert`
pub(super) async fn signing_certificate(
    State(app): State<Arc<App>>,
    id: RequestId,
    headers: HeaderMap,
    body: Result<Bytes, super::BodyRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::body(&rejection, &id))?;
    let request = V2Request::read(&body).map_err(|malformed| Problem::malformed(malformed, &id))?;
    let (in_body, key) = request.into_parts();
    let unverified_token = if in_body.is_empty() {
        bearer(&headers).unwrap_or_default()
    } else {
        in_body
    };
    let certificates = app.issue(unverified_token, key, id).await?;
    let chain = CertificateChain { certificates };
    Ok(Json(SigningCertificate {
        signed_certificate_embedded_sct: EmbeddedSct { chain },
    })
    .into_response())
}

/// `GET /api/v2/trustBundle`
pub(super) async fn trust_bundle(State(app): State<Arc<App>>) -> Response {
    prepared_json(&app.documents.trust_bundle)
}

/// `GET /api/v2/configuration`
pub(super) async fn configuration(
    State(app): State<Arc<App>>,
    id: RequestId,
) -> Result<Response, Problem> {
    let document = app.configuration();
    let document = document.map_err(|error| Problem::unwritable(&error, &id))?;
    Ok(prepared_json(&document))
}

/// `GET /openapi.json`: all this in the form that tools read.
pub(super) async fn openapi() -> Response {
    prepared_json(&Bytes::from_static(OPENAPI))
}

/// The token in the `Authorization` header: what is left when the first `Bearer ` is taken away, as
/// written so; a bare token counts too.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    Some(value.replacen("Bearer ", "", 1))
}

const OPENAPI: &[u8] = include_bytes!("openapi.json");
