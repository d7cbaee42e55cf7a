//! A caller: a P-256 key, its proofs, and the requests made of them. Nothing of it is the program's.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

/// A key and the name its proofs sign.
pub(crate) struct Caller {
    pub(crate) name: String,
    key: SigningKey,
}

impl Caller {
    pub(crate) fn new(name: &str) -> Self {
        let key = SigningKey::from_slice(&[0x2a; 32]).unwrap();
        Self {
            name: name.to_owned(),
            key,
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let spki = self.key.verifying_key().to_public_key_der().unwrap();
        spki.into_vec()
    }

    pub(crate) fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// The proof, in DER.
    pub(crate) fn proof(&self) -> Vec<u8> {
        let signature: Signature = self.key.sign(self.name.as_bytes());
        signature.to_der().as_bytes().to_vec()
    }

    /// The proof as two raw halves.
    pub(crate) fn raw_proof(&self) -> Vec<u8> {
        let signature: Signature = self.key.sign(self.name.as_bytes());
        signature.to_bytes().to_vec()
    }

    /// A request of the second version, the token in the body if there is one.
    pub(crate) fn v2(&self, token: Option<&str>) -> Value {
        v2_with_key(token, &self.pem(), &self.proof())
    }

    /// A request of the first version.
    pub(crate) fn v1(&self) -> Value {
        json!({
            "publicKey": {"algorithm": "ecdsa", "content": STANDARD.encode(self.spki())},
            "signedEmailAddress": STANDARD.encode(self.proof()),
        })
    }
}

pub(crate) fn v2_with_key(token: Option<&str>, pem: &str, proof: &[u8]) -> Value {
    let mut request = json!({
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": pem},
            "proofOfPossession": STANDARD.encode(proof),
        },
    });
    if let Some(token) = token {
        request["credentials"] = json!({"oidcIdentityToken": token});
    }
    request
}

pub(crate) fn v2_with_csr(token: &str, csr: &[u8]) -> Value {
    json!({
        "credentials": {"oidcIdentityToken": token},
        "certificateSigningRequest": STANDARD.encode(csr),
    })
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// A key, proof or request made by the `openssl` command line.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/keys")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the proofs among the fixtures sign.
pub(crate) const ARTIST: &str = "artist@example.com";
