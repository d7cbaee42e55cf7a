//! The JSON and PEM that leave the house.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::identity::{ConfiguredIssuer, IssuerUrl};

/// `dev.sigstore.fulcio.v2.SigningCertificate`, always with the timestamp embedded.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SigningCertificate {
    pub(super) signed_certificate_embedded_sct: EmbeddedSct,
}

#[derive(Serialize)]
pub(super) struct EmbeddedSct {
    pub(super) chain: CertificateChain,
}

#[derive(Serialize)]
pub(super) struct CertificateChain {
    pub(super) certificates: Vec<String>,
}

/// `dev.sigstore.fulcio.v2.TrustBundle`.
#[derive(Serialize)]
pub(super) struct TrustBundle {
    pub(super) chains: Vec<CertificateChain>,
}

/// `dev.sigstore.fulcio.v2.Configuration`.
#[derive(Serialize)]
pub(super) struct Configuration {
    pub(super) issuers: Vec<OidcIssuer>,
}

/// `dev.sigstore.fulcio.v2.OIDCIssuer`; every scalar is written, set or not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OidcIssuer {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wildcard_issuer_url: Option<String>,
    audience: String,
    challenge_claim: String,
    spiffe_trust_domain: String,
    issuer_type: String,
    subject_domain: String,
    skip_email_verification: bool,
}

impl Configuration {
    pub(super) fn of<'a>(issuers: impl Iterator<Item = &'a ConfiguredIssuer>) -> Self {
        Self {
            issuers: issuers.map(OidcIssuer::from).collect(),
        }
    }
}

impl From<&ConfiguredIssuer> for OidcIssuer {
    fn from(issuer: &ConfiguredIssuer) -> Self {
        let ConfiguredIssuer {
            url,
            audience,
            challenge_claim,
            spiffe_trust_domain,
            issuer_type,
            subject_domain,
            skip_email_verification,
            environment: _,
        } = issuer.clone();
        let (issuer_url, wildcard_issuer_url) = match url {
            IssuerUrl::Fixed(url) => (Some(url), None),
            IssuerUrl::Wildcard(pattern) => (None, Some(pattern)),
        };
        Self {
            issuer_url,
            wildcard_issuer_url,
            audience,
            challenge_claim,
            spiffe_trust_domain,
            issuer_type: issuer_type.to_owned(),
            subject_domain,
            skip_email_verification,
        }
    }
}

/// A chain in PEM.
pub(super) fn pem(status: StatusCode, pem: String) -> Response {
    (status, [(header::CONTENT_TYPE, PEM_CHAIN)], pem).into_response()
}

/// A JSON document that was written once.
pub(super) fn prepared_json(document: &bytes::Bytes) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        document.clone(),
    )
        .into_response()
}

/// The media type of every PEM chain that this server answers with.
pub(super) const PEM_CHAIN: &str = "application/pem-certificate-chain";
