//! `vouchsafe dev`

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::terminal::{BOLD, DIM, RESET, YELLOW};
use super::{Failure, now, terminal};
use crate::dev::Stack;
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The address to listen on; only loopback. The demo provider listens on the next port
    #[arg(long, default_value = "127.0.0.1:5555")]
    listen: SocketAddr,
    /// Keep keys, log and ledger in this directory instead of a temporary one
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    telemetry::install(LogFormat::Text, std::env::var("RUST_LOG").ok().as_deref())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let entropy = super::init::entropy()?;
    let mut stack =
        Stack::start(arguments.listen, arguments.dir.as_deref(), &entropy, now()).await?;
    let (ca, provider) = (stack.ca_url(), stack.provider_url());
    terminal::say(format_args!(
        "{YELLOW}FOR DEVELOPMENT ONLY.{RESET} Everybody on this machine gets any identity from the demo provider.\n"
    ));
    terminal::say(format_args!("  {BOLD}certificate authority{RESET}  {ca}"));
    terminal::say(format_args!(
        "  {BOLD}transparency log{RESET}       {ca}/log"
    ));
    terminal::say(format_args!(
        "  {BOLD}trust files{RESET}            {ca}/trust/trusted-root"
    ));
    terminal::say(format_args!(
        "  {BOLD}state{RESET}                  {}",
        stack.directory().display()
    ));
    terminal::say(format_args!(
        "  {BOLD}tokens{RESET}                 curl {provider}/github/token"
    ));
    terminal::say(format_args!(
        "                         curl {provider}/google/token"
    ));
    terminal::say(format_args!(
        "                         curl {provider}/email/token"
    ));
    terminal::say(format_args!("\n{DIM}Ctrl-C ends it.{RESET}"));
    tokio::select! {
        _ = interrupt.recv() => stack.stop().await?,
        _ = terminate.recv() => stack.stop().await?,
        reason = stack.failed() => return Err(reason.into()),
    }
    Ok(())
}
