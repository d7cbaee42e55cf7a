//! A key in this process's memory.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

use super::key::{CaKey, KeyError, Signing};
use crate::certificate::profile::SignatureAlgorithm;

/// A private key held by the cryptographic library. It is lost when the process ends unless it was
/// loaded from somewhere that keeps it.
#[derive(Debug)]
pub struct MemoryKey {
    pair: Pair,
    algorithm: SignatureAlgorithm,
    public_key_der: Vec<u8>,
    random: SystemRandom,
}

#[derive(Debug)]
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl MemoryKey {
    /// Loads a private key in DER: PKCS#8 (RFC 5958), or the older `ECPrivateKey` (RFC 5915) and
    /// `RSAPrivateKey` (RFC 8017). Curves P-256, P-384 and P-521, RSA of 2048 to 4096 bits, Ed25519.
    ///
    /// # Errors
    /// A short reason, if it is none of these.
    pub fn from_der(private_key_der: &[u8]) -> Result<Self, &'static str> {
        use SignatureAlgorithm::{EcdsaSha256, EcdsaSha384, EcdsaSha512, RsaSha256};
        for (signing, algorithm) in [
            (&ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaSha256),
            (&ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaSha384),
            (&ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaSha512),
        ] {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(signing, private_key_der) {
                let public = pair
                    .public_key()
                    .as_der()
                    .map_err(|_| UNSUPPORTED)?
                    .as_ref()
                    .to_vec();
                return Ok(Self::new(Pair::Ecdsa(pair), algorithm, public));
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(private_key_der) {
            let public = pair
                .public_key()
                .as_der()
                .map_err(|_| UNSUPPORTED)?
                .as_ref()
                .to_vec();
            return Ok(Self::new(
                Pair::Ed25519(pair),
                SignatureAlgorithm::Ed25519,
                public,
            ));
        }
        let pair = RsaKeyPair::from_pkcs8(private_key_der)
            .or_else(|_| RsaKeyPair::from_der(private_key_der))
            .map_err(|_| UNSUPPORTED)?;
        if !(256..=512).contains(&pair.public_modulus_len()) {
            return Err("an RSA key must have 2048 to 4096 bits");
        }
        let public = pair
            .public_key()
            .as_der()
            .map_err(|_| UNSUPPORTED)?
            .as_ref()
            .to_vec();
        Ok(Self::new(Pair::Rsa(Box::new(pair)), RsaSha256, public))
    }

    fn new(pair: Pair, algorithm: SignatureAlgorithm, public_key_der: Vec<u8>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the randomness inside a signature is the library's own"
        )]
        let random = SystemRandom::new();
        Self {
            pair,
            algorithm,
            public_key_der,
            random,
        }
    }

    fn sign_now(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair
                    .sign(&self.random, message)
                    .map_err(|_| KeyError::Signing)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                    .map_err(|_| KeyError::Signing)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl CaKey for MemoryKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(std::future::ready(self.sign_now(message)))
    }
}

const UNSUPPORTED: &str = "it is not a P-256, P-384, P-521, RSA or Ed25519 private key";
