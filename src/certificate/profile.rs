//! What every leaf of one issuer has in common, encoded once.

use std::time::Duration;

use aws_lc_rs::digest;
use time::OffsetDateTime;

use super::der;
use super::extensions::{Extensions, push_critical_extension, push_extension};
use super::name::SubjectAlternativeName;
use super::template::Template;
use crate::possession::SubjectKey;

/// How a certification authority signs; it follows from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA over P-256 with SHA-256 (RFC 5758 section 3.2).
    EcdsaSha256,
    /// ECDSA over P-384 with SHA-384 (RFC 5758 section 3.2).
    EcdsaSha384,
    /// ECDSA over P-521 with SHA-512 (RFC 5758 section 3.2).
    EcdsaSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2).
    RsaSha256,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

impl SignatureAlgorithm {
    /// The `AlgorithmIdentifier`, which stands in the to-be-signed part and beside the signature.
    pub fn to_der(self) -> Vec<u8> {
        let (oid, parameters): (&[u8], &[u8]) = match self {
            Self::EcdsaSha256 => (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], &[]),
            Self::EcdsaSha384 => (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03], &[]),
            Self::EcdsaSha512 => (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04], &[]),
            Self::RsaSha256 => (
                &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b],
                &[0x05, 0x00],
            ),
            Self::Ed25519 => (&[0x2b, 0x65, 0x70], &[]),
        };
        let oid = der::tlv(der::OBJECT_IDENTIFIER, &[oid]);
        der::tlv(der::SEQUENCE, &[&oid, parameters])
    }
}

/// What the profile must know of the issuing certificate.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its subject `Name` in DER, copied into every leaf byte for byte.
    pub subject_der: Vec<u8>,
    /// Its subject key identifier, if it has one; without it a leaf has no authority key identifier.
    pub subject_key_identifier: Option<Vec<u8>>,
    /// Start of its validity.
    pub not_before: OffsetDateTime,
    /// End of its validity; no leaf outlives it.
    pub not_after: OffsetDateTime,
    /// How its key signs.
    pub algorithm: SignatureAlgorithm,
}

/// A certificate's serial number: twenty octets (RFC 5280 section 4.1.2.2), positive, never shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SerialNumber([u8; 20]);

impl SerialNumber {
    /// Makes a serial number of twenty random octets, of which 158 bits are kept: the top bit is
    /// cleared to stay positive and the next is set so that the encoding is always twenty octets.
    pub const fn from_random(mut octets: [u8; 20]) -> Self {
        octets[0] = octets[0] & 0x3f | 0x40;
        Self(octets)
    }

    /// The twenty octets.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

/// The leaf profile of one issuer: the unchanging fields, ready to be copied.
#[derive(Debug)]
pub struct Profile {
    algorithm: SignatureAlgorithm,
    algorithm_der: Vec<u8>,
    issuer_name: Vec<u8>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    key_usages: Vec<u8>,
    authority_key_identifier: Vec<u8>,
}

/// Why no certificate can be written at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A certificate must not live longer than the one that vouches for it, nor begin before it.
    #[error(
        "the issuing certificate is not valid now: it is valid from {not_before} to {not_after}"
    )]
    IssuerNotValid {
        /// Start of the issuer's validity.
        not_before: OffsetDateTime,
        /// End of the issuer's validity.
        not_after: OffsetDateTime,
    },
    /// Every value is within its own bound and yet the sum is not.
    #[error("the certificate would have more than {MAX_CERTIFICATE} bytes")]
    TooLarge,
}

impl Profile {
    /// Encodes what never changes for this issuer.
    pub fn new(issuer: &Issuer) -> Self {
        let mut key_usages = Vec::with_capacity(40);
        // KeyUsage ::= BIT STRING, digitalSignature alone: one octet with seven unused bits.
        push_critical_extension(
            &mut key_usages,
            KEY_USAGE,
            &[&[der::BIT_STRING, 0x02, 0x07, 0x80]],
        );
        let purpose = der::tlv(der::OBJECT_IDENTIFIER, &[CODE_SIGNING]);
        push_extension(
            &mut key_usages,
            EXTENDED_KEY_USAGE,
            &[&der::tlv(der::SEQUENCE, &[&purpose])],
        );

        let mut authority_key_identifier = Vec::new();
        if let Some(identifier) = &issuer.subject_key_identifier {
            let identifier = der::tlv(der::implicit(0), &[identifier]);
            let value = der::tlv(der::SEQUENCE, &[&identifier]);
            push_extension(
                &mut authority_key_identifier,
                AUTHORITY_KEY_IDENTIFIER,
                &[&value],
            );
        }
        Self {
            algorithm: issuer.algorithm,
            algorithm_der: issuer.algorithm.to_der(),
            issuer_name: issuer.subject_der.clone(),
            not_before: issuer.not_before,
            not_after: issuer.not_after,
            key_usages,
            authority_key_identifier,
        }
    }

