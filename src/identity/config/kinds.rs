//! The types of issuer, and what each needs of the configuration.

use crate::identity::email::{ClaimPath, Email};
use crate::identity::issuer::{Kind, Told};
use crate::identity::kubernetes::Kubernetes;
use crate::identity::spiffe::{Spiffe, TrustDomain};
use crate::identity::uri::UriSubject;
use crate::identity::username::UsernameSubject;

/// A kind whose templates, if it has any, are not looked up yet.
pub(super) enum DraftKind {
    Ready(Kind),
    Kubernetes(Kubernetes),
    CiProvider(String),
    BuiltIn(&'static str),
    /// A type that nobody knows, of which a file may tell clients all the same.
    Unknown(String),
}

/// The settings of one issuer that its type looks at.
pub(super) struct KindSettings<'s> {
    pub(super) name: &'s str,
    pub(super) is_fixed: bool,
    pub(super) url: &'s str,
    pub(super) ci_provider: &'s str,
    pub(super) issuer_claim: &'s str,
    pub(super) name_prefix: &'s str,
    pub(super) skip_email_verification: bool,
    pub(super) told: &'s Told,
}

pub(super) fn read(settings: &KindSettings<'_>) -> Result<DraftKind, String> {
    let KindSettings {
        name,
        is_fixed,
        url,
        ci_provider,
        issuer_claim,
        name_prefix,
        skip_email_verification,
        told,
    } = *settings;
    if name != "email" && !issuer_claim.is_empty() {
        return Err("only the type email can have an issuer-claim".to_owned());
    }
    if name != "kubernetes" && !name_prefix.is_empty() {
        return Err("only the type kubernetes can have a name-prefix".to_owned());
    }
    if let Some(built_in) = BUILT_IN.into_iter().find(|built_in| *built_in == name) {
        return Ok(DraftKind::BuiltIn(built_in));
    }
    Ok(match name {
        "email" => DraftKind::Ready(Kind::Email(Email {
            issuer_claim: match issuer_claim {
                "" => None,
                path => Some(ClaimPath::parse(path)?),
            },
            skip_verification: skip_email_verification,
        })),
        "ci-provider" if ci_provider.is_empty() => {
            return Err("the type ci-provider needs a ci-provider".to_owned());
        }
        "ci-provider" => DraftKind::CiProvider(ci_provider.to_owned()),
        "kubernetes" => DraftKind::Kubernetes(Kubernetes::new(name_prefix)?),
        "spiffe" if !is_fixed => {
            return Err(
                "the type spiffe is for oidc-issuers only: a trust domain has one issuer"
                    .to_owned(),
            );
        }
        "spiffe" if told.spiffe_trust_domain.is_empty() => {
            return Err("the type spiffe needs a spiffe-trust-domain".to_owned());
        }
        "spiffe" => DraftKind::Ready(Kind::Spiffe(Spiffe {
            trust_domain: TrustDomain::parse(&told.spiffe_trust_domain)?,
        })),
        "uri" => DraftKind::Ready(Kind::Uri(UriSubject::new(url, &told.subject_domain)?)),
        "username" => {
            let kind = UsernameSubject::new(url, &told.subject_domain)?;
            DraftKind::Ready(Kind::Username(kind))
        }
        "chainguard-identity" => DraftKind::Ready(Kind::Chainguard),
        "" => return Err("the type is missing".to_owned()),
        other if told.challenge_claim.is_empty() => {
            let types = TYPES.join(", ");
            return Err(format!(
                "the type {other:?} is not supported; there are {types}"
            ));
        }
        other => DraftKind::Unknown(other.to_owned()),
    })
}

/// Types that are described in `built-in.yaml`.
pub(super) const BUILT_IN: [&str; 4] = [
    "github-workflow",
    "gitlab-pipeline",
    "buildkite-job",
    "codefresh-workflow",
];

/// All types.
pub(super) const TYPES: [&str; 11] = [
    "email",
    "kubernetes",
    "spiffe",
    "uri",
    "username",
    "chainguard-identity",
    "ci-provider",
    "github-workflow",
    "gitlab-pipeline",
    "buildkite-job",
    "codefresh-workflow",
];
