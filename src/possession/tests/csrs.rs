//! Certificate signing requests: their key, their signature, and nothing else.

use super::*;

fn not_permitted(key_type: &'static str, hash: Hash) -> Result<SubjectKey, PossessionError> {
    Err(PossessionError::PairNotPermitted { key_type, hash })
}

fn unrecognized(name: &str) -> Result<SubjectKey, PossessionError> {
    let name = name.to_owned();
    Err(PossessionError::UnrecognizedSignatureAlgorithm { name })
}

fn broken(malformed: Malformed) -> Result<SubjectKey, PossessionError> {
    Err(PossessionError::CsrUnparseable(malformed))
}

#[test]
fn each_key_with_its_own_hash_is_accepted() {
    for (csr, key, algorithm) in [
        (
            "csr-rsa-2048-sha256.pem",
            "rsa-2048.pem",
            KeyAlgorithm::Rsa2048,
        ),
        (
            "csr-rsa-3072-sha256.pem",
            "rsa-3072.pem",
            KeyAlgorithm::Rsa3072,
        ),
        (
            "csr-rsa-4096-sha256.pem",
            "rsa-4096.pem",
            KeyAlgorithm::Rsa4096,
        ),
        ("csr-p256-sha256.pem", "p256.pem", KeyAlgorithm::EcdsaP256),
        (
            "csr-p256-new-label.pem",
            "p256.pem",
            KeyAlgorithm::EcdsaP256,
        ),
        ("csr-p384-sha384.pem", "p384.pem", KeyAlgorithm::EcdsaP384),
        ("csr-p521-sha512.pem", "p521.pem", KeyAlgorithm::EcdsaP521),
        ("csr-ed25519.pem", "ed25519.pem", KeyAlgorithm::Ed25519),
    ] {
        let proven = prove_csr(fixture(csr)).unwrap();
        assert_eq!(proven.algorithm(), algorithm, "{csr}");
        assert_eq!(proven.spki_der(), fixture_der(key), "{csr}");
    }
}

