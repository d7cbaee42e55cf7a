//! The steps of issuance, measured: a time for each, and a span where somebody collects traces.

use std::future::Future;

use tracing::Instrument as _;

use super::{metrics, tick};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Token in, principal out.
    Authenticate,
    /// The key and its proof.
    Prove,
    /// The certificate's fields.
    Template,
    /// The authority's first signature.
    Precertificate,
    /// The transparency log, until the entry is durable.
    Log,
    /// The authority's second signature.
    Certificate,
    /// The ledger, until the row is durable.
    Ledger,
}

/// All of them, in order.
pub const STEPS: [Step; 7] = [
    Step::Authenticate,
    Step::Prove,
    Step::Template,
    Step::Precertificate,
    Step::Log,
    Step::Certificate,
    Step::Ledger,
];

impl Step {
    /// Its name in labels and spans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Prove => "prove",
            Self::Template => "template",
            Self::Precertificate => "precertificate",
            Self::Log => "log",
            Self::Certificate => "certificate",
            Self::Ledger => "ledger",
        }
    }

    /// Takes the step.
    ///
    /// # Errors
    /// Its own.
    pub async fn take<T, E>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let span = tracing::debug_span!(
            target: "vouchsafe::step",
            "step",
            otel.name = self.name(),
            otel.status_code = tracing::field::Empty,
        );
        let began = tick();
        let result = work.instrument(span.clone()).await;
        if let Some(durations) = metrics().step(self) {
            durations.observe(began.elapsed());
        }
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        result
    }

    pub(super) fn position(self) -> usize {
        STEPS
            .iter()
            .position(|step| *step == self)
            .unwrap_or_default()
    }
}
