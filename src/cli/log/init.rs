//! `vouchsafe log init`

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::{Failure, now, terminal};
use crate::config::fresh::{self, LogPlan, Made};
use crate::database::with_files_from;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to make it; must not exist or be empty
    #[arg(long)]
    dir: PathBuf,
    /// The origin at which clients will reach it; with the prefix the log is named after it for good
    #[arg(long, default_value = "http://127.0.0.1:6962")]
    public_url: String,
    /// The path below which it is mounted, as /2027; none if left out
    #[arg(long, default_value = "")]
    prefix: String,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:6962")]
    listen: SocketAddr,
    /// A file with the roots, in PEM, to which what is submitted must lead
    #[arg(long)]
    roots: PathBuf,
    /// A file with the passphrase for the private key; without it a random one is written beside it
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// A PostgreSQL database for it, as postgresql://user@host/name; without it, it is a file
    #[arg(long)]
    database: Option<String>,
    /// A file with the password for it
    #[arg(long, requires = "database")]
    database_password_file: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        dir,
        public_url,
        prefix,
        listen,
        roots,
        passphrase_file,
        database,
        database_password_file,
    } = arguments;
    let own_passphrase = passphrase_file.is_none();
    // The files it names are where the command is given; the configuration is read from its own place.
    let here = std::env::current_dir()?;
    let database = database.map(|address| with_files_from(&here, &address));
    let plan = LogPlan {
        public_url: &public_url,
        prefix: &prefix,
        listen,
        roots: &roots,
        passphrase_file: passphrase_file.map(std::path::absolute).transpose()?,
        database: database.as_deref(),
        database_password_file: database_password_file
            .map(std::path::absolute)
            .transpose()?,
    };
    let passphrase = crate::cli::init::entropy()?.passphrase;
    let made = fresh::create_log(&dir, &plan, passphrase, now()).await?;

    let at = dir.display();
    terminal::say(match made {
        Made::New => format!("A new transparency log is in {at}."),
        Made::Completed => {
            format!("The log that was begun in {at} is complete, as its log.yaml has it.")
        }
    });
    if own_passphrase {
        terminal::say(format_args!(
            "  Keep {at}/passphrase away from the key, in a credential store if there is one."
        ));
    }
    terminal::say(format_args!("  Look through {at}/log.yaml, then:"));
    terminal::say(format_args!("  vouchsafe log serve --config {at}/log.yaml"));
    Ok(())
}
