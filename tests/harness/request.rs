//! Signing requests, whole and ready to be sent: each with its own token and its own key.

use std::thread;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use time::OffsetDateTime;

use super::http::post;
use super::issuer::Issuer;
use super::protobuf::{field, framed};

/// A request and the key whose certificate it asks for.
#[derive(Clone)]
pub(crate) struct SigningRequest {
    /// The whole HTTP request.
    pub(crate) http: Vec<u8>,
    /// The same as a message of gRPC.
    pub(crate) grpc: Bytes,
    /// The key's `SubjectPublicKeyInfo`, DER.
    pub(crate) spki: Vec<u8>,
    /// The address that the certificate must name.
    pub(crate) email: String,
}

/// Prepares requests numbered from `first` on all processors.
pub(crate) fn prepare(issuer: &Issuer, first: u64, count: usize) -> Vec<SigningRequest> {
    let now = OffsetDateTime::now_utc();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<u64> = (first..).take(count).collect();
    thread::scope(|scope| {
        let chunks = numbers.chunks(count.div_ceil(workers).max(1));
        let running: Vec<_> = chunks
            .map(|chunk| {
                scope.spawn(move || {
                    chunk
                        .iter()
                        .map(|number| one(issuer, *number, now))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("a request can be prepared"))
            .collect()
    })
}

fn one(issuer: &Issuer, number: u64, now: OffsetDateTime) -> SigningRequest {
    let email = format!("signer-{number}@example.com");
    let token = issuer.token(&email, number, now);
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a P-256 key");
    let proof = key
        .sign(&SystemRandom::new(), email.as_bytes())
        .expect("a signature");
    let spki: PublicKeyX509Der<'_> = key
        .public_key()
        .as_der()
        .expect("a public key has an encoding");
    let spki = spki.as_ref().to_vec();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        wrapped(&STANDARD.encode(&spki))
    );
    let body = json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": pem},
            "proofOfPossession": STANDARD.encode(proof.as_ref()),
        },
    });
    let key_request = [
        field(1, &field(2, pem.as_bytes())),
        field(2, proof.as_ref()),
    ];
    let message = [
        field(1, &field(1, token.as_bytes())),
        field(2, &key_request.concat()),
    ];
    SigningRequest {
        grpc: framed(&message.concat()).into(),
        http: post("/api/v2/signingCert", &body.to_string()),
        spki,
        email,
    }
}

fn wrapped(base64: &str) -> String {
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .filter_map(|line| str::from_utf8(line).ok())
        .collect();
    lines.join("\n")
}
