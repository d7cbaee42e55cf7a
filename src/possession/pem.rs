//! PEM as clients write it.
//!
//! RFC 7468 has parsers expect 64 columns; real clients also send one unwrapped line without a
//! final newline, 76 columns, and CRLF. So white space inside the body counts for nothing here,
//! and everything else is exact: one block, nothing but white space around it, no headers,
//! standard base64 with its padding.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{KEY_LIMIT, Malformed};

/// What a public key was sent as.
pub(super) enum PublicKey {
    /// The DER of a SubjectPublicKeyInfo.
    Spki(Vec<u8>),
    /// The DER of a PKCS#1 RSAPublicKey.
    Pkcs1(Vec<u8>),
}

/// The DER of a public key sent as PEM or as bare DER.
pub(super) fn public_key(sent: &[u8]) -> Result<PublicKey, Malformed> {
    bounded(sent)?;
    // DER starts with the SEQUENCE tag 0x30, which is neither a dash nor white space.
    if sent.first() == Some(&DER_SEQUENCE) {
        return Ok(PublicKey::Spki(sent.to_vec()));
    }
    let (label, body) = block(sent)?;
    match label {
        b"PUBLIC KEY" => decode(body).map(PublicKey::Spki),
        b"RSA PUBLIC KEY" => decode(body).map(PublicKey::Pkcs1),
        _ => Err(Malformed::Label),
    }
}

/// The DER of a certificate signing request sent as PEM.
pub(super) fn csr(sent: &[u8]) -> Result<Vec<u8>, Malformed> {
    bounded(sent)?;
    let (label, body) = block(sent)?;
    match label {
        b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => decode(body),
        _ => Err(Malformed::Label),
    }
}

fn bounded(sent: &[u8]) -> Result<(), Malformed> {
    match sent.len() {
        0 => Err(Malformed::Empty),
        1..=KEY_LIMIT => Ok(()),
        length => Err(Malformed::TooLong { length }),
    }
}

/// The label and body of the one block in `text`. The body still has its white space, and any
/// dash in it, a second block's for one, is left for the base64 decoder to refuse.
fn block(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let inside = text
        .trim_ascii()
        .strip_prefix(b"-----BEGIN ")
        .and_then(|rest| rest.strip_suffix(DASHES))
        .ok_or(Malformed::NotOneBlock)?;
    let begins = find(inside, DASHES).ok_or(Malformed::NotOneBlock)?;
    let (label, rest) = inside.split_at(begins);
    let body = rest
        .strip_suffix(label)
        .and_then(|rest| rest.strip_suffix(b"-----END "))
        .and_then(|rest| rest.strip_prefix(DASHES))
        .ok_or(Malformed::NotOneBlock)?;
    // Both markers stand on lines of their own, as in every other reader.
    let first_line = body.split(|&octet| octet == b'\n').next().unwrap_or(body);
    if body.ends_with(b"\n") && first_line.iter().all(u8::is_ascii_whitespace) {
        Ok((label, body))
    } else {
        Err(Malformed::NotOneBlock)
    }
}

fn decode(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let compact: Vec<u8> = body
        .iter()
        .copied()
        .filter(|octet| !octet.is_ascii_whitespace())
        .collect();
    STANDARD.decode(compact).map_err(|_| Malformed::Base64)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

const DASHES: &[u8] = b"-----";
const DER_SEQUENCE: u8 = 0x30;
