//! What the fuzz targets call: the steps behind [`Issuers::authenticate`](super::Issuers::authenticate)
//! that read a stranger's octets, each on its own, so that no provider and no signature stands before
//! them.

use super::claims::Claims;
use super::header::algorithm;
use super::issuer::Which;
use super::jwks::KeySet;
use super::template::Template;
use super::unverified::{SignedPayload, UnverifiedToken};
use super::{Config, Principal};
use std::borrow::Cow;
use time::OffsetDateTime;

/// Reads a token and verifies it with this key set. What was signed, if it was.
pub fn token(unverified_token: &str, key_set: &[u8]) -> Option<String> {
    let mut token = UnverifiedToken::read(unverified_token).ok()?;
    let names = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];
    let algorithms = names.into_iter().filter_map(algorithm).collect();
    let keys = KeySet::parse(key_set, algorithms).ok()?;
    token.verify(&keys).ok()?;
    let (signed, _) = unverified_token.rsplit_once('.')?;
    Some(signed.to_owned())
}

/// Reads a key set; how many of its keys are of use.
pub fn key_set(text: &[u8]) -> Option<usize> {
    let keys = KeySet::parse(text, vec![algorithm("ES256")?]).ok()?;
    Some(keys.len())
}

/// Takes the claims for those of a token that the issuer they name has signed.
pub fn claims(config: &Config, payload: &[u8], now: OffsetDateTime) -> Option<Principal> {
    let (issuer, payload) = SignedPayload::pretend_read(payload)?;
    let (_, terms) = config.issuers.iter().find(|(which, _)| match which {
        Which::Fixed(url) => *url == issuer,
        Which::Matching(pattern) => pattern.matches(&issuer),
    })?;
    let claims = Claims::check(payload, &issuer, &terms.audience, now).ok()?;
    terms.kind.principal(&issuer, &claims).ok()
}

/// Parses a template and renders it with these values.
pub fn template(text: &str, values: &[(&str, &str)]) -> Option<String> {
    let template = Template::parse(text).ok()??;
    let value = |name: &str| {
        let found = values.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| Cow::Borrowed(*value))
    };
    template.render(&value).ok()
}
