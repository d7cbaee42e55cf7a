//! `vouchsafe log init`

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::{Failure, now, terminal};
use crate::config::fresh::{self, LogPlan};

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
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        dir,
        public_url,
        prefix,
        listen,
        roots,
        passphrase_file,
    } = arguments;
    let own_passphrase = passphrase_file.is_none();
    let plan = LogPlan {
        public_url: &public_url,
        prefix: &prefix,
        listen,
        roots: &roots,
        passphrase_file: passphrase_file.map(std::path::absolute).transpose()?,
    };
    fresh::create_log(&dir, &plan, crate::cli::init::entropy()?.passphrase, now()).await?;

    let at = dir.display();
    terminal::say(format_args!("A new transparency log is in {at}."));
    if own_passphrase {
        terminal::say(format_args!(
            "  Keep {at}/passphrase away from the key, in a credential store if there is one."
        ));
    }
    terminal::say(format_args!("  Look through {at}/log.yaml, then:"));
    terminal::say(format_args!("  vouchsafe log serve --config {at}/log.yaml"));
    Ok(())
}
