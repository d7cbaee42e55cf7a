//! Keys and signatures made by other implementations: the `openssl` command line (fixtures) and
//! the pure-Rust curve crates (made on the spot).

mod csrs;
mod keys;
mod mutations;
mod pems;
mod proofs;
mod vectors;
mod weaknesses;

use std::{fs, path::PathBuf};

use super::*;

const CHALLENGE: &str = "artist@example.com";

const ACCEPTED: [(&str, KeyAlgorithm); 7] = [
    ("rsa-2048", KeyAlgorithm::Rsa2048),
    ("rsa-3072", KeyAlgorithm::Rsa3072),
    ("rsa-4096", KeyAlgorithm::Rsa4096),
    ("p256", KeyAlgorithm::EcdsaP256),
    ("p384", KeyAlgorithm::EcdsaP384),
    ("p521", KeyAlgorithm::EcdsaP521),
    ("ed25519", KeyAlgorithm::Ed25519),
];

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/keys")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fixture_text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

/// The DER inside a PEM fixture, by a parser that is not this room's.
fn fixture_der(name: &str) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(&fixture(name)).unwrap();
    pem.contents
}

fn prove_key(
    key: impl Into<Vec<u8>>,
    proof: impl Into<Vec<u8>>,
) -> Result<SubjectKey, PossessionError> {
    let request = KeyRequest::PublicKey {
        key: key.into(),
        proof: proof.into(),
    };
    prove(&request, CHALLENGE)
}

fn prove_csr(pem: impl Into<Vec<u8>>) -> Result<SubjectKey, PossessionError> {
    prove(&KeyRequest::CertificateSigningRequest(pem.into()), "")
}

fn unparseable(malformed: Malformed) -> Result<SubjectKey, PossessionError> {
    Err(PossessionError::KeyUnparseable(malformed))
}

fn insecure(weakness: Weakness) -> Result<SubjectKey, PossessionError> {
    Err(PossessionError::KeyInsecure(weakness))
}

fn mismatch(algorithm: KeyAlgorithm) -> Result<SubjectKey, PossessionError> {
    Err(PossessionError::SignatureMismatch { algorithm })
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match body.len() {
        length @ 0..128 => out.push(length as u8),
        length @ 128..256 => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(body);
    out
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x30, &[algorithm]), &tlv(3, &[&[0], key])])
}

fn ed25519_spki(point: &[u8]) -> Vec<u8> {
    spki(&unhex(ED25519_OID), point)
}

const ED25519_OID: &str = "06032b6570";
const EC_OID: &str = "06072a8648ce3d0201";
const P256_OID: &str = "06082a8648ce3d030107";
const RSA_OID: &str = "06092a864886f70d010101";
const NULL: &str = "0500";

/// A P-256 key and its proof, made without this crate's cryptography.
fn p256_pair(secret: u8, challenge: &str) -> (Vec<u8>, p256::ecdsa::Signature) {
    use p256::{ecdsa::signature::Signer as _, pkcs8::EncodePublicKey as _};
    let signer = p256::ecdsa::SigningKey::from_slice(&[secret; 32]).unwrap();
    let spki = signer.verifying_key().to_public_key_der().unwrap();
    (spki.into_vec(), signer.sign(challenge.as_bytes()))
}
