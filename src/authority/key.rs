//! The authority's key, wherever it lives.

use std::pin::Pin;

use crate::certificate::profile::SignatureAlgorithm;

/// A private key that signs certificates.
///
/// The contract: [`Self::algorithm`] and [`Self::public_key_der`] never change for one value, so a
/// certificate and its precertificate are always signed alike; [`Self::sign`] may be called from
/// many tasks at once, signs exactly the bytes given, and either answers with one whole signature or
/// with an error after which the same call may be made again.
pub trait CaKey: Send + Sync + std::fmt::Debug {
    /// How it signs.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Its public half as `SubjectPublicKeyInfo` in DER.
    fn public_key_der(&self) -> &[u8];

    /// Signs `message`, the to-be-signed part of a certificate. The signature is what stands in the
    /// certificate's `BIT STRING`.
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a>;
}

/// A signature under way; a key in another machine takes its time.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, KeyError>> + Send + 'a>>;

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is there but there is no usable private key in it.
    #[error("{path} does not hold a private key that can be used: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The key is encrypted, and the passphrase does not open it.
    #[error("the passphrase does not open {path}")]
    Passphrase {
        /// The file.
        path: String,
    },
    /// Making or using the key failed in the cryptographic library.
    #[error("the key could not sign")]
    Signing,
}
