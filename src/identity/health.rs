//! What can be told about issuers without naming any that a token has brought: everything goes by
//! the entries of the configuration.

use super::unverified::UnverifiedToken;
use super::{Issuers, Keys};
use std::sync::Arc;
use time::OffsetDateTime;

/// The keys of the issuers that one entry stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHealth<'a> {
    /// The entry's URL or pattern.
    pub entry: &'a str,
    /// How many of its issuers have keys that could not be fetched when last tried.
    pub failing: usize,
    /// When keys were last fetched, if they ever were.
    pub fetched: Option<OffsetDateTime>,
}

impl Issuers {
    /// The entry that an issuer belongs to: its URL, or the pattern that it matches.
    pub fn entry_of(&self, issuer: &str) -> Option<&str> {
        if let Some((url, _)) = self.fixed.get_key_value(issuer) {
            return Some(url);
        }
        let mut patterns = self.patterns.iter();
        let (pattern, _) = patterns.find(|(pattern, _)| pattern.matches(issuer))?;
        Some(pattern.as_str())
    }

    /// The entry that a token claims to belong to. Nothing about the token is verified.
    pub fn unverified_entry(&self, unverified_token: &str) -> Option<&str> {
        let token = UnverifiedToken::read(unverified_token).ok()?;
        self.entry_of(token.unverified_issuer())
    }

    /// How the keys are, entry by entry.
    pub fn key_health(&self) -> Vec<KeyHealth<'_>> {
        let fixed = self.fixed.iter().map(|(url, (_, keys))| {
            let (is_failing, fetched) = keys.health();
            KeyHealth {
                entry: url,
                failing: is_failing.into(),
                fetched,
            }
        });
        let matched: Vec<(usize, Arc<Keys>)> = self.matched.all();
        let patterns = self
            .patterns
            .iter()
            .enumerate()
            .map(|(place, (pattern, _))| {
                let of_pattern = matched.iter().filter(|(by, _)| *by == place);
                let health: Vec<_> = of_pattern.map(|(_, keys)| keys.health()).collect();
                KeyHealth {
                    entry: pattern.as_str(),
                    failing: health.iter().filter(|(is_failing, _)| *is_failing).count(),
                    fetched: health.iter().filter_map(|(_, fetched)| *fetched).max(),
                }
            });
        let mut all: Vec<_> = fixed.chain(patterns).collect();
        // A map has no order of its own, and what is compared from time to time should keep one.
        all.sort_by_key(|health| health.entry);
        all
    }
}
