//! From an issuer's URL to its keys: OpenID Connect Discovery, then the key set it points to.

use super::header::algorithm;
use super::json::{Limits, Object, Value};
use super::jwks::{KeySet, KeySetError};
use super::outbound::{Bearer, Outbound, ProviderError, Reach};
use super::pod::Pod;
use jsonwebtoken::Algorithm;
use reqwest::Url;
use std::time::Duration;

/// How one row of the configuration reaches the issuers it stands for.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) outbound: Outbound,
    /// The only host that may serve the keys; any host when there is none.
    pub(super) keys_host: Option<String>,
    /// For issuers of the cluster that we run in, instead of `outbound`.
    pub(super) pod: Option<Pod>,
}

/// A fresh key set, and how long its publisher says it may be kept.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    pub(super) max_age: Option<Duration>,
}

impl Source {
    /// Asks `issuer` for its keys.
    pub(super) async fn fetch(&self, issuer: &str) -> Result<Fetched, ProviderError> {
        let asking = self.fetch_patiently(issuer);
        tokio::time::timeout(self.outbound.patience().total, asking)
            .await
            .unwrap_or(Err(ProviderError::Slow))
    }

    async fn fetch_patiently(&self, issuer: &str) -> Result<Fetched, ProviderError> {
        // OpenID Connect Discovery 1.0, section 4: "If the Issuer value contains a path component,
        // any terminating / MUST be removed before appending /.well-known/openid-configuration."
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let url = Url::parse(&format!("{base}/.well-known/openid-configuration"))
            .map_err(|_| ProviderError::Discovery("has no address"))?;
        let (outbound, bearer) = match &self.pod {
            Some(pod) => pod.ready().await?,
            None => (self.outbound.clone(), None),
        };
        // The credential is for the issuer: host and port. The keys may be elsewhere.
        let origin = url.origin();
        let bearer_for = |url: &Url| bearer.as_ref().filter(|_: &&Bearer| url.origin() == origin);
        let bearer_there = bearer_for(&url);
        let answer = outbound.fetch(url, bearer_there).await?;
        let document = Document::read(&answer.body, issuer)?;
        let keys_url = self.keys_url(&document, issuer)?;
        let bearer_there = bearer_for(&keys_url);
        let answer = outbound.fetch(keys_url, bearer_there).await?;
        let keys = KeySet::parse(&answer.body, document.algorithms)?;
        if keys.len() == 0 {
            return Err(KeySetError::NoneUsable.into());
        }
        Ok(Fetched {
            keys,
            max_age: answer.max_age,
        })
    }

    /// The address of the key set: on the issuer's own host, or on the one that is named for it, in the
    /// configuration or among those known to keep their keys elsewhere.
    fn keys_url(&self, document: &Document, issuer: &str) -> Result<Url, ProviderError> {
        let refused = ProviderError::Discovery(
            "names a key set at an address that is not allowed; one on another host than the issuer's needs jwks-host",
        );
        let url = Url::parse(&document.keys_url)
            .map_err(|_| ProviderError::Discovery("names a key set without an address"))?;
        let own = Url::parse(issuer).map_err(|_| refused.clone())?;
        let known = KEYS_ELSEWHERE
            .iter()
            .find(|(elsewhere, _)| *elsewhere == issuer);
        let host = self
            .keys_host
            .as_deref()
            .or_else(|| known.map(|(_, host)| *host))
            .or_else(|| own.host_str());
        let right_host = host.is_some() && url.host_str() == host;
        if !right_host || !self.outbound.reach().admits_url(&url) {
            return Err(refused);
        }
        // Even in development only an issuer that itself speaks plain HTTP may keep its keys so.
        if url.scheme() == "http" && self.outbound.reach() != Reach::Loopback {
            return Err(refused);
        }
        Ok(url)
    }
}

/// What is read of a discovery document.
struct Document {
    keys_url: String,
    algorithms: Vec<Algorithm>,
}

impl Document {
    fn read(text: &[u8], issuer: &str) -> Result<Self, ProviderError> {
        let object = Object::parse(text, &LIMITS)
            .map_err(|_| ProviderError::Discovery("is not the JSON it has to be"))?;
        // Section 4.3: the value "MUST exactly match the value of the iss Claim".
        if !matches!(object.member("issuer"), Some(Value::Text(named)) if named == issuer) {
            return Err(ProviderError::Discovery("is about another issuer"));
        }
        let Some(Value::Text(keys_url)) = object.member("jwks_uri") else {
            return Err(ProviderError::Discovery("names no key set"));
        };
        let algorithms = match object.member("id_token_signing_alg_values_supported") {
            None => vec![Algorithm::RS256],
            Some(Value::Array(names)) if names.is_empty() => vec![Algorithm::RS256],
            Some(Value::Array(names)) => {
                let mut algorithms = Vec::new();
                for name in names {
                    if let Value::Text(name) = name {
                        algorithms.extend(algorithm(name));
                    }
                }
                algorithms
            }
            Some(_) => return Err(ProviderError::Discovery("has no list of algorithms")),
        };
        Ok(Self {
            keys_url: keys_url.clone(),
            algorithms,
        })
    }
}

const LIMITS: Limits = Limits {
    depth: 8,
    members: 512,
    items: 1024,
    text: 8192,
};

/// Public issuers whose keys are on another host than they are, so that a configuration written for
/// Fulcio need not say so.
const KEYS_ELSEWHERE: [(&str, &str); 1] = [("https://accounts.google.com", "www.googleapis.com")];
