//! The gate: which keys get in, and in which encoding.

use super::*;

#[test]
fn every_permitted_key_is_accepted_with_its_openssl_proof() {
    let fingerprints = fixture_text("fingerprints.txt");
    for (name, algorithm) in ACCEPTED {
        let der = fixture_der(&format!("{name}.pem"));
        let proof = fixture(&format!("{name}.sig"));
        for sent in [fixture(&format!("{name}.pem")), der.clone()] {
            let key = prove_key(sent, proof.clone()).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.spki_der(), der);
            let hex: String = key
                .fingerprint()
                .iter()
                .map(|o| format!("{o:02x}"))
                .collect();
            assert!(fingerprints.contains(&format!("{hex} {name}\n")), "{name}");
        }
    }
    assert_eq!(
        ACCEPTED.map(|(_, algorithm)| algorithm).len(),
        KeyAlgorithm::ALL.len()
    );
}

#[test]
fn pkcs1_and_spki_of_one_rsa_key_are_one_subject_key() {
    let proof = fixture("rsa-2048.sig");
    let pkcs1 = prove_key(fixture("rsa-2048-pkcs1.pem"), proof.clone()).unwrap();
    let spki = prove_key(fixture("rsa-2048.pem"), proof).unwrap();
    assert_eq!(pkcs1, spki);
}

#[test]
fn pkcs1_is_not_guessed_from_bare_der() {
    let got = prove_key(fixture_der("rsa-2048-pkcs1.pem"), fixture("rsa-2048.sig"));
    assert_eq!(got, unparseable(Malformed::Der));
}

#[test]
fn a_missing_key_is_unparseable_and_a_long_one_is_not_read() {
    assert_eq!(prove_key("", "x"), unparseable(Malformed::Empty));
    assert_eq!(prove_key(" \n", "x"), unparseable(Malformed::NotOneBlock));
    let mut long = fixture("p256.pem");
    long.resize(KEY_LIMIT, b'\n');
    prove_key(long.clone(), fixture("p256.sig")).unwrap();
    long.push(b'\n');
    let length = KEY_LIMIT + 1;
    assert_eq!(
        prove_key(long, "x"),
        unparseable(Malformed::TooLong { length })
    );
}

#[test]
fn a_private_key_is_not_taken_for_a_public_one() {
    let got = prove_key(fixture("private.pem"), "x");
    assert_eq!(got, unparseable(Malformed::Label));
    let got = prove_key(fixture_der("private.pem"), "x");
    assert_eq!(got, unparseable(Malformed::Der));
}

#[test]
fn other_algorithms_and_curves_are_refused_by_name() {
    let weak = |name| insecure(Weakness::Algorithm(name));
    let algorithm = |oid| unparseable(Malformed::KeyAlgorithm(oid_of(oid)));
    let curve = |oid| unparseable(Malformed::Curve(oid_of(oid)));
    for (name, expected) in [
        ("p224.pem", weak("ECDSA P-224")),
        ("dsa.pem", weak("DSA")),
        ("x25519.pem", weak("X25519")),
        ("ed448.pem", algorithm("1.3.101.113")),
        ("rsa-pss-oid.pem", algorithm("1.2.840.113549.1.1.10")),
        ("secp256k1.pem", curve("1.3.132.0.10")),
        ("brainpool.pem", curve("1.3.36.3.3.2.8.1.1.7")),
    ] {
        assert_eq!(prove_key(fixture(name), "x"), expected, "{name}");
    }
}

#[test]
fn a_key_has_no_second_encoding() {
    let proof = fixture("p256.sig");
    let compressed = prove_key(fixture("p256-compressed.pem"), proof.clone());
    assert_eq!(compressed, unparseable(Malformed::KeyForm));
    let explicit = prove_key(fixture("p256-explicit.pem"), proof.clone());
    assert_eq!(explicit, unparseable(Malformed::Parameters));

    let der = fixture_der("p256.pem");
    let mut trailing = der.clone();
    trailing.push(0);
    let mut leading = vec![b' '];
    leading.extend(&der);
    // 30 59 … as 30 81 59 …, and as the indefinite length 30 80 … 00 00.
    let long_form = [&[0x30, 0x81][..], &der[1..]].concat();
    let indefinite = [&[0x30, 0x80][..], &der[2..], &[0, 0]].concat();
    assert_eq!(
        prove_key(trailing.clone(), proof.clone()),
        unparseable(Malformed::Der)
    );
    assert_eq!(
        prove_key(pem("PUBLIC KEY", &trailing), proof.clone()),
        unparseable(Malformed::Der)
    );
    assert_eq!(
        prove_key(leading, proof.clone()),
        unparseable(Malformed::NotOneBlock)
    );
    assert_eq!(
        prove_key(long_form, proof.clone()),
        unparseable(Malformed::Der)
    );
    assert_eq!(
        prove_key(indefinite, proof.clone()),
        unparseable(Malformed::Der)
    );

    let mut hybrid = der;
    let point = hybrid.len() - 65;
    hybrid[point] = 6 | hybrid.last().unwrap() & 1;
    assert_eq!(prove_key(hybrid, proof), unparseable(Malformed::KeyForm));
}

