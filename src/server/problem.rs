//! The only table from what went wrong to what the caller hears: the public sentence that clients and
//! scripts know, and a stable reason beside it, which has its code and status with it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::BodyRejection;
use super::body::Malformed;
use super::pool::PoolError;
use super::reason::{Code, Reason};
use super::request_id::RequestId;
use super::trail;
use crate::authority::AuthorityError;
use crate::certificate::profile::ProfileError;
use crate::ctlog::remote::RemoteError;
use crate::ctlog::{AppendError, NotLogged};
use crate::identity::{ClaimError, IdentityError, PrincipalError, RenderError};
use crate::issuance::{IssueError, Limited};
use crate::possession::PossessionError;
use crate::telemetry::{Outcome, audit, metrics};

/// What a caller is told.
#[derive(Debug)]
pub(super) struct Problem {
    reason: Reason,
    /// The sentence of the API, the same for every cause of its class.
    message: Cow<'static, str>,
    /// A safe sentence for the person: what to look at.
    detail: String,
    request_id: RequestId,
    /// When to try again, where that can help.
    retry_after: Option<Duration>,
}

impl Problem {
    /// A request that ended on the path of issuance.
    pub(super) fn issue(error: &IssueError, id: &RequestId) -> Self {
        let (message, reason): (Cow<'static, str>, Reason) = match error {
            IssueError::Identity(error) => (TOKEN.into(), identity_reason(error)),
            IssueError::Limited(limited) => return Self::limited(*limited, id).logged(limited),
            IssueError::Possession(error) => possession(error),
            IssueError::Profile(ProfileError::TooLarge) => (
                "The certificate for this identity would be too large".into(),
                Reason::CertificateTooLarge,
            ),
            IssueError::Profile(ProfileError::IssuerNotValid { .. }) => {
                (CA.into(), Reason::CaNotValid)
            }
            IssueError::Authority(error) => match error {
                AuthorityError::Key(_) | AuthorityError::Chain(_) | AuthorityError::SelfTest => {
                    (CA.into(), Reason::CaUnavailable)
                }
                AuthorityError::Correspondence(_) => (CA.into(), Reason::Internal),
            },
            IssueError::Log(error) => (CTL.into(), log_reason(error)),
            IssueError::Ledger(_) => (RECORD.into(), Reason::LedgerUnavailable),
        };
        let mut problem = Self::new(reason, message, id);
        // What concerns only us is for the log line: the caller can do nothing with it but try again.
        if reason.code() == Code::InvalidArgument {
            problem.detail = error.to_string();
        }
        problem.logged(error)
    }

    /// A certificate that cannot be put into PEM, or a document into JSON.
    pub(super) fn unwritable(error: &dyn std::fmt::Display, id: &RequestId) -> Self {
        Self::new(Reason::Internal, CA, id).logged(error)
    }

    /// The issuing threads did not take the request, or failed with it.
    pub(super) fn pool(error: PoolError, id: &RequestId) -> Self {
        let (message, reason) = match error {
            PoolError::Busy => ("Too many requests are being processed", Reason::Busy),
            PoolError::Panicked => (INTERNAL, Reason::Internal),
        };
        let problem = Self::new(reason, message, id);
        problem.logged(&message).audited(&message)
    }

    /// The audit trail has no place for what would be decided.
    pub(super) fn no_audit(id: &RequestId) -> Self {
        let error = &"the audit trail is full";
        let problem = Self::new(Reason::AuditUnavailable, RECORD, id);
        problem.logged(error).audited(error)
    }

    /// No serial number can be drawn.
    pub(super) fn no_randomness(id: &RequestId) -> Self {
        let error = &"the system gives no random numbers";
        let problem = Self::new(Reason::CaUnavailable, CA, id);
        problem.logged(error).audited(error)
    }

