//! The certification authority: its key, its chain, and the two signatures of an issuance.

pub mod chain;
pub mod file;
pub mod hierarchy;
pub mod key;
pub mod memory;

use der::Decode as _;
use time::OffsetDateTime;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use self::chain::{Chain, ChainError};
use self::key::{CaKey, KeyError};
use crate::certificate::precertificate::{Certificate, CorrespondenceError, Precertificate};
use crate::certificate::profile::Profile;
use crate::certificate::sct::Sct;
use crate::certificate::signature::verify;
use crate::certificate::template::Template;

/// A key, the chain that vouches for it, and the profile of the leaves it signs.
#[derive(Debug)]
pub struct Authority {
    key: Box<dyn CaKey>,
    chain: Chain,
    profile: Profile,
}

/// An authority that cannot start, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The chain breaks a rule.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The key cannot be loaded, or does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key signed, and its own certificate does not verify the signature.
    #[error("the self-test signature does not verify with the issuing certificate")]
    SelfTest,
    /// A certificate was signed that is not the one that was logged. It is destroyed.
    #[error(transparent)]
    Correspondence(#[from] CorrespondenceError),
}

impl Authority {
    /// Checks the chain against the key and every rule at `now`, then signs a probe and verifies it
    /// with the issuing certificate, so that an authority which exists can issue.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn new(
        key: Box<dyn CaKey>,
        chain_pem: &str,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let chain = Chain::from_pem(chain_pem, key.public_key_der(), now)?;
        let profile = Profile::new(&chain.issuer(key.algorithm()));
        let authority = Self {
            key,
            chain,
            profile,
        };
        authority.self_test().await?;
        Ok(authority)
    }

    /// The profile of its leaves.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Its chain, the issuing certificate first, the root last.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Signs the precertificate of one leaf.
    ///
    /// # Errors
    /// [`AuthorityError::Key`].
    pub async fn sign_precertificate(
        &self,
        template: Template,
    ) -> Result<Precertificate, AuthorityError> {
        let to_be_signed = template.precertificate_to_be_signed();
        let signature = self.key.sign(&to_be_signed).await?;
        Ok(template.into_precertificate(&to_be_signed, &signature, self.profile.algorithm()))
    }

    /// Signs the final certificate, which carries the log's timestamp, and proves that it is the one
    /// that was logged.
    ///
    /// # Errors
    /// [`AuthorityError::Key`] and [`AuthorityError::Correspondence`].
    pub async fn sign_certificate(
        &self,
        precertificate: Precertificate,
        sct: &Sct,
    ) -> Result<Certificate, AuthorityError> {
        let to_be_signed = precertificate.certificate_to_be_signed(sct);
        let signature = self.key.sign(&to_be_signed).await?;
        Ok(precertificate.into_certificate(&to_be_signed, &signature)?)
    }

    async fn self_test(&self) -> Result<(), AuthorityError> {
        let signature = self.key.sign(PROBE).await?;
        let key = SubjectPublicKeyInfoOwned::from_der(self.key.public_key_der())
            .map_err(|_| AuthorityError::SelfTest)?;
        let algorithm = AlgorithmIdentifierOwned::from_der(&self.profile.algorithm().to_der())
            .map_err(|_| AuthorityError::SelfTest)?;
        verify(&key, &algorithm, PROBE, &signature).map_err(|_| AuthorityError::SelfTest)
    }
}

/// Not a certificate in DER, so that the signature over it is good for nothing.
const PROBE: &[u8] = b"vouchsafe: this signature proves that the key is the certificate's";

#[cfg(test)]
mod tests;
