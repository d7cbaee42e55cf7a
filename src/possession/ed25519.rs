//! Ed25519 encodings that the verification equation alone does not refuse.
//!
//! A point of small order as public key makes the equation hold for signatures anyone can write,
//! some of them for every message; and a field element may be encoded twice where it is below 19.
//! Implementations differ on both (RFC 8032 5.1.3 refuses the latter, 5.1.7 says nothing of the
//! former), so neither is left to the library.

use const_oid::ObjectIdentifier;

/// id-Ed25519 (RFC 8410 3): the key's algorithm, and its signature's.
pub(super) const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Whether an encoded point is the canonical one of its coordinates: y below the field's prime,
/// and no sign where x is zero.
///
/// RFC 8032 5.1.3: "If the resulting value is >= p, decoding fails", and "If x = 0, and
/// x_0 = 1, decoding fails".
pub(super) fn is_canonical(point: &[u8; 32]) -> bool {
    let (y, negative) = split(point);
    // Octets from the high end on, because points are little-endian.
    let below_prime = y.iter().rev().lt(PRIME.iter().rev());
    // x is zero exactly at y = 1 and y = -1.
    below_prime && !(negative && (y == ONE || y == MINUS_ONE))
}

/// Whether a canonically encoded point has an order dividing eight. The torsion group has eight
/// members; x and -x share a y, which leaves five of those.
pub(super) fn is_small_order(point: &[u8; 32]) -> bool {
    SMALL_ORDER.contains(&split(point).0)
}

/// Whether a signature's commitment R, its first half, is a point that strict verification takes.
/// The other half, S, the library itself requires to be below the group's order.
pub(super) fn strict_signature(signature: &[u8]) -> bool {
    signature
        .first_chunk()
        .is_some_and(|r| is_canonical(r) && !is_small_order(r))
}

/// y, and the sign of x from the highest bit.
fn split(point: &[u8; 32]) -> ([u8; 32], bool) {
    let mut y = *point;
    let [.., last] = &mut y;
    let negative = *last & 0x80 != 0;
    *last &= 0x7f;
    (y, negative)
}

/// 2^255 - 19, little-endian.
const PRIME: [u8; 32] = little_endian(0xed, 0xff, 0x7f);
const MINUS_ONE: [u8; 32] = little_endian(0xec, 0xff, 0x7f);
const ZERO: [u8; 32] = [0; 32];
const ONE: [u8; 32] = little_endian(0x01, 0x00, 0x00);

/// The y of the points of order 1, 2, 4 and 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    ONE,
    MINUS_ONE,
    ZERO,
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

const fn little_endian(lowest: u8, between: u8, highest: u8) -> [u8; 32] {
    let mut octets = [between; 32];
    octets[0] = lowest;
    octets[31] = highest;
    octets
}
