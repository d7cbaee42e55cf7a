//! Somebody else's logs: the same [`append`](Logs::append) as the built-in log's, over HTTP.
//!
//! A log is believed as far as its signature over our own bytes goes and no further. What it must not
//! be able to do: get a timestamp into a certificate that verifiers refuse, hold up issuance longer
//! than the deadline, or make us sign twice. The last holds by construction: an SCT is all that ever
//! comes out of here, and the precertificate is spent by one.
//!
//! | file | what it knows |
//! |---|---|
//! | `client` | the two calls over HTTP |
//! | `answer` | which timestamps hold |
//! | `retry` | whether and when the same bytes are sent again |
//! | `breaker` | when a log is left alone |
//! | `error` | what can go wrong |

mod answer;
mod breaker;
mod client;
mod error;
mod retry;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

use self::breaker::{Breaker, Ended};
use self::client::{Client, checked_url};
use self::retry::Retries;
use super::Appended;
use super::chain::ChainCertificate;
use super::entry::EntryBody;
use super::merkle::Hash;
use super::signer::LogVerifier;
use crate::certificate::precertificate::Precertificate;
use crate::telemetry::{metrics, tick};

pub use self::answer::Lie;
pub use self::breaker::Condition;
pub use self::error::{Fault, LogsError, RemoteError};

/// What an operator says about one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalLog {
    /// Its submission prefix, as RFC 6962 counts it: what stands before `/ct/v1`.
    pub url: String,
    /// Its public key, a DER `SubjectPublicKeyInfo`. No call of RFC 6962 tells it, and without it
    /// nothing that the log says could be checked.
    pub public_key_der: Vec<u8>,
    /// The name it is asked by (`Host`), where that is not the one in its address.
    pub origin: Option<String>,
    /// The certificates (DER) that a connection to it is checked by, instead of the system's.
    pub ca_certificates: Option<Vec<Vec<u8>>>,
    /// From then on nothing is sent to it.
    pub valid_until: Option<OffsetDateTime>,
}

/// Logs in their order of preference. Clones are the same logs.
#[derive(Clone, Debug)]
pub struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    logs: Vec<Remote>,
    /// SHA-256 of the issuing certificate's key.
    issuer_key_hash: Hash,
    /// The authority's chain in DER's base64, as it follows the precertificate in a request.
    above: String,
    root_der: Vec<u8>,
    deadline: Duration,
    /// One moment on two clocks, for what is done without a request that brings its time.
    opened: (OffsetDateTime, Instant),
}

#[derive(Debug)]
struct Remote {
    url: String,
    client: Client,
    verifier: LogVerifier,
    valid_until: Option<OffsetDateTime>,
    /// Held for a moment only, never while anything is awaited.
    breaker: Mutex<Breaker>,
}

/// A log as those who watch are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Its address.
    pub url: String,
    /// How it is.
    pub condition: Condition,
}

