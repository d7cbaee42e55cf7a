//! The only table from what went wrong to what the caller hears: code, status, the public sentence
//! that clients and scripts know, and a stable reason beside it.

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::BodyRejection;
use super::body::Malformed;
use super::pool::PoolError;
use super::request_id::RequestId;
use super::trail;
use crate::authority::AuthorityError;
use crate::certificate::profile::ProfileError;
use crate::ctlog::AppendError;
use crate::identity::{ClaimError, IdentityError, PrincipalError};
use crate::issuance::IssueError;
use crate::possession::PossessionError;
use crate::telemetry::{Outcome, audit, metrics};

/// What a caller is told.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    /// The sentence of the API, the same for every cause of its class.
    message: Cow<'static, str>,
    /// One upper-case word for machines.
    reason: &'static str,
    /// A safe sentence for the person: what to look at.
    detail: String,
}

/// The canonical codes of gRPC that this server uses, with the HTTP status each one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

use Code::{Internal, InvalidArgument, NotFound, Unavailable, Unimplemented};

impl Problem {
    /// A request that ended on the path of issuance.
    pub(super) fn issue(error: &IssueError, id: &RequestId) -> Self {
        let (code, message, reason): (Code, Cow<'static, str>, &'static str) = match error {
            IssueError::Identity(error) => {
                let code = if matches!(error, IdentityError::Provider { .. }) {
                    Unavailable
                } else {
                    InvalidArgument
                };
                (code, TOKEN.into(), identity_reason(error))
            }
            IssueError::Possession(error) => {
                let (message, reason) = possession(error);
                (InvalidArgument, message, reason)
            }
            IssueError::Profile(ProfileError::TooLarge) => (
                InvalidArgument,
                "The certificate for this identity would be too large".into(),
                "CERTIFICATE_TOO_LARGE",
            ),
            IssueError::Profile(ProfileError::IssuerNotValid { .. }) => {
                (Unavailable, CA.into(), "CA_NOT_VALID")
            }
            IssueError::Authority(error) => match error {
                AuthorityError::Key(_) | AuthorityError::Chain(_) | AuthorityError::SelfTest => {
                    (Unavailable, CA.into(), "CA_UNAVAILABLE")
                }
                AuthorityError::Correspondence(_) => (Internal, CA.into(), "INTERNAL"),
            },
            IssueError::Log(error) => (log_code(error), CTL.into(), log_reason(error)),
            IssueError::Ledger(_) => (Unavailable, RECORD.into(), "LEDGER_UNAVAILABLE"),
        };
        // What concerns only us is for the log line: the caller can do nothing with it but try again.
        let detail = if code == InvalidArgument {
            error.to_string()
        } else {
            String::new()
        };
        Self {
            code,
            message,
            reason,
            detail,
        }
        .logged(id, error)
    }

    /// A certificate that cannot be put into PEM.
    pub(super) fn unwritable(error: &dyn std::fmt::Display, id: &RequestId) -> Self {
        let problem = Self {
            code: Internal,
            message: CA.into(),
            reason: "INTERNAL",
            detail: String::new(),
        };
        problem.logged(id, error)
    }

    /// The issuing threads did not take the request, or failed with it.
    pub(super) fn pool(error: PoolError, id: &RequestId) -> Self {
        let (code, message, reason) = match error {
            PoolError::Busy => (Unavailable, "Too many requests are being processed", "BUSY"),
            PoolError::Panicked => (Internal, "internal error", "INTERNAL"),
        };
        Self {
            code,
            message: message.into(),
            reason,
            detail: String::new(),
        }
        .logged(id, &reason)
        .audited(id, &reason)
    }

    /// The audit trail has no place for what would be decided.
    pub(super) fn no_audit(id: &RequestId) -> Self {
        let problem = Self {
            code: Unavailable,
            message: RECORD.into(),
            reason: "AUDIT_UNAVAILABLE",
            detail: String::new(),
        };
        let error = &"the audit trail is full";
        problem.logged(id, error).audited(id, error)
    }

