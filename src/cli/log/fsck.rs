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
    let is_watched = std::io::stderr().is_terminal();
    let mut shown = None;
    let checked = audit
        .check(&mut |done, all| {
            let percent = done.saturating_mul(100) / all.max(1);
            if is_watched && shown.replace(percent) != Some(percent) {
                terminal::progress(percent, format_args!("{done} of {all} entries"));
            }
        })
        .await;
    if is_watched {
        terminal::progress_ends();
    }
    let issuers = checked?.issuers;
    terminal::result(format_args!(
        "the log {} is whole: entries {}, issuers {issuers}",
        log.origin, audit.head.size
    ));
    Ok(())
}

/// In the database there is more: every timestamp's signature, and the keys by which entries are found.
async fn database(source: &Source) -> Result<(), Failure> {
    let config = Either::read(&source.config.config)?;
    let logs = config.logs();
    let (log, signer) = (logs.config()?, logs.signer()?);
    let report = check_file(&log.database, &log.origin, signer.verifier()).await?;
    let Report {
        head,
        tiles,
        issuers,
    } = report;
    terminal::result(format_args!(
        "the log {} is whole: entries {}, hash tiles {tiles}, issuers {issuers}",
        log.origin, head.size
    ));
    Ok(())
}
