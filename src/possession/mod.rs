//! Possession: a public key whose holder proved it.
//!
//! A caller names a key in one of two ways and proves possession in the same request: a public
//! key with a signature over the challenge (the name its token proves), or a certificate signing
//! request, whose own signature is the proof. Either way [`prove`] is the only source of a
//! [`SubjectKey`], so a certificate for an unproven key cannot be asked for, and only the key
//! leaves this room: whatever else a request says (subject, names, extensions) is never read.
//!
//! The checks run in the order Fulcio runs them, because callers see which one failed: the key's
//! encoding, its strength, the signature, the pair of key and hash.

mod blocked;
mod csr;
mod ed25519;
mod error;
mod key;
mod pem;
mod proof;
mod weak;

use std::fmt;

pub use blocked::{BlockedKeys, BlockedKeysError};
pub use error::{Malformed, PossessionError, Weakness};
pub use key::{KeyAlgorithm, SubjectKey};
pub use proof::Hash;
pub use weak::is_roca;

/// The longest key or certificate signing request that is looked at, in bytes as sent. An
/// RSA-4096 request with a generous subject is under 3 KiB of PEM.
pub const KEY_LIMIT: usize = 8 * 1024;

/// The longest proof of possession that is looked at, in bytes: twice an RSA-4096 signature.
pub const PROOF_LIMIT: usize = 1024;

/// The key a caller wants certified, and its proof.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyRequest {
    /// A public key and a signature over the challenge by its private half.
    PublicKey {
        /// One PEM block (`PUBLIC KEY` or `RSA PUBLIC KEY`), or the DER of a SubjectPublicKeyInfo.
        key: Vec<u8>,
        /// The signature: PKCS#1 v1.5 for RSA; DER or the two raw halves for ECDSA; 64 octets for
        /// Ed25519. The hash is the key's own: SHA-256 for RSA and P-256, SHA-384 for P-384,
        /// SHA-512 for P-521.
        proof: Vec<u8>,
    },
    /// A PKCS#10 request as one PEM block (`CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`).
    CertificateSigningRequest(Vec<u8>),
}

/// Sizes only: a request is the caller's, and log lines hold no keys.
impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublicKey { key, proof } => {
                write!(
                    f,
                    "PublicKey({} bytes, proof of {})",
                    key.len(),
                    proof.len()
                )
            }
            Self::CertificateSigningRequest(pem) => {
                write!(f, "CertificateSigningRequest({} bytes)", pem.len())
            }
        }
    }
}

/// Checks the key a caller sent and the proof that the caller holds its private half.
///
/// `challenge` is the exact text a proof over a public key must sign; a certificate signing
/// request signs itself, and the challenge plays no part.
///
/// # Errors
///
/// The first check that failed. Every one of them is the caller's fault.
pub fn prove(request: &KeyRequest, challenge: &str) -> Result<SubjectKey, PossessionError> {
    prove_unless_blocked(request, challenge, &BlockedKeys::default())
}

/// [`prove`], refusing the operator's own list of keys as well.
///
/// # Errors
///
/// As [`prove`]; a key on the list is [`Weakness::Blocked`].
pub fn prove_unless_blocked(
    request: &KeyRequest,
    challenge: &str,
    blocked: &BlockedKeys,
) -> Result<SubjectKey, PossessionError> {
    match request {
        KeyRequest::PublicKey { key, proof } => {
            let key = key::CandidateKey::from_request(key)?;
            blocked.check(&key)?;
            proof::verify_challenge(&key, challenge, proof)?;
            Ok(key.proven())
        }
        KeyRequest::CertificateSigningRequest(pem) => {
            let der = pem::csr(pem).map_err(PossessionError::CsrUnparseable)?;
            let csr = csr::Csr::parse(&der).map_err(PossessionError::CsrUnparseable)?;
            let key = csr.key()?;
            blocked.check(&key)?;
            csr.verify(&key)?;
            Ok(key.proven())
        }
    }
}

#[cfg(test)]
mod tests;
