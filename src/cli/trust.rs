//! `vouchsafe trust`

use super::{ConfigArgument, Failure, now, terminal};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which file
    #[arg(value_enum)]
    file: File,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum File {
    /// Certificates and log keys for verifiers (trusted_root.json)
    TrustedRoot,
    /// Addresses for signers (signing_config.json)
    SigningConfig,
    /// Both in one, as `sigstore --trust-config` takes it
    ClientConfig,
    /// The certificates as PEM
    Bundle,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config.config)?;
    let authority = config.authority(now()).await?;
    let files = config
        .trust_files(&authority, config.log_verifier()?.as_ref())
        .await?;
    let text = match arguments.file {
        File::TrustedRoot => files.trusted_root,
        File::SigningConfig => files.signing_config,
        File::ClientConfig => files.client_config,
        File::Bundle => files.bundle,
    };
    terminal::result(text.trim_end())?;
    Ok(())
}
