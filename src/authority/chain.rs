//! The authority's own chain, and the checks every one must pass before it may issue.

use aws_lc_rs::digest::{SHA256, digest};
use der::pem::LineEnding;
use der::{Decode as _, Encode as _, EncodePem as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};

use crate::certificate::profile::{Issuer, SignatureAlgorithm};
use crate::certificate::signature::{SignatureError, verify_issued};

/// A checked chain: the issuing certificate first, the root last.
#[derive(Debug)]
pub struct Chain {
    certificates: Vec<Certificate>,
    der: Vec<Vec<u8>>,
    pem: Vec<String>,
}

/// A chain that must not issue.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// There is nothing to read.
    #[error("certificate chain must contain at least one certificate")]
    Empty,
    /// More certificates than any honest hierarchy has.
    #[error("the certificate chain has {0} certificates; at most {MAX_CHAIN} are accepted")]
    TooLong(usize),
    /// Something in the file is not a certificate.
    #[error("certificate {position} of the chain cannot be read")]
    Malformed {
        /// Counted from 1, the issuing certificate.
        position: usize,
    },
    /// An end-entity certificate cannot issue.
    #[error("certificate {position} of the chain ({subject}) is not a CA")]
    NotCa {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// Its subject.
        subject: String,
    },
    /// RFC 5280 section 4.2.1.3: keyCertSign must be asserted to verify signatures on certificates.
    #[error(
        "certificate {position} of the chain ({subject}) may not sign certificates by its key usage"
    )]
    KeyUsage {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// Its subject.
        subject: String,
    },
    /// An issuer of code-signing certificates must be allowed to issue them.
    #[error(
        "certificate {position} of the chain ({subject}) must have extended key usage code signing set to sign code signing certificates"
    )]
    ExtendedKeyUsage {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// Its subject.
        subject: String,
    },
    /// RFC 5280 section 4.2.1.9: more certificates below it than its path length allows.
    #[error(
        "certificate {position} of the chain ({subject}) does not allow as many certificates below it"
    )]
    PathLength {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// Its subject.
        subject: String,
    },
    /// Outside its validity.
    #[error(
        "certificate {position} of the chain ({subject}) is not valid now: {not_before} to {not_after}"
    )]
    NotValid {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// Its subject.
        subject: String,
        /// Start of its validity.
        not_before: OffsetDateTime,
        /// End of its validity.
        not_after: OffsetDateTime,
    },
    /// The next certificate has another name than the issuer named here.
    #[error(
        "certificate {position} of the chain was issued by {issuer}, which is not the next certificate"
    )]
    Order {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// The issuer it names.
        issuer: String,
    },
    /// The next certificate did not sign it.
    #[error("certificate {position} of the chain is not signed by the next one: {source}")]
    Signature {
        /// Counted from 1, the issuing certificate.
        position: usize,
        /// What is wrong with the signature.
        source: SignatureError,
    },
    /// The private key belongs to another certificate.
    #[error("the public key of the issuing certificate is not that of the private key")]
    KeyMismatch,
}

impl Chain {
    /// Reads a chain from PEM and holds it against every rule: each certificate a CA that may sign
    /// certificates and, where it restricts purposes, code-signing ones; each signed by the next;
    /// path lengths kept; all valid at `now`; and `public_key_der` the key of the first.
    ///
    /// # Errors
    /// [`ChainError`]: the first rule that is broken, and where.
    pub fn from_pem(
        pem: &str,
        public_key_der: &[u8],
        now: OffsetDateTime,
    ) -> Result<Self, ChainError> {
        let der: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .enumerate()
            .take(MAX_CHAIN + 1)
            .map(|(at, der)| {
                der.map(|der| der.to_vec())
                    .map_err(|_| ChainError::Malformed { position: at + 1 })
            })
            .collect::<Result<_, _>>()?;
        if der.is_empty() {
            return Err(ChainError::Empty);
        }
        if der.len() > MAX_CHAIN {
            return Err(ChainError::TooLong(der.len()));
        }
        let certificates: Vec<Certificate> = der
            .iter()
            .enumerate()
            .map(|(at, der)| {
                Certificate::from_der(der).map_err(|_| ChainError::Malformed { position: at + 1 })
            })
            .collect::<Result<_, _>>()?;
        let written: Option<Vec<String>> = certificates
            .iter()
            .map(|one| one.to_pem(LineEnding::LF).ok())
            .collect();
        let chain = Self {
            certificates,
            der,
            pem: written.ok_or(ChainError::Malformed { position: 1 })?,
        };
        chain.check(now)?;
        match chain
            .issuing()
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
        {
            Ok(key) if key == public_key_der => Ok(chain),
            Ok(_) | Err(_) => Err(ChainError::KeyMismatch),
        }
    }

