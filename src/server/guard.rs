//! What every request has around it, whatever it is for: an end, in time and without a panic, and
//! answers in the protocol that it was asked in.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tonic::Status;

use super::body::Malformed;
use super::problem::Problem;
use super::request_id::RequestId;

/// Ends a request that takes longer than anybody waits, or that panics.
pub(super) async fn guard(id: RequestId, request: Request, next: Next) -> Response {
    let is_grpc = is_grpc(request.headers());
    let limit = match limit(request.headers()) {
        Ok(limit) => limit,
        Err(Unreadable) => return answer(Problem::timeout_unreadable(&id), is_grpc),
    };
    let running = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, running).await {
        Ok(Ok(response)) if is_grpc => in_our_words(response, &id),
        Ok(Ok(response)) => response,
        Ok(Err(_)) => answer(Problem::panicked(&id), is_grpc),
        Err(_) => answer(Problem::too_late(limit, &id), is_grpc),
    }
}

/// Nothing is at this address.
pub(super) async fn nowhere(id: RequestId, headers: HeaderMap) -> Response {
    match is_grpc(&headers) {
        true => answer(Problem::method_not_allowed(&id), true),
        false => Problem::not_found(&id).into_response(),
    }
}

/// Lets nothing but gRPC through: to others, its addresses are none.
pub(super) async fn only_grpc(id: RequestId, request: Request, next: Next) -> Response {
    match is_grpc(request.headers()) {
        true => next.run(request).await,
        false => Problem::not_found(&id).into_response(),
    }
}

pub(super) fn answer(problem: Problem, is_grpc: bool) -> Response {
    match is_grpc {
        true => Status::from(problem).into_http(),
        false => problem.into_response(),
    }
}

/// What the library refused by itself, before any method of ours was called, in our words.
fn in_our_words(response: Response, id: &RequestId) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    if !status.details().is_empty() {
        return response;
    }
    let problem = match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => Problem::too_large(id),
        tonic::Code::Internal => {
            let sentence = "the message is not the one of this method".to_owned();
            Problem::malformed(Malformed(sentence), id)
        }
        tonic::Code::Unimplemented => Problem::method_not_allowed(id),
        // Those of the health service, which has its own.
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::InvalidArgument
        | tonic::Code::DeadlineExceeded
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::PermissionDenied
        | tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::Unavailable
        | tonic::Code::DataLoss
        | tonic::Code::Unauthenticated => return response,
    };
    answer(problem, true)
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

struct Unreadable;

/// The caller's `grpc-timeout`, which counts over HTTP too, or the server's, whichever is shorter.
fn limit(headers: &HeaderMap) -> Result<Duration, Unreadable> {
    let Some(given) = headers.get("grpc-timeout") else {
        return Ok(DEADLINE);
    };
    let given = given.to_str().map_err(|_| Unreadable)?;
    let (number, unit) = given
        .split_at_checked(given.len().saturating_sub(1))
        .ok_or(Unreadable)?;
    let is_number =
        (1..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = match number.parse() {
        Ok(number) if is_number => number,
        Ok(_) | Err(_) => return Err(Unreadable),
    };
    let given = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(Unreadable),
    };
    Ok(given.min(DEADLINE))
}

/// How long a request may take in all.
const DEADLINE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn given(timeout: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-timeout"),
            timeout.parse().unwrap(),
        )]);
        limit(&headers).ok()
    }

    #[test]
    fn a_caller_may_wait_for_less_time_and_never_for_more() {
        assert_eq!(given("250m"), Some(Duration::from_millis(250)));
        assert_eq!(given("3S"), Some(Duration::from_secs(3)));
        assert_eq!(given("99999999u"), Some(DEADLINE));
        assert_eq!(given("99999999H"), Some(DEADLINE));
        assert_eq!(given("0n"), Some(Duration::ZERO));
        for nonsense in ["", "S", "3", "3s", "-3S", "+3S", "123456789S", "3 S", "3é"] {
            assert_eq!(given(nonsense), None, "{nonsense:?}");
        }
    }
}
