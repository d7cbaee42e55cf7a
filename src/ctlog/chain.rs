//! Certificates as a log looks at them: who issued whom. A log records what authorities did, also
//! what they did badly, so it checks signatures and the right to issue, and neither dates nor names.

use super::merkle::{Hash, sha256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use const_oid::ObjectIdentifier;
use der::asn1::BitStringRef;
use der::{Decode as _, Reader as _, SliceReader};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use std::collections::HashSet;
use time::OffsetDateTime;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

/// A certificate in DER, read.
#[derive(Clone, Debug)]
pub struct ChainCertificate {
    der: Vec<u8>,
    fingerprint: Hash,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    spki: Vec<u8>,
    /// None where the extension is missing or does not say `cA`; else how many intermediates may
    /// follow.
    authority: Option<PathLength>,
    may_sign_certificates: bool,
    usages: Vec<ObjectIdentifier>,
    not_after: OffsetDateTime,
    extensions: Vec<x509_cert::ext::Extension>,
}

/// `pathLenConstraint`: how many intermediates may stand below, if it says.
type PathLength = Option<u8>;

/// Why one certificate is not above another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not X.509 version 3 in DER.
    #[error("it is not a certificate in DER")]
    Malformed,
    /// The names do not meet.
    #[error("it does not name the next certificate as its issuer")]
    IssuerName,
    /// The next certificate is no authority's, or not for so long a chain.
    #[error("the next certificate may not issue it")]
    NotAnAuthority,
    /// An algorithm outside the table below.
    #[error("it is signed with an algorithm the log does not know")]
    Algorithm,
    /// The signature is not by the next certificate's key.
    #[error("its signature does not verify with the next certificate's key")]
    Signature,
}

impl ChainCertificate {
    /// Reads a certificate.
    pub fn from_der(der: Vec<u8>) -> Result<Self, ChainError> {
        Self::read(&der).map_err(|_| ChainError::Malformed)
    }

    /// The certificate as it was submitted.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        self.fingerprint
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn key_hash(&self) -> Hash {
        sha256(&self.spki)
    }

    /// Its extended key usages; empty where it has none.
    #[must_use]
    pub fn usages(&self) -> &[ObjectIdentifier] {
        &self.usages
    }

    /// The last moment of its validity.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The name of its issuer, in DER.
    #[must_use]
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The value of one extension.
    #[must_use]
    pub fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let mut all = self.extensions.iter();
        let found = all.find(|extension| extension.extn_id == oid);
        found.map(|extension| extension.extn_value.as_bytes())
    }

    /// Its extensions.
    #[must_use]
    pub fn extensions(&self) -> &[x509_cert::ext::Extension] {
        &self.extensions
    }

    /// Checks that `issuer` may issue this certificate, `intermediates` of which stand below
    /// `issuer`, and that it did.
    pub fn check_issued_by(&self, issuer: &Self, intermediates: usize) -> Result<(), ChainError> {
        let Some(path_length) = issuer.authority else {
            return Err(ChainError::NotAnAuthority);
        };
        let is_too_long = path_length.is_some_and(|limit| intermediates > usize::from(limit));
        if is_too_long || !issuer.may_sign_certificates {
            return Err(ChainError::NotAnAuthority);
        }
        self.check_signed_by(issuer)
    }

    /// Checks name and signature alone, for an issuer that was configured as trusted.
    pub fn check_signed_by(&self, issuer: &Self) -> Result<(), ChainError> {
        if self.issuer != issuer.subject {
            return Err(ChainError::IssuerName);
        }
        let (tbs, algorithm, signature) = signed_parts(&self.der).map_err(malformed)?;
        let key = SubjectPublicKeyInfoRef::from_der(&issuer.spki).map_err(malformed)?;
        let curve = key.algorithm.parameters_oid().ok();
        let (_, _, _, algorithm) = ALGORITHMS
            .iter()
            .find(|(signature_oid, key_oid, curve_oid, _)| {
                *signature_oid == algorithm.oid
                    && *key_oid == key.algorithm.oid
                    && *curve_oid == curve
            })
            .ok_or(ChainError::Algorithm)?;
        let point = key
            .subject_public_key
            .as_bytes()
            .ok_or(ChainError::Malformed)?;
        let signature = signature.as_bytes().ok_or(ChainError::Malformed)?;
        UnparsedPublicKey::new(*algorithm, point)
            .verify(tbs, signature)
            .map_err(|_| ChainError::Signature)
    }

    fn read(der: &[u8]) -> der::Result<Self> {
        let certificate = x509_cert::Certificate::from_der(der)?;
        let (tbs, algorithm, _) = signed_parts(der)?;
        let names = raw_names(tbs)?;
        let extensions = certificate
            .tbs_certificate()
            .extensions()
            .cloned()
            .unwrap_or_default();
        // "The same algorithm identifier" (RFC 5280 section 4.1.1.2), and no extension twice.
        let is_same = AlgorithmIdentifierRef::from_der(names.signature_algorithm)? == algorithm;
        let mut seen = HashSet::with_capacity(extensions.len());
        let is_twice = !extensions.iter().all(|one| seen.insert(one.extn_id));
        if !is_same || is_twice {
            return Err(der::ErrorKind::Failed.into());
        }
        let tbs = certificate.tbs_certificate();
        let constraints = tbs
            .get_extension::<BasicConstraints>()?
            .map(|(_, found)| found);
        let key_usage = tbs.get_extension::<KeyUsage>()?.map(|(_, found)| found);
        let usages = tbs
            .get_extension::<ExtendedKeyUsage>()?
            .map(|(_, found)| found.0);
        let not_after = tbs.validity().not_after.to_unix_duration();
        Ok(Self {
            not_after: OffsetDateTime::UNIX_EPOCH + not_after,
            fingerprint: sha256(der),
            subject: names.subject.to_vec(),
            issuer: names.issuer.to_vec(),
            spki: names.spki.to_vec(),
            authority: constraints
                .filter(|found| found.ca)
                .map(|found| found.path_len_constraint),
            may_sign_certificates: key_usage.is_none_or(|usage| usage.key_cert_sign()),
            usages: usages.unwrap_or_default(),
            extensions,
            der: der.to_vec(),
        })
    }
}

