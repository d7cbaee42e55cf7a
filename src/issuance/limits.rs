//! How often anybody may ask.
//!
//! Each limit is a leaky bucket in the form of the generic cell rate algorithm (ITU-T I.371): for a
//! key it remembers one moment, at which all that was asked for is paid off. The moments stand in two
//! tables of a fixed size, at places that a secret hash gives; a key's moment is the earlier of its two.
//! So a stranger can neither make the tables grow nor push anybody's debt out of them by inventing
//! keys. What he can do is to fill places that others share, in both tables at once, for as long as he
//! goes on asking at the limit with very many keys.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;

/// How often anybody may ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RateLimits {
    /// Whether there are any.
    pub enabled: bool,
    /// For each address of a client, or each network of 64 bits in IPv6: before anything is read.
    pub address: Rate,
    /// For each issuer of the configuration, and for each pattern as a whole: of verified tokens.
    pub issuer: Rate,
    /// For each subject of an issuer: of verified tokens.
    pub subject: Rate,
}

/// A number of requests in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rate {
    /// Requests a second in the long run. 1 to 100 000.
    pub per_second: u32,
    /// Requests at once after a pause. 1 to 1 000 000.
    pub burst: u32,
}

/// The limits on what tokens prove.
#[derive(Debug)]
pub struct Quotas {
    issuer: Limiter,
    subject: Limiter,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more requests than the limit for {what} allows")]
pub struct Limited {
    /// Which limit.
    pub what: Limit,
    /// When the next request would be let through, if nobody else asks.
    pub retry_after: Duration,
}

/// What a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A client's address.
    Address,
    /// An issuer or a pattern.
    Issuer,
    /// A subject.
    Subject,
}

/// One limit, for any number of keys.
#[derive(Debug)]
pub struct Limiter {
    /// Between two requests in the long run, in nanoseconds.
    interval: i64,
    /// How far ahead a moment may lie.
    tolerance: i64,
    hash: RandomState,
    /// Nanoseconds since 1970. Held for as long as it takes to look at four numbers.
    tables: Mutex<Tables>,
}

type Tables = [Box<[i64]>; 2];

impl Rate {
    /// Whether both numbers are in their ranges.
    pub fn is_sound(&self) -> bool {
        (1..=100_000).contains(&self.per_second) && (1..=1_000_000).contains(&self.burst)
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            enabled: true,
            address: rate(20, 60),
            issuer: rate(200, 400),
            subject: rate(5, 50),
        }
    }
}

impl Quotas {
    /// Nothing, if there are no limits.
    pub fn new(limits: &RateLimits) -> Option<Self> {
        limits.enabled.then(|| Self {
            issuer: Limiter::new(limits.issuer),
            subject: Limiter::new(limits.subject),
        })
    }

    /// Counts a request by `subject` of `issuer`, which stands in the configuration as `entry`.
    ///
    /// # Errors
    /// [`Limited`]. A subject that has reached its own limit does not use up its issuer's.
    pub fn admit(
        &self,
        entry: &str,
        issuer: &str,
        subject: &str,
        now: OffsetDateTime,
    ) -> Result<(), Limited> {
        let limited = |what| move |retry_after| Limited { what, retry_after };
        let subject = self.subject.admit((issuer, subject), now);
        subject.map_err(limited(Limit::Subject))?;
        let issuer = self.issuer.admit(entry, now);
        issuer.map_err(limited(Limit::Issuer))
    }
}

impl Limiter {
    /// A limit that nobody has reached.
    pub fn new(rate: Rate) -> Self {
        let interval = 1_000_000_000 / i64::from(rate.per_second.max(1));
        let table = || vec![i64::MIN; PLACES].into_boxed_slice();
        Self {
            interval,
            tolerance: interval.saturating_mul(i64::from(rate.burst.max(1)) - 1),
            hash: RandomState::new(),
            tables: Mutex::new([table(), table()]),
        }
    }

