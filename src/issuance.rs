//! The whole path of a signing request, in order. Every door of the street leads here and there is
//! no second way to a signature.

mod limits;
mod trusted;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use limits::{Limit, Limited, Limiter, Quotas, Rate, RateLimits};
pub use trusted::{ReloadFailure, ReloadState, TrustedIssuers};

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;

use crate::authority::{Authority, AuthorityError};
use crate::certificate::extensions::Extension;
use crate::certificate::name::SubjectAlternativeName;
use crate::certificate::precertificate::Certificate;
use crate::certificate::profile::{ProfileError, SerialNumber};
use crate::ctlog::{Destination, NotLogged};
use crate::failpoint::FailPoint;
use crate::identity::{IdentityError, Issuers};
use crate::ledger::{Ledger, LedgerError, Record};
use crate::possession::{self, KeyRequest, PossessionError};
use crate::telemetry::Step;

/// What a caller asks for, as it came: nothing in it is trusted yet.
pub struct Request {
    /// The OpenID Connect token.
    pub unverified_token: String,
    /// The key to be certified and the proof that the caller holds it.
    pub key: KeyRequest,
    /// The serial number, drawn at the door.
    pub serial: SerialNumber,
}

impl fmt::Debug for Request {
    /// Without the token, whoever prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A certificate that stands in the log and in the ledger, and so may leave.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// Who it speaks for.
    pub name: SubjectAlternativeName,
    /// The token's issuer.
    pub issuer: String,
    /// The token's subject.
    pub subject: String,
    /// The log it stands in: SHA-256 of its key.
    pub log_id: [u8; 32],
    /// Where it stands there, if the log says so.
    pub log_index: Option<u64>,
    /// The issuers that were in force when the token was believed.
    pub issuers: Arc<Issuers>,
}

/// The step at which a request ended.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Who asks could not be established.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Whoever it is asks too often.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The key is not good enough, or not proven to be the caller's.
    #[error(transparent)]
    Possession(#[from] PossessionError),
    /// No certificate can be written.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The authority could not sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The transparency log did not take it.
    #[error(transparent)]
    Log(#[from] NotLogged),
    /// The ledger did not record it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The rooms of the craft, brought together.
#[derive(Debug, Clone)]
pub struct Issuance {
    /// Whom we believe. A request sees one state of it from its start to its end.
    pub issuers: Arc<TrustedIssuers>,
    /// How often anybody may ask, if that is limited.
    pub quotas: Option<Arc<Quotas>>,
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Where everybody can see it.
    pub log: Destination,
    /// Where we remember it.
    pub ledger: Arc<Ledger>,
}

impl Issuance {
    /// Finishes what waits and lets the databases go.
    pub async fn close(&self) {
        self.log.close().await;
        self.ledger.close().await;
    }

    /// Turns a token and a proven key into a certificate. It answers only when the certificate is
    /// durable in both log and ledger; an error means that no certificate has left.
    ///
    /// # Errors
    /// [`IssueError`], by the step that failed.
    pub async fn issue(
        &self,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<Issued, IssueError> {
        let issuers = self.issuers.current();
        let principal = Step::Authenticate
            .take(issuers.authenticate(&request.unverified_token, now))
            .await?;
        if let Some(quotas) = &self.quotas {
            let (issuer, subject) = (&principal.issuer, &principal.subject);
            let entry = issuers.entry_of(issuer).unwrap_or(issuer);
            quotas.admit(entry, issuer, subject, now)?;
        }
        let key = Step::Prove
            .take(async { possession::prove(&request.key, &principal.challenge) })
            .await?;
        let profile = self.authority.profile();
        let (name, extensions) = (&principal.name, &principal.extensions);
        let template = Step::Template
            .take(async { profile.template(name, extensions, &key, request.serial, now) })
            .await?;
        let precertificate = Step::Precertificate
            .take(self.authority.sign_precertificate(template))
            .await?;
        let logged = Step::Log
            .take(self.log.append(&precertificate, now))
            .await?;
        FailPoint::SctObtained.reach();
        let certificate = Step::Certificate
            .take(self.authority.sign_certificate(precertificate, &logged.sct))
            .await?;
        FailPoint::CertificateSigned.reach();
        let row = Record {
            serial: *certificate.serial().as_bytes(),
            sha256: sha256(certificate.der()),
            identity: principal.name.to_string(),
            identity_kind: principal.name.kind().to_owned(),
            issuer: principal.issuer.clone(),
            subject: principal.subject.clone(),
            extensions: named(principal.extensions.iter()),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            log_id: logged.sct.log_id,
            log_index: logged.index,
            sct_timestamp_ms: logged.sct.timestamp_ms,
            token_sha256: sha256(request.unverified_token.as_bytes()),
            key_sha256: key.fingerprint(),
            issued_at: now,
            certificate: certificate.der().to_vec(),
        };
        Step::Ledger.take(self.ledger.record(row)).await?;
        Ok(Issued {
            certificate,
            name: principal.name,
            issuer: principal.issuer,
            subject: principal.subject,
            log_id: logged.sct.log_id,
            log_index: logged.index,
            issuers,
        })
    }
}

fn named<'a>(values: impl Iterator<Item = (Extension, &'a str)>) -> BTreeMap<String, String> {
    values
        .map(|(extension, value)| (extension.name().to_owned(), value.to_owned()))
        .collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
