//! Trusted issuers: what the configuration says about each, checked and ready.

use super::chainguard;
use super::ci::CiProvider;
use super::claims::Claims;
use super::email::Email;
use super::kubernetes::Kubernetes;
use super::outbound::Reach;
use super::pattern::Pattern;
use super::principal::{Principal, PrincipalError};
use super::spiffe::Spiffe;
use super::uri::UriSubject;
use super::username::UsernameSubject;

/// How one kind of token becomes a principal. Another kind is another file and one arm below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Email(Email),
    CiProvider(CiProvider),
    /// The same by a name of its own, from the time when each provider had its own code.
    BuiltIn(&'static str, CiProvider),
    Kubernetes(Kubernetes),
    Spiffe(Spiffe),
    Uri(UriSubject),
    Username(UsernameSubject),
    Chainguard,
}

/// What the configuration says about an issuer, or about all that match a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// What `aud` must contain; never empty.
    pub(super) audience: String,
    pub(super) kind: Kind,
    pub(super) reach: Reach,
    /// The only host that may serve the keys.
    pub(super) keys_host: Option<String>,
    /// Roots to trust besides the system's, in DER.
    pub(super) roots: Vec<Vec<u8>>,
    /// It is the cluster that we run in.
    pub(super) in_cluster: bool,
    /// What it is for, such as `staging`, or nothing.
    pub(super) environment: String,
    /// What is told to clients and means nothing here.
    pub(super) told: Told,
}

/// Settings that are shown and not used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    pub(super) challenge_claim: String,
    pub(super) subject_domain: String,
    pub(super) spiffe_trust_domain: String,
}

/// Which issuers an entry of the configuration stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// The one with exactly this URL.
    Fixed(String),
    /// All that match.
    Matching(Pattern),
}

/// One trusted issuer, as clients may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredIssuer {
    /// Its URL or pattern.
    pub url: IssuerUrl,
    /// What its tokens must be meant for.
    pub audience: String,
    /// The claim whose value is signed to prove possession.
    pub challenge_claim: String,
    /// Its SPIFFE trust domain, or nothing.
    pub spiffe_trust_domain: String,
    /// The name of its kind in the configuration.
    pub issuer_type: &'static str,
    /// The domain of its subjects, or nothing.
    pub subject_domain: String,
    /// Whether unverified e-mail addresses are believed.
    pub skip_email_verification: bool,
    /// What it is for, such as `staging`, or nothing.
    pub environment: String,
}

/// One URL, or a pattern of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerUrl {
    /// One issuer.
    Fixed(String),
    /// Every issuer that matches.
    Wildcard(String),
}

impl Kind {
    /// Its name in the configuration.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::CiProvider(_) => "ci-provider",
            Self::BuiltIn(name, _) => name,
            Self::Kubernetes(_) => "kubernetes",
            Self::Spiffe(_) => "spiffe",
            Self::Uri(_) => "uri",
            Self::Username(_) => "username",
            Self::Chainguard => "chainguard-identity",
        }
    }

    /// Who the claims of one of `issuer`'s tokens prove.
    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        match self {
            Self::Email(kind) => kind.principal(issuer, claims),
            Self::CiProvider(kind) | Self::BuiltIn(_, kind) => kind.principal(issuer, claims),
            Self::Kubernetes(kind) => kind.principal(issuer, claims),
            Self::Spiffe(kind) => kind.principal(issuer, claims),
            Self::Uri(kind) => kind.principal(issuer, claims),
            Self::Username(kind) => kind.principal(issuer, claims),
            Self::Chainguard => chainguard::principal(issuer, claims),
        }
    }

    /// The claim that is signed to prove possession.
    fn challenge_claim(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::CiProvider(_)
            | Self::BuiltIn(..)
            | Self::Kubernetes(_)
            | Self::Spiffe(_)
            | Self::Uri(_)
            | Self::Username(_)
            | Self::Chainguard => "sub",
        }
    }

    pub(super) fn skips_email_verification(&self) -> bool {
        match self {
            Self::Email(email) => email.skip_verification,
            Self::CiProvider(_)
            | Self::BuiltIn(..)
            | Self::Kubernetes(_)
            | Self::Spiffe(_)
            | Self::Uri(_)
            | Self::Username(_)
            | Self::Chainguard => false,
        }
    }
}

impl Terms {
    /// What clients are told about it.
    pub(super) fn describe(&self, which: &Which) -> ConfiguredIssuer {
        let Told {
            challenge_claim,
            subject_domain,
            spiffe_trust_domain,
        } = self.told.clone();
        ConfiguredIssuer {
            url: match which {
                Which::Fixed(url) => IssuerUrl::Fixed(url.clone()),
                Which::Matching(pattern) => IssuerUrl::Wildcard(pattern.as_str().to_owned()),
            },
            audience: self.audience.clone(),
            challenge_claim: if challenge_claim.is_empty() {
                self.kind.challenge_claim().to_owned()
            } else {
                challenge_claim
            },
            spiffe_trust_domain,
            issuer_type: self.kind.name(),
            subject_domain,
            skip_email_verification: self.kind.skips_email_verification(),
            environment: self.environment.clone(),
        }
    }
}
