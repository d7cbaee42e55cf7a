//! `vouchsafe log follow`

use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::described::Described;
use super::source::{Log, Source};
use crate::cli::terminal::Unwritten;
use crate::cli::{Failure, terminal};
use crate::ctlog::LogError;
use crate::ctlog::audit::{Audit, AuditError};
use crate::ctlog::checkpoint::Checkpoint;
use crate::ctlog::entry::TileLeaf;
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
        () = terminal::unread() => Ok(()),
    }
}

async fn follow(arguments: &Arguments) -> Result<(), Failure> {
    let mut log = arguments.source.open().await?;
    let mut shown = Shown {
        next: arguments.from,
        head: None,
    };
    let mut pause = EVERY;
    loop {
        match shown.go_on(&mut log, arguments).await {
            Ok(()) if arguments.no_wait => return Ok(()),
            Ok(()) => pause = EVERY,
            Err(Stopped::Output(error)) => return Err(error.into()),
            // Before a tree head was seen the address or the file is wrong, and not just out of reach.
            Err(error) if error.is_passing() && shown.head.is_some() && !arguments.no_wait => {
                pause = (2 * pause).min(LONGEST);
                let seconds = pause.as_secs();
                terminal::say(format_args!(
                    "vouchsafe: {error}; trying again in {seconds} s"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        sleep(pause).await;
    }
}

/// How far it is.
struct Shown {
    /// The first entry that was not looked at; nothing, where it is the next new one.
    next: Option<u64>,
    /// The newest tree head.
    head: Option<Checkpoint>,
}

impl Shown {
    /// Shows what has come since. After an error it goes on with the entry at which it ended.
    async fn go_on(&mut self, log: &mut Log, arguments: &Arguments) -> Result<(), Stopped> {
        log.renew().await?;
        let audit = log.audit().await?;
        if let Some(last) = &self.head {
            check_growth(last, &audit).await?;
        }
        self.head = Some(audit.head.clone());
        let size = audit.head.size;
        let next = self.next.get_or_insert(size);
        let width = TILE_WIDTH as u64;
        for n in *next / width..size.div_ceil(width) {
            for leaf in audit.entries(n).await? {
                if leaf.index >= *next {
                    let Arguments {
                        identity, issuer, ..
                    } = arguments;
                    if let Some(line) = told(&leaf, identity.as_ref(), issuer.as_ref()) {
                        terminal::result(line)?;
                    }
                    *next = leaf.index + 1;
                }
            }
        }
        Ok(())
    }
}

/// What is to be said of an entry, if it is one of those that are looked for.
fn told(leaf: &TileLeaf, identity: Option<&String>, issuer: Option<&String>) -> Option<Value> {
    let Some(entry) = Described::of(leaf) else {
        // Whoever watches has to know that there is something that he cannot see, whatever he looks for.
        return Some(json!({"index": leaf.index, "unreadable": true}));
    };
    let is_named = |name: &String| entry.names.contains(name);
    let is_issued = |issuer: &String| entry.token_issuer() == Some(issuer);
    let is_wanted = identity.is_none_or(is_named) && issuer.is_none_or(is_issued);
    is_wanted.then(|| entry.as_json())
}

/// The tree that was seen before must be the beginning of this one.
async fn check_growth(last: &Checkpoint, audit: &Audit<'_>) -> Result<(), Stopped> {
    let head = &audit.head;
    if head.size < last.size {
        return Err(Stopped::Shrunk {
            before: last.size,
            size: head.size,
        });
    }
    if audit.edge_at(last.size).await?.root() != last.root {
        return Err(Stopped::Changed(last.size));
    }
    Ok(())
}

/// Why there is nothing more to show.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Database(#[from] LogError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("the log had {before} entries and now shows {size}")]
    Shrunk { before: u64, size: u64 },
    #[error(
        "the log does not begin with the {0} entries that it had before: its history was changed"
    )]
    Changed(u64),
    #[error(transparent)]
    Output(#[from] Unwritten),
}

impl Stopped {
    /// Whether it may go away by itself: what could not be read, and not what was read and is wrong.
    const fn is_passing(&self) -> bool {
        match self {
            Self::Database(error) => matches!(error, LogError::Store(_)),
            Self::Audit(error) => matches!(error, AuditError::Files(_) | AuditError::Missing(_)),
            Self::Shrunk { .. } | Self::Changed(_) | Self::Output(_) => false,
        }
    }
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at a log that cannot be read.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctlog::entry::EntryBody;

    #[test]
    fn an_entry_that_cannot_be_read_is_not_passed_over() {
        let leaf = TileLeaf {
            body: EntryBody::x509(b"no certificate").unwrap(),
            index: 7,
            timestamp_ms: 1,
            precertificate: None,
            chain: Vec::new(),
        };
        let somebody = "somebody@example.com".to_owned();
        for identity in [None, Some(&somebody)] {
            let line = told(&leaf, identity, None);
            assert_eq!(line, Some(json!({"index": 7, "unreadable": true})));
        }
    }
}