    /// Counts a request for `key`.
    ///
    /// # Errors
    /// How long to wait, if it is one too many; it was not counted then.
    pub fn admit(&self, key: impl Hash, now: OffsetDateTime) -> Result<(), Duration> {
        let now = i64::try_from(now.unix_timestamp_nanos()).unwrap_or(i64::MAX);
        // Two halves of one hash: two tables share a place for two keys as good as never.
        let [a, b, c, d, e, f, g, h] = self.hash.hash_one(key).to_le_bytes();
        let places = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, second] = &mut *tables;
        let [at_first, at_second] =
            places.map(|place| usize::try_from(place).map_or(0, |place| place % PLACES));
        let (Some(first), Some(second)) = (first.get_mut(at_first), second.get_mut(at_second))
        else {
            return Ok(());
        };
        // A moment much further ahead than any request could have put it is of a clock that was set
        // back. Only a little further it is of a request that was faster than this one, which took its
        // time earlier and was held up, perhaps until an issuer's keys were there.
        let latest = now
            .saturating_add(self.tolerance)
            .saturating_add(self.interval)
            .saturating_add(HELD_UP);
        let known = |moment: i64| {
            if moment > latest {
                now
            } else {
                moment.max(now)
            }
        };
        let paid_off = known(*first).min(known(*second));
        let early = paid_off - now - self.tolerance;
        if early > 0 {
            return Err(Duration::from_nanos(early.unsigned_abs()));
        }
        let next = paid_off.saturating_add(self.interval);
        *first = known(*first).max(next);
        *second = known(*second).max(next);
        Ok(())
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "one address",
            Self::Issuer => "one issuer",
            Self::Subject => "one subject",
        })
    }
}

/// Of each table; 256 KiB.
const PLACES: usize = 1 << 15;

/// Longer than any request lives, in nanoseconds.
const HELD_UP: i64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn limiter(per_second: u32, burst: u32) -> Limiter {
        Limiter::new(Rate { per_second, burst })
    }

    fn admitted(limiter: &Limiter, key: &str, now: OffsetDateTime, asked: u32) -> u32 {
        let admitted = (0..asked).filter(|_| limiter.admit(key, now).is_ok());
        u32::try_from(admitted.count()).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_does() {
        let limiter = limiter(5, 50);
        assert_eq!(admitted(&limiter, "a", NOW, 80), 50);
        assert_eq!(limiter.admit("a", NOW), Err(Duration::from_millis(200)));
        // One key's debt is nobody else's.
        assert_eq!(admitted(&limiter, "b", NOW, 80), 50);
        let later = NOW + Duration::from_millis(199);
        assert_eq!(limiter.admit("a", later), Err(Duration::from_millis(1)));
        assert_eq!(
            admitted(&limiter, "a", NOW + Duration::from_millis(200), 9),
            1
        );
        assert_eq!(admitted(&limiter, "a", NOW + Duration::from_secs(1), 9), 4);
        assert_eq!(
            admitted(&limiter, "a", NOW + Duration::from_secs(60), 80),
            50
        );
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limiter = limiter(1, 2);
        assert_eq!(admitted(&limiter, "a", NOW, 9), 2);
        let before = NOW - Duration::from_secs(3600);
        assert_eq!(admitted(&limiter, "a", before, 9), 2);
    }

    #[test]
    fn many_keys_neither_free_a_debtor_nor_stop_the_others() {
        let limiter = limiter(1, 1);
        assert!(limiter.admit("debtor", NOW).is_ok());
        let strangers = (0..4096).filter(|n: &u32| limiter.admit(n, NOW).is_ok());
        // A tenth of all places is taken: a stranger meets two taken ones once in a hundred times.
        assert!(strangers.count() > 3900);
        assert!(limiter.admit("debtor", NOW).is_err());
    }

    #[test]
    fn a_subject_at_its_limit_leaves_the_issuers_alone() {
        let rate = |per_second, burst| Rate { per_second, burst };
        let quotas = Quotas::new(&RateLimits {
            enabled: true,
            address: rate(1, 1),
            issuer: rate(1, 3),
            subject: rate(1, 1),
        });
        let quotas = quotas.unwrap();
        let admit = |issuer, subject| quotas.admit("https://*", issuer, subject, NOW);
        assert_eq!(admit("https://a", "one"), Ok(()));
        for _ in 0..9 {
            let limited = admit("https://a", "one").unwrap_err();
            assert_eq!(limited.what, Limit::Subject);
        }
        // A subject of the same name at another issuer is another one, the pattern is the same.
        assert_eq!(admit("https://b", "one"), Ok(()));
        assert_eq!(admit("https://b", "two"), Ok(()));
        let limited = admit("https://c", "three").unwrap_err();
        assert_eq!(
            (limited.what, limited.retry_after),
            (Limit::Issuer, Duration::from_secs(1))
        );
        assert!(
            Quotas::new(&RateLimits {
                enabled: false,
                ..RateLimits::default()
            })
            .is_none()
        );
    }

    #[test]
    fn a_request_that_was_held_up_forgives_no_debt() {
        let limiter = limiter(5, 50);
        assert_eq!(admitted(&limiter, "a", NOW, 80), 50);
        let later = NOW + Duration::from_millis(200);
        assert_eq!(admitted(&limiter, "a", later, 9), 1);
        // Its time was taken before theirs, and it comes here after them.
        let held_up = NOW + Duration::from_millis(199);
        assert_eq!(admitted(&limiter, "a", held_up, 80), 0);
        assert_eq!(admitted(&limiter, "a", later, 80), 0);
    }
}
