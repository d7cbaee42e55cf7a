//! A log that runs alone: the program, its own configuration, and nobody's authority.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::LineEnding;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Program;

/// A chain whose precertificate a special certificate signed, and the leaf that another library makes of
/// it, without extensions.
pub(crate) fn vector() -> (Vec<String>, Vec<u8>) {
    let text = fs::read_to_string("testdata/ct/presigned.json").unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let chain = vectors[0]["chain"].as_array().unwrap().iter();
    let chain = chain.map(|der| der.as_str().unwrap().to_owned()).collect();
    (
        chain,
        STANDARD
            .decode(vectors[0]["leaf"].as_str().unwrap())
            .unwrap(),
    )
}

pub(crate) fn vouchsafe(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vouchsafe"));
    command.args(arguments).output().unwrap()
}

/// What `vouchsafe log init` made, for the roots of [`vector`].
pub(crate) struct Alone {
    directory: TempDir,
    pub(crate) url: String,
}

impl Alone {
    pub(crate) fn make(prefix: &str) -> Self {
        let (chain, _) = vector();
        let root = STANDARD.decode(&chain[3]).unwrap();
        let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, &root).unwrap();
        Self::make_for(&pem, prefix)
    }

    /// The same for another authority's root.
    pub(crate) fn make_for(pem: &str, prefix: &str) -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = address.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let made = Self {
            directory,
            url: format!("http://{address}{prefix}"),
        };
        let roots = made.directory.path().join("roots");
        fs::write(&roots, format!("# ours\n{pem}")).unwrap();
        let output = vouchsafe(&[
            "log",
            "init",
            "--dir",
            made.place().to_str().unwrap(),
            "--public-url",
            &format!("http://{address}"),
            "--prefix",
            prefix,
            "--listen",
            &address.to_string(),
            "--roots",
            roots.to_str().unwrap(),
        ]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        made
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.place().join("log.yaml")
    }

    pub(crate) fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    pub(crate) fn serve(&self) -> Program {
        let config = self.config();
        let arguments = ["log", "serve", "--config", config.to_str().unwrap()];
        Program::start(&arguments, "info", "serving the log")
    }
}

pub(crate) async fn get(url: &str) -> (u16, Vec<u8>) {
    let answer = reqwest::get(url).await.unwrap();
    (
        answer.status().as_u16(),
        answer.bytes().await.unwrap().to_vec(),
    )
}

