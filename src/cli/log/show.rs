//! `vouchsafe log show`

use super::described::Described;
use super::source::Source;
use crate::cli::terminal::{BOLD, RESET};
use crate::cli::{Failure, terminal};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which entry, counted from 0
    index: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        index,
        json,
        source,
    } = arguments;
    let log = source.open().await?;
    let audit = log.audit().await?;
    let leaf = audit.entry(index).await?;
    for fingerprint in &leaf.chain {
        audit.issuer(fingerprint).await?;
    }
    let described = Described::of(&leaf).ok_or("the certificate of the entry cannot be read")?;
    if json {
        terminal::result(described.as_json())?;
        return Ok(());
    }
    terminal::result(format_args!("{BOLD}entry {index} of {}{RESET}", log.origin))?;
    for (name, value) in described.lines(&log.verifier.log_id()) {
        terminal::result(format_args!("  {name:<12} {value}"))?;
    }
    Ok(())
}
