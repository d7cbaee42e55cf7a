//! The issuers that patterns have let in, a bounded number of them.
//!
//! Who may write tokens can invent issuers below a pattern, so this is the one place where a
//! stranger makes us remember something. It is kept apart from the fixed issuers; no pattern may
//! fill it; an issuer that has proved itself is not pushed out by one that has not; and a newcomer
//! gets a place only where the last one had its ten seconds, so that inventing issuers does not
//! make us knock at a provider's door ever faster.

use super::keys::{Keys, MIN_INTERVAL};
use super::outbound::ProviderError;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;

/// Read without a lock; a newcomer copies the map, which is small.
#[derive(Debug, Default)]
pub(super) struct MatchedIssuers {
    entries: ArcSwap<HashMap<Box<str>, Arc<Entry>>>,
    writing: Mutex<()>,
}

#[derive(Debug)]
struct Entry {
    /// The pattern that let it in, zero-based.
    pattern: usize,
    keys: Arc<Keys>,
    entered: OffsetDateTime,
    /// When it was last asked for, in seconds since the epoch.
    used: AtomicI64,
}

impl MatchedIssuers {
    /// The pattern that has let `issuer` in, and its keys.
    pub(super) fn known(&self, issuer: &str, now: OffsetDateTime) -> Option<(usize, Arc<Keys>)> {
        let entries = self.entries.load();
        let entry = entries.get(issuer)?;
        entry.used.store(now.unix_timestamp(), Ordering::Relaxed);
        Some((entry.pattern, Arc::clone(&entry.keys)))
    }

    /// Lets in `issuer`, which `pattern` matches.
    pub(super) fn enter(
        &self,
        issuer: &str,
        pattern: usize,
        now: OffsetDateTime,
        keys: Keys,
    ) -> Result<Arc<Keys>, ProviderError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have been faster.
        if let Some((_, keys)) = self.known(issuer, now) {
            return Ok(keys);
        }
        let mut entries = HashMap::clone(&self.entries.load());
        make_room(&mut entries, pattern, now)?;
        let keys = Arc::new(keys);
        let entry = Entry {
            pattern,
            keys: Arc::clone(&keys),
            entered: now,
            used: AtomicI64::new(now.unix_timestamp()),
        };
        entries.insert(issuer.into(), Arc::new(entry));
        self.entries.store(Arc::new(entries));
        Ok(keys)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.load().len()
    }
}

fn make_room(
    entries: &mut HashMap<Box<str>, Arc<Entry>>,
    pattern: usize,
    now: OffsetDateTime,
) -> Result<(), ProviderError> {
    let count = |pattern: usize| {
        let of_pattern = entries.values().filter(|entry| entry.pattern == pattern);
        of_pattern.count()
    };
    let crowded = if count(pattern) >= MAX_PER_PATTERN {
        pattern
    } else if entries.len() >= MAX_TOTAL {
        // The pattern that has most gives one up.
        let patterns = entries.values().map(|entry| entry.pattern);
        patterns
            .max_by_key(|pattern| count(*pattern))
            .unwrap_or(pattern)
    } else {
        return Ok(());
    };
    let oldest = |proven: bool| {
        entries
            .iter()
            .filter(|(_, entry)| entry.pattern == crowded && entry.keys.is_proven() == proven)
            .min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed))
    };
    let leaves = match oldest(false) {
        Some(_) => entries
            .iter()
            .filter(|(_, entry)| entry.pattern == crowded && !entry.keys.is_proven())
            .filter(|(_, entry)| (now - entry.entered).abs() >= MIN_INTERVAL)
            .min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed)),
        None => oldest(true),
    };
    let Some((leaves, _)) = leaves else {
        return Err(ProviderError::Crowded);
    };
    let leaves = leaves.clone();
    entries.remove(&leaves);
    Ok(())
}

const MAX_TOTAL: usize = 256;
const MAX_PER_PATTERN: usize = 64;
