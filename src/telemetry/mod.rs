//! What the process says about itself while it runs: log lines, numbers, traces, and the audit trail.
//!
//! All of it is the process's and not a room's: like a log line, a number can be written from
//! everywhere, and nobody hands its means around.

pub mod audit;
pub mod exposition;
pub mod families;
pub mod metrics;
mod process;
pub mod steps;
pub mod traces;

use std::io::IsTerminal as _;
use std::time::Instant;

use serde::Deserialize;
use time::OffsetDateTime;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use metrics::{Outcome, metrics};
pub use steps::Step;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text for people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Sends log lines to standard error, in colours if that is a terminal, and spans to where the
/// environment says. Lines go out from level `info` up unless `filter` (the syntax of `RUST_LOG`) says
/// otherwise. Only the first call of a process has an effect.
///
/// # Errors
/// A filter that cannot be read.
pub fn install(format: LogFormat, filter: Option<&str>) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter.unwrap_or("info,sqlx=warn"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_target(false)
            .boxed(),
    };
    let (spans, sentence) = traces::layer();
    // A second call finds the first one's subscriber in place, which is what its caller wants too.
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    drop(subscriber.with(spans).try_init());
    if let Some(sentence) = sentence {
        tracing::warn!(reason = sentence, "there will be no traces");
    }
    Ok(())
}

/// The clock by which things are measured.
#[expect(
    clippy::disallowed_methods,
    reason = "how long something took is nobody's argument"
)]
pub fn tick() -> Instant {
    Instant::now()
}

/// The clock of what this room writes on its own account.
#[expect(
    clippy::disallowed_methods,
    reason = "a gap in a trail is found when nobody is there who could pass the time on"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
