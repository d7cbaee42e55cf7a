//! One issuer's keys, kept while they are good.
//!
//! ```text
//! fetched ──────────────── renewing ──────────── stale ───────────────────────── gone
//!    keys are fresh            a request starts a     asked again before use; the    24 hours
//!    nothing is asked          refresh, none waits    old keys serve if that fails
//! ```
//!
//! A token that no kept key verifies also starts a refresh, because the issuer may have rotated;
//! but an issuer is asked at most once in ten seconds, whatever is thrown at us, and by one request
//! for all that wait. Every issuer has its own: a slow or dead one holds up nobody else, and a key
//! name means nothing outside of its issuer.

use super::discovery::Source;
use super::jwks::{KeySet, SignatureError};
use super::outbound::ProviderError;
use super::unverified::{SignedPayload, UnverifiedToken};
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, PoisonError};
use time::{Duration, OffsetDateTime};
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Keys {
    issuer: Box<str>,
    source: Arc<Source>,
    held: ArcSwapOption<Held>,
    refresh: Mutex<Refresh>,
    /// Places for those who wait for a refresh.
    waiting: Semaphore,
}

/// Why a token could not be verified.
#[derive(Debug)]
pub(super) enum VerifyError {
    /// The token's fault.
    Signature(SignatureError),
    /// The provider's.
    Provider(ProviderError),
}

#[derive(Debug)]
struct Held {
    keys: KeySet,
    fetched: OffsetDateTime,
    renew_from: OffsetDateTime,
    stale_from: OffsetDateTime,
    gone_from: OffsetDateTime,
}

#[derive(Debug, Default)]
struct Refresh {
    asked: Option<OffsetDateTime>,
    failed: Option<ProviderError>,
    /// Closed when the refresh is over, however it ended.
    running: Option<watch::Receiver<()>>,
}

impl Keys {
    /// The keys of `issuer`, not fetched yet.
    pub(super) fn new(issuer: &str, source: Arc<Source>) -> Self {
        Self {
            issuer: issuer.into(),
            source,
            held: ArcSwapOption::empty(),
            refresh: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// The token's payload, if one of the issuer's keys signed it.
    pub(super) async fn verify(
        self: &Arc<Self>,
        token: &mut UnverifiedToken<'_>,
        now: OffsetDateTime,
    ) -> Result<SignedPayload, VerifyError> {
        let (error, tried) = match self.try_held(token, now) {
            Some(Ok(payload)) => return Ok(payload),
            Some(Err(bad)) => bad,
            None => {
                if self.is_failing() && self.usable(now).is_some() {
                    // Known to be in trouble: the old keys serve while somebody tries again.
                    self.start_refresh(now);
                } else {
                    self.wait_for_refresh(now).await;
                }
                let Some(held) = self.usable(now) else {
                    return Err(VerifyError::Provider(self.failure()));
                };
                match token.verify(&held.keys) {
                    Ok(payload) => return Ok(payload),
                    Err(error) => (error, held),
                }
            }
        };
        // Perhaps by a key that is newer than ours.
        let could_wait = self.wait_for_refresh(now).await;
        match self.held.load_full() {
            Some(held) if !Arc::ptr_eq(&held, &tried) => {
                token.verify(&held.keys).map_err(VerifyError::Signature)
            }
            // The key may be one that the provider cannot tell us of at the moment, or that there was no
            // place to wait for.
            _ if error == SignatureError::Key && (self.is_failing() || !could_wait) => {
                Err(VerifyError::Provider(self.failure()))
            }
            _ => Err(VerifyError::Signature(error)),
        }
    }

    /// Whether a key set was ever had.
    pub(super) fn is_proven(&self) -> bool {
        self.held.load().is_some()
    }

    /// Whether the last try to fetch them failed, and when one succeeded.
    pub(super) fn health(&self) -> (bool, Option<OffsetDateTime>) {
        let fetched = self.held.load().as_ref().map(|held| held.fetched);
        (self.is_failing(), fetched)
    }

    /// The verdict of fresh keys, without waiting for anything; a bad one with the keys that gave it.
    /// Nothing, if there are none.
    fn try_held(
        self: &Arc<Self>,
        token: &mut UnverifiedToken<'_>,
        now: OffsetDateTime,
    ) -> Option<Result<SignedPayload, (SignatureError, Arc<Held>)>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| now < held.stale_from)?;
        if now >= held.renew_from {
            self.start_refresh(now);
        }
        let verdict = token.verify(&held.keys);
        Some(verdict.map_err(|error| (error, Arc::clone(held))))
    }

