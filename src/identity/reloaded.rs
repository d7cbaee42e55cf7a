//! Another configuration, without forgetting the keys of issuers that it leaves as they are.

use super::config::{Config, ConfigError};
use super::issuer::Which;
use super::{Issuers, Patience};
use std::sync::Arc;

impl Issuers {
    /// Trusts the issuers of `config`. Where an entry is the same as here, so are its keys. Requests
    /// that are under way here are not disturbed.
    ///
    /// # Errors
    /// As [`Issuers::new`].
    pub fn reloaded(&self, config: Config, patience: Patience) -> Result<Self, ConfigError> {
        let mut next = Self::new(config, patience)?;
        let unchanged = next.entries.iter().filter(|entry| {
            // Equal in everything that says how a token is judged and where keys are fetched.
            self.entries.contains(entry)
        });
        for (which, _) in unchanged {
            if let Which::Fixed(url) = which
                && let Some(known) = self.fixed.get(url)
            {
                next.fixed.insert(url.clone(), known.clone());
            }
        }
        // Issuers that patterns have let in are known by their pattern's place.
        let patterns = |issuers: &Self| {
            let all = issuers.entries.clone().into_iter();
            let patterns = all.filter(|(which, _)| matches!(which, Which::Matching(_)));
            patterns.collect::<Vec<_>>()
        };
        if patterns(&next) == patterns(self) {
            next.matched = Arc::clone(&self.matched);
        }
        Ok(next)
    }
}