    /// How the issuer signs.
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Writes the to-be-signed bytes of one leaf, valid from `now` for [`LIFETIME`] but never beyond
    /// the issuer's own life.
    ///
    /// # Errors
    /// [`ProfileError`]: the issuer is not valid at `now`, or the leaf would be too large.
    pub fn template(
        &self,
        name: &SubjectAlternativeName,
        extensions: &Extensions,
        key: &SubjectKey,
        serial: SerialNumber,
        now: OffsetDateTime,
    ) -> Result<Template, ProfileError> {
        let not_before = now.replace_nanosecond(0).unwrap_or(now);
        let not_after = (not_before + LIFETIME).min(self.not_after);
        if not_before < self.not_before || not_after <= not_before {
            return Err(ProfileError::IssuerNotValid {
                not_before: self.not_before,
                not_after: self.not_after,
            });
        }
        let spki = key.spki_der();

        // Version { v3 } to SubjectPublicKeyInfo, the subject an empty sequence.
        let mut head = Vec::with_capacity(256 + spki.len());
        der::push(&mut head, der::explicit(0), &[&[der::INTEGER, 1, 2]]);
        der::push(&mut head, der::INTEGER, &[serial.as_bytes()]);
        head.extend_from_slice(&self.algorithm_der);
        head.extend_from_slice(&self.issuer_name);
        der::push(
            &mut head,
            der::SEQUENCE,
            &[&time_der(not_before), &time_der(not_after)],
        );
        der::push(&mut head, der::SEQUENCE, &[]);
        head.extend_from_slice(spki);

        let mut list = Vec::with_capacity(2048);
        list.extend_from_slice(&self.key_usages);
        let identifier = der::tlv(der::OCTET_STRING, &[&key_identifier(spki)]);
        push_extension(&mut list, SUBJECT_KEY_IDENTIFIER, &[&identifier]);
        list.extend_from_slice(&self.authority_key_identifier);
        // "If the subject field contains an empty sequence, then the issuing CA MUST include a
        // subjectAltName extension that is marked as critical." (RFC 5280 section 4.2.1.6)
        push_critical_extension(&mut list, SUBJECT_ALT_NAME, &[&name.to_der()]);
        extensions.push_der(&mut list);

        if head.len() + list.len() + ROOM_FOR_THE_REST > MAX_CERTIFICATE {
            return Err(ProfileError::TooLarge);
        }
        Ok(Template::new(head, list, serial, not_before, not_after))
    }
}

/// "The keyIdentifier is composed of the 160-bit SHA-1 hash of the value of the BIT STRING
/// subjectPublicKey (excluding the tag, length, and number of unused bits)."
/// (RFC 5280 section 4.2.1.2, method 1)
fn key_identifier(spki: &[u8]) -> [u8; 20] {
    let bits = der::expect(spki, der::SEQUENCE)
        .and_then(|(spki, _)| der::read(spki.value))
        .and_then(|(_, after)| der::expect(after, der::BIT_STRING))
        .and_then(|(bits, _)| bits.value.get(1..))
        .unwrap_or_default();
    let mut identifier = [0; 20];
    identifier.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bits).as_ref());
    identifier
}

/// "CAs conforming to this profile MUST always encode certificate validity dates through the year
/// 2049 as UTCTime" (RFC 5280 section 4.1.2.5).
fn time_der(time: OffsetDateTime) -> Vec<u8> {
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    if year < 2050 {
        let text = format!(
            "{:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z",
            year % 100
        );
        der::tlv(der::UTC_TIME, &[text.as_bytes()])
    } else {
        let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        der::tlv(der::GENERALIZED_TIME, &[text.as_bytes()])
    }
}

/// How long a leaf lives.
pub const LIFETIME: Duration = Duration::from_mins(10);

/// The largest certificate, in bytes of DER.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// The SCT list, the largest CA signature (RSA 4096) and the outer headers.
const ROOM_FOR_THE_REST: usize = 1024;

const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn serial_numbers_are_positive_and_always_twenty_octets() {
        for octets in [[0; 20], [0xff; 20], [0x80; 20]] {
            let serial = SerialNumber::from_random(octets);
            assert_eq!(serial.as_bytes()[0] & 0xc0, 0x40);
            assert_eq!(serial.as_bytes()[1..], octets[1..]);
        }
    }

    #[test]
    fn the_year_2050_changes_the_encoding_of_time() {
        assert_eq!(
            time_der(datetime!(2049-12-31 23:59:59 UTC)),
            b"\x17\x0d491231235959Z"
        );
        assert_eq!(
            time_der(datetime!(2050-01-01 00:00:00 UTC)),
            b"\x18\x0f20500101000000Z"
        );
    }
}
