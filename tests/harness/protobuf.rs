//! As much of protobuf's wire format as one question and its answer need: fields with a length.

/// One field.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | WITH_LENGTH];
    let mut length = value.len();
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(value);
    out
}

/// The fields of a message that has no others; nothing if it is malformed.
pub(crate) fn fields(mut message: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let Some((&tag, mut rest)) = message.split_first() {
        if tag & 7 != WITH_LENGTH {
            return None;
        }
        let (mut length, mut shift) = (0, 0);
        loop {
            let (&octet, after) = rest.split_first()?;
            rest = after;
            length |= usize::from(octet & 0x7f).checked_shl(shift)?;
            if octet & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let (value, after) = rest.split_at_checked(length)?;
        found.push((tag >> 3, value));
        message = after;
    }
    Some(found)
}

/// A message as gRPC sends it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

const WITH_LENGTH: u8 = 2;
