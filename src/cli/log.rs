//! `vouchsafe log`

mod adopt;
mod described;
mod export;
mod follow;
mod fsck;
mod init;
mod prove;
mod rotate;
mod serve;
mod show;
mod source;

use std::path::PathBuf;

use clap::Subcommand;

use super::{ConfigArgument, Failure};

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
    Fsck(source::Source),
    /// Make the high-water mark of a log that has none yet from the newest checkpoint in its database
    Adopt(ConfigArgument),
    /// Show one entry
    Show(show::Arguments),
    /// Prove that a certificate is in the log
    Prove(prove::Arguments),
    /// Show entries as they come, one JSON object a line
    Follow(follow::Arguments),
    /// Print the log's key
    ExportKey(export::Arguments),
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
        Command::Fsck(source) => fsck::run(source).await,
        Command::Adopt(argument) => adopt::run(argument).await,
        Command::Show(arguments) => show::run(arguments).await,
        Command::Prove(arguments) => prove::run(arguments).await,
        Command::Follow(arguments) => follow::run(arguments).await,
        Command::ExportKey(arguments) => export::run(arguments).await,
    }
}
