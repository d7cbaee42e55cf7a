//! What others may put into the log: `add-chain` and `add-pre-chain` (RFC 6962 sections 4.1, 4.2).
//!
//! "Logs MUST verify that the submitted end-entity certificate or Precertificate has a valid
//! signature chain leading back to a trusted root CA certificate, using the chain of intermediate
//! CA certificates provided by the submitter." The chain must be in order and used to its last
//! certificate, so that what is stored beside an entry is what vouches for it and nothing else.

use super::chain::{ChainCertificate, ChainError};
use super::config::{Window, read_usages};
use super::entry::{Entry, EntryBody, EntryError, MAX_CERTIFICATE, MAX_CHAIN};
use super::error::LogError;
use super::merkle::Hash;
use super::roots::accepted_roots;
use super::{Chains, Config};
use crate::certificate::precertificate::{
    FinalIssuer, POISON_OID, SpliceError, tbs_of_final, tbs_without,
};
use const_oid::ObjectIdentifier;
use std::sync::Arc;
use time::OffsetDateTime;

/// A submission as it arrived: the certificate first, then those above it, each in DER. The root
/// may be left out.
#[derive(Clone, Debug)]
pub enum Submission {
    /// `add-chain`: a certificate with its final signature.
    Certificate(Vec<Vec<u8>>),
    /// `add-pre-chain`: a precertificate.
    Precertificate(Vec<Vec<u8>>),
}

/// Why a submission is not logged. Always the submitter's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// No certificate, or too many.
    #[error("the chain has {0} certificates; 1 to {MAX_CHAIN} are accepted")]
    Length(usize),
    /// A certificate is too large.
    #[error("certificate {position} of the chain has {length} bytes, more than {MAX_CERTIFICATE}")]
    TooLarge {
        /// Zero-based place in the chain.
        position: usize,
        /// Its bytes.
        length: usize,
    },
    /// A certificate of the chain is unreadable or not issued by the next.
    #[error("certificate {position} of the chain: {error}")]
    Chain {
        /// Zero-based place in the chain.
        position: usize,
        /// What is wrong with it.
        error: ChainError,
    },
    /// The chain ends elsewhere.
    #[error("the chain does not lead to a root the log accepts")]
    UnknownRoot,
    /// A chain ends at its first root; what follows vouches for nothing.
    #[error("the chain goes on above a root the log accepts")]
    AboveRoot,
    /// A root vouches for itself only.
    #[error("the certificate is itself a root the log accepts")]
    IsRoot,
    /// RFC 6962 section 3.1: "a special critical poison extension […] whose extnValue OCTET STRING
    /// contains ASN.1 NULL data (0x05 0x00)".
    #[error("a precertificate has exactly one poison extension, critical and NULL")]
    Poison,
    /// A precertificate where a certificate was announced.
    #[error("a precertificate is submitted with add-pre-chain")]
    IsPrecertificate,
    /// The log is for another kind of certificate.
    #[error("the certificate has none of the extended key usages the log accepts")]
    Usage,
    /// The certificate belongs into another log, or another shard of this one.
    #[error("the certificate ends at {not_after}, and this log takes those that end {window}")]
    Window {
        /// The last moment of its validity.
        not_after: OffsetDateTime,
        /// What the log takes.
        window: Window,
    },
    /// Certificates that nobody can use any more are not wanted here.
    #[error("the certificate has expired at {not_after}")]
    Expired {
        /// The last moment of its validity.
        not_after: OffsetDateTime,
    },
    /// RFC 6962 section 3.1: "The Precertificate Signing Certificate MUST be directly certified by the
    /// (root or intermediate) CA certificate that will ultimately sign".
    #[error(
        "the chain ends at the Precertificate Signing Certificate, without the one that issued it"
    )]
    PrecertificateSigner,
    /// The entry cannot be written.
    #[error("{0}")]
    Entry(#[from] EntryError),
    /// The poison cannot be cut out.
    #[error("the precertificate cannot be read: {0}")]
    Splice(#[from] SpliceError),
}

/// What the log takes from others.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Where chains must lead.
    pub roots: Vec<ChainCertificate>,
    /// A certificate must have one of these extended key usages; any will do if there are none.
    pub usages: Vec<ObjectIdentifier>,
    /// When a certificate must end.
    pub window: Window,
    /// Whether those that have ended are turned away.
    pub reject_expired: bool,
}

/// A submission that may be logged.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The entry.
    pub entry: Entry,
    /// The certificates above it up to the root, with their SHA-256.
    pub issuers: Vec<(Hash, Vec<u8>)>,
}

impl Policy {
    /// What an operator says of it, and the chain of the log's own authority, if there is one.
    ///
    /// # Errors
    /// [`LogError`]: a usage, the window or a certificate makes no sense.
    pub fn of(config: &Config, chains: &Chains) -> Result<(Self, Vec<ChainCertificate>), LogError> {
        let usages = read_usages(&config.extended_key_usages)?;
        if !config.window.is_possible() {
            return Err(LogError::Window);
        }
        let issuer = read_chain("issuer chain", &chains.issuer)?;
        for (position, pair) in issuer.windows(2).enumerate() {
            let checked = pair[0].check_issued_by(&pair[1], position);
            checked.map_err(|error| LogError::Chain {
                chain: "issuer chain",
                position,
                error,
            })?;
        }
        let roots = accepted_roots(issuer.last(), &chains.roots)?;
        let policy = Self {
            roots,
            usages,
            window: config.window,
            reject_expired: config.reject_expired,
        };
        Ok((policy, issuer))
    }

