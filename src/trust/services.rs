//! Signature logs and timestamp authorities: the services beside a certificate authority that
//! verifiers must know too. They are written into a trusted root and not read from one.

use const_oid::db::{rfc5280, rfc5912, rfc8410};
use der::pem;
use der::{Decode, Encode};
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::{Authority, TrustError, check_url, read_chain, sha256, subject_names};

/// A signature transparency log (Rekor) and the key of its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLog {
    pub(super) base_url: String,
    pub(super) public_key_der: Vec<u8>,
    pub(super) key_details: &'static str,
    pub(super) log_id: [u8; 32],
    pub(super) valid_from: OffsetDateTime,
}

/// A timestamp authority (RFC 3161): its certificate, and the chain up to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampAuthority(pub(super) Authority);

impl SignatureLog {
    /// A log: its address, the major version of its interface, its public key (`PUBLIC KEY` in PEM),
    /// the name in its checkpoints, and a time not after the first entry that counts. A log without a
    /// name of its own is named after its host.
    ///
    /// # Errors
    /// [`TrustError::Url`], [`TrustError::SignatureLogKey`].
    pub fn new(
        base_url: &str,
        major_version: u32,
        public_key_pem: &str,
        origin: Option<&str>,
        valid_from: OffsetDateTime,
    ) -> Result<Self, TrustError> {
        let url = check_url(base_url)?;
        let (label, der) = pem::decode_vec(public_key_pem.trim_start().as_bytes())
            .map_err(|_| TrustError::SignatureLogKey)?;
        if label != "PUBLIC KEY" {
            return Err(TrustError::SignatureLogKey);
        }
        let key = spki::SubjectPublicKeyInfoRef::from_der(&der)
            .map_err(|_| TrustError::SignatureLogKey)?;
        if !key.to_der().is_ok_and(|again| again == der) {
            return Err(TrustError::SignatureLogKey);
        }
        let curve = key.algorithm.parameters_oid().ok();
        let key_details = match (key.algorithm.oid, curve) {
            (rfc8410::ID_ED_25519, _) => ED25519,
            (rfc5912::ID_EC_PUBLIC_KEY, Some(rfc5912::SECP_256_R_1)) => P256,
            (rfc5912::ID_EC_PUBLIC_KEY, Some(rfc5912::SECP_384_R_1)) => P384,
            _ => return Err(TrustError::SignatureLogKey),
        };
        let log_id = match (key_details, major_version) {
            (ED25519, 2..) => {
                let origin = origin.or_else(|| url.host_str()).unwrap_or_default();
                note_key_id(origin, key.subject_public_key.raw_bytes())
            }
            _ => sha256(&der),
        };
        Ok(Self {
            base_url: base_url.to_owned(),
            public_key_der: der,
            key_details,
            log_id,
            valid_from,
        })
    }

    /// By what its entries name it.
    pub const fn log_id(&self) -> [u8; 32] {
        self.log_id
    }
}

impl TimestampAuthority {
    /// An authority: the full address of its endpoint, and its chain in PEM with the certificate that
    /// signs timestamps first and the root last. It is trusted from that certificate's `notBefore` on.
    ///
    /// # Errors
    /// [`TrustError::Url`], [`TrustError::TimestampChain`], [`TrustError::ChainLength`],
    /// [`TrustError::Certificate`].
    pub fn new(url: &str, chain_pem: &str) -> Result<Self, TrustError> {
        check_url(url)?;
        let certificates =
            Certificate::load_pem_chain(chain_pem.as_bytes()).map_err(TrustError::Certificate)?;
        let chain: Vec<Vec<u8>> = certificates
            .iter()
            .map(|certificate| certificate.to_der().map_err(TrustError::Certificate))
            .collect::<Result<_, _>>()?;
        let certificates = read_chain(&chain)?;
        let [signer, .., root] = certificates.as_slice() else {
            return Err(TrustError::TimestampChain);
        };
        let usage = signer.tbs_certificate().get_extension::<ExtendedKeyUsage>();
        let stamps = usage
            .map_err(TrustError::Certificate)?
            .is_some_and(|(_, usage)| usage.0.contains(&rfc5280::ID_KP_TIME_STAMPING));
        if !stamps {
            return Err(TrustError::TimestampChain);
        }
        let valid_from = signer.tbs_certificate().validity().not_before;
        let (organization, common_name) = subject_names(root);
        Ok(Self(Authority {
            url: url.to_owned(),
            organization,
            common_name,
            chain,
            valid_from: OffsetDateTime::UNIX_EPOCH + valid_from.to_unix_duration(),
            valid_until: None,
        }))
    }
}

/// The key ID of C2SP's signed notes, whole: "SHA-256(key name || 0x0A || signature type || public
/// key)". The name comes in, since one key may serve two logs.
fn note_key_id(name: &str, ed25519: &[u8]) -> [u8; 32] {
    sha256(&[name.as_bytes(), b"\n", &[NOTE_ED25519], ed25519].concat())
}

const NOTE_ED25519: u8 = 1;
const ED25519: &str = "PKIX_ED25519";
const P256: &str = "PKIX_ECDSA_P256_SHA_256";
const P384: &str = "PKIX_ECDSA_P384_SHA_384";

#[cfg(test)]
mod tests;
