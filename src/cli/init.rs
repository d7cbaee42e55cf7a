//! `vouchsafe init`

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Failure, now, terminal};
use crate::authority::hierarchy::Curve;
use crate::config::fresh::{self, Entropy, Made, Plan};
use crate::database::with_files_from;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to make it; must not exist or be empty
    #[arg(long)]
    dir: PathBuf,
    /// The origin at which clients will reach it; the log is named after it for good
    #[arg(long, default_value = "http://127.0.0.1:5555")]
    public_url: String,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:5555")]
    listen: SocketAddr,
    /// The organization named in the CA certificates
    #[arg(long, default_value = "Vouchsafe")]
    organization: String,
    /// The common name of the CA certificates, to which "root" and "intermediate" are added
    #[arg(long, default_value = "Vouchsafe")]
    common_name: String,
    /// The curve of the issuing key; P-384 costs four times as much per signature
    #[arg(long, value_enum, default_value_t = KeyCurve::P256)]
    key: KeyCurve,
    /// A file with the passphrase for the private keys; without it a random one is written beside them
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// A PostgreSQL database for log and ledger, as postgresql://user@host/name; without it they are files
    #[arg(long)]
    database: Option<String>,
    /// A file with the password for it
    #[arg(long, requires = "database")]
    database_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyCurve {
    P256,
    P384,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        dir,
        public_url,
        listen,
        organization,
        common_name,
        key,
        passphrase_file,
        database,
        database_password_file,
    } = arguments;
    let own_passphrase = passphrase_file.is_none();
    // The files it names are where the command is given; the configuration is read from its own place.
    let here = std::env::current_dir()?;
    let database = database.map(|address| with_files_from(&here, &address));
    let plan = Plan {
        public_url: &public_url,
        listen,
        organization: &organization,
        common_name: &common_name,
        curve: match key {
            KeyCurve::P256 => Curve::P256,
            KeyCurve::P384 => Curve::P384,
        },
        passphrase_file: passphrase_file.map(std::path::absolute).transpose()?,
        database: database.as_deref(),
        database_password_file: database_password_file
            .map(std::path::absolute)
            .transpose()?,
        issuers: include_str!("../../config/issuers.yaml"),
        development: false,
    };
    let made = fresh::create(&dir, &plan, &entropy()?, now()).await?;

    let at = dir.display();
    terminal::say(match made {
        Made::New => format!("A new certificate authority and its log are in {at}."),
        Made::Completed => format!(
            "The certificate authority that was begun in {at} is complete, as its vouchsafe.yaml has it."
        ),
    });
    terminal::say(format_args!(
        "  1. Move {at}/ca/root.key.pem to a safe place; the server never needs it."
    ));
    if own_passphrase {
        terminal::say(format_args!(
            "  2. Keep {at}/passphrase away from the keys, in a credential store if there is one."
        ));
    }
    terminal::say(format_args!(
        "  3. Look through {at}/vouchsafe.yaml and {at}/issuers.yaml, then:"
    ));
    terminal::say(format_args!(
        "     vouchsafe check --config {at}/vouchsafe.yaml"
    ));
    terminal::say(format_args!(
        "     vouchsafe serve --config {at}/vouchsafe.yaml"
    ));
    Ok(())
}

/// Draws what a new deployment needs.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door at which a deployment's randomness is drawn"
)]
pub(super) fn entropy() -> Result<Entropy, Failure> {
    let mut drawn = Entropy {
        serials: [[0; 20]; 2],
        passphrase: [0; 32],
    };
    let [root, intermediate] = &mut drawn.serials;
    for octets in [
        &mut root[..],
        &mut intermediate[..],
        &mut drawn.passphrase[..],
    ] {
        aws_lc_rs::rand::fill(octets).map_err(|_| "the system gives no random numbers")?;
    }
    Ok(drawn)
}