    fn usable(&self, now: OffsetDateTime) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| now < held.gone_from)
    }

    fn is_failing(&self) -> bool {
        self.lock().failed.is_some()
    }

    fn failure(&self) -> ProviderError {
        let failed = self.lock().failed.clone();
        failed.unwrap_or(ProviderError::AskedBefore)
    }

    /// False, if too many wait already.
    async fn wait_for_refresh(self: &Arc<Self>, now: OffsetDateTime) -> bool {
        // Callers of a slow provider must not take the places of all others.
        let Ok(_place) = self.waiting.try_acquire() else {
            return false;
        };
        if let Some(mut running) = self.start_refresh(now) {
            // Nothing is ever sent; the error says that the sender is gone.
            while running.changed().await.is_ok() {}
        }
        true
    }

    /// The refresh that is running, or a new one, unless the issuer was asked just now. It runs on
    /// its own, so that a caller who hangs up cannot spoil it for the others.
    fn start_refresh(self: &Arc<Self>, now: OffsetDateTime) -> Option<watch::Receiver<()>> {
        let mut refresh = self.lock();
        if let Some(running) = &refresh.running
            && running.has_changed().is_ok()
        {
            return Some(running.clone());
        }
        let asked = refresh.asked;
        if asked.is_some_and(|asked| (now - asked).abs() < MIN_INTERVAL) {
            return None;
        }
        let (over, running) = watch::channel(());
        refresh.asked = Some(now);
        refresh.running = Some(running.clone());
        drop(refresh);
        let keys = Arc::clone(self);
        let fetching = async move {
            keys.fetch(now).await;
            drop(over);
        };
        tokio::spawn(fetching.in_current_span());
        Some(running)
    }

    async fn fetch(&self, now: OffsetDateTime) {
        let issuer = &self.issuer;
        match self.source.fetch(issuer).await {
            Ok(fetched) => {
                let max_age = fetched.max_age.and_then(|age| Duration::try_from(age).ok());
                let ttl = max_age.unwrap_or(DEFAULT_TTL).clamp(MIN_TTL, MAX_TTL);
                tracing::info!(%issuer, keys = fetched.keys.len(), ttl_s = ttl.whole_seconds(), "keys of an issuer fetched");
                self.held.store(Some(Arc::new(Held {
                    keys: fetched.keys,
                    fetched: now,
                    renew_from: now + ttl * RENEW_AT,
                    stale_from: now + ttl,
                    gone_from: now + MAX_STALE,
                })));
                self.lock().failed = None;
            }
            Err(error) => {
                tracing::warn!(%issuer, %error, "keys of an issuer could not be fetched");
                self.lock().failed = Some(error);
            }
        }
    }

    /// Until no refresh is running, without starting one.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        let running = self.lock().running.clone();
        if let Some(mut running) = running {
            while running.changed().await.is_ok() {}
        }
    }

    /// As if it had been asked, and had no keys to show.
    #[cfg(test)]
    pub(super) fn prove(&self, now: OffsetDateTime) {
        self.held.store(Some(Arc::new(Held {
            keys: KeySet::parse(br#"{"keys":[]}"#, Vec::new()).unwrap(),
            fetched: now,
            renew_from: now,
            stale_from: now,
            gone_from: now,
        })));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Callers who may wait for one issuer's keys at the same time; more are told to come back.
const MAX_WAITING: usize = 128;

/// No issuer is asked more often than this.
pub(super) const MIN_INTERVAL: Duration = Duration::seconds(10);

/// How long keys are fresh when their publisher does not say.
const DEFAULT_TTL: Duration = Duration::hours(1);
const MIN_TTL: Duration = Duration::seconds(60);
const MAX_TTL: Duration = Duration::hours(12);

/// The part of the time to live after which the next request renews the keys.
const RENEW_AT: f64 = 0.75;

/// How long keys may serve after they were fetched, when the issuer cannot be reached.
const MAX_STALE: Duration = Duration::hours(24);
