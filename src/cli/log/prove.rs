//! `vouchsafe log prove`

use std::path::PathBuf;

use der::Decode as _;
use serde_json::json;

use super::source::Source;
use crate::certificate::precertificate::tbs_without;
use crate::certificate::sct::{SCT_LIST_OID, Sct, read_list};
use crate::cli::{Failure, hex, terminal};
use crate::client::chain::UnverifiedChain;
use crate::ctlog::entry::{Certified, read_leaf_index};
use crate::ctlog::merkle::{Hash, leaf_hash, verify_inclusion};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The certificate in PEM; what follows it in the file does not matter
    certificate: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        certificate,
        json,
        source,
    } = arguments;
    let file = certificate.display();
    let text = std::fs::read_to_string(&certificate).map_err(|error| format!("{file}: {error}"))?;
    let chain = UnverifiedChain::from_pem(&text).map_err(|error| format!("{file}: {error}"))?;
    let promises = promises(chain.leaf());
    let ids: Vec<Hash> = promises.iter().map(|sct| sct.log_id).collect();
    let none = |log: &str| format!("{file}: it has no timestamp of the log {log}");
    let log = source.open_any(&ids).await?.map_err(|log| none(&log))?;
    let id = log.verifier.log_id();
    let sct = promises.into_iter().find(|sct| sct.log_id == id);
    let sct = sct.ok_or_else(|| none(&log.origin))?;
    let index = read_leaf_index(&sct.extensions).ok_or_else(|| {
        format!("{file}: its timestamp does not say at which index it was logged")
    })?;

    let audit = log.audit().await?;
    let leaf = audit.entry(index).await?;
    // The certificate itself is compared with the entry, and the promise with both.
    let ours = tbs_without(chain.leaf(), SCT_LIST_OID)?;
    let is_it =
        matches!(leaf.body.certified(), Some(Certified::Precertificate { tbs, .. }) if tbs == ours);
    if !is_it || leaf.timestamp_ms != sct.timestamp_ms {
        return Err(format!(
            "entry {index} of {} is another certificate: the log broke its promise",
            log.origin
        )
        .into());
    }
    if !log.verifier.verifies_sct(&sct, &leaf.body) {
        return Err(format!("{file}: the signature of its timestamp is not the log's").into());
    }
    let hash = leaf_hash(&leaf.merkle_tree_leaf());
    let proof = audit.inclusion_proof(index).await?;
    let head = &audit.head;
    if !verify_inclusion(&hash, index, head.size, &proof, &head.root) {
        return Err(format!("the proof for entry {index} does not lead to the root").into());
    }
    let proof: Vec<String> = proof.iter().map(|hash| hex(hash)).collect();
    if json {
        terminal::result(json!({
            "origin": log.origin,
            "index": index,
            "timestampMs": sct.timestamp_ms,
            "leafHash": hex(&hash),
            "treeSize": head.size,
            "rootHash": hex(&head.root),
            "proof": proof,
        }))?;
        return Ok(());
    }
    terminal::result(format_args!(
        "{file} is entry {index} of the {} of {}",
        head.size, log.origin
    ))?;
    terminal::result(format_args!("  leaf  {}", hex(&hash)))?;
    for sibling in proof {
        terminal::result(format_args!("  with  {sibling}"))?;
    }
    terminal::result(format_args!("  root  {}", hex(&head.root)))?;
    Ok(())
}

/// The timestamps in a certificate.
fn promises(der: &[u8]) -> Vec<Sct> {
    let list = || {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let mut extensions = certificate.tbs_certificate().extensions()?.iter();
        let list = extensions.find(|extension| extension.extn_id.as_bytes() == SCT_LIST_OID)?;
        read_list(list.extn_value.as_bytes()).ok()
    };
    list().unwrap_or_default()
}