#[test]
fn a_good_signature_with_another_hash_is_not_permitted() {
    let ecdsa = "*ecdsa.PublicKey";
    let rsa = "*rsa.PublicKey";
    for (csr, expected) in [
        ("csr-p256-sha384.pem", not_permitted(ecdsa, Hash::Sha384)),
        ("csr-p256-sha512.pem", not_permitted(ecdsa, Hash::Sha512)),
        ("csr-p384-sha256.pem", not_permitted(ecdsa, Hash::Sha256)),
        ("csr-p384-sha512.pem", not_permitted(ecdsa, Hash::Sha512)),
        ("csr-p521-sha256.pem", not_permitted(ecdsa, Hash::Sha256)),
        ("csr-p521-sha384.pem", not_permitted(ecdsa, Hash::Sha384)),
        ("csr-rsa-2048-sha384.pem", not_permitted(rsa, Hash::Sha384)),
        ("csr-rsa-2048-sha512.pem", not_permitted(rsa, Hash::Sha512)),
    ] {
        assert_eq!(prove_csr(fixture(csr)), expected, "{csr}");
    }
    let text = prove_csr(fixture("csr-p256-sha384.pem"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "signing algorithm not permitted: *ecdsa.PublicKey, SHA-384"
    );
}

#[test]
fn the_signature_is_checked_before_the_pair() {
    let mut der = fixture_der("csr-p256-sha384.pem");
    *der.last_mut().unwrap() ^= 1;
    let got = prove_csr(pem("CERTIFICATE REQUEST", &der));
    assert_eq!(got, mismatch(KeyAlgorithm::EcdsaP256));
}

#[test]
fn unlisted_signature_algorithms_are_named_as_go_names_them() {
    for (csr, name) in [
        ("csr-rsa-2048-sha1.pem", "SHA1-RSA"),
        ("csr-rsa-2048-pss-sha256.pem", "SHA256-RSAPSS"),
        ("csr-rsa-2048-pss-sha384.pem", "SHA384-RSAPSS"),
        ("csr-rsa-2048-pss-sha512.pem", "SHA512-RSAPSS"),
        ("csr-rsa-2048-sha224.pem", "1.2.840.113549.1.1.14"),
        ("csr-p256-sha1.pem", "ECDSA-SHA1"),
    ] {
        assert_eq!(prove_csr(fixture(csr)), unrecognized(name), "{csr}");
    }
}

#[test]
fn weak_and_unknown_keys_are_refused_before_their_signature() {
    let ed448 = Weakness::UnknownAlgorithm("1.3.101.113".parse().unwrap());
    for (csr, expected) in [
        (
            "csr-rsa-1024-sha256.pem",
            insecure(Weakness::ModulusSize { bits: 1024 }),
        ),
        (
            "csr-p224-sha256.pem",
            insecure(Weakness::Algorithm("ECDSA P-224")),
        ),
        ("csr-dsa-sha256.pem", insecure(Weakness::Algorithm("DSA"))),
        ("csr-ed448.pem", insecure(ed448)),
        (
            "csr-secp256k1-sha256.pem",
            broken(Malformed::Curve("1.3.132.0.10".parse().unwrap())),
        ),
    ] {
        assert_eq!(prove_csr(fixture(csr)), expected, "{csr}");
    }
}

#[test]
fn what_a_request_asks_for_changes_nothing() {
    let plain = prove_csr(fixture("csr-p256-sha256.pem")).unwrap();
    let bare = prove_csr(fixture("csr-p256-bare.pem")).unwrap();
    let greedy = prove_csr(fixture("csr-p256-greedy.pem")).unwrap();
    let bare_key = prove_key(fixture("p256.pem"), fixture("p256.sig")).unwrap();
    assert_eq!(plain, bare);
    assert_eq!(plain, greedy);
    assert_eq!(plain, bare_key);
    let name = b"root@example.com";
    let asks = fixture_der("csr-p256-greedy.pem");
    assert!(asks.windows(name.len()).any(|window| window == name));
}

#[test]
fn the_challenge_plays_no_part_in_a_request() {
    let request = KeyRequest::CertificateSigningRequest(fixture("csr-ed25519.pem"));
    assert_eq!(prove(&request, "a"), prove(&request, "b"));
    prove(&request, "a").unwrap();
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    assert_eq!(prove_csr(""), broken(Malformed::Empty));
    assert_eq!(prove_csr("not PEM"), broken(Malformed::NotOneBlock));
    // The field holds PEM; bare DER was never part of the interface.
    assert_eq!(
        prove_csr(fixture_der("csr-p256-sha256.pem")),
        broken(Malformed::NotOneBlock)
    );
    let length = KEY_LIMIT + 1;
    assert_eq!(
        prove_csr(vec![b'\n'; length]),
        broken(Malformed::TooLong { length })
    );
    let label = "CERTIFICATE REQUEST";
    let der = fixture_der("csr-p256-sha256.pem");
    let trailing = [&der[..], &[0]].concat();
    assert_eq!(prove_csr(pem(label, &trailing)), broken(Malformed::Der));
    assert_eq!(
        prove_csr(pem(label, &fixture_der("p256.pem"))),
        broken(Malformed::Der)
    );
}

/// A request put together by hand and signed by another implementation.
fn request(info: &[&[u8]], algorithm: &str) -> String {
    use p256::ecdsa::signature::Signer as _;
    let info = tlv(0x30, info);
    let signer = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let signature: p256::ecdsa::Signature = signer.sign(&info);
    let algorithm = tlv(0x30, &[&unhex(algorithm)]);
    let signature = tlv(3, &[&[0], signature.to_der().as_bytes()]);
    pem(
        "CERTIFICATE REQUEST",
        &tlv(0x30, &[&info, &algorithm, &signature]),
    )
}

const ECDSA_SHA256: &str = "06082a8648ce3d040302";
const RSA_SHA256: &str = "06092a864886f70d01010b0500";
const VERSION: &[u8] = &[2, 1, 0];
const NO_NAME: &[u8] = &[0x30, 0];
const NO_ATTRIBUTES: &[u8] = &[0xa0, 0];

#[test]
fn a_subject_or_attribute_no_parser_likes_does_not_refuse_the_key() {
    let (key, proof) = p256_pair(7, CHALLENGE);
    let expected = prove_key(key.clone(), proof.to_der().as_bytes()).unwrap();
    let nonsense_name = tlv(0x30, &[b"\xff\xff\xff"]);
    let nonsense_attributes = tlv(0xa0, &[b"\x30\x7f"]);
    for info in [
        [VERSION, NO_NAME, &key, NO_ATTRIBUTES],
        [VERSION, &nonsense_name, &key, &nonsense_attributes],
        [&[2, 1, 2], NO_NAME, &key, NO_ATTRIBUTES],
    ] {
        assert_eq!(
            prove_csr(request(&info, ECDSA_SHA256)),
            Ok(expected.clone())
        );
    }
}

#[test]
fn a_request_has_its_four_fields_and_no_fifth() {
    let (key, _) = p256_pair(7, CHALLENGE);
    for info in [
        &[VERSION, NO_NAME, &key][..],
        &[NO_NAME, &key, NO_ATTRIBUTES],
        &[VERSION, &key, NO_ATTRIBUTES],
        &[VERSION, NO_NAME, &key, NO_ATTRIBUTES, NO_ATTRIBUTES],
        &[VERSION, NO_NAME, &key, &key, NO_ATTRIBUTES],
        &[VERSION, NO_NAME, &key, &[0xa1, 0]],
        &[VERSION, NO_NAME, &key, &[0x80, 0]],
        &[VERSION, &[0x31, 0], &key, NO_ATTRIBUTES],
        &[],
    ] {
        let got = prove_csr(request(info, ECDSA_SHA256));
        assert_eq!(got, broken(Malformed::Der), "{info:02x?}");
    }
}

#[test]
fn signature_parameters_are_held_to_the_letter() {
    let (key, _) = p256_pair(7, CHALLENGE);
    let info = [VERSION, NO_NAME, &key, NO_ATTRIBUTES];
    for algorithm in [
        [ECDSA_SHA256, NULL].concat(),
        [ECDSA_SHA256, P256_OID].concat(),
        [RSA_SHA256.trim_end_matches(NULL), ED25519_OID].concat(),
        [ED25519_OID, NULL].concat(),
    ] {
        let got = prove_csr(request(&info, &algorithm));
        assert_eq!(got, broken(Malformed::Parameters), "{algorithm}");
    }
}

#[test]
fn a_signature_of_another_kind_of_key_does_not_verify() {
    let (key, _) = p256_pair(7, CHALLENGE);
    let info = [VERSION, NO_NAME, &key, NO_ATTRIBUTES];
    for algorithm in [RSA_SHA256, ED25519_OID] {
        let got = prove_csr(request(&info, algorithm));
        assert_eq!(got, mismatch(KeyAlgorithm::EcdsaP256), "{algorithm}");
    }
}

#[test]
fn raw_halves_are_no_signature_of_a_request() {
    use p256::ecdsa::signature::Signer as _;
    let (key, _) = p256_pair(7, CHALLENGE);
    let info = tlv(0x30, &[VERSION, NO_NAME, &key, NO_ATTRIBUTES]);
    let signer = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let signature: p256::ecdsa::Signature = signer.sign(&info);
    let signature = tlv(3, &[&[0], &signature.to_bytes()]);
    let der = tlv(
        0x30,
        &[&info, &tlv(0x30, &[&unhex(ECDSA_SHA256)]), &signature],
    );
    let got = prove_csr(pem("CERTIFICATE REQUEST", &der));
    assert_eq!(got, mismatch(KeyAlgorithm::EcdsaP256));
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let (other, _) = p256_pair(8, CHALLENGE);
    let info = [VERSION, NO_NAME, &other, NO_ATTRIBUTES];
    let got = prove_csr(request(&info, ECDSA_SHA256));
    assert_eq!(got, mismatch(KeyAlgorithm::EcdsaP256));
}
