//! `vouchsafe log`

use clap::Subcommand;

use super::{ConfigArgument, Failure, terminal};
use crate::config::Config;
use crate::ctlog::check::{Report, check_file};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rebuild the whole log from its entries and compare it with what is stored and signed; the
    /// server may go on meanwhile
    Fsck(ConfigArgument),
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Command::Fsck(ConfigArgument { config }) = arguments.command;
    let config = Config::read(&config)?;
    let log = config.log_config();
    let signer = config.log_signer()?;
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
