//! Keys that are well formed and must not be certified.

use super::*;

#[test]
fn rsa_keys_within_reach_of_anyone_are_refused() {
    for (name, weakness) in [
        ("rsa-1024.pem", Weakness::ModulusSize { bits: 1024 }),
        ("rsa-2056.pem", Weakness::ModulusSize { bits: 2056 }),
        ("weak-2047.pem", Weakness::ModulusSize { bits: 2047 }),
        ("rsa-e3.pem", Weakness::Exponent),
        ("weak-exponent-1-2048.pem", Weakness::Exponent),
        ("weak-exponent-65539-2048.pem", Weakness::Exponent),
        ("weak-exponent-huge-2048.pem", Weakness::Exponent),
        ("weak-factor-2-2048.pem", Weakness::SmallFactor { prime: 2 }),
        ("weak-factor-3-2048.pem", Weakness::SmallFactor { prime: 3 }),
        (
            "weak-factor-751-2048.pem",
            Weakness::SmallFactor { prime: 751 },
        ),
        ("weak-roca-2048.pem", Weakness::Roca),
        ("weak-roca-3072.pem", Weakness::Roca),
        ("weak-roca-4096.pem", Weakness::Roca),
        ("weak-square-2048.pem", Weakness::ClosePrimes),
        ("weak-close-2048.pem", Weakness::ClosePrimes),
        ("weak-close-4096.pem", Weakness::ClosePrimes),
        ("weak-close-later-round-2048.pem", Weakness::ClosePrimes),
    ] {
        assert_eq!(prove_key(fixture(name), "x"), insecure(weakness), "{name}");
        assert_eq!(
            prove_key(fixture_der(name), "x"),
            insecure(weakness),
            "{name}"
        );
    }
}

#[test]
fn a_good_proof_does_not_redeem_a_weak_key() {
    for (name, weakness) in [
        ("rsa-1024", Weakness::ModulusSize { bits: 1024 }),
        ("rsa-e3", Weakness::Exponent),
    ] {
        let got = prove_key(
            fixture(&format!("{name}.pem")),
            fixture(&format!("{name}.sig")),
        );
        assert_eq!(got, insecure(weakness), "{name}");
    }
}

#[test]
fn every_encoding_of_a_small_order_ed25519_point_is_refused() {
    let torsion = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    // All eight of the torsion group, by another implementation's judgement.
    for point in torsion {
        let point: [u8; 32] = unhex(point).try_into().unwrap();
        let key = ed25519_dalek::VerifyingKey::from_bytes(&point).unwrap();
        assert!(key.is_weak());
        let got = prove_key(ed25519_spki(&point), "x");
        assert_eq!(got, insecure(Weakness::SmallOrder), "{point:02x?}");
    }
}

#[test]
fn the_signature_that_fits_every_message_is_refused() {
    // Under the identity as key, R = identity and S = 0 satisfy the equation whatever is signed.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut forgery = [0; 64];
    forgery[0] = 1;
    let got = prove_key(ed25519_spki(&identity), forgery);
    assert_eq!(got, insecure(Weakness::SmallOrder));
}

#[test]
fn a_noncanonical_ed25519_point_is_refused() {
    let mut points = vec![
        // y = 1 and y = -1 with the sign of an x that is zero.
        unhex("0100000000000000000000000000000000000000000000000000000000000080"),
        unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    ];
    // y = p … 2^255 - 1, the second encodings of 0 … 18, with both signs.
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            points.push([&[low][..], &[0xff; 30], &[high]].concat());
        }
    }
    for point in points {
        let got = prove_key(ed25519_spki(&point), "x");
        assert_eq!(got, unparseable(Malformed::Point), "{point:02x?}");
    }
    // p - 2 is below p and no torsion point.
    let below = [&[0xeb][..], &[0xff; 30], &[0x7f]].concat();
    let got = prove_key(ed25519_spki(&below), "x");
    assert_eq!(got, mismatch(KeyAlgorithm::Ed25519));
    for length in [0, 31, 33] {
        let got = prove_key(ed25519_spki(&vec![9; length]), "x");
        assert_eq!(got, unparseable(Malformed::KeyForm), "{length}");
    }
}

