//! `vouchsafe ledger`

use std::time::Duration;

use clap::{ArgGroup, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::terminal::{BOLD, RESET, Unwritten};
use super::{ConfigArgument, Failure, hex, now, terminal, time};
use crate::config::Config;
use crate::ledger::{Ledger, Query, Row, Within};
use crate::reconciliation::{Bounds, Difference, GRACE, Progress, Sums};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find certificates by identity, serial number or fingerprint, by the token's issuer and subject,
    /// or by the time they were issued, the newest first
    Find(Find),
    /// Compare ledger and log both ways, also beside a running server, and print every difference
    Audit(Audit),
}

#[derive(Debug, clap::Args)]
struct Audit {
    /// Print JSON, one object a line, the sums last
    #[arg(long)]
    json: bool,
    /// Fail on certificates that were logged and never recorded, too, as a crash leaves them
    #[arg(long)]
    strict: bool,
    /// Leave out entries logged less than this many seconds ago: their rows may be on their way
    #[arg(long, default_value_t = GRACE.as_secs())]
    grace_seconds: u64,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(
    ArgGroup::new("wanted").required(true).multiple(true)
        .args(["identity", "serial", "sha256", "issuer", "subject", "since", "until"])
))]
struct Find {
    #[command(flatten)]
    by: By,
    /// The token's issuer, exactly
    #[arg(long)]
    issuer: Option<String>,
    /// The token's subject, exactly
    #[arg(long)]
    subject: Option<String>,
    /// The first time of issuance, as 2027-01-01T00:00:00Z
    #[arg(long, value_parser = time)]
    since: Option<OffsetDateTime>,
    /// The first time of issuance that is too late
    #[arg(long, value_parser = time)]
    until: Option<OffsetDateTime>,
    /// Show at most this many; where there are more it is said
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
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
    match arguments.command {
        Command::Find(arguments) => find(arguments).await,
        Command::Audit(arguments) => audit(arguments).await,
    }
}

async fn audit(arguments: Audit) -> Result<(), Failure> {
    let Audit {
        json,
        strict,
        grace_seconds,
        config,
    } = arguments;
    let books = Config::read(&config.config)?.books().await?;
    let now = now();
    let bounds = Bounds {
        // What is written is there to be compared, however new it is.
        rows_until: now + FAR,
        entries_until: now - Duration::from_secs(grace_seconds.min(FAR.as_secs())),
        rest: Duration::ZERO,
    };
    let mut printed = Ok(());
    let mut print = |difference: Difference| {
        if printed.is_ok() {
            printed = match json {
                true => terminal::result(difference_as_json(&difference)),
                false => terminal::result(difference),
            };
        }
    };
    let begin = Progress::default();
    let (sums, _) = books.compare(&begin, bounds, &mut print).await?;
    let Sums {
        rows,
        entries,
        trouble,
        unrecorded,
    } = sums;
    let all = match json {
        true => json!({
            "rows": rows,
            "entries": entries,
            "differences": trouble,
            "neverRecorded": unrecorded,
        })
        .to_string(),
        false => format!(
            "rows {rows}, entries {entries}, differences {trouble}, logged and never recorded {unrecorded}"
        ),
    };
    let printed = printed.and_then(|()| terminal::result(all));
    // Whether somebody reads it or not, it is a failure.
    if trouble > 0 {
        return Err("ledger and log differ; docs/ledger.md says what each difference means".into());
    }
    if strict && unrecorded > 0 {
        return Err("certificates were logged and never recorded".into());
    }
    Ok(printed?)
}

fn difference_as_json(difference: &Difference) -> serde_json::Value {
    json!({
        "difference": difference.name(),
        "innocent": difference.is_innocent(),
        "row": difference.row(),
        "logIndex": difference.index(),
        "serial": difference.serial().map(|serial| hex(serial)),
        "sentence": difference.to_string(),
    })
}

async fn find(arguments: Find) -> Result<(), Failure> {
    let Find {
        by,
        issuer,
        subject,
        since,
        until,
        limit,
        json,
        config,
    } = arguments;
    let query = match by {
        By {
            identity: Some(identity),
            ..
        } => Some(Query::Identity(identity)),
        By {
            serial: Some(serial),
            ..
        } => Some(Query::serial_from_hex(&serial)?),
        By {
            sha256: Some(sha256),
            ..
        } => Some(Query::sha256_from_hex(&sha256)?),
        By { .. } => None,
    };
    let within = Within {
        since,
        until,
        issuer,
        subject,
    };
    let config = Config::read(&config.config)?;
    // One more than is shown tells whether there are more.
    let rows = Ledger::open_read_only(config.ledger_database())
        .await?
        .search(query.as_ref(), &within, limit.saturating_add(1))
        .await?;
    for row in rows.iter().take(limit as usize) {
        if json {
            terminal::result(as_json(row))?;
        } else {
            print(row)?;
        }
    }
    if rows.is_empty() {
        return Err("the ledger has no such certificate".into());
    }
    if rows.len() > limit as usize {
        terminal::say(format_args!(
            "vouchsafe: these are the newest {limit}, and there are more; --limit shows more of them"
        ));
    }
    Ok(())
}

fn print(row: &Row) -> Result<(), Unwritten> {
    let line = |name: &str, value: &dyn std::fmt::Display| {
        terminal::result(format_args!("  {name:<12} {value}"))
    };
    terminal::result(format_args!("{BOLD}{}{RESET}", row.identity))?;
    line("issuer", &row.issuer)?;
    line("subject", &row.subject)?;
    line(
        "valid",
        &format_args!("{} to {}", row.not_before, row.not_after),
    )?;
    line("serial", &hex(&row.serial))?;
    line("sha256", &hex(&row.sha256))?;
    if let Some(index) = row.log_index {
        line("log index", &index)?;
    }
    for (name, value) in &row.extensions {
        if !matches!(name.as_str(), "issuer" | "issuer-v2" | "subject") {
            terminal::result(format_args!("    {name:<40} {value}"))?;
        }
    }
    terminal::result("")
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

/// Farther than any clock is wrong.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