    /// A body that could not be received.
    pub(super) fn body(rejection: &BodyRejection, id: &RequestId) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::too_large(id);
        }
        let message = "the request body could not be read";
        let problem = Self::new(Reason::BodyUnreadable, message, id);
        problem.logged(&message).audited(&message)
    }

    /// A body that is too long to be read.
    pub(super) fn too_large(id: &RequestId) -> Self {
        let message = "http: request body too large";
        let problem = Self::new(Reason::BodyTooLarge, message, id);
        problem.logged(&message).audited(&message)
    }

    /// A body that is not the message it should be.
    pub(super) fn malformed(Malformed(sentence): Malformed, id: &RequestId) -> Self {
        let problem = Self::new(Reason::RequestMalformed, sentence.clone(), id);
        problem.logged(&sentence).audited(&sentence)
    }

    /// An address that asks too often.
    pub(super) fn rate_limited(limited: Limited, id: &RequestId) -> Self {
        let problem = Self::limited(limited, id);
        problem.logged(&limited).audited(&limited)
    }

    /// A request of the first version without any key, which is said before the token is looked at.
    pub(super) fn no_key(id: &RequestId) -> Self {
        let mut problem = Self::new(Reason::KeyInvalid, KEY, id);
        "the request has neither publicKey nor certificateSigningRequest"
            .clone_into(&mut problem.detail);
        problem.logged(&"no key").audited(&"no key")
    }

    /// A `grpc-timeout` that is none.
    pub(super) fn timeout_unreadable(id: &RequestId) -> Self {
        let message = "invalid grpc-timeout";
        Self::new(Reason::RequestMalformed, message, id).logged(&message)
    }

    /// The request took longer than anybody waits.
    pub(super) fn too_late(limit: Duration, id: &RequestId) -> Self {
        let problem = Self::new(Reason::DeadlineExceeded, "the request took too long", id);
        problem.logged(&format_args!("no answer within {} ms", limit.as_millis()))
    }

    /// A panic is our fault and says nothing.
    pub(super) fn panicked(id: &RequestId) -> Self {
        Self::new(Reason::Internal, INTERNAL, id).logged(&"the request ended in a panic")
    }

    /// No such path.
    pub(super) fn not_found(id: &RequestId) -> Self {
        Self::new(Reason::NotFound, "Not Found", id).logged(&"no such path")
    }

    /// A path that exists, asked in another way: 501, as the gateway that clients know answers.
    pub(super) fn method_not_allowed(id: &RequestId) -> Self {
        let problem = Self::new(Reason::MethodNotAllowed, "Method Not Allowed", id);
        problem.logged(&"no such method")
    }

    /// The stable word for it.
    pub(super) const fn reason(&self) -> &'static str {
        self.reason.name()
    }

    /// Whose fault it is.
    pub(super) const fn outcome(&self) -> Outcome {
        match self.reason.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::ResourceExhausted
            | Code::Unimplemented => Outcome::Refused,
            Code::DeadlineExceeded | Code::Internal | Code::Unavailable => Outcome::Failed,
        }
    }

    fn new(reason: Reason, message: impl Into<Cow<'static, str>>, id: &RequestId) -> Self {
        let retry_after = (reason.code() == Code::Unavailable).then_some(RETRY_AFTER);
        Self {
            reason,
            message: message.into(),
            detail: String::new(),
            request_id: id.clone(),
            retry_after,
        }
    }

    fn limited(limited: Limited, id: &RequestId) -> Self {
        let mut problem = Self::new(Reason::RateLimited, "Too Many Requests", id);
        problem.detail = limited.to_string();
        problem.retry_after = Some(limited.retry_after);
        problem
    }

    /// Records a refusal that was decided before issuance.
    fn audited(self, error: &dyn std::fmt::Display) -> Self {
        audit::refused(|| trail::refused(&self, error, &self.request_id));
        self
    }

    /// Writes the one line about a refusal, and counts it.
    fn logged(self, error: &dyn std::fmt::Display) -> Self {
        metrics().refused(self.reason.name());
        let Self {
            reason, request_id, ..
        } = &self;
        let (code, reason) = (reason.code(), reason.name());
        let status = code.status().as_u16();
        match code {
            Code::InvalidArgument | Code::ResourceExhausted => {
                tracing::info!(%request_id, status, reason, %error, "refused");
            }
            // Whoever tries all addresses of a server must not fill its log.
            Code::NotFound | Code::Unimplemented => {
                tracing::debug!(%request_id, status, reason, %error, "refused");
            }
            Code::DeadlineExceeded | Code::Internal | Code::Unavailable => {
                tracing::error!(%request_id, status, reason, %error, "failed");
            }
        }
        self
    }

    /// What goes with the reason.
    fn metadata(&self) -> HashMap<&'static str, &str> {
        let mut metadata = HashMap::from([("request_id", self.request_id.as_str())]);
        if !self.detail.is_empty() {
            metadata.insert("detail", &self.detail);
        }
        metadata
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.reason.code();
        let body = Json(json!({
            "code": code as u8,
            "message": self.message,
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": self.reason.name(),
                "domain": DOMAIN,
                "metadata": self.metadata(),
            }],
        }));
        let mut response = (code.status(), body).into_response();
        if let Some(pause) = self.retry_after {
            // Rounded up: who comes at the second that was named must not come too early.
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Problem> for Status {
    /// The same over gRPC, with the same details.
    fn from(problem: Problem) -> Self {
        let code = problem.reason.code().into();
        let metadata = problem.metadata().into_iter();
        let metadata: HashMap<String, String> = metadata
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let mut details = ErrorDetails::with_error_info(problem.reason.name(), DOMAIN, metadata);
        if problem.retry_after.is_some() {
            details.set_retry_info(problem.retry_after);
        }
        Self::with_error_details(code, problem.message, details)
    }
}

/// No such path, over HTTP.
pub(super) async fn not_found(id: RequestId) -> Problem {
    Problem::not_found(&id)
}

/// No such method of a path, over HTTP.
pub(super) async fn method_not_allowed(id: RequestId) -> Problem {
    Problem::method_not_allowed(&id)
}

const fn identity_reason(error: &IdentityError) -> Reason {
    match error {
        IdentityError::Malformed(_) => Reason::TokenMalformed,
        IdentityError::UnknownIssuer | IdentityError::Environment => Reason::IssuerUnknown,
        IdentityError::Signature(_) => Reason::TokenSignatureInvalid,
        IdentityError::Claim(error) => claim_reason(error),
        IdentityError::Principal(error) => match error {
            PrincipalError::Claim(error) => claim_reason(error),
            PrincipalError::Unverified => Reason::EmailUnverified,
            PrincipalError::NameTemplate(RenderError::Missing(_))
            | PrincipalError::Template {
                error: RenderError::Missing(_),
                ..
            } => Reason::ClaimMissing,
            PrincipalError::NameTemplate(_)
            | PrincipalError::Template { .. }
            | PrincipalError::Name(_)
            | PrincipalError::Subject(_)
            | PrincipalError::Value { .. }
            | PrincipalError::Origin(_) => Reason::IdentityInvalid,
        },
        IdentityError::Provider { .. } => Reason::IssuerUnavailable,
    }
}

const fn claim_reason(error: &ClaimError) -> Reason {
    match error {
        ClaimError::Missing(_) => Reason::ClaimMissing,
        ClaimError::Type(_) | ClaimError::Value(_) | ClaimError::Issuer => Reason::ClaimInvalid,
        ClaimError::Audience { .. } => Reason::AudienceMismatch,
        ClaimError::Expired { .. } => Reason::TokenExpired,
        ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. } => {
            Reason::TokenNotYetValid
        }
        ClaimError::Lifetime => Reason::TokenLifetimeTooLong,
    }
}

