//! `vouchsafe log fsck`

use std::io::IsTerminal as _;

use super::source::Source;
use crate::cli::{Failure, terminal};
use crate::config::Either;
use crate::ctlog::check::{Report, check_file};

pub(super) async fn run(source: Source) -> Result<(), Failure> {
    if source.is_database() {
        return database(&source).await;
    }
    let log = source.open().await?;
    let audit = log.audit().await?;
    let mut bar = Bar::new();
    let checked = audit.check(&mut |done, all| bar.show(done, all)).await;
    bar.end();
    let issuers = checked?.issuers;
    terminal::result(format_args!(
        "the log {} is whole: entries {}, issuers {issuers}",
        log.origin, audit.head.size
    ))?;
    Ok(())
}

/// In the database there is more: every timestamp's signature, and the keys by which entries are found.
async fn database(source: &Source) -> Result<(), Failure> {
    let config = Either::read(&source.config.config)?;
    let logs = config.logs();
    let (log, signer) = (logs.config()?, logs.signer()?);
    let mut bar = Bar::new();
    let progress = &mut |done, all| bar.show(done, all);
    let checked = check_file(&log.database, &log.origin, signer.verifier(), progress).await;
    bar.end();
    let Report {
        head,
        tiles,
        issuers,
    } = checked?;
    terminal::result(format_args!(
        "the log {} is whole: entries {}, hash tiles {tiles}, issuers {issuers}",
        log.origin, head.size
    ))?;
    Ok(())
}

/// How far the check is, for somebody who watches.
struct Bar {
    is_watched: bool,
    shown: Option<u64>,
}

impl Bar {
    fn new() -> Self {
        Self {
            is_watched: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    fn show(&mut self, done: u64, all: u64) {
        let percent = done.saturating_mul(100) / all.max(1);
        if self.is_watched && self.shown.replace(percent) != Some(percent) {
            terminal::progress(percent, format_args!("{done} of {all} entries"));
        }
    }

    fn end(self) {
        if self.is_watched {
            terminal::progress_ends();
        }
    }
}
