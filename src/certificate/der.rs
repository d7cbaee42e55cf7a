//! The few DER encodings a leaf certificate is made of (X.690 section 8 and 10), written straight
//! into bytes, and a reader just large enough to find one extension again.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// `[number]`, constructed: the explicit tags of a `TBSCertificate`.
pub(super) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// `[number]`, primitive: the implicit tags of a `GeneralName` and a key identifier.
pub(super) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// The octets that tag and length take for a value of `length` octets.
pub(super) fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(6);
    push_header(&mut out, tag, length);
    out
}

/// Appends one tag-length-value whose value is the concatenation of `parts`.
pub(super) fn push(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    push_header(out, tag, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// One tag-length-value on its own.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(6 + parts.iter().map(|part| part.len()).sum::<usize>());
    push(&mut out, tag, parts);
    out
}

fn push_header(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    if length < 0x80 {
        out.extend_from_slice(&length.to_be_bytes()[size_of::<usize>() - 1..]);
        return;
    }
    let bytes = length.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = bytes.get(skip..).unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a usize has at most eight octets"
    )]
    out.push(0x80 | significant.len() as u8);
    out.extend_from_slice(significant);
}

/// One element as it stands in the input: its tag, its value, and all of its octets.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) value: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// Reads the element at the start of `input` and what follows it, or `None` where the input is not
/// DER: truncated, of indefinite or non-minimal length, or with a multi-octet tag.
pub(super) fn read(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (octets, rest) = rest.split_at_checked(count)?;
        let length = octets
            .iter()
            .fold(0usize, |sum, octet| sum << 8 | usize::from(*octet));
        let minimal = length >= 0x80 && octets.first() != Some(&0);
        (minimal.then_some(length)?, rest)
    };
    let (value, after) = rest.split_at_checked(length)?;
    let whole = input.get(..input.len() - after.len())?;
    Some((Element { tag, value, whole }, after))
}

/// Reads an element that must have `tag`.
pub(super) fn expect(input: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    read(input).filter(|(element, _)| element.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_at_every_boundary() {
        for (length, expected) in [
            (0, vec![0x04, 0x00]),
            (127, vec![0x04, 0x7f]),
            (128, vec![0x04, 0x81, 0x80]),
            (255, vec![0x04, 0x81, 0xff]),
            (256, vec![0x04, 0x82, 0x01, 0x00]),
            (65_536, vec![0x04, 0x83, 0x01, 0x00, 0x00]),
        ] {
            assert_eq!(header(OCTET_STRING, length), expected, "{length}");
            let whole = tlv(OCTET_STRING, &[&vec![7; length]]);
            let (element, rest) = read(&whole).unwrap();
            assert_eq!((element.value.len(), rest.len()), (length, 0));
        }
    }

    #[test]
    fn what_is_not_der_is_not_read() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 0, 0],          // indefinite length
            &[0x30, 0x81, 0x01, 0],       // one octet said in long form
            &[0x30, 0x82, 0x00, 0x80],    // leading zero
            &[0x30, 0x85, 1, 1, 1, 1, 1], // absurd length
            &[0x30, 0x02, 0x00],          // truncated
            &[0x3f, 0x01, 0x00],          // multi-octet tag
        ] {
            assert!(read(bad).is_none(), "{bad:02x?}");
        }
    }
}
