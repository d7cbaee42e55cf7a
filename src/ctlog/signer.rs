//! The log's key: ECDSA on P-256 and nothing else, because some verifiers can derive a log's ID
//! only from such a key.

use super::entry::EntryBody;
use super::merkle::{Hash, sha256};
use super::note::NoteKey;
use crate::certificate::sct::Sct;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

/// Why a key cannot be a log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The private half.
    #[error("the log's private key is not an ECDSA key on P-256, in PKCS#8 or SEC1")]
    Private,
    /// The public half.
    #[error("the log's public key is not an ECDSA key on P-256 in a SubjectPublicKeyInfo")]
    Public,
    /// The key of the second signature.
    #[error("the log's note key is not an Ed25519 key in unencrypted PKCS#8")]
    Note,
    /// The two do not fit, or the library failed.
    #[error("the log's key could not sign")]
    Signing,
}

/// Signs for the log. Holds the private key; has no `Debug` that could show it.
pub struct LogSigner {
    key: EcdsaKeyPair,
    verifier: LogVerifier,
    note: Option<NoteKey>,
}

impl LogSigner {
    /// Reads a private key in DER, not encrypted: PKCS#8 (RFC 5958), or `ECPrivateKey` (RFC 5915), which
    /// some call SEC1.
    pub fn from_private_key(der: &[u8]) -> Result<Self, KeyError> {
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
            .map_err(|_| KeyError::Private)?;
        let public: PublicKeyX509Der<'_> =
            key.public_key().as_der().map_err(|_| KeyError::Private)?;
        let verifier = LogVerifier::from_public_key_der(public.as_ref())?;
        Ok(Self {
            key,
            verifier,
            note: None,
        })
    }

    /// The same with a second key, which signs each checkpoint once more, for witnesses.
    #[must_use]
    pub fn with_note_key(self, note: NoteKey) -> Self {
        let note = Some(note);
        Self { note, ..self }
    }

    /// The second key.
    #[must_use]
    pub fn note_key(&self) -> Option<&NoteKey> {
        self.note.as_ref()
    }

    /// The private key as PKCS#8 in DER.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = self.key.to_pkcs8v1().map_err(|_| KeyError::Private)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// The private key as `ECPrivateKey` (RFC 5915) in DER, which some logs want and call SEC1.
    pub fn to_sec1(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der: EcPrivateKeyRfc5915Der<'_> = self
            .key
            .private_key()
            .as_der()
            .map_err(|_| KeyError::Private)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> &LogVerifier {
        &self.verifier
    }

    /// A signer whose signatures do not verify with the key it shows, as after a fault.
    #[cfg(test)]
    pub(super) fn broken(self, other: &Self) -> Self {
        let verifier = other.verifier.clone();
        Self { verifier, ..self }
    }

    /// An `ECDSA-Sig-Value` in DER over SHA-256 of `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let digest = digest::digest(&digest::SHA256, message);
        let signature = self
            .key
            .sign_digest(&digest)
            .map_err(|_| KeyError::Signing)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl core::fmt::Debug for LogSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LogSigner")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

/// Checks what a log signed, with its public key alone.
#[derive(Clone)]
pub struct LogVerifier {
    key: ParsedPublicKey,
    public_key_der: Vec<u8>,
    log_id: Hash,
}

impl LogVerifier {
    /// Reads a `SubjectPublicKeyInfo` (DER).
    pub fn from_public_key_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Public)?;
        let curve = spki
            .algorithm
            .parameters_oid()
            .map_err(|_| KeyError::Public)?;
        if spki.algorithm.oid != EC_PUBLIC_KEY || curve != P256 {
            return Err(KeyError::Public);
        }
        let point = spki.subject_public_key.as_bytes().ok_or(KeyError::Public)?;
        let key =
            ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| KeyError::Public)?;
        Ok(Self {
            key,
            public_key_der: der.to_vec(),
            log_id: sha256(der),
        })
    }

    /// The `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// RFC 6962 section 3.2: "the SHA-256 hash of the log's public key, calculated over the DER
    /// encoding of the key represented as SubjectPublicKeyInfo".
    #[must_use]
    pub fn log_id(&self) -> Hash {
        self.log_id
    }

    /// Whether `signature` is the log's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }

    /// Whether `sct` is this log's promise to have logged `body`. The extensions are signed with
    /// it, so they may be any.
    #[must_use]
    pub fn verifies_sct(&self, sct: &Sct, body: &EntryBody) -> bool {
        let leaf = body.merkle_tree_leaf_with(sct.timestamp_ms, &sct.extensions);
        sct.log_id == self.log_id && self.verifies(&leaf, &sct.signature)
    }
}

impl core::fmt::Debug for LogVerifier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LogVerifier")
            .field("log_id", &self.log_id)
            .finish_non_exhaustive()
    }
}

const EC_PUBLIC_KEY: const_oid::ObjectIdentifier =
    const_oid::ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: const_oid::ObjectIdentifier =
    const_oid::ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Verifier;
    use p256::pkcs8::DecodePublicKey;

    #[test]
    fn another_implementation_agrees_on_key_id_and_signature() {
        let signer = crate::ctlog::testing::signer(1);
        let spki = signer.verifier().public_key_der();
        let oracle = p256::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
        let signature = signer.sign(b"message").unwrap();
        let parsed = p256::ecdsa::Signature::from_der(&signature).unwrap();
        oracle.verify(b"message", &parsed).unwrap();
        assert!(signer.verifier().verifies(b"message", &signature));
        assert!(!signer.verifier().verifies(b"massage", &signature));
        use sha2::Digest;
        assert_eq!(
            signer.verifier().log_id().as_slice(),
            sha2::Sha256::digest(spki).as_slice()
        );
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, Ed25519KeyPair};
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let private = p384.to_pkcs8v1().unwrap();
        assert_eq!(
            LogSigner::from_private_key(private.as_ref()).unwrap_err(),
            KeyError::Private
        );
        let public: PublicKeyX509Der<'_> = p384.public_key().as_der().unwrap();
        let refused = LogVerifier::from_public_key_der(public.as_ref()).unwrap_err();
        assert_eq!(refused, KeyError::Public);
        let ed25519 = Ed25519KeyPair::generate().unwrap();
        let public: PublicKeyX509Der<'_> = ed25519.public_key().as_der().unwrap();
        assert!(LogVerifier::from_public_key_der(public.as_ref()).is_err());
        assert!(LogVerifier::from_public_key_der(b"").is_err());
    }
}
