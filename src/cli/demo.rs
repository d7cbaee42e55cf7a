//! `vouchsafe demo`: a caller's whole journey, three times, over real HTTP, and nothing taken on
//! trust: whatever the server says is verified from the bytes up.

use std::net::{Ipv4Addr, SocketAddr};

use aws_lc_rs::digest::{SHA256, digest};

use super::terminal::{BOLD, CYAN, DIM, GREEN, RESET, Unwritten};
use super::{Failure, now, terminal};
use crate::certificate::extensions::Extension;
use crate::client;
use crate::client::inclusion::check_inclusion;
use crate::client::request::{EphemeralKey, request_certificate};
use crate::client::verify::verify_issued;
use crate::dev::Stack;
use crate::dev::provider::Shape;
use crate::ledger::{Ledger, Query};
use crate::trust::TrustedRoot;

pub(super) async fn run() -> Result<(), Failure> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let stack = Stack::start(any_port, None, &super::init::entropy()?, now()).await?;
    terminal::say(format_args!(
        "{BOLD}Vouchsafe, on this machine and for a moment{RESET}"
    ));
    terminal::say(format_args!(
        "{DIM}  certificate authority and log   {}{RESET}",
        stack.ca_url()
    ));
    terminal::say(format_args!(
        "{DIM}  demo OpenID provider            {}{RESET}",
        stack.provider_url()
    ));

    let visited = visit(&stack).await;
    // The stack's files go with it, whether the visit went well or not.
    stack.stop().await?;
    visited?;
    terminal::say(format_args!(
        "\n{GREEN}Every certificate is in the log and in the ledger, and every check holds.{RESET}"
    ));
    Ok(())
}

/// Three callers, one after another.
async fn visit(stack: &Stack) -> Result<(), Failure> {
    let http = client::http_client()?;
    let text = |url: String| async { http.get(url).send().await?.error_for_status()?.text().await };
    let trusted_root = text(format!("{}/trust/trusted-root", stack.ca_url())).await?;
    let trusted_root = TrustedRoot::from_json(trusted_root.as_bytes())?;
    let ledger = Ledger::open_read_only(&stack.directory().join("ledger.sqlite")).await?;

    for (shape, who) in [
        (Shape::Github, "A GitHub Actions job"),
        (Shape::Google, "A Google service account"),
        (Shape::Email, "A developer"),
    ] {
        terminal::say(format_args!("\n{BOLD}{who}{RESET}"));
        let token = text(format!("{}/{}/token", stack.provider_url(), shape.path())).await?;
        step(
            "shows a token of",
            &format!("{}/{}", stack.provider_url(), shape.path()),
        );

        let key = EphemeralKey::generate()?;
        step(
            "makes a P-256 key",
            "and signs with it, to prove that it holds it",
        );
        let chain = request_certificate(&http, stack.ca_url(), &token, &key).await?;
        let verified = verify_issued(&chain, &trusted_root, key.public_key_der())?;
        step(
            "has a certificate",
            "signed by the authority, for this key, with one timestamp of the log",
        );
        let included = check_inclusion(&http, &trusted_root, &verified).await?;
        step(
            "finds it in the log",
            &format!(
                "entry {} of {}, proved from tiles and checkpoint",
                included.index, included.checkpoint.size
            ),
        );

        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, chain.leaf()).as_ref());
        let rows = ledger.find(&Query::Sha256(fingerprint), 2).await?;
        match rows.as_slice() {
            [row]
                if row.certificate == chain.leaf() && row.identity == verified.name().as_str() =>
            {
                step("stands in the ledger", "byte for byte, under its identity");
            }
            _ => {
                return Err(format!(
                    "the ledger has {} rows for the certificate, not the one",
                    rows.len()
                )
                .into());
            }
        }

        terminal::result(format_args!("  {CYAN}{}{RESET}", verified.name()))?;
        line(
            "valid",
            &format!(
                "{} to {} UTC",
                clock(verified.not_before()),
                clock(verified.not_after())
            ),
        )?;
        for (extension, value) in verified.extensions() {
            // The older forms repeat what the newer ones say.
            if extension.arc() > Extension::GithubWorkflowRef.arc() {
                line(extension.meaning(), value)?;
            }
        }
    }
    Ok(())
}

fn step(what: &str, how: &str) {
    terminal::say(format_args!(
        "  {GREEN}✓{RESET} {what:<22} {DIM}{how}{RESET}"
    ));
}

fn line(name: &str, value: &str) -> Result<(), Unwritten> {
    terminal::result(format_args!("    {DIM}{name:<52}{RESET} {value}"))
}

fn clock(time: time::OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    format!("{hour:02}:{minute:02}:{second:02}")
}
