//! What a log needs beside issuance, never on its path: a signature now and then while nothing is
//! logged, a copy elsewhere, others who vouch for it.

use super::Log;
use super::publisher::{PublishError, Publisher};
use super::store::StoreError;
use super::witness::{Witness, WitnessError};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use std::time::Duration;
use time::OffsetDateTime;

/// Asks for the time, at the door it was handed in from.
pub type Clock = fn() -> OffsetDateTime;

/// Everything that runs as long as the log does.
#[derive(Debug)]
pub struct Upkeep {
    log: Log,
    refresh: Option<Duration>,
    publisher: Option<Publisher>,
    witnesses: Vec<Witness>,
}

/// Somebody remembers another log than the database, so it must not be opened; or was not set up.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The publisher.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A witness.
    #[error(transparent)]
    Witness(#[from] WitnessError),
}

impl Upkeep {
    /// With `refresh` as the age at which a tree head is signed again.
    #[must_use]
    pub fn new(
        log: Log,
        refresh: Option<Duration>,
        publisher: Option<Publisher>,
        witnesses: Vec<Witness>,
    ) -> Self {
        Self {
            log,
            refresh,
            publisher,
            witnesses,
        }
    }

    /// Asks all who may remember the log whether they remember more than is stored; before anything
    /// is logged. Who cannot be asked is passed over with a warning: the log must open without them.
    ///
    /// # Errors
    /// [`UpkeepError`]: one of them does, or what is published is not this log.
    pub async fn check(&mut self, now: OffsetDateTime) -> Result<(), UpkeepError> {
        if let Some(publisher) = &mut self.publisher {
            match publisher.check(now).await {
                Err(PublishError::Target(error)) => {
                    tracing::warn!(%error, "what is published cannot be compared with the log");
                }
                checked => checked?,
            }
        }
        let head = self.log.head();
        let asked = self.witnesses.iter_mut().map(async |witness| {
            let answer = witness.cosign(&head).await;
            (witness.name().to_owned(), answer)
        });
        for (witness, answer) in join_all(asked).await {
            match answer {
                Ok(()) => {}
                Err(error @ WitnessError::Rollback(_)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(witness, %error, "the witness does not say what it has seen");
                }
            }
        }
        Ok(())
    }

    /// Works until `over` resolves, however it does: nothing is logged any more. Then it publishes what
    /// came last, and is done within a few seconds.
    pub async fn run<T>(self, clock: Clock, over: impl Future<Output = T> + Send + 'static) {
        let Self {
            log,
            refresh,
            mut publisher,
            witnesses,
        } = self;
        let over = over.map(drop).boxed().shared();
        let refreshing = async {
            if let Some(age) = refresh {
                refresh_when_older(&log, age, clock).await;
            }
        };
        let witnessing = join_all(witnesses.into_iter().map(|witness| witness.run(clock)));
        let refreshing_and_witnessing = async {
            tokio::select! {
                _ = async { tokio::join!(refreshing, witnessing) } => {}
                () = over.clone() => {}
            }
        };
        let publishing = async {
            let Some(publisher) = &mut publisher else {
                return;
            };
            let late = async {
                over.clone().await;
                tokio::time::sleep(LAST).await;
            };
            tokio::select! {
                () = publisher.run(clock, over.clone()) => {}
                () = late => tracing::warn!("the last entries could not be published in time"),
            }
        };
        tokio::join!(refreshing_and_witnessing, publishing);
    }
}

/// Signs the tree head again whenever it has reached this age.
async fn refresh_when_older(log: &Log, age: Duration, clock: Clock) {
    loop {
        let left = match age_of_head(log, clock).await {
            Ok(head) => age.saturating_sub(head),
            Err(error) => {
                tracing::warn!(%error, "the age of the tree head is not known");
                age
            }
        };
        if left.is_zero() {
            if let Err(error) = log.refresh(clock()).await {
                tracing::warn!(%error, "the tree head could not be signed again");
            }
            // Not at once, whatever it was.
            tokio::time::sleep(age.min(PAUSE)).await;
        } else {
            tokio::time::sleep(left).await;
        }
    }
}

/// By the store, where other replicas may have signed one.
async fn age_of_head(log: &Log, clock: Clock) -> Result<Duration, StoreError> {
    let head = log.shared.reader.store.state().await?.head;
    let signed = i128::from(head.timestamp_ms) * 1_000_000;
    let age = clock().unix_timestamp_nanos() - signed;
    Ok(Duration::from_nanos(u64::try_from(age).unwrap_or(0)))
}

const PAUSE: Duration = Duration::from_secs(1);
/// For the last publication.
const LAST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
