//! Just enough DER to take a certificate apart, written apart from the program's own.

use super::received::sha256;

/// One element: its tag, its content, and all of its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// The first element and the rest.
pub(crate) fn first(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&[tag, length], after) = input.split_first_chunk::<2>()?;
    let (length, header) = match length {
        0..=0x7f => (usize::from(length), 2),
        0x81 => (usize::from(*after.first()?), 3),
        0x82 => (
            usize::from(u16::from_be_bytes(*after.first_chunk::<2>()?)),
            4,
        ),
        0x80 | 0x83..=0xff => return None,
    };
    let whole = input.get(..header + length)?;
    let element = Element {
        tag,
        content: &whole[header..],
        whole,
    };
    Some((element, &input[whole.len()..]))
}

/// The elements one after another, nothing left over.
pub(crate) fn all(mut input: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let (element, rest) = first(input)?;
        found.push(element);
        input = rest;
    }
    Some(found)
}

/// A certificate's to-be-signed part without one extension, and that extension's value.
pub(crate) fn without_extension(certificate: &[u8], oid: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (certificate, []) = first(certificate)? else {
        return None;
    };
    let (tbs, _) = first(certificate.content)?;
    let fields = all(tbs.content)?;
    let (extensions, before) = fields.split_last()?;
    if extensions.tag != EXTENSIONS {
        return None;
    }
    let (list, []) = first(extensions.content)? else {
        return None;
    };
    let mut value = None;
    let mut kept = Vec::new();
    for extension in all(list.content)? {
        let parts = all(extension.content)?;
        if parts.first()?.content == oid && value.is_none() {
            value = Some(parts.last()?.content.to_vec());
        } else {
            kept.extend_from_slice(extension.whole);
        }
    }
    let mut content: Vec<u8> = before
        .iter()
        .flat_map(|field| field.whole)
        .copied()
        .collect();
    content.extend(encode(EXTENSIONS, &encode(SEQUENCE, &kept)));
    Some((encode(SEQUENCE, &content), value?))
}

/// SHA-256 over a certificate's `SubjectPublicKeyInfo`.
pub(crate) fn key_hash(certificate: &[u8]) -> Option<[u8; 32]> {
    Some(sha256(spki(certificate)?))
}

/// A certificate's `SubjectPublicKeyInfo`: the seventh field, for version 3 is always written.
pub(crate) fn spki(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = first(certificate)?;
    let (tbs, _) = first(certificate.content)?;
    Some(all(tbs.content)?.get(6)?.whole)
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let [.., high, low] = length;
    let mut out = match content.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

const SEQUENCE: u8 = 0x30;
/// `[3] EXPLICIT`
const EXTENSIONS: u8 = 0xa3;
