//! The command line: one file a command. Results go to standard output, talk to standard error.

mod check;
mod database;
mod demo;
mod dev;
mod fulcio;
mod init;
mod ledger;
mod log;
mod reload;
mod serve;
mod signals;
mod terminal;
mod trust;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustls::crypto::aws_lc_rs;
use terminal::Unwritten;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A keyless-signing certificate authority.
#[derive(Debug, Parser)]
#[command(name = "vouchsafe", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole stack once, ask it for three certificates, and check everything about them
    Demo,
    /// Run a throwaway stack on loopback with a demo OpenID provider; for development only
    Dev(dev::Arguments),
    /// Make a new deployment: root, intermediate, log, ledger and configuration
    Init(init::Arguments),
    /// Run the certificate authority
    Serve(Box<serve::Arguments>),
    /// Check a configuration and everything it names, without opening a port
    Check(ConfigArgument),
    /// Print the files that verifiers and signers need
    Trust(trust::Arguments),
    /// Search what was issued
    Ledger(ledger::Arguments),
    /// Look after the transparency log
    Log(log::Arguments),
    /// Look after log and ledger in PostgreSQL
    Database(database::Arguments),
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration file
    #[arg(long, env = "VOUCHSAFE_CONFIG", default_value = "vouchsafe.yaml")]
    config: PathBuf,
}

/// What ends a command early: said once on standard error, with what to do next where that is known.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads the command line and runs one command.
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    // The one provider of cryptography for every TLS connection; it cannot have been set before.
    let _first = aws_lc_rs::default_provider().install_default();
    let ended = match command {
        Command::Demo => run(demo::run()),
        Command::Dev(arguments) => run(dev::run(arguments)),
        Command::Ledger(arguments) => run(ledger::run(arguments)),
        Command::Log(arguments) => run(log::run(arguments)),
        Command::Database(arguments) => run(database::run(arguments)),
        Command::Init(arguments) => run(init::run(arguments)),
        Command::Serve(arguments) => run(serve::run(*arguments)),
        Command::Check(arguments) => run(check::run(arguments.config)),
        Command::Trust(arguments) => run(trust::run(arguments)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if matches!(failure.downcast_ref(), Some(Unwritten::Unread)) => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            terminal::failure(failure.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

/// The command line's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a command asks the time when it starts"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// As it is written for people and for JSON.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time on the command line.
fn time(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "it is no time like 2027-01-01T00:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed_and_no_flag_takes_a_secret() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(
                    !name.contains("passphrase") || name.ends_with("file"),
                    "{name}"
                );
            }
        }
    }
}
