//! Places at which a test lets the process die, as if the power had gone just then.
//!
//! `VOUCHSAFE_FAIL_POINT=log-committed:3` ends the process the third time it comes past that place.
//! Only builds with debug assertions have any of this: in a release [`FailPoint::reach`] is empty and
//! neither the names nor the variable's are in the program.

#[cfg(debug_assertions)]
use std::sync::LazyLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the places and their names.
macro_rules! fail_points {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// One of the places: first those of an issuance, in the order in which it comes past them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailPoint {
            $($(#[doc = $doc])* $variant,)*
        }

        #[cfg(debug_assertions)]
        const NAMES: &[(&str, FailPoint)] = &[$(($name, FailPoint::$variant)),*];
    };
}

fail_points! {
    /// A request was read; nothing has been done for it.
    RequestParsed = "request-parsed",
    /// Entries were taken from the log's queue; nothing is prepared.
    LogQueued = "log-queued",
    /// In the log's transaction, after the new head and before the tiles.
    LogHeadWritten = "log-head-written",
    /// In the log's transaction, after the tiles and before the entries.
    LogTilesWritten = "log-tiles-written",
    /// In the log's transaction, everything written and nothing committed.
    LogEntriesWritten = "log-entries-written",
    /// The log's transaction is durable and nobody in the process knows.
    LogCommitted = "log-committed",
    /// The high-water mark is at the new head; the log's readers and those who wait do not know.
    LogMarked = "log-marked",
    /// The log's readers see the new head; those who wait for it have no answer.
    LogSwapped = "log-swapped",
    /// A stranger's submission has its timestamp; the answer is not sent.
    SubmissionAnswered = "submission-answered",
    /// The authority has its timestamp; the certificate is not signed.
    SctObtained = "sct-obtained",
    /// The certificate is signed; the ledger does not know it.
    CertificateSigned = "certificate-signed",
    /// The ledger's row is durable and nobody in the process knows.
    LedgerCommitted = "ledger-committed",
    /// The certificate may leave; the answer is not sent.
    ReplyReady = "reply-ready",
    /// A new log's database is complete and does not have its name yet.
    LogDrafted = "log-drafted",
    /// There is a new tree to publish, and nothing of it was published.
    PublicationBegun = "publication-begun",
    /// One tile or certificate more is durable where the log is published.
    FilePublished = "file-published",
    /// All that a new checkpoint needs is durable where the log is published; the checkpoint is not.
    TilesPublished = "tiles-published",
    /// The new checkpoint is durable where the log is published and nobody in the process knows.
    CheckpointPublished = "checkpoint-published",
    /// A witness has vouched for the tree; its answer is not looked at.
    WitnessAnswered = "witness-answered",
}

impl FailPoint {
    /// Ends the process, if a test has asked for it to end here.
    #[inline]
    pub fn reach(self) {
        #[cfg(debug_assertions)]
        if self.is_due() {
            self.end();
        }
    }

    /// Whether this time is the one to end at. Each call counts.
    #[cfg(debug_assertions)]
    pub fn is_due(self) -> bool {
        let Some(armed) = ARMED.as_ref() else {
            return false;
        };
        armed.point == self && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Ends the process without giving anything the time to finish. The last words let a test tell
    /// this end from any other.
    #[cfg(debug_assertions)]
    pub fn end(self) -> ! {
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), "fail point reached: {self:?}"));
        std::process::abort()
    }
}

#[cfg(debug_assertions)]
struct Armed {
    point: FailPoint,
    /// Times until it is due.
    left: AtomicU64,
}

#[cfg(debug_assertions)]
static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let text = std::env::var("VOUCHSAFE_FAIL_POINT").ok()?;
    let armed = parse(&text);
    if armed.is_none() {
        // A test that waits for a place that does not exist would prove nothing.
        tracing::error!(text, "there is no such fail point");
        std::process::abort();
    }
    armed
});

#[cfg(debug_assertions)]
fn parse(text: &str) -> Option<Armed> {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    let (_, point) = NAMES.iter().find(|(known, _)| *known == name)?;
    let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
    Some(Armed {
        point: *point,
        left: AtomicU64::new(count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_with_the_number_of_times_it_is_passed() {
        let armed = parse("log-committed:3").unwrap();
        assert_eq!(armed.point, FailPoint::LogCommitted);
        assert_eq!(armed.left.into_inner(), 3);
        assert_eq!(parse("reply-ready").unwrap().left.into_inner(), 1);
    }

    #[test]
    fn a_place_that_does_not_exist_is_never_waited_for() {
        for text in [
            "",
            "log",
            "log-committed:",
            "log-committed:0",
            "log-committed:-1",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn nobody_dies_who_was_not_asked_to() {
        assert!(
            ARMED.is_none(),
            "the tests themselves run with a fail point"
        );
        FailPoint::LogCommitted.reach();
    }
}
