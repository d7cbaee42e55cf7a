use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::trust::TrustedRoot;

const SINCE: OffsetDateTime = datetime!(2026-02-03 04:05:06.789 UTC);
const URL: &str = "https://rekor.example.com";

fn ed25519() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

fn log(version: u32, key_pem: &str, origin: Option<&str>) -> Result<SignatureLog, TrustError> {
    SignatureLog::new(URL, version, key_pem, origin, SINCE)
}

/// A certificate for timestamps and its root, or for something else.
fn chain_pem(usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.distinguished_name = rcgen::DistinguishedName::new();
    root.distinguished_name
        .push(DnType::OrganizationName, "Example");
    root.distinguished_name
        .push(DnType::CommonName, "Example time");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let mut signer = CertificateParams::default();
    signer.extended_key_usages = vec![usage];
    signer.not_before = datetime!(2026-03-04 05:06:07 UTC);
    let key = KeyPair::generate().unwrap();
    let signer = signer
        .signed_by(&key, &Issuer::new(root, root_key))
        .unwrap();
    (signer.pem(), root_pem)
}

fn written(root: &TrustedRoot) -> Value {
    serde_json::from_str(&root.to_json().unwrap()).unwrap()
}

#[test]
fn verifiers_do_not_learn_the_signature_log_and_the_timestamp_authority() {
    let key = ed25519();
    let (signer, root) = chain_pem(ExtendedKeyUsagePurpose::TimeStamping);
    let url = "https://time.example.com/api/v1/timestamp";
    let trusted = TrustedRoot {
        signature_logs: vec![log(2, &key.public_key_pem(), None).unwrap()],
        timestamp_authorities: vec![TimestampAuthority::new(url, &(signer + &root)).unwrap()],
        ..TrustedRoot::default()
    };
    let value = written(&trusted);
    // The name, a line feed, the octet of Ed25519 and the key.
    let raw = rcgen::PublicKeyData::der_bytes(&key);
    let id = sha256(&[b"rekor.example.com\n\x01", raw].concat());
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    assert_eq!(
        value["tlogs"],
        json!([{
            "baseUrl": URL,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(spki),
                "keyDetails": "PKIX_ED25519",
                "validFor": {"start": "2026-02-03T04:05:06Z"},
            },
            "logId": {"keyId": STANDARD.encode(id)},
        }])
    );
    let authority = &value["timestampAuthorities"][0];
    assert_eq!(authority["uri"], url);
    assert_eq!(
        authority["subject"],
        json!({"organization": "Example", "commonName": "Example time"})
    );
    assert_eq!(authority["validFor"]["start"], "2026-03-04T05:06:07Z");
    let certificates = authority["certChain"]["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 2);
    // They are written and not read: this program believes neither.
    let read = TrustedRoot::from_json(trusted.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(read, TrustedRoot::default());
}

#[test]
fn a_log_is_named_otherwise_than_its_entries_name_it() {
    let key = ed25519();
    let (pem, raw) = (key.public_key_pem(), rcgen::PublicKeyData::der_bytes(&key));
    let other = log(2, &pem, Some("log.example.org/2026")).unwrap();
    let expected = sha256(&[b"log.example.org/2026\n\x01", raw].concat());
    assert_eq!(other.log_id(), expected);
    // The first version of the interface, and keys of other kinds, have no name in their ID.
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    assert_eq!(log(1, &pem, None).unwrap().log_id(), sha256(&spki));
    let p256 = p256::SecretKey::from_slice(&[7; 32]).unwrap().public_key();
    let p384 = p384::SecretKey::from_slice(&[7; 48]).unwrap().public_key();
    let p256_der = p256.to_public_key_der().unwrap();
    for (pem, details) in [
        (p256.to_public_key_pem(LineEnding::LF).unwrap(), P256),
        (p384.to_public_key_pem(LineEnding::LF).unwrap(), P384),
    ] {
        let log = log(2, &pem, None).unwrap();
        assert_eq!(log.key_details, details);
        assert_eq!(log.log_id(), sha256(&log.public_key_der));
        assert_eq!(log.public_key_der == p256_der.as_bytes(), details == P256);
    }
}

#[test]
fn a_file_that_is_no_key_of_a_log_is_taken() {
    let key = ed25519();
    let (certificate, _) = chain_pem(ExtendedKeyUsagePurpose::TimeStamping);
    let rsa = include_str!("../../../testdata/keys/rsa-2048.pem");
    let secp256k1 = include_str!("../../../testdata/keys/secp256k1.pem");
    for pem in [
        "",
        "key",
        &key.serialize_pem(),
        &certificate,
        rsa,
        secp256k1,
    ] {
        let refused = log(2, pem, None);
        assert!(matches!(refused, Err(TrustError::SignatureLogKey)), "{pem}");
    }
    let pem = key.public_key_pem();
    let refused = SignatureLog::new("rekor.example.com", 2, &pem, None, SINCE);
    assert!(matches!(refused, Err(TrustError::Url { .. })));
}

#[test]
fn a_file_that_is_no_chain_of_a_timestamp_authority_is_taken() {
    let url = "https://time.example.com";
    let new = |pem: &str| TimestampAuthority::new(url, pem);
    let (signer, root) = chain_pem(ExtendedKeyUsagePurpose::TimeStamping);
    assert!(new(&format!("{signer}{root}")).is_ok());
    let (code, _) = chain_pem(ExtendedKeyUsagePurpose::CodeSigning);
    // Alone, the wrong way round, for code.
    for pem in [
        &signer,
        &format!("{root}{signer}"),
        &format!("{code}{root}"),
    ] {
        assert!(matches!(new(pem), Err(TrustError::TimestampChain)), "{pem}");
    }
    assert!(new("").is_err());
    assert!(matches!(new("key"), Err(TrustError::Certificate(_))));
    assert!(new(&signer.repeat(9)).is_err());
}
