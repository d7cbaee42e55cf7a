//! Proofs over the challenge.

use super::*;

/// One test a curve: both forms of signature made by the curve's own crate.
macro_rules! both_forms_prove {
    ($($test:ident: $curve:ident, $algorithm:ident, $secret:expr;)*) => {$(
        #[test]
        fn $test() {
            use $curve::{ecdsa::signature::Signer as _, pkcs8::EncodePublicKey as _};
            let signer = $curve::ecdsa::SigningKey::from_slice(&$secret).unwrap();
            let spki = signer.verifying_key().to_public_key_der().unwrap();
            let signature: $curve::ecdsa::Signature = signer.sign(CHALLENGE.as_bytes());
            let der = prove_key(spki.as_bytes(), signature.to_der().as_bytes()).unwrap();
            assert_eq!(der.algorithm(), KeyAlgorithm::$algorithm);
            assert_eq!(der.spki_der(), spki.as_bytes());
            let raw = signature.to_bytes();
            assert_eq!(prove_key(spki.as_bytes(), &raw[..]), Ok(der.clone()));

            let (r, s) = raw.split_at(raw.len() / 2);
            for width in r.len()..=66 {
                let zeros = vec![0; width - r.len()];
                let wider = [&zeros, r, &zeros, s].concat();
                assert_eq!(prove_key(spki.as_bytes(), wider), Ok(der.clone()), "{width}");
            }
            let zeros = vec![0; 67 - r.len()];
            let too_wide = [&zeros, r, &zeros, s].concat();
            let wrong = mismatch(KeyAlgorithm::$algorithm);
            assert_eq!(prove_key(spki.as_bytes(), too_wide), wrong);
            let swapped = [s, r].concat();
            assert_eq!(prove_key(spki.as_bytes(), swapped), wrong);
            let odd = [&[0], r, s].concat();
            assert_eq!(prove_key(spki.as_bytes(), odd), wrong);
            for (r, s) in [(&vec![0; r.len()][..], s), (r, &vec![0; s.len()][..])] {
                assert_eq!(prove_key(spki.as_bytes(), [r, s].concat()), wrong);
            }
            let doubled = [signature.to_der().as_bytes(), &[0]].concat();
            assert_eq!(prove_key(spki.as_bytes(), doubled), wrong);
            let mirrored = {
                let (r, s) = signature.split_scalars();
                $curve::ecdsa::Signature::from_scalars(*r, -*s).unwrap()
            };
            // Either s is a signature (FIPS 186-5 has no rule); nothing here is keyed by one.
            assert_eq!(prove_key(spki.as_bytes(), &mirrored.to_bytes()[..]), Ok(der));
        }
    )*};
}

both_forms_prove! {
    p256_proves_in_both_forms: p256, EcdsaP256, [7; 32];
    p384_proves_in_both_forms: p384, EcdsaP384, [7; 48];
    p521_proves_in_both_forms: p521, EcdsaP521, [[0; 2], [7; 2]].as_flattened().iter().copied()
        .chain([7; 62]).collect::<Vec<u8>>();
}

#[test]
fn raw_halves_without_their_leading_zeros_are_whole_numbers() {
    use p521::{ecdsa::signature::Signer as _, pkcs8::EncodePublicKey as _};
    let mut secret = [9; 66];
    secret[0] = 0;
    let signer = p521::ecdsa::SigningKey::from_slice(&secret).unwrap();
    let spki = signer.verifying_key().to_public_key_der().unwrap();
    let (challenge, raw) = (0..100)
        .find_map(|turn| {
            let challenge = format!("turn {turn}");
            let signature: p521::ecdsa::Signature = signer.sign(challenge.as_bytes());
            let raw = signature.to_bytes();
            (raw[0] == 0 && raw[66] == 0).then_some((challenge, raw))
        })
        .unwrap();
    let proof = [&raw[1..66], &raw[67..]].concat();
    let key = spki.as_bytes().to_vec();
    prove(&KeyRequest::PublicKey { key, proof }, &challenge).unwrap();
}

#[test]
fn ed25519_proves() {
    use ed25519_dalek::Signer as _;
    let signer = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let spki = ed25519_spki(signer.verifying_key().as_bytes());
    let signature = signer.sign(CHALLENGE.as_bytes()).to_bytes();
    let key = prove_key(spki.clone(), signature).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::Ed25519);
    assert_eq!(key.spki_der(), spki);
}