    /// Every certificate in DER, the issuing one first, the root last.
    pub fn der(&self) -> &[Vec<u8>] {
        &self.der
    }

    /// Every certificate in PEM, each with its final newline.
    pub fn pem(&self) -> &[String] {
        &self.pem
    }

    /// SHA-256 of the issuing certificate's `SubjectPublicKeyInfo` (RFC 6962 section 3.2).
    pub fn issuer_key_hash(&self) -> [u8; 32] {
        let key = self
            .issuing()
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
            .unwrap_or_default();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &key).as_ref());
        hash
    }

    /// The validity that all certificates of the chain share.
    pub fn validity(&self) -> (OffsetDateTime, OffsetDateTime) {
        let all = || self.certificates.iter().map(validity);
        let not_before = all().map(|(not_before, _)| not_before).max();
        let not_after = all().map(|(_, not_after)| not_after).min();
        (
            not_before.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            not_after.unwrap_or(OffsetDateTime::UNIX_EPOCH),
        )
    }

    /// What the leaf profile copies from the issuing certificate.
    pub fn issuer(&self, algorithm: SignatureAlgorithm) -> Issuer {
        let tbs = self.issuing().tbs_certificate();
        let identifier = tbs.get_extension::<SubjectKeyIdentifier>().ok().flatten();
        let (not_before, not_after) = self.validity();
        Issuer {
            subject_der: tbs.subject().to_der().unwrap_or_default(),
            subject_key_identifier: identifier
                .map(|(_, identifier)| identifier.0.as_bytes().to_vec()),
            not_before,
            not_after,
            algorithm,
        }
    }

    fn issuing(&self) -> &Certificate {
        // `from_pem` refuses an empty chain.
        #[expect(clippy::indexing_slicing, reason = "a chain is never empty")]
        &self.certificates[0]
    }

    fn check(&self, now: OffsetDateTime) -> Result<(), ChainError> {
        for (below, certificate) in self.certificates.iter().enumerate() {
            let position = below + 1;
            let tbs = certificate.tbs_certificate();
            let subject = tbs.subject().to_string();
            let constraints = tbs
                .get_extension::<BasicConstraints>()
                .map_err(|_| ChainError::Malformed { position })?;
            let Some((_, constraints)) = constraints.filter(|(_, constraints)| constraints.ca)
            else {
                return Err(ChainError::NotCa { position, subject });
            };
            if constraints
                .path_len_constraint
                .is_some_and(|allowed| usize::from(allowed) < below)
            {
                return Err(ChainError::PathLength { position, subject });
            }
            let usage = tbs
                .get_extension::<KeyUsage>()
                .map_err(|_| ChainError::Malformed { position })?;
            if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
                return Err(ChainError::KeyUsage { position, subject });
            }
            let purposes = tbs
                .get_extension::<ExtendedKeyUsage>()
                .map_err(|_| ChainError::Malformed { position })?;
            let signs_code = purposes.as_ref().map(|(_, purposes)| {
                let mut purposes = purposes.0.iter();
                purposes.any(|purpose| *purpose == const_oid::db::rfc5280::ID_KP_CODE_SIGNING)
            });
            let is_intermediate_issuer = below == 0 && self.certificates.len() > 1;
            if signs_code == Some(false) || (is_intermediate_issuer && signs_code.is_none()) {
                return Err(ChainError::ExtendedKeyUsage { position, subject });
            }
            let (not_before, not_after) = validity(certificate);
            if now < not_before || now >= not_after {
                return Err(ChainError::NotValid {
                    position,
                    subject,
                    not_before,
                    not_after,
                });
            }
            tbs.get_extension::<SubjectKeyIdentifier>()
                .map_err(|_| ChainError::Malformed { position })?;
            // The last one is published as the root that others are to trust: it vouches for itself.
            let issuer = self.certificates.get(below + 1).unwrap_or(certificate);
            if tbs.issuer() != issuer.tbs_certificate().subject() {
                return Err(ChainError::Order {
                    position,
                    issuer: tbs.issuer().to_string(),
                });
            }
            verify_issued(certificate, issuer)
                .map_err(|source| ChainError::Signature { position, source })?;
        }
        Ok(())
    }
}

fn validity(certificate: &Certificate) -> (OffsetDateTime, OffsetDateTime) {
    let validity = certificate.tbs_certificate().validity();
    let time = |time: x509_cert::time::Time| OffsetDateTime::UNIX_EPOCH + time.to_unix_duration();
    (time(validity.not_before), time(validity.not_after))
}

const MAX_CHAIN: usize = 8;
