//! `vouchsafe database`

use clap::Subcommand;

use super::{ConfigArgument, Failure, terminal};
use crate::config::{Config, Either};
use crate::ctlog::moving::Moving;
use crate::database::Server;
use crate::{ctlog, ledger};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the tables in PostgreSQL to the shape this version needs, making them if there are none
    Upgrade(ConfigArgument),
    /// Move log and ledger from their files to the database, while no server runs; the files are never
    /// written again. Where certificates go to somebody else's logs, it is the ledger alone
    Move(ConfigArgument),
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Upgrade(arguments) => upgrade(arguments).await,
        Command::Move(arguments) => move_there(arguments).await,
    }
}

async fn upgrade(ConfigArgument { config }: ConfigArgument) -> Result<(), Failure> {
    let config = Either::read(&config)?;
    let server = server(config.server())?;
    ctlog::upgrade(server).await?;
    if let Either::Authority(_) = config {
        ledger::upgrade(server).await?;
    }
    terminal::say(format_args!(
        "The tables in {} are those of this version.",
        server.address()
    ));
    Ok(())
}

async fn move_there(ConfigArgument { config }: ConfigArgument) -> Result<(), Failure> {
    let config = Config::read(&config)?;
    let server = server(config.server())?;
    let (logs, ledger) = (config.logs(), config.ledger_file());
    let tell_rows = |done, all| progress("rows", done, all);
    if !config.has_own_log() {
        let rows = ledger::move_rows(&ledger, server, tell_rows).await?;
        terminal::say(format_args!(
            "The ledger with {rows} rows is in {}, and was compared.",
            server.address()
        ));
        terminal::say(format_args!(
            "{} is a copy now: move it away, so that nothing is written there any more.",
            ledger.display()
        ));
        return Ok(());
    }
    // Held until the log is on the server, so that no server can be started on the files meanwhile.
    let moving = Moving::begin(&logs.file()?, server).await?;
    let rows = ledger::move_rows(&ledger, server, tell_rows).await?;
    let signer = logs.signer()?;
    let origin = logs.config()?.origin;
    let tell = |done, all| progress("entries", done, all);
    let report = moving.finish(&origin, signer.verifier(), tell).await?;
    terminal::say(format_args!(
        "The log {} with {} entries and the ledger with {rows} rows are in {}, and were compared.",
        origin,
        report.head.size,
        server.address()
    ));
    terminal::say(format_args!(
        "The files are copies now, and no server starts on them any more."
    ));
    Ok(())
}

/// A line now and then.
fn progress(what: &str, done: u64, all: u64) {
    if done == all || done.is_multiple_of(10_240) {
        terminal::say(format_args!("  {what} {done} of {all}"));
    }
}

fn server(named: Option<&Server>) -> Result<&Server, Failure> {
    named.ok_or_else(|| "the configuration names no database; log and ledger are files".into())
}
