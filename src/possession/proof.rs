//! Signatures: which schemes there are, which of them a key may use, and the proof over the
//! challenge.

use std::fmt;

use aws_lc_rs::signature as aws;
use der::{Encode as _, Sequence, asn1::UintRef};

use super::{KeyAlgorithm, PROOF_LIMIT, PossessionError, key::CandidateKey};

/// The hash of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// A way to sign that this room can verify; [`Scheme::of`] says which it also permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Ecdsa(Hash),
    RsaPkcs1(Hash),
    Ed25519,
}

impl Scheme {
    /// The only scheme permitted with a key, and the one its proof over a challenge is in.
    pub(super) fn of(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::EcdsaP256 => Self::Ecdsa(Hash::Sha256),
            KeyAlgorithm::EcdsaP384 => Self::Ecdsa(Hash::Sha384),
            KeyAlgorithm::EcdsaP521 => Self::Ecdsa(Hash::Sha512),
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                Self::RsaPkcs1(Hash::Sha256)
            }
            KeyAlgorithm::Ed25519 => Self::Ed25519,
        }
    }

    /// The error for a good signature in a scheme that is not [the key's own](Self::of).
    pub(super) fn check_permitted(self, algorithm: KeyAlgorithm) -> Result<(), PossessionError> {
        if self == Self::of(algorithm) {
            return Ok(());
        }
        match self {
            Self::Ecdsa(hash) => Err(PossessionError::PairNotPermitted {
                key_type: "*ecdsa.PublicKey",
                hash,
            }),
            Self::RsaPkcs1(hash) => Err(PossessionError::PairNotPermitted {
                key_type: "*rsa.PublicKey",
                hash,
            }),
            // Pure Ed25519 is no other key's scheme: it never verified.
            Self::Ed25519 => Err(PossessionError::SignatureMismatch { algorithm }),
        }
    }
}

/// Checks a proof: the signature over the challenge, which the caller's token fixed.
pub(super) fn verify_challenge(
    key: &CandidateKey,
    challenge: &str,
    proof: &[u8],
) -> Result<(), PossessionError> {
    if proof.len() > PROOF_LIMIT {
        return Err(PossessionError::ProofTooLong {
            length: proof.len(),
        });
    }
    let scheme = Scheme::of(key.algorithm);
    let verifies = |signature: &[u8]| key.verifies(scheme, challenge.as_bytes(), signature);
    // The two forms cannot be told apart for certain: both may have the same length, and raw
    // halves may happen to start like DER. Both are tried; each is the same claim by the same key.
    let good = verifies(proof)
        || matches!(scheme, Scheme::Ecdsa(_))
            && from_raw_halves(proof).is_some_and(|signature| verifies(&signature));
    if good {
        Ok(())
    } else {
        Err(PossessionError::SignatureMismatch {
            algorithm: key.algorithm,
        })
    }
}

/// How the cryptographic library names a scheme with a key; nothing if the key has no such scheme.
pub(super) fn verification(
    algorithm: KeyAlgorithm,
    scheme: Scheme,
) -> Option<&'static dyn aws::VerificationAlgorithm> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => match scheme {
            Scheme::Ecdsa(Hash::Sha256) => Some(&aws::ECDSA_P256_SHA256_ASN1),
            Scheme::Ecdsa(Hash::Sha384) => Some(&aws::ECDSA_P256_SHA384_ASN1),
            Scheme::Ecdsa(Hash::Sha512) => Some(&aws::ECDSA_P256_SHA512_ASN1),
            Scheme::RsaPkcs1(_) | Scheme::Ed25519 => None,
        },
        KeyAlgorithm::EcdsaP384 => match scheme {
            Scheme::Ecdsa(Hash::Sha256) => Some(&aws::ECDSA_P384_SHA256_ASN1),
            Scheme::Ecdsa(Hash::Sha384) => Some(&aws::ECDSA_P384_SHA384_ASN1),
            Scheme::Ecdsa(Hash::Sha512) => Some(&aws::ECDSA_P384_SHA512_ASN1),
            Scheme::RsaPkcs1(_) | Scheme::Ed25519 => None,
        },
        KeyAlgorithm::EcdsaP521 => match scheme {
            Scheme::Ecdsa(Hash::Sha256) => Some(&aws::ECDSA_P521_SHA256_ASN1),
            Scheme::Ecdsa(Hash::Sha384) => Some(&aws::ECDSA_P521_SHA384_ASN1),
            Scheme::Ecdsa(Hash::Sha512) => Some(&aws::ECDSA_P521_SHA512_ASN1),
            Scheme::RsaPkcs1(_) | Scheme::Ed25519 => None,
        },
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => match scheme {
            Scheme::RsaPkcs1(Hash::Sha256) => Some(&aws::RSA_PKCS1_2048_8192_SHA256),
            Scheme::RsaPkcs1(Hash::Sha384) => Some(&aws::RSA_PKCS1_2048_8192_SHA384),
            Scheme::RsaPkcs1(Hash::Sha512) => Some(&aws::RSA_PKCS1_2048_8192_SHA512),
            Scheme::Ecdsa(_) | Scheme::Ed25519 => None,
        },
        KeyAlgorithm::Ed25519 => match scheme {
            Scheme::Ed25519 => Some(&aws::ED25519),
            Scheme::Ecdsa(_) | Scheme::RsaPkcs1(_) => None,
        },
    }
}

/// RFC 3279 2.2.3.
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The DER of a signature sent as r and s side by side (IEEE P1363): an even number of octets, at
/// most two P-521 scalars, split in the middle. Browsers and Java sign this way. The halves may
/// have leading zeros or none; the integers come out minimal.
fn from_raw_halves(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || raw.len() > RAW_LIMIT || !raw.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    let (r, s) = (UintRef::new(r).ok()?, UintRef::new(s).ok()?);
    EcdsaSignature { r, s }.to_der().ok()
}

const RAW_LIMIT: usize = 2 * 66;