    /// No serial number can be drawn.
    pub(super) fn no_randomness(id: &RequestId) -> Self {
        let problem = Self {
            code: Unavailable,
            message: CA.into(),
            reason: "CA_UNAVAILABLE",
            detail: String::new(),
        };
        let error = &"the system gives no random numbers";
        problem.logged(id, error).audited(id, error)
    }

    /// A body that could not be received.
    pub(super) fn body(rejection: &BodyRejection, id: &RequestId) -> Self {
        let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let (message, reason) = match too_large {
            true => ("http: request body too large", "BODY_TOO_LARGE"),
            false => ("the request body could not be read", "BODY_UNREADABLE"),
        };
        let problem = Self {
            code: InvalidArgument,
            message: message.into(),
            reason,
            detail: String::new(),
        };
        problem.logged(id, &message).audited(id, &message)
    }

    /// A body that is not the message it should be.
    pub(super) fn malformed(Malformed(sentence): Malformed, id: &RequestId) -> Self {
        let problem = Self {
            code: InvalidArgument,
            message: sentence.clone().into(),
            reason: "REQUEST_MALFORMED",
            detail: String::new(),
        };
        problem.logged(id, &sentence).audited(id, &sentence)
    }

    /// A request of the first version without any key, which is said before the token is looked at.
    pub(super) fn no_key(id: &RequestId) -> Self {
        let detail = "the request has neither publicKey nor certificateSigningRequest".to_owned();
        let problem = Self {
            code: InvalidArgument,
            message: KEY.into(),
            reason: "KEY_INVALID",
            detail,
        };
        problem.logged(id, &"no key").audited(id, &"no key")
    }

    /// The stable word for it.
    pub(super) const fn reason(&self) -> &'static str {
        self.reason
    }

    /// Whose fault it is.
    pub(super) fn outcome(&self) -> Outcome {
        match self.code {
            InvalidArgument | NotFound | Unimplemented => Outcome::Refused,
            Internal | Unavailable => Outcome::Failed,
        }
    }

    /// Records a refusal that was decided before issuance.
    fn audited(self, id: &RequestId, error: &dyn std::fmt::Display) -> Self {
        audit::refused(|| trail::refused(&self, error, id));
        self
    }

    /// Writes the one line about a refusal, and counts it.
    fn logged(self, id: &RequestId, error: &dyn std::fmt::Display) -> Self {
        metrics().refused(self.reason);
        let status = self.code.status().as_u16();
        if self.code == InvalidArgument {
            tracing::info!(request_id = %id, status, reason = self.reason, %error, "refused");
        } else {
            tracing::error!(request_id = %id, status, reason = self.reason, %error, "failed");
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self {
            code,
            message,
            reason,
            detail,
        } = self;
        let metadata = match detail.is_empty() {
            true => json!({}),
            false => json!({"detail": detail}),
        };
        let body = Json(json!({
            "code": code as u8,
            "message": message,
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "vouchsafe",
                "metadata": metadata,
            }],
        }));
        let mut response = (code.status(), body).into_response();
        if code == Unavailable {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// No such path.
pub(super) async fn not_found() -> Problem {
    Problem {
        code: NotFound,
        message: "Not Found".into(),
        reason: "NOT_FOUND",
        detail: String::new(),
    }
}

/// A path that exists, asked in another way: 501, as the gateway that clients know answers.
pub(super) async fn method_not_allowed() -> Problem {
    Problem {
        code: Unimplemented,
        message: "Method Not Allowed".into(),
        reason: "METHOD_NOT_ALLOWED",
        detail: String::new(),
    }
}

/// A panic is our fault and says nothing.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request ended in a panic");
    Problem {
        code: Internal,
        message: "internal error".into(),
        reason: "INTERNAL",
        detail: String::new(),
    }
    .into_response()
}

