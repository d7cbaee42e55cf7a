//! Anything may arrive; nothing panics, and nothing altered proves anything.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static PAIRS: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> = LazyLock::new(|| {
    ACCEPTED
        .iter()
        .map(|(name, _)| {
            (
                fixture_der(&format!("{name}.pem")),
                fixture(&format!("{name}.sig")),
            )
        })
        .collect()
});

static CSRS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    [
        "rsa-2048-sha256",
        "p256-sha256",
        "p384-sha384",
        "p521-sha512",
        "ed25519",
        "p256-greedy",
    ]
    .iter()
    .map(|name| fixture_der(&format!("csr-{name}.pem")))
    .collect()
});

/// Bytes with one of them changed, by a position anywhere in their length.
fn altered(bytes: &[u8], at: prop::sample::Index, by: u8) -> Vec<u8> {
    let mut altered = bytes.to_vec();
    altered[at.index(bytes.len())] ^= by;
    altered
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn arbitrary_bytes_prove_nothing_and_never_panic(
        key in prop::collection::vec(any::<u8>(), 0..600),
        proof in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(prove_key(key.clone(), proof.clone()).is_err());
        prop_assert!(prove_key([&[0x30][..], &key].concat(), proof.clone()).is_err());
        prop_assert!(prove_key(pem("PUBLIC KEY", &key), proof.clone()).is_err());
        prop_assert!(prove_key(pem("RSA PUBLIC KEY", &key), proof.clone()).is_err());
        prop_assert!(prove_csr(key.clone()).is_err());
        prop_assert!(prove_csr(pem("CERTIFICATE REQUEST", &key)).is_err());
    }

    #[test]
    fn arbitrary_armour_never_panics(text in "(-----(BEGIN|END) [A-Z -]{0,20}(-----)?|[A-Za-z0-9+/=\r\n -]{0,80}){0,6}") {
        prop_assert!(prove_key(text.clone(), "x").is_err());
        prop_assert!(prove_csr(text).is_err());
    }

    #[test]
    fn an_altered_signature_never_verifies(
        pair in 0..7_usize,
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let (key, proof) = &PAIRS[pair];
        let got = prove_key(key.clone(), altered(proof, at, by));
        prop_assert_eq!(got, mismatch(ACCEPTED[pair].1));
    }

    #[test]
    fn an_altered_raw_signature_never_verifies(
        secret in 1..=200_u8,
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let (key, proof) = p256_pair(secret, CHALLENGE);
        prop_assert!(prove_key(key.clone(), &proof.to_bytes()[..]).is_ok());
        let got = prove_key(key, altered(&proof.to_bytes(), at, by));
        prop_assert_eq!(got, mismatch(KeyAlgorithm::EcdsaP256));
    }

    #[test]
    fn an_altered_key_never_takes_over_a_proof(
        pair in 0..7_usize,
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let (key, proof) = &PAIRS[pair];
        prop_assert!(prove_key(altered(key, at, by), proof.clone()).is_err());
    }

    #[test]
    fn an_altered_request_proves_nothing(
        csr in 0..6_usize,
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let altered = altered(&CSRS[csr], at, by);
        prop_assert!(prove_csr(pem("CERTIFICATE REQUEST", &altered)).is_err());
    }

    #[test]
    fn a_truncated_request_or_key_proves_nothing(
        csr in 0..6_usize,
        pair in 0..7_usize,
        at in any::<prop::sample::Index>(),
    ) {
        let whole = &CSRS[csr];
        let part = &whole[..at.index(whole.len())];
        prop_assert!(prove_csr(pem("CERTIFICATE REQUEST", part)).is_err());
        let (key, proof) = &PAIRS[pair];
        prop_assert!(prove_key(&key[..at.index(key.len())], proof.clone()).is_err());
    }

    #[test]
    fn ed25519_agrees_with_strict_verification_elsewhere(
        point in any::<[u8; 32]>(),
        mixed in any::<[u8; 64]>(),
        seed in any::<[u8; 32]>(),
        honest in any::<bool>(),
    ) {
        use ed25519_dalek::{Signer as _, VerifyingKey};
        let signer = ed25519_dalek::SigningKey::from_bytes(&seed);
        let (point, signature) = if honest {
            let signature = signer.sign(CHALLENGE.as_bytes());
            (signer.verifying_key().to_bytes(), signature)
        } else {
            (point, ed25519_dalek::Signature::from_bytes(&mixed))
        };
        let elsewhere = VerifyingKey::from_bytes(&point)
            .and_then(|key| key.verify_strict(CHALLENGE.as_bytes(), &signature));
        let here = prove_key(ed25519_spki(&point), signature.to_bytes());
        prop_assert_eq!(here.is_ok(), elsewhere.is_ok());
    }
}
