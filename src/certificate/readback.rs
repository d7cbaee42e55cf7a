//! An issued certificate, read back from its octets, for whoever compares what was signed with what
//! was written down about it. It believes nothing: every value is as the certificate has it.

use std::collections::BTreeMap;

use ::der::{Decode as _, Encode as _};
use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;

use super::der;
use super::extensions::Extension;
use super::name::{EmailAddress, SubjectAlternativeName, Uri, Username};
use super::precertificate::tbs_without;
use super::sct::{SCT_LIST_OID, Sct, read_list};

/// What a certificate of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// The serial number, zeros in front.
    pub serial: [u8; 20],
    /// Start of the validity.
    pub not_before: OffsetDateTime,
    /// End of the validity.
    pub not_after: OffsetDateTime,
    /// SHA-256 of the `SubjectPublicKeyInfo`.
    pub key_sha256: [u8; 32],
    /// The value of the subject alternative name's extension.
    pub name_der: Vec<u8>,
    /// The values of the identity's extensions by their names.
    pub extensions: BTreeMap<String, String>,
    /// The one timestamp.
    pub sct: Sct,
    /// The to-be-signed part without the timestamp: what the log hashes.
    pub logged: Vec<u8>,
}

impl ReadBack {
    /// Reads a certificate; nothing, if it is not one of the kind that is issued here: with one list of
    /// one timestamp and a serial number of at most twenty octets.
    #[must_use]
    pub fn of(certificate_der: &[u8]) -> Option<Self> {
        let logged = tbs_without(certificate_der, SCT_LIST_OID).ok()?;
        let certificate = x509_cert::Certificate::from_der(certificate_der).ok()?;
        let tbs = certificate.tbs_certificate();
        let (mut name_der, mut timestamps) = (Vec::new(), Vec::new());
        let mut extensions = BTreeMap::new();
        for extension in tbs.extensions()? {
            let (id, value) = (
                extension.extn_id.as_bytes(),
                extension.extn_value.as_bytes(),
            );
            if id == SCT_LIST_OID {
                timestamps = read_list(value).ok()?;
            } else if id == SUBJECT_ALTERNATIVE_NAME {
                name_der = value.to_vec();
            } else if let Some((extension, text)) = Extension::read(id, value) {
                extensions.insert(extension.name().to_owned(), text.to_owned());
            }
        }
        let [sct] = <[Sct; 1]>::try_from(timestamps).ok()?;
        let moment =
            |time: x509_cert::time::Time| OffsetDateTime::UNIX_EPOCH + time.to_unix_duration();
        let key = tbs.subject_public_key_info().to_der().ok()?;
        Some(Self {
            serial: padded(tbs.serial_number().as_bytes())?,
            not_before: moment(tbs.validity().not_before),
            not_after: moment(tbs.validity().not_after),
            key_sha256: digest(&SHA256, &key).as_ref().try_into().ok()?,
            name_der,
            extensions,
            sct,
            logged,
        })
    }

    /// Whether its one name is this one of this kind.
    #[must_use]
    pub fn names(&self, kind: &str, identity: &str) -> bool {
        let name = match kind {
            "email" => EmailAddress::parse(identity)
                .ok()
                .map(SubjectAlternativeName::Email),
            "uri" => Uri::normalize(identity)
                .ok()
                .map(SubjectAlternativeName::Uri),
            "username" => identity
                .split_once('!')
                .and_then(|(user, domain)| Username::new(user, domain).ok())
                .map(SubjectAlternativeName::Username),
            _ => None,
        };
        name.is_some_and(|name| name.as_str() == identity && name.to_der() == self.name_der)
    }
}

/// The serial number of a certificate's or precertificate's to-be-signed part, zeros in front.
///
/// `TBSCertificate ::= SEQUENCE { [0] version, serialNumber INTEGER, … }`
#[must_use]
pub fn serial_of(tbs_der: &[u8]) -> Option<[u8; 20]> {
    let (tbs, _) = der::expect(tbs_der, der::SEQUENCE)?;
    let (_, rest) = der::expect(tbs.value, der::explicit(0))?;
    let (serial, _) = der::expect(rest, der::INTEGER)?;
    padded(serial.value)
}

/// The to-be-signed part of a certificate.
#[must_use]
pub fn to_be_signed(certificate_der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = der::expect(certificate_der, der::SEQUENCE)?;
    let (tbs, _) = der::expect(certificate.value, der::SEQUENCE)?;
    Some(tbs.whole)
}

/// A positive number's octets right-aligned in twenty.
fn padded(octets: &[u8]) -> Option<[u8; 20]> {
    let digits = octets.strip_prefix(&[0]).unwrap_or(octets);
    let mut serial = [0; 20];
    let start = serial.len().checked_sub(digits.len())?;
    serial.get_mut(start..)?.copy_from_slice(digits);
    Some(serial)
}

/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
