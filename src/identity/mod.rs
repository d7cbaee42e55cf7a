//! Who is asking: an OpenID Connect token in, a proved principal out.
//!
//! | file | what it does |
//! |---|---|
//! | `unverified`, `header`, `json` | a token's form, before anything in it is believed |
//! | `config`, `issuer`, `pattern` | the issuers that are trusted, and for what |
//! | `keys`, `jwks`, `matched` | their keys, kept while they are good |
//! | `discovery`, `outbound` | asking them, without being sent astray |
//! | `health` | how the issuers are, for those who watch |
//! | `reloaded` | another configuration, with the keys of what it leaves as it is |
//! | `pod` | asking the cluster that we run in |
//! | `claims` | what a verified token says, strictly typed |
//! | `email`, `kubernetes`, `spiffe`, `uri`, `username`, `chainguard` | one kind of identity each |
//! | `ci`, `template` | the kinds that are described in the configuration |
//! | `domain` | who owns a host |
//! | `principal` | who was proved |

mod chainguard;
mod ci;
mod claims;
mod config;
mod discovery;
mod domain;
mod email;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod health;
mod issuer;
mod json;
mod jwks;
mod keys;
mod kubernetes;
mod matched;
mod outbound;
mod pattern;
mod pod;
mod principal;
mod reloaded;
mod spiffe;
mod template;
mod unverified;
mod uri;
mod username;

pub use claims::ClaimError;
pub use config::{Config, ConfigError, Options};
pub use header::HeaderError;
pub use health::KeyHealth;
pub use issuer::{ConfiguredIssuer, IssuerUrl};
pub use json::JsonError;
pub use jwks::{KeySetError, SignatureError};
pub use outbound::{Patience, ProviderError};
pub use pod::PodFiles;
pub use principal::{Principal, PrincipalError};
pub use template::RenderError;
pub use unverified::MalformedToken;

use claims::Claims;
use discovery::Source;
use issuer::{Kind, Terms, Which};
use keys::{Keys, VerifyError};
use matched::MatchedIssuers;
use outbound::{Outbound, Reach};
use pattern::Pattern;
use pod::Pod;
use std::collections::HashMap;
use std::sync::Arc;
use time::OffsetDateTime;
use unverified::UnverifiedToken;

/// The issuers whose tokens are believed. Their keys are fetched when the first token comes, each
/// issuer's on its own.
#[derive(Debug)]
pub struct Issuers {
    fixed: HashMap<String, (Arc<Trusted>, Arc<Keys>)>,
    /// No two of them match one issuer, so their order means nothing.
    patterns: Vec<(Pattern, Arc<Trusted>)>,
    /// Listed, and of a type that nobody knows; no pattern takes them.
    refused: Vec<Which>,
    matched: Arc<MatchedIssuers>,
    configured: Vec<ConfiguredIssuer>,
    /// What all this was made from.
    entries: Vec<(Which, Terms)>,
}

/// What applies to the tokens of one entry of the configuration.
#[derive(Debug)]
struct Trusted {
    audience: String,
    kind: Kind,
    source: Arc<Source>,
    /// It is for an environment that this server serves.
    is_served: bool,
}

impl Trusted {
    const fn check_served(&self) -> Result<(), IdentityError> {
        if self.is_served {
            Ok(())
        } else {
            Err(IdentityError::Environment)
        }
    }
}

/// Why a token proved nobody. Only [`IdentityError::Provider`] is not the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a token at all.
    #[error(transparent)]
    Malformed(#[from] MalformedToken),
    /// By an issuer that is not configured. Nobody was asked.
    #[error("the token's issuer is not trusted here")]
    UnknownIssuer,
    /// By an issuer that is configured for another environment than this server's. Nobody was asked.
    #[error("the token's issuer is configured for another environment than this server's")]
    Environment,
    /// Not by the issuer it names.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// By its issuer, but not for us or not for now.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Good, but it does not say who its holder is in a way that can be certified.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    /// The issuer's keys could not be had: the caller may try again.
    #[error("{issuer}: {error}")]
    Provider {
        /// The issuer.
        issuer: String,
        /// What happened.
        error: ProviderError,
    },
}

