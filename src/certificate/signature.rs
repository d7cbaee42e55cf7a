//! Verifying the signatures that hold a chain of certificates together.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use der::Encode;
use x509_cert::Certificate;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// An algorithm, or a pair of algorithm and key, that is not accepted here.
    #[error("the signature algorithm {algorithm} is not accepted with a key of type {key}")]
    Unsupported {
        /// The signature's algorithm.
        algorithm: ObjectIdentifier,
        /// The key's algorithm, or its curve.
        key: ObjectIdentifier,
    },
    /// The bytes, the key and the signature do not belong together.
    #[error("the signature does not verify")]
    Invalid,
}

/// Verifies that `issuer` signed `certificate`. Only the signature: names, dates and extensions are
/// the caller's to check.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_issued(
    certificate: &Certificate,
    issuer: &Certificate,
) -> Result<(), SignatureError> {
    let message = certificate
        .tbs_certificate()
        .to_der()
        .map_err(|_| SignatureError::Invalid)?;
    let bits = certificate
        .signature()
        .as_bytes()
        .ok_or(SignatureError::Invalid)?;
    let key = issuer.tbs_certificate().subject_public_key_info();
    verify(key, certificate.signature_algorithm(), &message, bits)
}

/// Verifies `bits` over `message`, the algorithm as X.509 names it.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(
    key: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    message: &[u8],
    bits: &[u8],
) -> Result<(), SignatureError> {
    let kind = key_kind(key);
    let verifier = TABLE
        .iter()
        .find(|(signature, of_key, _)| (*signature, *of_key) == (algorithm.oid, kind))
        .map(|(_, _, verifier)| *verifier)
        .ok_or(SignatureError::Unsupported {
            algorithm: algorithm.oid,
            key: kind,
        })?;
    let spki = key.to_der().map_err(|_| SignatureError::Invalid)?;
    UnparsedPublicKey::new(verifier, &spki)
        .verify(message, bits)
        .map_err(|_| SignatureError::Invalid)
}

/// The key's algorithm, or for an elliptic curve key its named curve.
fn key_kind(key: &SubjectPublicKeyInfoOwned) -> ObjectIdentifier {
    let parameters = key.algorithm.parameters.as_ref();
    match parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok()) {
        Some(curve) if key.algorithm.oid == EC_PUBLIC_KEY => curve,
        _ => key.algorithm.oid,
    }
}

/// Signature algorithm, key or curve, and what verifies it.
const TABLE: [(
    ObjectIdentifier,
    ObjectIdentifier,
    &dyn VerificationAlgorithm,
); 10] = [
    (ECDSA_SHA256, P256, &signature::ECDSA_P256_SHA256_ASN1),
    (ECDSA_SHA384, P256, &signature::ECDSA_P256_SHA384_ASN1),
    (ECDSA_SHA256, P384, &signature::ECDSA_P384_SHA256_ASN1),
    (ECDSA_SHA384, P384, &signature::ECDSA_P384_SHA384_ASN1),
    (ECDSA_SHA512, P384, &signature::ECDSA_P384_SHA512_ASN1),
    (ECDSA_SHA512, P521, &signature::ECDSA_P521_SHA512_ASN1),
    (RSA_SHA256, RSA, &signature::RSA_PKCS1_2048_8192_SHA256),
    (RSA_SHA384, RSA, &signature::RSA_PKCS1_2048_8192_SHA384),
    (RSA_SHA512, RSA, &signature::RSA_PKCS1_2048_8192_SHA512),
    (ED25519, ED25519, &signature::ED25519),
];

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
