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

    /// The end of its validity, which is the final certificate's too.
    pub const fn not_after(&self) -> OffsetDateTime {
        self.template.not_after()
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
    let Parts { fields, extensions } = Parts::without(certificate_der, oid)?;
    let kept: Vec<&[u8]> = extensions.iter().map(|(_, whole)| *whole).collect();
    Ok(tbs_of(&[fields], &kept))
}

/// Who signs the final certificate of a precertificate that somebody else signed: a Precertificate
/// Signing Certificate's own issuer, as that certificate tells.
#[derive(Debug, Clone, Copy)]
pub struct FinalIssuer<'a> {
    /// The name, in DER.
    pub name: &'a [u8],
    /// The value of the authority key identifier, where there is one.
    pub key_identifier: Option<&'a [u8]>,
}

/// The `TBSCertificate` that the final certificate of a precertificate will have, where that was signed
/// with a Precertificate Signing Certificate. RFC 6962 section 3.2: "If the Precertificate is not signed
/// with the CA certificate that will issue the final certificate, then the TBSCertificate also has its
/// issuer changed to that of the CA that will issue the final certificate. […] If the Precertificate is
/// issued using a Precertificate Signing Certificate and an Authority Key Identifier extension is present
/// in the TBSCertificate, the corresponding extension must also be present in the Precertificate Signing
/// Certificate -- in this case, the TBSCertificate also has its Authority Key Identifier changed to match
/// the final issuer."
///
/// Where only one of the two has that extension a log and its readers must still agree, or the timestamp
/// verifies nowhere. So this does what the logs and clients do that there have always been: where the
/// signing certificate has none it is cut out, since the one in the precertificate names the signing
/// certificate's key, which the final certificate cannot; where only the signing certificate has one it is
/// added at the end. A replaced value stays in its place, as critical as it was.
///
/// # Errors
/// [`SpliceError`]: not a certificate, or not exactly one poison.
pub fn tbs_of_final(
    precertificate_der: &[u8],
    issuer: FinalIssuer<'_>,
) -> Result<Vec<u8>, SpliceError> {
    let malformed = SpliceError::Malformed;
    let Parts { fields, extensions } = Parts::without(precertificate_der, POISON_OID)?;
    // `[0] version, serialNumber, signature, issuer, …`; what has extensions has a version.
    let (_, rest) = der::expect(fields, der::explicit(0)).ok_or(malformed)?;
    let (_, rest) = der::expect(rest, der::INTEGER).ok_or(malformed)?;
    let (_, rest) = der::expect(rest, der::SEQUENCE).ok_or(malformed)?;
    let (_, after) = der::expect(rest, der::SEQUENCE).ok_or(malformed)?;
    let before = fields.strip_suffix(rest).ok_or(malformed)?;

    let value = issuer
        .key_identifier
        .map(|value| der::tlv(der::OCTET_STRING, &[value]));
    let position = extensions
        .iter()
        .position(|(id, _)| *id == AUTHORITY_KEY_IDENTIFIER);
    let mut kept: Vec<&[u8]> = extensions.iter().map(|(_, whole)| *whole).collect();
    let changed;
    match (position, &value) {
        (Some(at), Some(value)) => {
            changed = with_value(kept[at], value).ok_or(malformed)?;
            kept[at] = &changed;
        }
        (Some(at), None) => drop(kept.remove(at)),
        (None, Some(value)) => {
            let id = der::tlv(der::OBJECT_IDENTIFIER, &[AUTHORITY_KEY_IDENTIFIER]);
            changed = der::tlv(der::SEQUENCE, &[&id, value]);
            kept.push(&changed);
        }
        (None, None) => {}
    }
    Ok(tbs_of(&[before, issuer.name, after], &kept))
}

/// A `TBSCertificate` as it stands there, without one extension.
struct Parts<'a> {
    /// Everything before the extensions.
    fields: &'a [u8],
    /// The content of each extension's identifier, and the whole extension.
    extensions: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Parts<'a> {
    fn without(certificate_der: &'a [u8], oid: &[u8]) -> Result<Self, SpliceError> {
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

        let mut extensions = Vec::with_capacity(32);
        let (mut rest, mut cut) = (list.value, 0);
        while !rest.is_empty() {
            let (extension, after) = der::expect(rest, der::SEQUENCE).ok_or(malformed)?;
            let (id, _) = der::expect(extension.value, der::OBJECT_IDENTIFIER).ok_or(malformed)?;
            if id.value == oid {
                cut += 1;
            } else {
                extensions.push((id.value, extension.whole));
            }
            rest = after;
        }
        if cut != 1 {
            return Err(SpliceError::Count(cut));
        }
        let fields = tbs.value.strip_suffix(wrapper.whole).ok_or(malformed)?;
        Ok(Self { fields, extensions })
    }
}

/// A `TBSCertificate` of these fields and extensions. No extensions at all have no wrapper either.
fn tbs_of(fields: &[&[u8]], extensions: &[&[u8]]) -> Vec<u8> {
    if extensions.is_empty() {
        return der::tlv(der::SEQUENCE, fields);
    }
    let list = der::tlv(der::SEQUENCE, extensions);
    let wrapper = der::header(der::explicit(3), list.len());
    let parts = [fields, &[&wrapper, &list]].concat();
    der::tlv(der::SEQUENCE, &parts)
}

/// `Extension ::= SEQUENCE { extnID, critical DEFAULT FALSE, extnValue OCTET STRING }` with another
/// `extnValue`, given whole.
fn with_value(extension: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let (extension, _) = der::expect(extension, der::SEQUENCE)?;
    let (_, mut rest) = der::expect(extension.value, der::OBJECT_IDENTIFIER)?;
    if let Some((_, after)) = der::expect(rest, der::BOOLEAN) {
        rest = after;
    }
    let before = extension.value.strip_suffix(rest)?;
    Some(der::tlv(der::SEQUENCE, &[before, value]))
}

/// 1.3.6.1.4.1.11129.2.4.3, as content octets: the critical extension that keeps a precertificate
/// from being used as a certificate.
pub const POISON_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03];

/// 2.5.29.35
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