#[test]
fn ed25519_signatures_have_one_scalar() {
    use ed25519_dalek::Signer as _;
    let signer = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let spki = ed25519_spki(signer.verifying_key().as_bytes());
    let mut signature = signer.sign(CHALLENGE.as_bytes()).to_bytes();
    // S + L satisfies the same equation.
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (octet, order) in signature[32..].iter_mut().zip(order) {
        carry += u16::from(*octet) + u16::from(order);
        *octet = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(prove_key(spki, signature), mismatch(KeyAlgorithm::Ed25519));
}

#[test]
fn an_ed25519_signature_with_a_commitment_of_small_order_is_refused() {
    use aws_lc_rs::digest::{SHA512, digest};
    use ed25519_dalek::Verifier as _;
    use num_bigint::BigUint;
    let seed = [7_u8; 32];
    let signer = ed25519_dalek::SigningKey::from_bytes(&seed);
    let key = signer.verifying_key();
    let mut secret = digest(&SHA512, &seed).as_ref()[..32].to_vec();
    secret[0] &= 0xf8;
    secret[31] = secret[31] & 0x7f | 0x40;
    // Signed with the nonce 0: R is the identity, S the hash times the secret.
    let mut signature = [0_u8; 64];
    signature[0] = 1;
    let hashed = [&signature[..32], key.as_bytes(), CHALLENGE.as_bytes()].concat();
    let hash = BigUint::from_bytes_le(digest(&SHA512, &hashed).as_ref());
    let order: BigUint =
        (BigUint::from(1_u8) << 252_u32) + 27742317777372353535851937790883648493_u128;
    let scalar = (hash * BigUint::from_bytes_le(&secret) % order).to_bytes_le();
    signature[32..32 + scalar.len()].copy_from_slice(&scalar);

    let elsewhere = ed25519_dalek::Signature::from_bytes(&signature);
    key.verify(CHALLENGE.as_bytes(), &elsewhere).unwrap();
    key.verify_strict(CHALLENGE.as_bytes(), &elsewhere)
        .unwrap_err();
    let got = prove_key(ed25519_spki(key.as_bytes()), signature);
    assert_eq!(got, mismatch(KeyAlgorithm::Ed25519));
}

#[test]
fn a_proof_over_another_challenge_is_refused() {
    for (name, algorithm) in ACCEPTED {
        let request = KeyRequest::PublicKey {
            key: fixture(&format!("{name}.pem")),
            proof: fixture(&format!("{name}.sig")),
        };
        prove(&request, CHALLENGE).unwrap();
        for challenge in [
            "",
            "artist@example.com ",
            "Artist@example.com",
            "artist@example.co",
        ] {
            assert_eq!(prove(&request, challenge), mismatch(algorithm), "{name}");
        }
    }
}

#[test]
fn a_proof_by_another_key_is_refused() {
    for (name, algorithm) in ACCEPTED {
        for (other, _) in ACCEPTED.iter().filter(|(other, _)| *other != name) {
            let key = fixture(&format!("{name}.pem"));
            let proof = fixture(&format!("{other}.sig"));
            assert_eq!(prove_key(key, proof), mismatch(algorithm), "{name} {other}");
        }
    }
    let (key, _) = p256_pair(7, CHALLENGE);
    let (_, proof) = p256_pair(8, CHALLENGE);
    let got = prove_key(key, proof.to_der().as_bytes());
    assert_eq!(got, mismatch(KeyAlgorithm::EcdsaP256));
}

#[test]
fn another_hash_or_padding_is_not_the_proof() {
    for (name, proof, algorithm) in [
        ("rsa-2048", "rsa-2048-sha384.sig", KeyAlgorithm::Rsa2048),
        ("rsa-2048", "rsa-2048-pss.sig", KeyAlgorithm::Rsa2048),
        ("p384", "p384-sha256.sig", KeyAlgorithm::EcdsaP384),
        ("p521", "p521-sha256.sig", KeyAlgorithm::EcdsaP521),
    ] {
        let got = prove_key(fixture(&format!("{name}.pem")), fixture(proof));
        assert_eq!(got, mismatch(algorithm), "{proof}");
    }
}

#[test]
fn an_empty_or_oversized_proof_is_refused() {
    for (name, algorithm) in ACCEPTED {
        let key = fixture(&format!("{name}.pem"));
        assert_eq!(prove_key(key.clone(), ""), mismatch(algorithm), "{name}");
        assert_eq!(
            prove_key(key.clone(), vec![0; PROOF_LIMIT]),
            mismatch(algorithm),
            "{name}"
        );
        let length = PROOF_LIMIT + 1;
        let got = prove_key(key, vec![0; length]);
        assert_eq!(got, Err(PossessionError::ProofTooLong { length }), "{name}");
    }
}

#[test]
fn an_rsa_signature_is_exactly_as_long_as_the_modulus() {
    let key = fixture("rsa-2048.pem");
    let proof = fixture("rsa-2048.sig");
    let longer = [&[0][..], &proof].concat();
    assert_eq!(
        prove_key(key.clone(), longer),
        mismatch(KeyAlgorithm::Rsa2048)
    );
    assert_eq!(
        prove_key(key, &proof[..255]),
        mismatch(KeyAlgorithm::Rsa2048)
    );
}
