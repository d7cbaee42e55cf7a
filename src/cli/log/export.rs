//! `vouchsafe log export-key`

use std::io::IsTerminal as _;

use der::pem::{LineEnding, encode_string};
use zeroize::Zeroizing;

use crate::cli::{ConfigArgument, Failure, hex, terminal};
use crate::config::Either;
use crate::ctlog::checkpoint::verifier_key;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As what
    #[arg(long, value_enum)]
    format: Format,
    /// Yes, the private key, and not encrypted
    #[arg(long)]
    private: bool,
    /// Even to a terminal
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The private key as other logs want it: EC PRIVATE KEY in PEM
    Sec1,
    /// The private key as PKCS#8: PRIVATE KEY in PEM
    Pkcs8,
    /// The public key: PUBLIC KEY in PEM
    Public,
    /// The log's ID in hexadecimal: SHA-256 of the public key
    Id,
    /// The key for checkpoints, as verifiers of notes take it
    Vkey,
    /// The key of the second signature on checkpoints, which witnesses know the log by
    NoteVkey,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        format,
        private,
        force,
        config: ConfigArgument { config },
    } = arguments;
    let is_private = matches!(format, Format::Sec1 | Format::Pkcs8);
    if is_private && !private {
        return Err(
            "this is the log's private key, which would not be encrypted: say so with --private"
                .into(),
        );
    }
    if is_private && !force && std::io::stdout().is_terminal() {
        return Err(
            "a private key does not belong on a screen: send it into a file, or say --force".into(),
        );
    }
    let config = Either::read(&config)?;
    let logs = config.logs();
    let signer = logs.signer()?;
    let verifier = signer.verifier();
    let text = match format {
        Format::Sec1 => encode_string("EC PRIVATE KEY", LineEnding::LF, &signer.to_sec1()?)?,
        Format::Pkcs8 => encode_string("PRIVATE KEY", LineEnding::LF, &signer.to_pkcs8()?)?,
        Format::Public => encode_string("PUBLIC KEY", LineEnding::LF, verifier.public_key_der())?,
        Format::Id => hex(&verifier.log_id()),
        Format::Vkey => verifier_key(&logs.config()?.origin, verifier.public_key_der()),
        Format::NoteVkey => {
            let key = signer.note_key().ok_or("log.note-key is not set")?;
            key.verifier_key(&logs.config()?.origin)
        }
    };
    terminal::result(Zeroizing::new(text).trim_end())?;
    Ok(())
}