/// The parts of a `TBSCertificate` that are compared or hashed byte for byte.
struct RawNames<'a> {
    signature_algorithm: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
}

/// ```text
/// TBSCertificate ::= SEQUENCE { [0] version, serialNumber, signature, issuer, validity, subject,
///                               subjectPublicKeyInfo, … }
/// ```
fn raw_names(tbs: &[u8]) -> der::Result<RawNames<'_>> {
    let content = content(tbs)?;
    let mut fields = SliceReader::new(content)?;
    let (_version, _serial) = (fields.tlv_bytes()?, fields.tlv_bytes()?);
    let (signature_algorithm, issuer) = (fields.tlv_bytes()?, fields.tlv_bytes()?);
    let (_validity, subject) = (fields.tlv_bytes()?, fields.tlv_bytes()?);
    Ok(RawNames {
        signature_algorithm,
        issuer,
        subject,
        spki: fields.tlv_bytes()?,
    })
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }`, the first as
/// the bytes that are signed.
fn signed_parts(der: &[u8]) -> der::Result<(&[u8], AlgorithmIdentifierRef<'_>, BitStringRef<'_>)> {
    let mut fields = SliceReader::new(content(der)?)?;
    let tbs = fields.tlv_bytes()?;
    let algorithm = AlgorithmIdentifierRef::decode(&mut fields)?;
    let signature = BitStringRef::decode(&mut fields)?;
    Ok((tbs, algorithm, signature))
}

fn content(der: &[u8]) -> der::Result<&[u8]> {
    Ok(<&der::asn1::SequenceRef>::from_der(der)?.as_bytes())
}

fn malformed<E>(_: E) -> ChainError {
    ChainError::Malformed
}

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = oid("1.2.840.10045.2.1");
const ED: ObjectIdentifier = oid("1.3.101.112");
const P256: Option<ObjectIdentifier> = Some(oid("1.2.840.10045.3.1.7"));
const P384: Option<ObjectIdentifier> = Some(oid("1.3.132.0.34"));
const P521: Option<ObjectIdentifier> = Some(oid("1.3.132.0.35"));
const ECDSA_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
const RSA_SHA256: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = oid("1.2.840.113549.1.1.13");

type Row = (
    ObjectIdentifier,
    ObjectIdentifier,
    Option<ObjectIdentifier>,
    &'static dyn VerificationAlgorithm,
);

/// The signature's identifier, the key's, the key's curve, and how to verify.
static ALGORITHMS: [Row; 13] = [
    (ECDSA_SHA256, EC, P256, &ECDSA_P256_SHA256_ASN1),
    (ECDSA_SHA384, EC, P256, &ECDSA_P256_SHA384_ASN1),
    (ECDSA_SHA512, EC, P256, &ECDSA_P256_SHA512_ASN1),
    (ECDSA_SHA256, EC, P384, &ECDSA_P384_SHA256_ASN1),
    (ECDSA_SHA384, EC, P384, &ECDSA_P384_SHA384_ASN1),
    (ECDSA_SHA512, EC, P384, &ECDSA_P384_SHA512_ASN1),
    (ECDSA_SHA256, EC, P521, &ECDSA_P521_SHA256_ASN1),
    (ECDSA_SHA384, EC, P521, &ECDSA_P521_SHA384_ASN1),
    (ECDSA_SHA512, EC, P521, &ECDSA_P521_SHA512_ASN1),
    (RSA_SHA256, RSA, None, &RSA_PKCS1_2048_8192_SHA256),
    (RSA_SHA384, RSA, None, &RSA_PKCS1_2048_8192_SHA384),
    (RSA_SHA512, RSA, None, &RSA_PKCS1_2048_8192_SHA512),
    (ED, ED, None, &ED25519),
];
