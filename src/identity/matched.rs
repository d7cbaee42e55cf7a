//! The issuers that patterns have let in, a bounded number of them.
//!
//! Who may write tokens can invent issuers below a pattern, so this is the one place where a
//! stranger makes us remember something. It is kept apart from the fixed issuers; no pattern may
//! fill it; strangers push out one another, and an issuer that has proved itself only where its
//! pattern is full of such; and a newcomer gets a place only where the last one had its ten seconds,
//! so that inventing issuers does not make us knock at a provider's door ever faster.

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

    /// All that are let in, each with the pattern that did it.
    pub(super) fn all(&self) -> Vec<(usize, Arc<Keys>)> {
        let entries = self.entries.load();
        let all = entries.values();
        all.map(|entry| (entry.pattern, Arc::clone(&entry.keys)))
            .collect()
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
        // Of the patterns that have strangers the one that has most issuers gives one up. Where there
        // is no stranger, a pattern that has any makes room for its own.
        let largest = |among: &dyn Fn(&Entry) -> bool| {
            let entries = entries.values().filter(|entry| among(entry));
            let patterns = entries.map(|entry| entry.pattern);
            patterns.max_by_key(|pattern| count(*pattern))
        };
        let own = Some(pattern).filter(|pattern| count(*pattern) > 0);
        let crowded = largest(&|entry| !entry.keys.is_proven()).or(own);
        crowded.or_else(|| largest(&|_| true)).unwrap_or(pattern)
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

#[cfg(test)]
mod tests {
    use super::super::discovery::Source;
    use super::super::outbound::{Outbound, Patience, Reach};
    use super::*;
    use time::Duration;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds)
    }

    struct Crowd {
        matched: MatchedIssuers,
        source: Arc<Source>,
    }

    impl Crowd {
        fn new() -> Self {
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
            let outbound = Outbound::new(Reach::Loopback, &[], Patience::default()).unwrap();
            let source = Arc::new(Source {
                outbound,
                keys_host: None,
                pod: None,
            });
            Self {
                matched: MatchedIssuers::default(),
                source,
            }
        }

        /// Lets an issuer in; a proven one has had keys before.
        fn enter(&self, name: &str, pattern: usize, second: i64, proven: bool) -> bool {
            let keys = Keys::new(name, Arc::clone(&self.source));
            if proven {
                keys.prove(at(second));
            }
            self.matched.enter(name, pattern, at(second), keys).is_ok()
        }

        fn knows(&self, name: &str, second: i64) -> bool {
            self.matched.known(name, at(second)).is_some()
        }

        fn size(&self) -> usize {
            self.matched.entries.load().len()
        }
    }

    #[test]
    fn strangers_push_out_issuers_that_have_proved_themselves() {
        let crowd = Crowd::new();
        for number in 0..60 {
            assert!(crowd.enter(&format!("proven{number}"), 0, 0, true));
        }
        for second in 1..2_000 {
            crowd.enter(&format!("stranger{second}"), 0, second, false);
            assert!(crowd.size() <= MAX_PER_PATTERN);
        }
        for number in 0..60 {
            assert!(crowd.knows(&format!("proven{number}"), 2_000), "{number}");
        }
    }

    #[test]
    fn a_full_pattern_is_closed_for_ever() {
        let crowd = Crowd::new();
        for number in 0..64 {
            assert!(crowd.enter(&format!("proven{number}"), 0, number, true));
        }
        assert!(
            crowd.knows("proven0", 100),
            "used again, it is no longer the oldest"
        );
        assert!(crowd.enter("newcomer", 0, 101, false));
        assert!(crowd.knows("proven0", 102) && !crowd.knows("proven1", 102));
        // Until the newcomer has proved itself or had its time, no other gets in.
        assert!(!crowd.enter("another", 0, 110, false));
        assert!(crowd.enter("another", 0, 111, false));
        assert!(!crowd.knows("newcomer", 112) && crowd.knows("proven2", 112));
    }

    #[test]
    fn strangers_under_one_pattern_push_out_the_proven_of_another() {
        let crowd = Crowd::new();
        for number in 0..256 {
            let pattern = number / 64;
            assert!(crowd.enter(&format!("proven{number}"), pattern, 0, true));
        }
        for second in 1..200 {
            crowd.enter(&format!("stranger{second}"), 9, second, false);
        }
        let lost = (0..256).filter(|number| !crowd.knows(&format!("proven{number}"), 200));
        assert_eq!(lost.count(), 1, "one place for a pattern that had none");
        assert_eq!(crowd.size(), MAX_TOTAL);
    }

    #[test]
    fn one_pattern_takes_the_places_of_the_others() {
        let crowd = Crowd::new();
        assert!(crowd.enter("quiet", 9, 0, false));
        for pattern in 0..5 {
            for number in 0..100 {
                crowd.enter(&format!("flood{pattern}-{number}"), pattern, 1, false);
            }
        }
        assert!(crowd.size() <= MAX_TOTAL);
        for second in 20..400 {
            crowd.enter(&format!("later{second}"), 4, second, false);
            assert!(crowd.size() <= MAX_TOTAL);
        }
        assert!(
            crowd.knows("quiet", 400),
            "a pattern with one issuer keeps it"
        );
    }
}
