//! What the tests share: where the server under test is, tokens of its demo provider, and a timestamp
//! authority, since verifiers want a third party's word for the time.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What every test signs.
pub const ARTIFACT: &[u8] = b"what is to be signed\n";

/// The server under test, as `tests/clients/run` has started it.
pub struct Server {
    /// The origin of the certificate authority.
    pub url: String,
    provider: String,
    trusted_root: Value,
    timestamps: tempfile::TempDir,
}

impl Server {
    /// The server that the environment names, and a timestamp authority beside it in the trusted
    /// root. Without a server there is nothing to test, and the test fails.
    pub fn from_environment() -> Self {
        let root = std::fs::read(variable("VOUCHSAFE_TRUSTED_ROOT")).expect("the trusted root");
        let mut trusted_root: Value = serde_json::from_slice(&root).expect("JSON");
        let timestamps = tempfile::tempdir().expect("a directory");
        let authority = timestamp(&["authority".as_ref(), timestamps.path()]);
        let authority = serde_json::from_str(&authority).expect("JSON");
        trusted_root["timestampAuthorities"] = Value::Array(vec![authority]);
        Self {
            url: variable("VOUCHSAFE_URL"),
            provider: variable("VOUCHSAFE_PROVIDER"),
            trusted_root,
            timestamps,
        }
    }

    /// The trusted root of the server, with the timestamp authority.
    pub fn trusted_root(&self) -> Value {
        self.trusted_root.clone()
    }

    /// The demo provider's issuer of this kind.
    pub fn issuer(&self, kind: &str) -> String {
        format!("{}/{kind}", self.provider)
    }

    /// A token of the demo provider: `email/token?email=…`.
    pub async fn token(&self, path: &str) -> String {
        let response = reqwest::get(format!("{}/{path}", self.provider)).await;
        let response = response
            .expect("a reply")
            .error_for_status()
            .expect("a token");
        response.text().await.expect("a token").trim().to_owned()
    }

    /// A bundle with this leaf certificate and signature, timestamped now, and these log entries.
    pub fn bundle(
        &self,
        leaf_der: &[u8],
        digest: &[u8],
        signature: &[u8],
        entries: Value,
    ) -> Value {
        let file = self.timestamps.path().join("signature");
        std::fs::write(&file, signature).expect("a file");
        let stamp = timestamp(&["stamp".as_ref(), self.timestamps.path(), &file]);
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": STANDARD.encode(leaf_der)},
                "tlogEntries": entries,
                "timestampVerificationData": {
                    "rfc3161Timestamps": [{"signedTimestamp": stamp}],
                },
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest)},
                "signature": STANDARD.encode(signature),
            },
        })
    }
}

/// The trusted root and the signing configuration of the server with a signature log and a timestamp
/// authority, which `tests/clients/run` has started too.
pub fn client_config() -> Value {
    let file = std::fs::read(variable("VOUCHSAFE_CLIENT_CONFIG")).expect("the client's file");
    serde_json::from_slice(&file).expect("JSON")
}

/// Keeps a bundle for the clients that run after this one.
pub fn leave_for_others(client: &str, bundle: &str) {
    if let Some(directory) = std::env::var_os("VOUCHSAFE_BUNDLES") {
        let file = Path::new(&directory).join(format!("{client}.json"));
        std::fs::write(file, bundle).expect("a file");
    }
}

/// The certificate in PEM, 64 characters a line.
pub fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line) + "\n");
    let body: String = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

/// The certificates in a PEM text, in DER.
pub fn from_pem(text: &str) -> Vec<Vec<u8>> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .map(|block| {
            let (body, _) = block
                .split_once("-----END CERTIFICATE-----")
                .expect("an end");
            let body: String = body.split_whitespace().collect();
            STANDARD.decode(body).expect("base64")
        })
        .collect()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/clients/run"))
}

fn timestamp(arguments: &[&Path]) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../timestamp");
    let output = Command::new(script)
        .args(arguments)
        .output()
        .expect("openssl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}