impl Logs {
    /// Checks what is said about the logs, then asks each of them whether it accepts the root of this
    /// authority (`issuer_chain`, in DER, issuing certificate first). A log that says no ends the
    /// start, since every certificate would fail; one that says nothing is asked again and again, and
    /// used from its answer on. `deadline` is for one certificate and all logs together.
    ///
    /// # Errors
    /// [`LogsError`].
    pub async fn open(
        logs: Vec<ExternalLog>,
        issuer_chain: &[Vec<u8>],
        deadline: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, LogsError> {
        let (Some(issuing), Some(root_der)) = (issuer_chain.first(), issuer_chain.last()) else {
            return Err(crate::ctlog::chain::ChainError::NotAnAuthority.into());
        };
        let above: Vec<String> = issuer_chain
            .iter()
            .map(|der| format!(",\"{}\"", STANDARD.encode(der)))
            .collect();
        let shared = Arc::new(Shared {
            logs: Self::checked(logs)?,
            issuer_key_hash: ChainCertificate::from_der(issuing.clone())?.key_hash(),
            above: above.concat(),
            root_der: root_der.clone(),
            deadline,
            opened: (now, tick()),
        });
        let looks = shared.logs.iter().filter(|log| !log.is_over(now));
        let looks = looks.map(|log| shared.look(log));
        futures_util::future::try_join_all(looks).await?;
        tokio::spawn(watch(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// The part of [`Self::open`] that needs no network.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn check(logs: Vec<ExternalLog>) -> Result<(), LogsError> {
        Self::checked(logs).map(drop)
    }

    fn checked(logs: Vec<ExternalLog>) -> Result<Vec<Remote>, LogsError> {
        if logs.is_empty() {
            return Err(LogsError::None);
        }
        if logs.len() > MAX_LOGS {
            return Err(LogsError::TooMany(logs.len()));
        }
        let mut seen = BTreeSet::new();
        logs.into_iter()
            .map(|log| {
                let url = checked_url(&log.url)?.to_owned();
                let verifier =
                    LogVerifier::from_public_key_der(&log.public_key_der).map_err(|error| {
                        let url = url.clone();
                        LogsError::Key { url, error }
                    })?;
                let is_new = seen.insert(url.clone());
                if !is_new || !seen.insert(format!("{:?}", verifier.log_id())) {
                    return Err(LogsError::Twice(url));
                }
                Ok(Remote {
                    client: Client::new(&log)?,
                    verifier,
                    valid_until: log.valid_until,
                    breaker: Mutex::new(Breaker::new()),
                    url,
                })
            })
            .collect()
    }

    /// Logs a precertificate of this authority in the first log that takes it, and answers with that
    /// log's timestamp, which was checked. If an answer was lost, the certificate may stand in more
    /// than one log, or twice in one; there is one timestamp all the same.
    ///
    /// # Errors
    /// [`RemoteError`], with what became of each log.
    pub async fn append(
        &self,
        precertificate: &Precertificate,
        now: OffsetDateTime,
    ) -> Result<Appended, RemoteError> {
        let shared = &*self.shared;
        let began = tick();
        let body = EntryBody::precertificate(&shared.issuer_key_hash, precertificate.tbs())?;
        let request = Submission {
            chain: shared.chain(precertificate),
            body,
            // Nobody can foresee it, which is all that is asked of dice.
            dice: *precertificate.serial().as_bytes(),
            began,
            now,
        };
        let mut failures = Vec::new();
        for (position, log) in shared.logs.iter().enumerate() {
            let left = shared.deadline.saturating_sub(began.elapsed());
            if left.is_zero() {
                failures.push((log.url.clone(), Fault::Slow));
                continue;
            }
            let outcome = match log.admits(now) {
                Ok(()) => {
                    // Each log that is left gets its part of the time that is left, so that one which
                    // hangs does not use up the next one's.
                    let rest = shared.logs.iter().skip(position);
                    let rest = rest.filter(|log| !log.is_over(now) && log.condition().is_usable());
                    let rest = rest.count();
                    let share = left / u32::try_from(rest.max(1)).unwrap_or(u32::MAX);
                    log.submit(&request, share).await
                }
                Err(fault) => Err(fault),
            };
            match outcome {
                Ok(appended) => return Ok(appended),
                Err(fault) => failures.push((log.url.clone(), fault)),
            }
        }
        Err(RemoteError::NoLog(failures))
    }

    /// Whether there is a log that certificates are sent to.
    #[must_use]
    pub fn in_service(&self, now: OffsetDateTime) -> bool {
        let mut logs = self.shared.logs.iter();
        logs.any(|log| !log.is_over(now) && log.condition().is_usable())
    }

    /// Each log, in the order of preference.
    #[must_use]
    pub fn states(&self) -> Vec<LogState> {
        let logs = self.shared.logs.iter();
        logs.map(|log| LogState {
            url: log.url.clone(),
            condition: log.condition(),
        })
        .collect()
    }
}

/// What is sent to every log that is asked, byte for byte the same.
struct Submission {
    chain: Bytes,
    body: EntryBody,
    dice: [u8; 20],
    began: Instant,
    now: OffsetDateTime,
}

impl Submission {
    fn time(&self) -> OffsetDateTime {
        self.now + self.began.elapsed()
    }
}

impl Shared {
    /// `{"chain": [base64 DER, …]}`, the precertificate first.
    fn chain(&self, precertificate: &Precertificate) -> Bytes {
        let der = precertificate.der();
        let mut text = String::with_capacity(der.len() / 3 * 4 + self.above.len() + 32);
        text.push_str("{\"chain\":[\"");
        STANDARD.encode_string(der, &mut text);
        text.push('"');
        text.push_str(&self.above);
        text.push_str("]}");
        text.into()
    }

    fn now(&self) -> OffsetDateTime {
        let (opened, since) = self.opened;
        opened + since.elapsed()
    }

    /// Asks a log for its roots. That it says no is an error, that it says nothing is a line.
    async fn look(&self, log: &Remote) -> Result<(), LogsError> {
        let accepts = log.client.accepts(&self.root_der, self.now());
        let accepts = timeout(LOOK, accepts).await.unwrap_or(Err(Fault::Slow));
        let is_good = matches!(accepts, Ok(true));
        log.change(|breaker, now| breaker.looked(is_good, now));
        match accepts {
            Ok(true) => Ok(()),
            Ok(false) => Err(LogsError::RootNotAccepted(log.url.clone())),
            Err(fault) => {
                tracing::debug!(log = log.url, %fault, "a log does not tell its roots");
                Ok(())
            }
        }
    }
}

/// Looks at each log that is left alone, so that none is sent a certificate before it answers again.
async fn watch(shared: Weak<Shared>) {
    loop {
        sleep(BETWEEN_LOOKS).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = shared.now();
        let due = shared.logs.iter();
        let due = due.filter(|log| !log.is_over(now) && log.wants_look());
        let looks = due.map(|log| async {
            if let Err(error) = shared.look(log).await {
                tracing::error!(log = log.url, %error, "a log cannot be used");
            }
        });
        futures_util::future::join_all(looks).await;
    }
}

impl Remote {
    fn is_over(&self, now: OffsetDateTime) -> bool {
        self.valid_until.is_some_and(|until| now >= until)
    }

    fn admits(&self, now: OffsetDateTime) -> Result<(), Fault> {
        if self.is_over(now) {
            return Err(Fault::Over);
        }
        match self.breaker().admits(tick()) {
            true => Ok(()),
            false => Err(Fault::OutOfService),
        }
    }

    /// Sends a certificate, as often as it makes sense within `share`, and tells the breaker.
    async fn submit(&self, request: &Submission, share: Duration) -> Result<Appended, Fault> {
        let began = tick();
        let answer = self.try_submit(request, began + share).await;
        let answer = answer.and_then(|answer| {
            answer::check(&answer, &self.verifier, &request.body, request.time())
        });
        let (how, outcome) = match &answer {
            Ok(_) => (Ended::Good, "taken"),
            Err(Fault::Refused { .. }) => (Ended::Refused, "refused"),
            Err(Fault::Lied(_)) => (Ended::Lie, "wrong"),
            Err(
                Fault::Slow
                | Fault::Unreachable(_)
                | Fault::Busy { .. }
                | Fault::Broken(_)
                | Fault::OutOfService
                | Fault::Over,
            ) => (Ended::Fault, "failed"),
        };
        metrics().external_log(&self.url, outcome, began.elapsed());
        match &answer {
            Ok(_) => {}
            Err(fault @ Fault::Lied(_)) => tracing::error!(
                log = self.url,
                %fault,
                "a log answers with what must not get into a certificate: it is suspect"
            ),
            Err(fault) => tracing::warn!(log = self.url, %fault, "a log gave no timestamp"),
        }
        self.change(|breaker, now| breaker.ended(how, now));
        answer
    }

    async fn try_submit(&self, request: &Submission, until: Instant) -> Result<Vec<u8>, Fault> {
        let mut retries = Retries::default();
        let mut dice = request.dice.iter().skip(1).cycle();
        loop {
            let answer = self
                .client
                .add_pre_chain(request.chain.clone(), request.time());
            let answer = timeout(until.saturating_duration_since(tick()), answer).await;
            let fault = match answer.unwrap_or(Err(Fault::Slow)) {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let Some(pause) = retries.pause(&fault, dice.next().copied().unwrap_or_default())
            else {
                return Err(fault);
            };
            // Whoever would be too late afterwards need not wait.
            if pause >= until.saturating_duration_since(tick()) {
                return Err(fault);
            }
            sleep(pause).await;
        }
    }

    fn wants_look(&self) -> bool {
        self.breaker().wants_look(tick())
    }

    fn condition(&self) -> Condition {
        self.breaker().condition()
    }

    /// Changes the breaker, and writes a line where that made a difference.
    fn change(&self, change: impl FnOnce(&mut Breaker, Instant)) {
        let mut breaker = self.breaker();
        let before = breaker.condition();
        change(&mut breaker, tick());
        let after = breaker.condition();
        drop(breaker);
        if before == after {
            return;
        }
        let (log, condition) = (&self.url, after.name());
        match after {
            Condition::Good => tracing::info!(log, condition, "a log is in use again"),
            Condition::Tried => tracing::info!(log, condition, "a log answers again and is tried"),
            Condition::Down => {
                tracing::warn!(log, condition, "a log is left alone until it answers")
            }
            Condition::Suspect => tracing::error!(log, condition, "a suspect log is left alone"),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // A breaker is whole after every step, whoever panicked beside it.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs that one deployment may name.
const MAX_LOGS: usize = 16;
/// Between two rounds of [`watch`].
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long a log may take to tell its roots.
const LOOK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