impl Issuers {
    /// Trusts the issuers of a configuration. Asks nobody yet.
    ///
    /// # Errors
    /// A TLS client cannot be made: no provider, no roots, or an unusable CA certificate.
    pub fn new(config: Config, patience: Patience) -> Result<Self, ConfigError> {
        let mut issuers = Self {
            fixed: HashMap::new(),
            patterns: Vec::new(),
            refused: config.refused,
            matched: Arc::default(),
            configured: Vec::new(),
            entries: config.issuers.clone(),
        };
        // Clients of one kind are one client.
        let mut clients: HashMap<(Reach, Vec<Vec<u8>>), Outbound> = HashMap::new();
        let environments = config.environments;
        for (which, terms) in config.issuers {
            issuers.configured.push(terms.describe(&which));
            let Terms {
                audience,
                kind,
                reach,
                keys_host,
                roots,
                in_cluster,
                environment,
                told: _,
            } = terms;
            let pod =
                in_cluster.then(|| Pod::new(config.pod.clone(), reach, roots.clone(), patience));
            let outbound = match clients.get(&(reach, roots.clone())) {
                Some(client) => client.clone(),
                None => {
                    let client = Outbound::new(reach, &roots, patience)?;
                    clients.insert((reach, roots), client.clone());
                    client
                }
            };
            let source = Arc::new(Source {
                outbound,
                keys_host,
                pod,
            });
            let is_served = environment.is_empty()
                || environments
                    .as_ref()
                    .is_none_or(|served| served.contains(&environment));
            let trusted = Arc::new(Trusted {
                audience,
                kind,
                source: Arc::clone(&source),
                is_served,
            });
            match which {
                Which::Fixed(url) => {
                    let keys = Arc::new(Keys::new(&url, source));
                    issuers.fixed.insert(url, (trusted, keys));
                }
                Which::Matching(pattern) => issuers.patterns.push((pattern, trusted)),
            }
        }
        Ok(issuers)
    }

    /// Who holds this token. The token stays unverified until the signature of its issuer, the
    /// audience and the times have been checked.
    ///
    /// # Errors
    /// Why it proves nobody, or whose keys could not be had.
    pub async fn authenticate(
        &self,
        unverified_token: &str,
        now: OffsetDateTime,
    ) -> Result<Principal, IdentityError> {
        let mut token = UnverifiedToken::read(unverified_token)?;
        let issuer = token.unverified_issuer().to_owned();
        let (trusted, keys) = self.find(&issuer, now)?;
        let payload = match keys.verify(&mut token, now).await {
            Ok(payload) => payload,
            Err(VerifyError::Signature(error)) => return Err(error.into()),
            Err(VerifyError::Provider(error)) => {
                return Err(IdentityError::Provider { issuer, error });
            }
        };
        let claims = Claims::check(payload, &issuer, &trusted.audience, now)?;
        Ok(trusted.kind.principal(&issuer, &claims)?)
    }

    /// The trusted issuers as clients may know them, in the order of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &ConfiguredIssuer> {
        self.configured.iter()
    }

    /// Byte for byte: another spelling is another issuer. The fixed ones first.
    fn find(
        &self,
        issuer: &str,
        now: OffsetDateTime,
    ) -> Result<(Arc<Trusted>, Arc<Keys>), IdentityError> {
        if let Some((trusted, keys)) = self.fixed.get(issuer) {
            trusted.check_served()?;
            return Ok((Arc::clone(trusted), Arc::clone(keys)));
        }
        let is_refused = |which: &Which| match which {
            Which::Fixed(url) => url == issuer,
            Which::Matching(pattern) => pattern.matches(issuer),
        };
        if self.refused.iter().any(is_refused) {
            return Err(IdentityError::UnknownIssuer);
        }
        if let Some((pattern, keys)) = self.matched.known(issuer, now) {
            let found = self.patterns.get(pattern);
            let (_, trusted) = found.ok_or(IdentityError::UnknownIssuer)?;
            return Ok((Arc::clone(trusted), keys));
        }
        let mut patterns = self.patterns.iter().enumerate();
        let matching = patterns.find(|(_, (pattern, _))| pattern.matches(issuer));
        let (place, (_, trusted)) = matching.ok_or(IdentityError::UnknownIssuer)?;
        trusted.check_served()?;
        let keys = Keys::new(issuer, Arc::clone(&trusted.source));
        match self.matched.enter(issuer, place, now, keys) {
            Ok(keys) => Ok((Arc::clone(trusted), keys)),
            Err(error) => Err(IdentityError::Provider {
                issuer: issuer.to_owned(),
                error,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
