//! The comparison that a running server makes every so often.

use std::time::Duration;

use time::OffsetDateTime;

use super::{Books, Bounds, GRACE, Progress, Sums};
use crate::telemetry::metrics;

/// Compares what is new at every interval, and everything from the beginning now and then: what was
/// sound once may have been changed since.
#[derive(Debug)]
pub struct Periodic {
    books: Books,
    interval: Duration,
    progress: Progress,
    /// Found since the last full comparison began.
    sums: Sums,
    /// Comparisons until the next full one.
    until_full: u32,
}

impl Periodic {
    /// To begin with everything.
    #[must_use]
    pub fn new(books: Books, interval: Duration) -> Self {
        Self {
            books,
            interval,
            progress: Progress::default(),
            sums: Sums::default(),
            until_full: 0,
        }
    }

    /// Goes on for as long as it is let.
    pub async fn run(mut self, clock: fn() -> OffsetDateTime) {
        loop {
            tokio::time::sleep(self.interval).await;
            self.once(clock()).await;
        }
    }

    async fn once(&mut self, now: OffsetDateTime) {
        if self.until_full == 0 {
            (self.progress, self.sums) = (Progress::default(), Sums::default());
            self.until_full = FULL_EVERY;
        }
        let settled = now - GRACE;
        let bounds = Bounds {
            rows_until: settled,
            entries_until: settled,
            rest: REST,
        };
        let mut told = 0;
        let mut tell = |difference: super::Difference| {
            told += 1;
            let name = difference.name();
            if told > MOST_LINES {
                return;
            }
            if difference.is_innocent() {
                tracing::warn!(difference = name, "ledger and log: {difference}");
            } else {
                tracing::error!(difference = name, "ledger and log differ: {difference}");
            }
        };
        match self.books.compare(&self.progress, bounds, &mut tell).await {
            Ok((sums, progress)) => {
                if told > MOST_LINES {
                    tracing::error!(
                        differences = told,
                        "ledger and log: `vouchsafe ledger audit` lists all differences"
                    );
                }
                self.until_full -= 1;
                self.progress = progress;
                self.sums.trouble += sums.trouble;
                self.sums.unrecorded += sums.unrecorded;
                let now = u64::try_from(now.unix_timestamp()).unwrap_or_default();
                let Sums {
                    trouble,
                    unrecorded,
                    ..
                } = self.sums;
                metrics().reconciliation.finished(now, trouble, unrecorded);
                tracing::debug!(
                    rows = sums.rows,
                    entries = sums.entries,
                    "ledger and log compared"
                );
            }
            Err(error) => {
                // Begun anew from the start: half of it has been told, and would count twice.
                self.until_full = 0;
                metrics().reconciliation.failed();
                tracing::error!(%error, "ledger and log could not be compared");
            }
        }
    }
}

/// One comparison of so many begins at the beginning; with an interval of an hour, one a day.
const FULL_EVERY: u32 = 24;
/// Between two pages: most of the time belongs to those who issue.
const REST: Duration = Duration::from_millis(50);
/// Of one comparison. A damaged ledger must not fill the disk with lines.
const MOST_LINES: u64 = 100;
