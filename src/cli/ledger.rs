//! `vouchsafe ledger`

use clap::Subcommand;
use serde_json::json;

use super::terminal::{BOLD, RESET};
use super::{ConfigArgument, Failure, terminal};
use crate::config::Config;
use crate::ledger::{Ledger, Query, Row};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find certificates by identity, serial number or fingerprint, the newest first
    Find(Find),
}

#[derive(Debug, clap::Args)]
struct Find {
    #[command(flatten)]
    by: By,
    /// Show at most this many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct By {
    /// The subject alternative name, exactly
    #[arg(long)]
    identity: Option<String>,
    /// The serial number in hexadecimal
    #[arg(long)]
    serial: Option<String>,
    /// The certificate's SHA-256 in hexadecimal
    #[arg(long)]
    sha256: Option<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Command::Find(Find {
        by,
        limit,
        json,
        config,
    }) = arguments.command;
    let query = match by {
        By {
            identity: Some(identity),
            ..
        } => Query::Identity(identity),
        By {
            serial: Some(serial),
            ..
        } => Query::serial_from_hex(&serial)?,
        By { sha256, .. } => Query::sha256_from_hex(&sha256.unwrap_or_default())?,
    };
    let config = Config::read(&config.config)?;
    let rows = Ledger::open_read_only(&config.ledger_database())
        .await?
        .find(&query, limit)
        .await?;
    for row in &rows {
        if json {
            terminal::result(as_json(row));
        } else {
            print(row);
        }
    }
    if rows.is_empty() {
        return Err("the ledger has no such certificate".into());
    }
    Ok(())
}

fn print(row: &Row) {
    let line = |name: &str, value: &dyn std::fmt::Display| {
        terminal::result(format_args!("  {name:<12} {value}"))
    };
    terminal::result(format_args!("{BOLD}{}{RESET}", row.identity));
    line("issuer", &row.issuer);
    line("subject", &row.subject);
    line(
        "valid",
        &format_args!("{} to {}", row.not_before, row.not_after),
    );
    line("serial", &hex(&row.serial));
    line("sha256", &hex(&row.sha256));
    if let Some(index) = row.log_index {
        line("log index", &index);
    }
    for (name, value) in &row.extensions {
        if !matches!(name.as_str(), "issuer" | "issuer-v2" | "subject") {
            terminal::result(format_args!("    {name:<40} {value}"));
        }
    }
    terminal::result("");
}

/// Every column of the row; a field that is added there has to be thought of here.
fn as_json(row: &Row) -> serde_json::Value {
    use base64::Engine as _;
    let Row {
        serial,
        sha256,
        identity,
        identity_kind,
        issuer,
        subject,
        extensions,
        not_before,
        not_after,
        log_id,
        log_index,
        sct_timestamp_ms,
        token_sha256,
        key_sha256,
        issued_at,
        certificate,
    } = row;
    json!({
        "serial": hex(serial),
        "sha256": hex(sha256),
        "identity": identity,
        "identityKind": identity_kind,
        "issuer": issuer,
        "subject": subject,
        "extensions": extensions,
        "notBefore": not_before.unix_timestamp(),
        "notAfter": not_after.unix_timestamp(),
        "logId": hex(log_id),
        "logIndex": log_index,
        "sctTimestampMs": sct_timestamp_ms,
        "tokenSha256": hex(token_sha256),
        "keySha256": hex(key_sha256),
        "issuedAt": issued_at.unix_timestamp(),
        "certificate": base64::engine::general_purpose::STANDARD.encode(certificate),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
