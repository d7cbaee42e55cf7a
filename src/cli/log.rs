//! `vouchsafe log`

mod init;
mod rotate;
mod serve;

use std::path::PathBuf;

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
    /// Make a new log that runs alone: key, database, first checkpoint and configuration
    Init(init::Arguments),
    /// Run a log alone
    Serve(LogConfigArgument),
    /// Begin the next log: its key, its database, and its place in the configuration
    Rotate(rotate::Arguments),
    /// Rebuild the whole log from its entries and compare it with what is stored and signed; the
    /// server may go on meanwhile
    Fsck(ConfigArgument),
}

#[derive(Debug, clap::Args)]
struct LogConfigArgument {
    /// The log's configuration file
    #[arg(long, short, env = "VOUCHSAFE_LOG_CONFIG", default_value = "log.yaml")]
    config: PathBuf,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Init(arguments) => init::run(arguments).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Rotate(arguments) => rotate::run(arguments).await,
        Command::Fsck(arguments) => fsck(arguments).await,
    }
}

async fn fsck(ConfigArgument { config }: ConfigArgument) -> Result<(), Failure> {
    let config = Config::read(&config)?;
    let log = config.log_config()?;
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
