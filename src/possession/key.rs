//! The gate every key passes before its proof is looked at: a strict SubjectPublicKeyInfo of a
//! listed algorithm, and the key in its one canonical encoding.
//!
//! The arithmetic is the cryptographic library's, but its parser alone would also take trailing
//! octets, explicit curve parameters, compressed points and short RSA keys. The gate stands
//! before it so that one key has one encoding, and so one fingerprint.

use std::fmt;

use aws_lc_rs::{
    digest,
    signature::{ParsedPublicKey, VerificationAlgorithm},
};
use const_oid::ObjectIdentifier;
use der::{
    Decode as _, Encode as _, Sequence,
    asn1::{AnyRef, BitStringRef, UintRef},
};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::{
    Malformed, PossessionError, Weakness, ed25519,
    pem::{self, PublicKey},
    proof::{self, Scheme},
    weak,
};

/// A public key whose holder proved possession of its private half. Only
/// [`prove`](super::prove) makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectKey {
    algorithm: KeyAlgorithm,
    spki_der: Box<[u8]>,
    fingerprint: [u8; 32],
}

impl SubjectKey {
    /// The DER SubjectPublicKeyInfo, in the one form this key has here.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The SHA-256 of [`spki_der`](Self::spki_der).
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The key's algorithm and size.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({}, ", self.algorithm)?;
        for octet in self.fingerprint {
            write!(f, "{octet:02x}")?;
        }
        f.write_str(")")
    }
}

/// The kinds of key a certificate can be had for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
    /// Ed25519.
    Ed25519,
}

impl KeyAlgorithm {
    /// Every kind, for tables and tests.
    pub const ALL: &[Self] = &[
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::Ed25519,
    ];
}

/// The name log lines and metrics use: `ecdsa-p256`, `rsa-2048`, `ed25519`.
impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::EcdsaP521 => "ecdsa-p521",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// A key that passed the gate and is still unproven.
pub(super) struct CandidateKey {
    pub(super) algorithm: KeyAlgorithm,
    pub(super) fingerprint: [u8; 32],
    spki_der: Vec<u8>,
    /// Parsed for the algorithm's own signature scheme.
    parsed: ParsedPublicKey,
}

impl CandidateKey {
    /// The key of a request that names it directly.
    pub(super) fn from_request(sent: &[u8]) -> Result<Self, PossessionError> {
        let spki_der = match pem::public_key(sent).map_err(PossessionError::KeyUnparseable)? {
            PublicKey::Spki(der) => der,
            PublicKey::Pkcs1(der) => wrap_pkcs1(&der).map_err(PossessionError::KeyUnparseable)?,
        };
        Self::from_spki(spki_der).map_err(|fault| match fault {
            KeyFault::Malformed(malformed) => PossessionError::KeyUnparseable(malformed),
            KeyFault::Weak(weakness) => PossessionError::KeyInsecure(weakness),
        })
    }

    /// The key in a DER SubjectPublicKeyInfo.
    pub(super) fn from_spki(spki_der: Vec<u8>) -> Result<Self, KeyFault> {
        let algorithm = gate(&spki_der)?;
        // Of what the gate let through, this refuses the points that are not on their curve.
        let parsed = parse(
            proof::verification(algorithm, Scheme::of(algorithm)),
            &spki_der,
        )
        .ok_or(KeyFault::Malformed(Malformed::Point))?;
        Ok(Self {
            algorithm,
            fingerprint: sha256(&spki_der),
            spki_der,
            parsed,
        })
    }

    /// Whether `signature` is this key's over `message`. False too for a scheme of another
    /// algorithm.
    pub(super) fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm == KeyAlgorithm::Ed25519 && !ed25519::strict_signature(signature) {
            return false;
        }
        if scheme == Scheme::of(self.algorithm) {
            return self.parsed.verify_sig(message, signature).is_ok();
        }
        parse(proof::verification(self.algorithm, scheme), &self.spki_der)
            .is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    /// The end of the road: call when, and only when, possession is proven.
    pub(super) fn proven(self) -> SubjectKey {
        SubjectKey {
            algorithm: self.algorithm,
            spki_der: self.spki_der.into_boxed_slice(),
            fingerprint: self.fingerprint,
        }
    }
}

/// Why a key did not pass the gate.
pub(super) enum KeyFault {
    Malformed(Malformed),
    Weak(Weakness),
}

impl From<Malformed> for KeyFault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Weakness> for KeyFault {
    fn from(weakness: Weakness) -> Self {
        Self::Weak(weakness)
    }
}

