//! `vouchsafe log follow`

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::described::Described;
use super::source::Source;
use crate::cli::{Failure, terminal};
use crate::ctlog::audit::Audit;
use crate::ctlog::checkpoint::Checkpoint;
use crate::ctlog::merkle::TILE_WIDTH;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The first entry to show; only new ones, if left out
    #[arg(long)]
    from: Option<u64>,
    /// Show certificates with this subject alternative name only
    #[arg(long)]
    identity: Option<String>,
    /// Show certificates for tokens of this issuer only
    #[arg(long)]
    issuer: Option<String>,
    /// End with the newest entry instead of waiting for more
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = follow(&arguments) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn follow(arguments: &Arguments) -> Result<(), Failure> {
    let mut next = arguments.from;
    let mut last: Option<Checkpoint> = None;
    loop {
        // Opened anew each time: a database is read as it was when it was opened.
        let log = arguments.source.open().await?;
        let audit = log.audit().await?;
        if let Some(last) = &last {
            check_growth(last, &audit).await?;
        }
        let size = audit.head.size;
        let first = next.unwrap_or(size);
        let width = TILE_WIDTH as u64;
        for n in first / width..size.div_ceil(width) {
            for leaf in audit.entries(n).await? {
                let Some(entry) = Described::of(&leaf).filter(|entry| entry.index >= first) else {
                    continue;
                };
                let is_named = |name: &String| entry.names.contains(name);
                let is_issued = |issuer: &String| entry.token_issuer() == Some(issuer);
                if arguments.identity.as_ref().is_none_or(is_named)
                    && arguments.issuer.as_ref().is_none_or(is_issued)
                {
                    terminal::result(entry.as_json());
                }
            }
        }
        next = Some(first.max(size));
        last = Some(audit.head.clone());
        if arguments.no_wait {
            return Ok(());
        }
        sleep(EVERY).await;
    }
}

/// The tree that was seen before must be the beginning of this one.
async fn check_growth(last: &Checkpoint, audit: &Audit<'_>) -> Result<(), Failure> {
    let head = &audit.head;
    if head.size < last.size {
        let (size, before) = (head.size, last.size);
        return Err(format!("the log had {before} entries and now shows {size}").into());
    }
    if audit.edge_at(last.size).await?.root() != last.root {
        return Err(format!("the log does not begin with the {} entries that it had before: its history was changed", last.size).into());
    }
    Ok(())
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
