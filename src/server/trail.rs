//! The audit trail's view of a request for a certificate.

use aws_lc_rs::digest::{SHA256, digest};

use super::problem::Problem;
use super::request_id::RequestId;
use super::{Hex, now};
use crate::issuance::Issued;
use crate::telemetry::audit::{Granted, Record, rfc3339};

/// A certificate left.
pub(super) fn granted<'a>(
    issued: &'a Issued,
    entry: Option<&'a str>,
    unverified_token: &str,
    id: &'a RequestId,
) -> Record<'a> {
    let certificate = &issued.certificate;
    Record {
        time: rfc3339(now()),
        decision: "granted",
        request_id: id.as_str(),
        issuer_entry: entry,
        token_sha256: Some(sha256(unverified_token.as_bytes())),
        certificate: Some(Granted {
            serial: Hex(certificate.serial().as_bytes()).to_string(),
            sha256: sha256(certificate.der()),
            identity: issued.name.to_string(),
            identity_kind: issued.name.kind(),
            issuer: &issued.issuer,
            subject: &issued.subject,
            not_before: rfc3339(certificate.not_before()),
            not_after: rfc3339(certificate.not_after()),
            log_id: Hex(&issued.log_id).to_string(),
            log_index: issued.log_index,
        }),
        ..Record::default()
    }
}

/// None did.
pub(super) fn refused<'a>(
    problem: &Problem,
    error: &dyn std::fmt::Display,
    id: &'a RequestId,
) -> Record<'a> {
    let mut error = error.to_string();
    error.truncate(error.floor_char_boundary(MAX_ERROR));
    Record {
        time: rfc3339(now()),
        decision: problem.outcome().name(),
        request_id: id.as_str(),
        reason: Some(problem.reason()),
        error: Some(error),
        ..Record::default()
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Hex(digest(&SHA256, bytes).as_ref()).to_string()
}

/// Octets of a sentence. Ours are shorter; what others' libraries say may not be.
const MAX_ERROR: usize = 512;