    /// Checks a submission and makes the entry of it.
    pub fn accept(
        &self,
        submission: Submission,
        now: OffsetDateTime,
    ) -> Result<Accepted, SubmissionError> {
        let (ders, is_precertificate) = match submission {
            Submission::Certificate(chain) => (chain, false),
            Submission::Precertificate(chain) => (chain, true),
        };
        if ders.is_empty() || ders.len() > MAX_CHAIN {
            return Err(SubmissionError::Length(ders.len()));
        }
        let mut chain = Vec::with_capacity(ders.len() + 1);
        for (position, der) in ders.into_iter().enumerate() {
            let length = der.len();
            if length > MAX_CERTIFICATE {
                return Err(SubmissionError::TooLarge { position, length });
            }
            let certificate = ChainCertificate::from_der(der);
            chain.push(certificate.map_err(|error| SubmissionError::Chain { position, error })?);
        }
        self.check_leaf(&chain[0], is_precertificate, now)?;
        for (position, pair) in chain.windows(2).enumerate() {
            // As many intermediates stand below the issuer as certificates come before this one. A
            // signer of precertificates is none: "the log may relax standard validation rules to allow
            // this, so long as the issued certificate will be valid" (RFC 6962 section 3.1).
            let signer = chain.get(1).filter(|_| is_precertificate && position > 0);
            let intermediates = position - usize::from(signer.is_some_and(signs_precertificates));
            let checked = pair[0].check_issued_by(&pair[1], intermediates);
            checked.map_err(|error| SubmissionError::Chain { position, error })?;
        }
        let below_last = chain.split_last().map_or(&[][..], |(_, below)| below);
        if below_last.iter().skip(1).any(|one| self.is_root(one)) {
            return Err(SubmissionError::AboveRoot);
        }
        self.complete(&mut chain)?;

        let (leaf, above) = chain.split_at(1);
        let (leaf, issuer) = (&leaf[0], &above[0]);
        let fingerprints: Arc<[Hash]> = above.iter().map(ChainCertificate::fingerprint).collect();
        let entry = if is_precertificate {
            let body = match signs_precertificates(issuer) {
                false => {
                    let tbs = tbs_without(leaf.der(), POISON_OID)?;
                    EntryBody::precertificate(&issuer.key_hash(), &tbs)?
                }
                true => {
                    let signer = issuer;
                    let issuer = above.get(1).ok_or(SubmissionError::PrecertificateSigner)?;
                    let named = FinalIssuer {
                        name: signer.issuer(),
                        key_identifier: signer.extension(AUTHORITY_KEY_IDENTIFIER),
                    };
                    let tbs = tbs_of_final(leaf.der(), named)?;
                    EntryBody::precertificate(&issuer.key_hash(), &tbs)?
                }
            };
            Entry::precertificate(body, leaf.der(), fingerprints)?
        } else {
            Entry::x509(leaf.der(), fingerprints)?
        };
        let issuers = above
            .iter()
            .map(|issuer| (issuer.fingerprint(), issuer.der().to_vec()));
        Ok(Accepted {
            entry,
            issuers: issuers.collect(),
        })
    }

    fn check_leaf(
        &self,
        leaf: &ChainCertificate,
        is_precertificate: bool,
        now: OffsetDateTime,
    ) -> Result<(), SubmissionError> {
        // No certificate has an extension twice: reading it would have failed.
        let poison = leaf
            .extensions()
            .iter()
            .find(|found| found.extn_id == POISON);
        match (poison, is_precertificate) {
            (None, false) => {}
            (Some(_), false) => return Err(SubmissionError::IsPrecertificate),
            (Some(poison), true) if poison.critical && poison.extn_value.as_bytes() == NULL => {}
            (Some(_) | None, true) => return Err(SubmissionError::Poison),
        }
        let is_accepted = |usage: &ObjectIdentifier| self.usages.contains(usage);
        if !self.usages.is_empty() && !leaf.usages().iter().any(is_accepted) {
            return Err(SubmissionError::Usage);
        }
        let (not_after, window) = (leaf.not_after(), self.window);
        if !window.contains(not_after) {
            return Err(SubmissionError::Window { not_after, window });
        }
        if self.reject_expired && not_after < now {
            return Err(SubmissionError::Expired { not_after });
        }
        Ok(())
    }

    /// Sees the chain to a root, and adds that root where the submitter left it out.
    fn complete(&self, chain: &mut Vec<ChainCertificate>) -> Result<(), SubmissionError> {
        let last = chain.last().ok_or(SubmissionError::Length(0))?;
        if self.is_root(last) {
            return if chain.len() == 1 {
                Err(SubmissionError::IsRoot)
            } else {
                Ok(())
            };
        }
        // Two roots may have one name, so the signature decides.
        let root = self
            .roots
            .iter()
            .find(|root| last.check_signed_by(root).is_ok());
        chain.push(root.ok_or(SubmissionError::UnknownRoot)?.clone());
        Ok(())
    }

    fn is_root(&self, certificate: &ChainCertificate) -> bool {
        let fingerprint = certificate.fingerprint();
        self.roots
            .iter()
            .any(|root| root.fingerprint() == fingerprint)
    }
}

pub(super) fn read_chain(
    chain: &'static str,
    certificates: &[Vec<u8>],
) -> Result<Vec<ChainCertificate>, LogError> {
    let read = |(position, der): (usize, &Vec<u8>)| {
        let certificate = ChainCertificate::from_der(der.clone());
        certificate.map_err(|error| LogError::Chain {
            chain,
            position,
            error,
        })
    };
    certificates.iter().enumerate().map(read).collect()
}

fn signs_precertificates(certificate: &ChainCertificate) -> bool {
    certificate.usages().contains(&PRECERTIFICATE_SIGNING)
}

const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const POISON: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.3");
const PRECERTIFICATE_SIGNING: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.4");
/// ASN.1 NULL.
const NULL: &[u8] = &[0x05, 0x00];

#[cfg(test)]
mod tests;