#[test]
fn keys_whose_private_half_is_printed_in_a_standard_are_refused() {
    use ed25519_dalek::Signer as _;

    /// A key from its private scalar, and its proof; `x` starts as the standard prints it.
    macro_rules! ecdsa {
        ($curve:ident, $secret:expr, $x:literal) => {{
            use $curve::{ecdsa::signature::Signer as _, pkcs8::EncodePublicKey as _};
            let signer = $curve::ecdsa::SigningKey::from_slice(&unhex($secret)).unwrap();
            let signature: $curve::ecdsa::Signature = signer.sign(CHALLENGE.as_bytes());
            let spki = signer.verifying_key().to_public_key_der().unwrap();
            let x = [&[4][..], &unhex($x)].concat();
            assert!(spki.as_bytes().windows(x.len()).any(|window| window == x));
            (spki.into_vec(), signature.to_der().as_bytes().to_vec())
        }};
    }
    let mut pairs = vec![
        // RFC 6979 A.2.5, A.2.6 and A.2.7.
        ecdsa!(
            p256,
            "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
            "60fed4ba255a9d31"
        ),
        ecdsa!(
            p384,
            "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d8\
             96d5724e4c70a825f872c9ea60d2edf5",
            "ec3a4e415b4e19a4"
        ),
        ecdsa!(
            p521,
            "00fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75\
             caa896eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b8\
             3538",
            "01894550d0785932"
        ),
        // The scalar 1, whose public key is the generator.
        ecdsa!(p256, &format!("{:064x}", 1), "6b17d1f2e12c4247"),
        ecdsa!(p384, &format!("{:096x}", 1), "aa87ca22be8b0537"),
        ecdsa!(p521, &format!("{:0132x}", 1), "00c6858e06b70404"),
    ];
    for (secret, public) in [
        // RFC 8032 7.1, TEST 1 to 3.
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a3",
        ),
    ] {
        let signer = ed25519_dalek::SigningKey::from_bytes(&unhex(secret).try_into().unwrap());
        let point = signer.verifying_key().to_bytes();
        assert!(point.starts_with(&unhex(public)));
        let signature = signer.sign(CHALLENGE.as_bytes()).to_bytes();
        pairs.push((ed25519_spki(&point), signature.to_vec()));
    }
    let got: Vec<_> = pairs
        .into_iter()
        .map(|(key, proof)| prove_key(key, proof))
        .collect();
    assert_eq!(got, vec![insecure(Weakness::Published); 9]);
}

#[test]
fn a_key_on_the_operators_list_is_refused_in_both_kinds_of_request() {
    let list = fixture_text("fingerprints.txt");
    let p256 = list.lines().find(|line| line.ends_with(" p256")).unwrap();
    let fingerprint = p256.split(' ').next().unwrap();
    let blocked = BlockedKeys::parse(&format!(
        "# seen in public\n\n  {}\r\n",
        fingerprint.to_uppercase()
    ))
    .unwrap();
    assert_eq!(blocked.len(), 1);
    for request in [
        KeyRequest::PublicKey {
            key: fixture("p256.pem"),
            proof: fixture("p256.sig"),
        },
        KeyRequest::CertificateSigningRequest(fixture("csr-p256-sha256.pem")),
    ] {
        let got = prove_unless_blocked(&request, CHALLENGE, &blocked);
        assert_eq!(got, insecure(Weakness::Blocked));
        prove(&request, CHALLENGE).unwrap();
    }
    let other = KeyRequest::CertificateSigningRequest(fixture("csr-p384-sha384.pem"));
    prove_unless_blocked(&other, CHALLENGE, &blocked).unwrap();
}

#[test]
fn a_list_with_a_bad_line_is_no_list() {
    let good = "00".repeat(32);
    for bad in [
        "0",
        &"0".repeat(63),
        &"0".repeat(65),
        &"g0".repeat(32),
        &"é".repeat(32),
    ] {
        let got = BlockedKeys::parse(&format!("{good}\n{bad}\n"));
        assert_eq!(got.unwrap_err().line, 2, "{bad}");
    }
    assert!(BlockedKeys::parse("").unwrap().is_empty());
}