impl From<der::Error> for KeyFault {
    fn from(_: der::Error) -> Self {
        Self::Malformed(Malformed::Der)
    }
}

/// RFC 8017 A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

fn gate(spki_der: &[u8]) -> Result<KeyAlgorithm, KeyFault> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki_der)?;
    if spki.to_der()? != spki_der {
        return Err(Malformed::Der.into());
    }
    let AlgorithmIdentifierRef { oid, parameters } = spki.algorithm;
    let key = spki.subject_public_key.as_bytes().ok_or(Malformed::Der)?;
    match oid {
        EC_PUBLIC_KEY => gate_ec(parameters, key),
        RSA_ENCRYPTION => gate_rsa(parameters, key),
        ed25519::OID => gate_ed25519(parameters, key),
        oid => Err(match named(NOT_PERMITTED, oid) {
            Some(name) => Weakness::Algorithm(name).into(),
            None => Malformed::KeyAlgorithm(oid).into(),
        }),
    }
}

/// RFC 5480 2.1.1: "implicitCurve and specifiedCurve MUST NOT be used in PKIX". Section 2.2 lets a
/// point be compressed; here it may not, so that a key cannot come in two encodings.
fn gate_ec(parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<KeyAlgorithm, KeyFault> {
    let curve: ObjectIdentifier = parameters
        .and_then(|parameters| parameters.decode_as().ok())
        .ok_or(Malformed::Parameters)?;
    let (algorithm, coordinate) = match curve {
        P256 => (KeyAlgorithm::EcdsaP256, 32),
        P384 => (KeyAlgorithm::EcdsaP384, 48),
        P521 => (KeyAlgorithm::EcdsaP521, 66),
        P224 => return Err(Weakness::Algorithm("ECDSA P-224").into()),
        curve => return Err(Malformed::Curve(curve).into()),
    };
    // The point at infinity is a single zero octet and goes out here as well.
    if key.len() != 1 + 2 * coordinate || key.first() != Some(&UNCOMPRESSED) {
        return Err(Malformed::KeyForm.into());
    }
    Ok(algorithm)
}

/// RFC 3279 2.3.1: "The parameters field MUST have ASN.1 type NULL".
fn gate_rsa(parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<KeyAlgorithm, KeyFault> {
    if parameters != Some(AnyRef::NULL) {
        return Err(Malformed::Parameters.into());
    }
    let rsa = RsaPublicKey::from_der(key)?;
    if rsa.to_der()? != key {
        return Err(Malformed::Der.into());
    }
    Ok(weak::check_rsa(
        rsa.modulus.as_bytes(),
        rsa.public_exponent.as_bytes(),
    )?)
}

/// RFC 8410 3: "the parameters MUST be absent".
fn gate_ed25519(parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<KeyAlgorithm, KeyFault> {
    if parameters.is_some() {
        return Err(Malformed::Parameters.into());
    }
    let point = key.try_into().map_err(|_| Malformed::KeyForm)?;
    if !ed25519::is_canonical(point) {
        return Err(Malformed::Point.into());
    }
    if ed25519::is_small_order(point) {
        return Err(Weakness::SmallOrder.into());
    }
    Ok(KeyAlgorithm::Ed25519)
}

fn wrap_pkcs1(der: &[u8]) -> Result<Vec<u8>, Malformed> {
    let algorithm = AlgorithmIdentifierRef {
        oid: RSA_ENCRYPTION,
        parameters: Some(AnyRef::NULL),
    };
    BitStringRef::from_bytes(der)
        .and_then(|subject_public_key| {
            SubjectPublicKeyInfoRef {
                algorithm,
                subject_public_key,
            }
            .to_der()
        })
        .map_err(|_| Malformed::Der)
}

fn parse(
    verification: Option<&'static dyn VerificationAlgorithm>,
    spki_der: &[u8],
) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(verification?, spki_der).ok()
}

pub(super) fn named(
    table: &[(ObjectIdentifier, &'static str)],
    wanted: ObjectIdentifier,
) -> Option<&'static str> {
    table
        .iter()
        .find_map(|&(oid, name)| (oid == wanted).then_some(name))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

const UNCOMPRESSED: u8 = 4;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const P224: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.33");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Algorithms Fulcio parses and then calls insecure; callers get the same answer.
const NOT_PERMITTED: &[(ObjectIdentifier, &str)] = &[
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "DSA"),
    (ObjectIdentifier::new_unwrap("1.3.101.110"), "X25519"),
];