#[test]
fn rsa_integers_have_no_second_encoding() {
    let modulus = fixture_der("rsa-2048-pkcs1.pem")[8..8 + 257].to_vec();
    let good = tlv(0x30, &[&tlv(2, &[&modulus]), &tlv(2, &[&[1, 0, 1]])]);
    assert_eq!(good, fixture_der("rsa-2048-pkcs1.pem"));
    let padded = tlv(0x30, &[&tlv(2, &[&[0], &modulus]), &tlv(2, &[&[1, 0, 1]])]);
    let padded_exponent = tlv(0x30, &[&tlv(2, &[&modulus]), &tlv(2, &[&[0, 1, 0, 1]])]);
    let negative = tlv(0x30, &[&tlv(2, &[&modulus[1..]]), &tlv(2, &[&[1, 0, 1]])]);
    let third = tlv(
        0x30,
        &[&tlv(2, &[&modulus]), &tlv(2, &[&[1, 0, 1]]), &[2, 1, 0]],
    );
    let trailing = [&good[..], &[0]].concat();
    for bad in [padded, padded_exponent, negative, third, trailing] {
        let sent = spki(&unhex(&[RSA_OID, NULL].concat()), &bad);
        assert_eq!(prove_key(sent, "x"), unparseable(Malformed::Der));
        assert_eq!(
            prove_key(pem("RSA PUBLIC KEY", &bad), "x"),
            unparseable(Malformed::Der)
        );
    }
}

#[test]
fn parameters_are_the_ones_the_standard_prescribes() {
    let rsa = fixture_der("rsa-2048-pkcs1.pem");
    let ec = fixture_der("p256.pem")[26..].to_vec();
    let ed = fixture_der("ed25519.pem")[12..].to_vec();
    for (algorithm, key) in [
        (RSA_OID.to_owned(), &rsa),
        ([RSA_OID, P256_OID].concat(), &rsa),
        (EC_OID.to_owned(), &ec),
        ([EC_OID, NULL].concat(), &ec),
        ([ED25519_OID, NULL].concat(), &ed),
        ([ED25519_OID, ED25519_OID].concat(), &ed),
    ] {
        let sent = spki(&unhex(&algorithm), key);
        assert_eq!(
            prove_key(sent, "x"),
            unparseable(Malformed::Parameters),
            "{algorithm}"
        );
    }
    // Unused bits in the BIT STRING.
    let mut unused = fixture_der("p256.pem");
    unused[25] = 1;
    *unused.last_mut().unwrap() &= 0xfe;
    assert_eq!(prove_key(unused, "x"), unparseable(Malformed::Der));
}

#[test]
fn points_off_the_curve_are_refused() {
    let off = unparseable(Malformed::Point);
    for (name, coordinate) in [("p256", 32), ("p384", 48), ("p521", 66)] {
        let der = fixture_der(&format!("{name}.pem"));
        let proof = fixture(&format!("{name}.sig"));
        let point = der.len() - 2 * coordinate;
        let mut moved = der.clone();
        *moved.last_mut().unwrap() ^= 1;
        assert_eq!(prove_key(moved, proof.clone()), off, "{name}");
        let mut origin = der.clone();
        origin[point..].fill(0);
        assert_eq!(prove_key(origin, proof.clone()), off, "{name}");
        let mut beyond = der.clone();
        beyond[point..].fill(0xff);
        assert_eq!(prove_key(beyond, proof), off, "{name}");
    }
    let infinity = spki(&unhex(&[EC_OID, P256_OID].concat()), &[0]);
    assert_eq!(prove_key(infinity, "x"), unparseable(Malformed::KeyForm));
    let other_curve = spki(
        &unhex(&[EC_OID, P256_OID].concat()),
        &fixture_der("p384.pem")[23..],
    );
    assert_eq!(prove_key(other_curve, "x"), unparseable(Malformed::KeyForm));
}

#[test]
fn a_coordinate_beyond_the_field_is_not_reduced_into_it() {
    use p256::elliptic_curve::{point::DecompressPoint as _, sec1::ToSec1Point as _};
    let p = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let (x, point) = (1..=40_u8)
        .find_map(|x| {
            let mut octets = [0; 32];
            octets[31] = x;
            let point: Option<p256::AffinePoint> =
                p256::AffinePoint::decompress(&octets.into(), 0.into()).into();
            point.map(|point| (x, point.to_sec1_point(false).as_bytes().to_vec()))
        })
        .unwrap();
    let algorithm = unhex(&[EC_OID, P256_OID].concat());
    let on_curve = prove_key(spki(&algorithm, &point), "x");
    assert_eq!(on_curve, mismatch(KeyAlgorithm::EcdsaP256));

    let mut shifted = unhex(p);
    let mut carry = u16::from(x);
    for octet in shifted.iter_mut().rev() {
        carry += u16::from(*octet);
        *octet = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    let beyond = [&[4][..], &shifted, &point[33..]].concat();
    assert_eq!(
        prove_key(spki(&algorithm, &beyond), "x"),
        unparseable(Malformed::Point)
    );
}

#[test]
fn a_debug_line_shows_no_key() {
    let (key, proof) = p256_pair(7, CHALLENGE);
    let proven = prove_key(key.clone(), proof.to_der().as_bytes()).unwrap();
    let shown = format!("{proven:?}");
    assert!(shown.starts_with("SubjectKey(ecdsa-p256, ") && shown.len() == 23 + 64 + 1);
    let request = KeyRequest::PublicKey {
        key,
        proof: vec![1; 70],
    };
    assert_eq!(format!("{request:?}"), "PublicKey(91 bytes, proof of 70)");
}

fn oid_of(dotted: &str) -> const_oid::ObjectIdentifier {
    dotted.parse().unwrap()
}