pub(crate) async fn submit(url: &str, call: &str, chain: &[String]) -> (u16, String) {
    let http = vouchsafe::client::http_client().unwrap();
    let body = json!({"chain": chain}).to_string();
    let answer = http.post(format!("{url}/ct/v1/{call}")).body(body);
    let answer = answer.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The key in a PEM file of the log, by another program.
fn public_key(key: &Path, passphrase: &Path) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(["pkey", "-pubout", "-outform", "DER", "-in"])
        .arg(key)
        .arg("-passin")
        .arg(format!("file:{}", passphrase.display()))
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn it_takes_what_leads_to_its_roots_and_promises_what_others_compute() {
    vouchsafe::client::http_client().unwrap();
    let alone = Alone::make("/2026");
    let program = alone.serve();
    let (chain, mut leaf) = vector();
    let (status, told) = submit(&alone.url, "add-pre-chain", &chain).await;
    assert_eq!(status, 200, "{told}");
    let sct: Value = serde_json::from_str(&told).unwrap();
    // The vector's leaf, with the time and the index of this log.
    let timestamp = sct["timestamp"].as_u64().unwrap();
    leaf[2..10].copy_from_slice(&timestamp.to_be_bytes());
    leaf.truncate(leaf.len() - 2);
    leaf.extend([0, 8, 0, 0, 5, 0, 0, 0, 0, 0]);
    assert_eq!(sct["extensions"], STANDARD.encode(&leaf[leaf.len() - 8..]));
    let place = alone.place();
    let spki = public_key(&place.join("key.pem"), &place.join("passphrase"));
    let signature = STANDARD.decode(sct["signature"].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_public_key_der(&spki).unwrap();
    key.verify(&leaf, &Signature::from_der(&signature[4..]).unwrap())
        .unwrap();

    let (again, same) = submit(&alone.url, "add-pre-chain", &chain[..3]).await;
    let same: Value = serde_json::from_str(&same).unwrap();
    assert_eq!((again, &same["timestamp"]), (200, &sct["timestamp"]));
    let (status, checkpoint) = get(&format!("{}/checkpoint", alone.url)).await;
    let checkpoint = String::from_utf8(checkpoint).unwrap();
    let origin = alone.url.strip_prefix("http://").unwrap();
    assert_eq!(status, 200);
    assert!(
        checkpoint.starts_with(&format!("{origin}\n1\n")),
        "{checkpoint}"
    );
    let (status, roots) = get(&format!("{}/ct/v1/get-roots", alone.url)).await;
    let roots: Value = serde_json::from_slice(&roots).unwrap();
    assert_eq!((status, roots), (200, json!({"certificates": [chain[3]]})));

    let host = alone.url.strip_suffix("/2026").unwrap();
    for (path, status) in [
        ("/healthz", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/2026/ct/v1/get-sth", 404),
        ("/2026/tile/0/000", 404),
        ("/2026/ct/v1/add-chain", 405),
        ("/checkpoint", 404),
        ("/api/v2/trustBundle", 404),
    ] {
        assert_eq!(get(&format!("{host}{path}")).await.0, status, "{path}");
    }
    program.signal("TERM");
    let (ended, lines) = program.ended();
    assert!(ended.success(), "{lines:#?}");
}

#[tokio::test]
async fn its_own_settings_decide_what_it_takes_and_how_it_is_read() {
    vouchsafe::client::http_client().unwrap();
    let alone = Alone::make("");
    alone.change("rfc6962-reads: false", "rfc6962-reads: true");
    alone.change(
        "# window: {start: 2026-01-01T00:00:00Z, end: 2027-01-01T00:00:00Z}",
        "window: {start: 2027-01-01T00:00:00Z}",
    );
    let (chain, _) = vector();
    let program = alone.serve();
    let (status, told) = submit(&alone.url, "add-pre-chain", &chain).await;
    assert_eq!(status, 400);
    assert!(told.contains("takes those that end from 2027"), "{told}");
    drop(program);

    alone.change("window: {start: 2027", "window: {start: 2025");
    alone.change("reject-expired: false", "reject-expired: true");
    let program = alone.serve();
    let (status, told) = submit(&alone.url, "add-pre-chain", &chain).await;
    assert_eq!(status, 400);
    assert!(told.contains("has expired"), "{told}");
    drop(program);

    // The key in the form that some other logs want, and no passphrase.
    let place = alone.place();
    let sec1 = Command::new("openssl")
        .args([
            "ec",
            "-passin",
            "file:passphrase",
            "-in",
            "key.pem",
            "-out",
            "sec1.pem",
        ])
        .current_dir(&place)
        .output()
        .unwrap();
    assert!(sec1.status.success());
    let text = fs::read_to_string(place.join("sec1.pem")).unwrap();
    assert!(text.contains("BEGIN EC PRIVATE KEY"), "{text}");
    alone.change("key: key.pem", "key: sec1.pem");
    alone.change("  note-key: note-key.pem\n", "");
    alone.change("  passphrase:\n    file: \"passphrase\"\n", "");
    alone.change("reject-expired: true", "reject-expired: false");
    let _program = alone.serve();
    assert_eq!(submit(&alone.url, "add-pre-chain", &chain).await.0, 200);
    let (status, sth) = get(&format!("{}/ct/v1/get-sth", alone.url)).await;
    let sth: Value = serde_json::from_slice(&sth).unwrap();
    assert_eq!((status, &sth["tree_size"]), (200, &json!(1)));
}

#[test]
fn a_log_is_made_once_and_a_mistake_is_told_with_its_line() {
    let alone = Alone::make("");
    let place = alone.place();
    let roots = place.join("roots.pem");
    let again = vouchsafe(&[
        "log",
        "init",
        "--dir",
        place.to_str().unwrap(),
        "--roots",
        roots.to_str().unwrap(),
    ]);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && told.contains("nothing was changed"),
        "{told}"
    );

    let config = alone.config();
    let good = fs::read_to_string(&config).unwrap();
    for (from, to, line, sentence) in [
        (
            "reject-expired: false",
            "reject-expird: true",
            "reject-expird",
            "unknown field",
        ),
        ("prefix: \"\"", "prefix: /A", "log:", "is not one like /log"),
        (
            "prefix: \"\"",
            "prefix: /tile",
            "log:",
            "is not one like /log",
        ),
        (
            "  roots: roots.pem",
            "",
            "log:",
            "needs a file with the roots",
        ),
        (
            "# window: {start: 2026-01-01T00:00:00Z, end: 2027-01-01T00:00:00Z}",
            "window: {start: 2027-01-01T00:00:00Z, end: 2026-01-01T00:00:00Z}",
            "log:",
            "ends before it starts",
        ),
        (
            "# window: {start: 2026-01-01T00:00:00Z, end: 2027-01-01T00:00:00Z}",
            "window: {start: yesterday}",
            "window: {start: yesterday}",
            "no time like",
        ),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        fs::write(&config, &text).unwrap();
        let number = text
            .lines()
            .position(|found| found.trim_start().starts_with(line))
            .unwrap()
            + 1;
        let refused = vouchsafe(&["log", "serve", "--config", config.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        let place = format!("{}:{number}:", config.display());
        assert!(!refused.status.success(), "{to}");
        assert!(
            told.contains(&place) && told.contains(sentence),
            "{told} for {to}, not {place}"
        );
    }
}
