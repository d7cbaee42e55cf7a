//! The first version of the API: the same path, a plainer answer.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::App;
use super::body::V1Request;
use super::http::bearer;
use super::problem::Problem;
use super::reply::pem;
use super::request_id::RequestId;

/// `POST /api/v1/signingCert`. Unlike the second version it looks for a key before it looks at the
/// token, and has the token only from the header.
pub(super) async fn signing_certificate(
    State(app): State<Arc<App>>,
    id: RequestId,
    headers: HeaderMap,
    body: Result<Bytes, super::BodyRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::body(&rejection, &id))?;
    let request = V1Request::read(&body).map_err(|malformed| Problem::malformed(malformed, &id))?;
    let key = request.into_key().ok_or_else(|| Problem::no_key(&id))?;
    let unverified_token = bearer(&headers).unwrap_or_default();
    let certificates = app.issue(unverified_token, key, id).await?;
    Ok(pem(StatusCode::CREATED, certificates.join("\n")))
}

/// `GET /api/v1/rootCert`
pub(super) async fn root_certificate(State(app): State<Arc<App>>) -> Response {
    pem(StatusCode::OK, app.documents.root_certificate.clone())
}
