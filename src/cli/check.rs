//! `vouchsafe check`

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::terminal::{RESET, YELLOW};
use super::{Failure, now, terminal};
use crate::config::{self, Config, Either, LogConfig};
use crate::ctlog::remote::{ExternalLog, Logs};
use crate::ctlog::signer::{LogSigner, LogVerifier};
use crate::ledger::Ledger;

pub(super) async fn run(file: PathBuf) -> Result<(), Failure> {
    match Either::read(&file)? {
        Either::Authority(config) => authority(&file, &config).await,
        Either::Log(config) => alone(&file, &config).await,
    }
}

async fn authority(file: &Path, config: &Config) -> Result<(), Failure> {
    config.certificates(now())?;
    let (issuers, warnings) = config.issuers()?;
    for warning in warnings {
        terminal::say(format_args!("{YELLOW}warning:{RESET} {warning}"));
    }
    let authority = config.authority(now()).await?;
    config.check_audit()?;
    let own = match config.has_own_log() {
        true => Some(config.log_signer()?),
        false => None,
    };
    let log = match &own {
        Some(signer) => {
            let chain = authority.chain().der().to_vec();
            built_in(config.logs(), signer, chain).await?
        }
        None => external(config.external_logs()?)?,
    };
    let verifier = own.as_ref().map(LogSigner::verifier);
    config.trust_files(&authority, verifier).await?;
    let rows = Ledger::open_read_only(config.ledger_database())
        .await?
        .count()
        .await?;

    let (_, not_after) = authority.chain().validity();
    let configured = issuers.configured().count();
    terminal::say(format_args!("{} is good:", file.display()));
    terminal::say(format_args!("  {configured} trusted issuers"));
    terminal::say(format_args!("  the authority may issue until {not_after}"));
    terminal::say(format_args!("  {log}, the ledger has {rows} rows"));
    if let Some(signer) = own {
        note_key(config.logs(), &signer)?;
    }
    Ok(())
}

/// A log that runs alone.
async fn alone(file: &Path, config: &LogConfig) -> Result<(), Failure> {
    config.certificate(now())?;
    let logs = config.logs();
    let signer = logs.signer()?;
    let log = built_in(logs, &signer, Vec::new()).await?;
    let earlier = logs.mounts().await?.retired.len();
    let roots = logs.roots()?.len();
    terminal::say(format_args!("{} is good:", file.display()));
    terminal::say(format_args!("  {log}, it accepts {roots} roots"));
    if earlier > 0 {
        terminal::say(format_args!("  {earlier} earlier logs are shown"));
    }
    note_key(logs, &signer)
}

/// Databases are only read, so that a running server is not disturbed.
async fn built_in(
    logs: config::Logs<'_>,
    signer: &LogSigner,
    chain: Vec<Vec<u8>>,
) -> Result<String, Failure> {
    let log = logs.look(chain, signer.verifier(), now()).await?;
    let (origin, entries) = (logs.config()?.origin, log.head.size);
    Ok(format!(
        "the log {origin} has {entries} entries and is whole"
    ))
}

fn note_key(logs: config::Logs<'_>, signer: &LogSigner) -> Result<(), Failure> {
    if let Some(key) = signer.note_key() {
        let key = key.verifier_key(&logs.config()?.origin);
        terminal::say(format_args!("  witnesses know the log as {key}"));
    }
    Ok(())
}

/// What would be used of somebody else's logs. None of them is asked.
fn external(logs: Vec<ExternalLog>) -> Result<String, Failure> {
    let shown = logs.iter().map(|log| {
        let key = LogVerifier::from_public_key_der(&log.public_key_der);
        let id = key.map(|key| STANDARD.encode(key.log_id()));
        let as_host = log.origin.as_ref().map(|name| format!(", asked as {name}"));
        let origin = as_host.unwrap_or_default();
        format!("{} (log ID {}{origin})", log.url, id.unwrap_or_default())
    });
    let shown: Vec<String> = shown.collect();
    Logs::check(logs)?;
    Ok(format!("certificates go to {}", shown.join(", then to ")))
}
