//! One row of the ledger, and the ways to look for it.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::LedgerError;

/// What the ledger keeps of one issued certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The serial number: big-endian, leading zeros kept.
    pub serial: [u8; 20],
    /// SHA-256 of `certificate`.
    pub sha256: [u8; 32],
    /// The subject alternative name, exactly as it stands in the certificate.
    pub identity: String,
    /// The kind of that name: `email`, `uri` or `username`. The database refuses anything else.
    pub identity_kind: String,
    /// The token's issuer.
    pub issuer: String,
    /// The token's subject.
    pub subject: String,
    /// The certificate's extension values by the extension's name.
    pub extensions: BTreeMap<String, String>,
    /// Start of the validity; kept to the second.
    pub not_before: OffsetDateTime,
    /// End of the validity, inclusive; kept to the second.
    pub not_after: OffsetDateTime,
    /// The transparency log's identifier.
    pub log_id: [u8; 32],
    /// Zero-based index of the log entry, where the log tells it; below 2^63.
    pub log_index: Option<u64>,
    /// The signed certificate timestamp's time, milliseconds since 1970-01-01 UTC; below 2^63.
    pub sct_timestamp_ms: u64,
    /// SHA-256 of the identity token. The token itself has no place here.
    pub token_sha256: [u8; 32],
    /// SHA-256 of the certified key's SubjectPublicKeyInfo.
    pub key_sha256: [u8; 32],
    /// When the certificate was issued; kept to the second.
    pub issued_at: OffsetDateTime,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

/// A row read back: the record that was written.
pub type Row = Record;

/// What to search the ledger for. Each matches exactly and entirely; there are no wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The subject alternative name.
    Identity(String),
    /// The serial number.
    Serial([u8; 20]),
    /// SHA-256 of the certificate's DER.
    Sha256([u8; 32]),
}

impl Query {
    /// A search by a serial number in hexadecimal, as certificate viewers print it: either case,
    /// with or without colons, leading zeros optional.
    ///
    /// # Errors
    /// Refuses text that is not hexadecimal or longer than 20 bytes.
    pub fn serial_from_hex(text: &str) -> Result<Self, LedgerError> {
        from_hex(text, "serial number").map(Self::Serial)
    }

    /// A search by a certificate's SHA-256 fingerprint in hexadecimal: either case, with or without
    /// colons, all 32 bytes.
    ///
    /// # Errors
    /// Refuses text that is not the hexadecimal form of 32 bytes.
    pub fn sha256_from_hex(text: &str) -> Result<Self, LedgerError> {
        // A shortened fingerprint would be padded like a serial number and silently match nothing.
        if text.bytes().filter(|byte| *byte != b':').count() != 64 {
            return Err(LedgerError::NotHex {
                what: "SHA-256 fingerprint",
                bytes: 32,
            });
        }
        from_hex(text, "SHA-256 fingerprint").map(Self::Sha256)
    }
}

/// Right-aligned in `N` bytes, because viewers drop a serial number's leading zeros.
fn from_hex<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], LedgerError> {
    let refused = || LedgerError::NotHex { what, bytes: N };
    let mut digits = text.bytes().rev().filter(|byte| *byte != b':').peekable();
    if digits.peek().is_none() {
        return Err(refused());
    }
    let mut bytes = [0; N];
    for byte in bytes.iter_mut().rev() {
        let Some(low) = digits.next() else { break };
        let high = digits.next().unwrap_or(b'0');
        *byte = nibble(high)
            .zip(nibble(low))
            .map(|(high, low)| high << 4 | low)
            .ok_or_else(refused)?;
    }
    if digits.any(|byte| byte != b'0') {
        return Err(refused());
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_read_in_every_way_viewers_print_it() {
        let mut serial = [0; 20];
        serial[18..].copy_from_slice(&[0x0a, 0xbc]);
        for text in ["abc", "0ABC", "0a:bc", "A:BC", &format!("{:0>60}", "abc")] {
            assert_eq!(
                Query::serial_from_hex(text).unwrap(),
                Query::Serial(serial),
                "{text}"
            );
        }
        assert_eq!(
            Query::serial_from_hex(&"fF".repeat(20)).unwrap(),
            Query::Serial([255; 20])
        );
    }

    #[test]
    fn text_that_is_no_serial_is_refused_rather_than_matching_nothing() {
        for text in ["", ":", "xyz", "0x12", "12 34", "é", &"11".repeat(21)] {
            assert!(Query::serial_from_hex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_shortened_fingerprint_is_refused() {
        assert!(Query::sha256_from_hex(&"ab".repeat(32)).is_ok());
        for text in [&*"ab".repeat(31), &"ab".repeat(33), &"zz".repeat(32)] {
            assert!(Query::sha256_from_hex(text).is_err(), "{text}");
        }
    }
}
