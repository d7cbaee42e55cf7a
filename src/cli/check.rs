//! `vouchsafe check`

use std::path::PathBuf;

use super::terminal::{RESET, YELLOW};
use super::{Failure, now, terminal};
use crate::config::Config;
use crate::ctlog;
use crate::ctlog::check::check_file;
use crate::ledger::Ledger;

pub(super) async fn run(file: PathBuf) -> Result<(), Failure> {
    let config = Config::read(&file)?;
    config.certificates(now())?;
    let (issuers, warnings) = config.issuers()?;
    for warning in warnings {
        terminal::say(format_args!("{YELLOW}warning:{RESET} {warning}"));
    }
    let authority = config.authority(now()).await?;
    let signer = config.log_signer()?;
    // Both databases are only read, so that a running server is not disturbed.
    let ctlog::Config {
        database, origin, ..
    } = config.log_config();
    let log = check_file(&database, &origin, signer.verifier()).await?;
    config.trust_files(&authority, signer.verifier()).await?;
    let rows = Ledger::open_read_only(config.ledger_database())
        .await?
        .count()
        .await?;

    let (_, not_after) = authority.chain().validity();
    let configured = issuers.configured().count();
    terminal::say(format_args!("{} is good:", file.display()));
    terminal::say(format_args!("  {configured} trusted issuers"));
    terminal::say(format_args!("  the authority may issue until {not_after}"));
    terminal::say(format_args!(
        "  the log {origin} has {} entries and is whole, the ledger has {rows} rows",
        log.head.size
    ));
    Ok(())
}
