//! One name for each request, in the answer's header and in its log line.

use axum::extract::FromRequestParts;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// The header that carries it, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of one request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    /// The caller's own name for the request if it is a tame one, or a new random one.
    fn of(request: &Request) -> Self {
        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        match given.filter(|id| is_tame(id)) {
            Some(id) => Self(id.into()),
            None => Self(random_hex().into()),
        }
    }

    /// The name of a request among what was attached to it.
    pub(super) fn among(extensions: &Extensions) -> Self {
        let name = extensions.get::<Self>().cloned();
        name.unwrap_or_else(|| Self("-".into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::among(&parts.extensions))
    }
}

/// Names every request before anything else sees it, and every answer after everything else has.
pub(super) async fn name_request(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let header = HeaderValue::from_str(id.as_str());
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Ok(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

fn is_tame(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

fn random_hex() -> String {
    // Without randomness no request can be served anyway; the one that says so needs no name.
    super::random::<16>()
        .unwrap_or_default()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_cannot_name_itself_into_a_log_line() {
        assert!(is_tame("0f3a-77_b.c:1"));
        for wild in ["", "a b", "a\"b", "a\\n", "é", &"x".repeat(129)] {
            assert!(!is_tame(wild), "{wild:?}");
        }
    }
}