/// Ends a request that takes longer than anybody waits.
pub(super) async fn deadline(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = "the request took too long".into();
            Problem {
                code: Unavailable,
                message,
                reason: "DEADLINE_EXCEEDED",
                detail: String::new(),
            }
            .into_response()
        }
    }
}

const fn identity_reason(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::Malformed(_) => "TOKEN_MALFORMED",
        IdentityError::UnknownIssuer | IdentityError::Environment => "ISSUER_UNKNOWN",
        IdentityError::Signature(_) => "TOKEN_SIGNATURE_INVALID",
        IdentityError::Claim(error) => claim_reason(error),
        IdentityError::Principal(error) => match error {
            PrincipalError::Claim(error) => claim_reason(error),
            PrincipalError::Unverified => "EMAIL_UNVERIFIED",
            PrincipalError::NameTemplate(_) | PrincipalError::Template { .. } => "CLAIM_MISSING",
            PrincipalError::Name(_)
            | PrincipalError::Subject(_)
            | PrincipalError::Value { .. }
            | PrincipalError::Origin(_) => "IDENTITY_INVALID",
        },
        IdentityError::Provider { .. } => "ISSUER_UNAVAILABLE",
    }
}

const fn claim_reason(error: &ClaimError) -> &'static str {
    match error {
        ClaimError::Missing(_) => "CLAIM_MISSING",
        ClaimError::Type(_) | ClaimError::Value(_) | ClaimError::Issuer => "CLAIM_INVALID",
        ClaimError::Audience { .. } => "AUDIENCE_MISMATCH",
        ClaimError::Expired => "TOKEN_EXPIRED",
        ClaimError::NotYetValid | ClaimError::IssuedInFuture => "TOKEN_NOT_YET_VALID",
        ClaimError::Lifetime => "TOKEN_LIFETIME_TOO_LONG",
    }
}

fn possession(error: &PossessionError) -> (Cow<'static, str>, &'static str) {
    match error {
        PossessionError::CsrUnparseable(_) => (
            "The certificate signing request could not be parsed".into(),
            "CSR_INVALID",
        ),
        PossessionError::KeyUnparseable(_) => (KEY.into(), "KEY_INVALID"),
        PossessionError::KeyInsecure(_) => (
            "The public key supplied in the request is insecure".into(),
            "KEY_INSECURE",
        ),
        PossessionError::ProofTooLong { .. } | PossessionError::SignatureMismatch { .. } => (
            "The signature supplied in the request could not be verified".into(),
            "PROOF_INVALID",
        ),
        PossessionError::UnrecognizedSignatureAlgorithm { .. } => {
            (error.to_string().into(), "CSR_ALGORITHM_UNKNOWN")
        }
        PossessionError::PairNotPermitted { .. } => {
            (error.to_string().into(), "ALGORITHM_NOT_PERMITTED")
        }
    }
}

const fn log_code(error: &AppendError) -> Code {
    match error {
        AppendError::Busy
        | AppendError::ClockBehind { .. }
        | AppendError::NotWritten
        | AppendError::Unavailable
        | AppendError::Full
        | AppendError::Signature => Unavailable,
        AppendError::Refused(_)
        | AppendError::Entry(_)
        | AppendError::NoAuthority
        | AppendError::Mismatch => Internal,
    }
}

const fn log_reason(error: &AppendError) -> &'static str {
    match log_code(error) {
        Unavailable => "LOG_UNAVAILABLE",
        InvalidArgument | NotFound | Unimplemented | Internal => "INTERNAL",
    }
}

const TOKEN: &str = "There was an error processing the identity token";
const KEY: &str = "The public key supplied in the request could not be parsed";
const CA: &str = "error communicating with CA backend";
const RECORD: &str = "Error recording the certificate";
const CTL: &str = "Error entering certificate in CTL";
