//! Why a request was refused, in one word that never changes. `docs/refusals.md` explains each of
//! them; a test compares the two.

use axum::http::StatusCode;

/// Writes the table once: the variant, its word, and what it is to callers that know codes only.
macro_rules! reasons {
    ($($reason:ident $name:literal $code:ident,)*) => {
        /// The word for machines in a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Reason {
            $($reason,)*
        }

        impl Reason {
            /// All of them.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$reason,)*];

            /// The word.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }

            /// The code.
            pub(super) const fn code(self) -> Code {
                match self {
                    $(Self::$reason => Code::$code,)*
                }
            }
        }
    };
}

reasons! {
    AlgorithmNotPermitted "ALGORITHM_NOT_PERMITTED" InvalidArgument,
    AudienceMismatch "AUDIENCE_MISMATCH" InvalidArgument,
    AuditUnavailable "AUDIT_UNAVAILABLE" Unavailable,
    BodyTooLarge "BODY_TOO_LARGE" InvalidArgument,
    BodyUnreadable "BODY_UNREADABLE" InvalidArgument,
    Busy "BUSY" Unavailable,
    CaNotValid "CA_NOT_VALID" Unavailable,
    CaUnavailable "CA_UNAVAILABLE" Unavailable,
    CertificateTooLarge "CERTIFICATE_TOO_LARGE" InvalidArgument,
    ClaimInvalid "CLAIM_INVALID" InvalidArgument,
    ClaimMissing "CLAIM_MISSING" InvalidArgument,
    CsrAlgorithmUnknown "CSR_ALGORITHM_UNKNOWN" InvalidArgument,
    CsrInvalid "CSR_INVALID" InvalidArgument,
    DeadlineExceeded "DEADLINE_EXCEEDED" DeadlineExceeded,
    EmailUnverified "EMAIL_UNVERIFIED" InvalidArgument,
    IdentityInvalid "IDENTITY_INVALID" InvalidArgument,
    Internal "INTERNAL" Internal,
    IssuerUnavailable "ISSUER_UNAVAILABLE" Unavailable,
    IssuerUnknown "ISSUER_UNKNOWN" InvalidArgument,
    KeyInsecure "KEY_INSECURE" InvalidArgument,
    KeyInvalid "KEY_INVALID" InvalidArgument,
    LedgerUnavailable "LEDGER_UNAVAILABLE" Unavailable,
    LogUnavailable "LOG_UNAVAILABLE" Unavailable,
    MethodNotAllowed "METHOD_NOT_ALLOWED" Unimplemented,
    NotFound "NOT_FOUND" NotFound,
    ProofInvalid "PROOF_INVALID" InvalidArgument,
    RateLimited "RATE_LIMITED" ResourceExhausted,
    RequestMalformed "REQUEST_MALFORMED" InvalidArgument,
    TokenExpired "TOKEN_EXPIRED" InvalidArgument,
    TokenLifetimeTooLong "TOKEN_LIFETIME_TOO_LONG" InvalidArgument,
    TokenMalformed "TOKEN_MALFORMED" InvalidArgument,
    TokenNotYetValid "TOKEN_NOT_YET_VALID" InvalidArgument,
    TokenSignatureInvalid "TOKEN_SIGNATURE_INVALID" InvalidArgument,
}

/// The canonical codes of gRPC that this server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    /// What it is over HTTP.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its name in gRPC's own documents.
    #[cfg(test)]
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        Self::from_i32(code as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_and_the_code_have_the_same_reasons() {
        let text = std::fs::read_to_string("docs/refusals.md").unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        let documented: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {} {}", row[1], row[2], row[3]))
            .collect();
        let coded: Vec<String> = Reason::ALL
            .iter()
            .map(|reason| {
                let code = reason.code();
                let status = code.status().as_u16();
                format!("`{}` {status} {}", reason.name(), code.name())
            })
            .collect();
        assert_eq!(documented, coded);
        for row in rows {
            assert!(row[4].len() > 20, "{row:?} explains nothing");
        }
    }

    #[test]
    fn every_code_is_the_one_of_its_name_in_grpc() {
        for reason in Reason::ALL {
            let code = tonic::Code::from(reason.code());
            let ours = reason.code().name().replace('_', "").to_lowercase();
            assert_eq!(format!("{code:?}").to_lowercase(), ours);
        }
    }
}