fn possession(error: &PossessionError) -> (Cow<'static, str>, Reason) {
    match error {
        PossessionError::CsrUnparseable(_) => (
            "The certificate signing request could not be parsed".into(),
            Reason::CsrInvalid,
        ),
        PossessionError::KeyUnparseable(_) => (KEY.into(), Reason::KeyInvalid),
        PossessionError::KeyInsecure(_) => (
            "The public key supplied in the request is insecure".into(),
            Reason::KeyInsecure,
        ),
        PossessionError::ProofTooLong { .. } | PossessionError::SignatureMismatch { .. } => (
            "The signature supplied in the request could not be verified".into(),
            Reason::ProofInvalid,
        ),
        PossessionError::UnrecognizedSignatureAlgorithm { .. } => {
            (error.to_string().into(), Reason::CsrAlgorithmUnknown)
        }
        PossessionError::PairNotPermitted { .. } => {
            (error.to_string().into(), Reason::AlgorithmNotPermitted)
        }
    }
}

const fn log_reason(error: &NotLogged) -> Reason {
    let error = match error {
        NotLogged::BuiltIn(error) => error,
        // Whatever became of each log, another one or a later try may do better.
        NotLogged::External(RemoteError::NoLog(_)) => return Reason::LogUnavailable,
        NotLogged::External(RemoteError::Entry(_)) => return Reason::Internal,
    };
    match error {
        AppendError::Busy(_)
        | AppendError::ClockBehind { .. }
        | AppendError::NotWritten
        | AppendError::Undecided
        | AppendError::Unavailable
        | AppendError::Full
        | AppendError::Window { .. }
        | AppendError::Signature => Reason::LogUnavailable,
        AppendError::Refused(_)
        | AppendError::Entry(_)
        | AppendError::NoAuthority
        | AppendError::Mismatch => Reason::Internal,
    }
}

const TOKEN: &str = "There was an error processing the identity token";
const KEY: &str = "The public key supplied in the request could not be parsed";
const CA: &str = "error communicating with CA backend";
const RECORD: &str = "Error recording the certificate";
const CTL: &str = "Error entering certificate in CTL";
const INTERNAL: &str = "internal error";

/// Whose reasons they are.
const DOMAIN: &str = "vouchsafe";

/// After an outage of ours or of a provider's.
const RETRY_AFTER: Duration = Duration::from_secs(2);
