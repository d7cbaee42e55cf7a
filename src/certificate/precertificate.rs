//! The precertificate (RFC 6962 section 3.1), the certificate it becomes, and the proof that the two
//! are the same.

use time::OffsetDateTime;

use super::der;
use super::extensions::push_critical_extension;
use super::profile::{SerialNumber, SignatureAlgorithm};
use super::sct::{SCT_LIST_OID, Sct};
use super::template::Template;

/// A precertificate signed by the authority. It is spent by the final signature: no second
/// certificate can be made from it.
#[derive(Debug)]
pub struct Precertificate {
    template: Template,
    algorithm: SignatureAlgorithm,
    der: Vec<u8>,
    tbs: Vec<u8>,
}

/// A final certificate, proven to correspond to the precertificate that was logged.
#[derive(Debug)]
pub struct Certificate {
    der: Vec<u8>,
    serial: SerialNumber,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// The final certificate is not the logged one. Nothing of it may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorrespondenceError {
    /// The bytes that the log hashed are not found again in the certificate.
    #[error("the certificate differs from the precertificate that was logged")]
    Differs,
    /// The certificate cannot even be read again.
    #[error("the certificate cannot be read back: {0}")]
    Unreadable(#[from] SpliceError),
}

/// A certificate from which one extension cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// Not a certificate in DER.
    #[error("it is not a certificate in DER")]
    Malformed,
    /// There must be exactly one such extension.
    #[error("it has {0} extensions of the kind to be cut out, not one")]
    Count(usize),
}

impl Template {
    /// The to-be-signed bytes of the precertificate: the poison is the last extension.
    pub fn precertificate_to_be_signed(&self) -> Vec<u8> {
        let mut poison = Vec::with_capacity(24);
        push_critical_extension(&mut poison, POISON_OID, &[&[0x05, 0x00]]);
        self.to_be_signed(&poison)
    }

    /// Puts the authority's signature over [`Self::precertificate_to_be_signed`] beside it.
    pub fn into_precertificate(
        self,
        to_be_signed: &[u8],
        signature: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Precertificate {
        let tbs = self.to_be_signed(&[]);
        Precertificate {
            der: signed(to_be_signed, signature, algorithm),
            tbs,
            algorithm,
            template: self,
        }
    }
}

impl Precertificate {
    /// The precertificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The `TBSCertificate` without the poison: what the log hashes and promises to keep.
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Its serial number, which is the final certificate's too.
    pub const fn serial(&self) -> SerialNumber {
        self.template.serial()
    }

    /// The to-be-signed bytes of the final certificate: the list of this one timestamp is the last
    /// extension.
    pub fn certificate_to_be_signed(&self, sct: &Sct) -> Vec<u8> {
        let mut list = Vec::with_capacity(160);
        sct.push_list_extension(&mut list);
        self.template.to_be_signed(&list)
    }

    /// Puts the authority's signature over [`Self::certificate_to_be_signed`] beside it, then reads
    /// the result back and proves that, without its timestamps, it is what was logged.
    ///
    /// # Errors
    /// [`CorrespondenceError`] where it is not.
    pub fn into_certificate(
        self,
        to_be_signed: &[u8],
        signature: &[u8],
    ) -> Result<Certificate, CorrespondenceError> {
        let der = signed(to_be_signed, signature, self.algorithm);
        if tbs_without(&der, SCT_LIST_OID)? != self.tbs {
            return Err(CorrespondenceError::Differs);
        }
        Ok(Certificate {
            der,
            serial: self.template.serial(),
            not_before: self.template.not_before(),
            not_after: self.template.not_after(),
        })
    }
}

impl Certificate {
    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its serial number.
    pub const fn serial(&self) -> SerialNumber {
        self.serial
    }

    /// Start of its validity.
    pub const fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// End of its validity.
    pub const fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }`
fn signed(to_be_signed: &[u8], signature: &[u8], algorithm: SignatureAlgorithm) -> Vec<u8> {
    let bits = der::header(der::BIT_STRING, signature.len() + 1);
    der::tlv(
        der::SEQUENCE,
        &[to_be_signed, &algorithm.to_der(), &bits, &[0], signature],
    )
}

/// The `TBSCertificate` of a certificate in DER with the one extension `oid` cut out and the lengths
/// around it put right; every other byte as it came, since a log and its readers hash exactly these.
/// The wrapper of the extensions goes too if nothing is left in it.
///
/// # Errors
/// [`SpliceError`]: not a certificate, or not exactly one such extension.
pub fn tbs_without(certificate_der: &[u8], oid: &[u8]) -> Result<Vec<u8>, SpliceError> {
    let malformed = SpliceError::Malformed;
    let (certificate, after) = der::expect(certificate_der, der::SEQUENCE).ok_or(malformed)?;
    if !after.is_empty() {
        return Err(malformed);
    }
    let (tbs, _) = der::expect(certificate.value, der::SEQUENCE).ok_or(malformed)?;

    let mut rest = tbs.value;
    let mut wrapper = None;
    while !rest.is_empty() {
        let (field, after) = der::read(rest).ok_or(malformed)?;
        if field.tag == der::explicit(3) {
            if !after.is_empty() {
                return Err(malformed);
            }
            wrapper = Some(field);
        }
        rest = after;
    }
    let wrapper = wrapper.ok_or(SpliceError::Count(0))?;
    let (list, after) = der::expect(wrapper.value, der::SEQUENCE).ok_or(malformed)?;
    if !after.is_empty() {
        return Err(malformed);
    }

    let mut kept: Vec<&[u8]> = Vec::with_capacity(32);
    let (mut rest, mut cut) = (list.value, 0);
    while !rest.is_empty() {
        let (extension, after) = der::expect(rest, der::SEQUENCE).ok_or(malformed)?;
        let (id, _) = der::expect(extension.value, der::OBJECT_IDENTIFIER).ok_or(malformed)?;
        if id.value == oid {
            cut += 1;
        } else {
            kept.push(extension.whole);
        }
        rest = after;
    }
    if cut != 1 {
        return Err(SpliceError::Count(cut));
    }

    let head = tbs.value.strip_suffix(wrapper.whole).ok_or(malformed)?;
    if kept.is_empty() {
        return Ok(der::tlv(der::SEQUENCE, &[head]));
    }
    let list = der::tlv(der::SEQUENCE, &kept);
    let wrapper = der::header(der::explicit(3), list.len());
    Ok(der::tlv(der::SEQUENCE, &[head, &wrapper, &list]))
}

/// 1.3.6.1.4.1.11129.2.4.3, as content octets: the critical extension that keeps a precertificate
/// from being used as a certificate.
pub const POISON_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03];
