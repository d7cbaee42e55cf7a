//! The public Wycheproof vectors through the functions that requests go through: [`prove`] for the
//! pair of key and hash that is permitted, the verification of certificate signing requests for the
//! others.

use std::collections::BTreeMap;

use serde::Deserialize;
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

use super::*;
use crate::possession::key::CandidateKey;
use crate::possession::proof::Scheme;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key_der: String,
    public_key_pem: String,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: usize,
    comment: String,
    msg: String,
    sig: String,
    result: String,
    flags: Vec<String>,
}

/// What we answer otherwise than the vectors expect.
struct Exception {
    /// What the set's name contains.
    set: &'static str,
    /// A flag that all of them have.
    flag: &'static str,
    /// How we answer.
    answer: &'static str,
    _reason: &'static str,
}

const EXCEPTIONS: [Exception; 3] = [
    Exception {
        set: "raw",
        flag: "SignatureSize",
        answer: ACCEPTED_HERE,
        _reason: "The halves are numbers and may come without the zeros before them, as long as both \
                  are equally long. Nothing here is keyed by a signature's octets.",
    },
    Exception {
        set: "Ed25519",
        flag: "Ktv",
        answer: "the public key is insecure: the private half of the key is public knowledge",
        _reason: "The private halves of these keys are printed in RFC 8032.",
    },
    Exception {
        set: "RSA",
        flag: "SmallPublicKey",
        answer: "the public key is insecure: the RSA public exponent is not 65537",
        _reason: "The public Web PKI certifies no other exponent, and neither do we.",
    },
];

const ACCEPTED_HERE: &str = "accepted";

/// Runs sets of vectors. Every surprise is listed with its number in its set.
#[derive(Default)]
struct Run {
    surprises: Vec<String>,
    /// How often each exception was needed.
    excepted: [usize; EXCEPTIONS.len()],
}

impl Run {
    /// One set; `verify` gives nothing, or how a signature over a message is refused.
    fn set(
        &mut self,
        set: &str,
        json: &str,
        verify: impl Fn(&CandidateKey, &[u8], &[u8], &[u8]) -> Result<(), PossessionError>,
    ) {
        let vectors: Vectors = serde_json::from_str(json).unwrap();
        let mut seen = 0;
        for group in &vectors.test_groups {
            let der = hex(&group.public_key_der);
            let key = CandidateKey::from_request(&der);
            let from_pem = CandidateKey::from_request(group.public_key_pem.as_bytes());
            let fingerprint = |key: &CandidateKey| key.fingerprint;
            assert_eq!(
                key.as_ref().map(fingerprint),
                from_pem.as_ref().map(fingerprint),
                "{set}"
            );
            for vector in &group.tests {
                seen += 1;
                let answer = match &key {
                    Ok(key) => verify(key, &der, &hex(&vector.msg), &hex(&vector.sig)),
                    Err(error) => Err(error.clone()),
                };
                self.judge(set, vector, answer);
            }
        }
        assert_eq!(seen, vectors.number_of_tests, "{set}");
    }

    fn judge(&mut self, set: &str, vector: &Vector, answer: Result<(), PossessionError>) {
        let expected = match (vector.result.as_str(), &answer) {
            // What a verifier may answer as it likes, this one refuses.
            ("valid", Ok(())) | ("invalid" | "acceptable", Err(_)) => true,
            ("valid", Err(_)) | ("invalid" | "acceptable", Ok(())) => false,
            (other, _) => panic!("{set}: {other}"),
        };
        if expected {
            return;
        }
        let answer = answer.map_or_else(|error| error.to_string(), |()| ACCEPTED_HERE.to_owned());
        let known = EXCEPTIONS.iter().position(|exception| {
            set.contains(exception.set)
                && vector.flags.iter().any(|flag| flag == exception.flag)
                && answer == exception.answer
        });
        match known {
            Some(exception) => self.excepted[exception] += 1,
            None => self.surprises.push(format!(
                "{set} {}: {}, but: {answer}: {} {:?}",
                vector.tc_id, vector.result, vector.comment, vector.flags
            )),
        }
    }

    /// There was no surprise, and each exception was needed as often as this.
    fn ends_with(self, excepted: [usize; EXCEPTIONS.len()]) {
        let list = self.surprises.join("\n");
        assert!(
            self.surprises.is_empty(),
            "{}:\n{list}",
            self.surprises.len()
        );
        assert_eq!(self.excepted, excepted);
    }
}

/// As a request with a key and a proof does it. A message that is no text cannot be a challenge.
fn proves(
    key: &CandidateKey,
    der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), PossessionError> {
    let Ok(challenge) = str::from_utf8(message) else {
        return signs(Scheme::of(key.algorithm))(key, der, message, signature);
    };
    let request = KeyRequest::PublicKey {
        key: der.to_vec(),
        proof: signature.to_vec(),
    };
    prove(&request, challenge).map(|_| ())
}

/// As a certificate signing request is verified.
fn signs(
    scheme: Scheme,
) -> impl Fn(&CandidateKey, &[u8], &[u8], &[u8]) -> Result<(), PossessionError> {
    move |key, _, message, signature| match key.verifies(scheme, message, signature) {
        true => Ok(()),
        false => Err(PossessionError::SignatureMismatch {
            algorithm: key.algorithm,
        }),
    }
}

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}

#[test]
fn an_ecdsa_vector_is_answered_wrongly() {
    use ecdsa::TestName as Name;
    let proved = [
        ("P-256 SHA-256 DER", Name::EcdsaSecp256r1Sha256),
        ("P-256 SHA-256 raw", Name::EcdsaSecp256r1Sha256P1363),
        ("P-384 SHA-384 DER", Name::EcdsaSecp384r1Sha384),
        ("P-384 SHA-384 raw", Name::EcdsaSecp384r1Sha384P1363),
        ("P-521 SHA-512 DER", Name::EcdsaSecp521r1Sha512),
        ("P-521 SHA-512 raw", Name::EcdsaSecp521r1Sha512P1363),
    ];
    let mut run = Run::default();
    for (set, name) in proved {
        run.set(set, name.json_data(), proves);
    }
    for (set, name, hash) in [
        (
            "csr P-256 SHA-256",
            Name::EcdsaSecp256r1Sha256,
            Hash::Sha256,
        ),
        (
            "csr P-256 SHA-512",
            Name::EcdsaSecp256r1Sha512,
            Hash::Sha512,
        ),
        (
            "csr P-384 SHA-256",
            Name::EcdsaSecp384r1Sha256,
            Hash::Sha256,
        ),
        (
            "csr P-384 SHA-384",
            Name::EcdsaSecp384r1Sha384,
            Hash::Sha384,
        ),
        (
            "csr P-384 SHA-512",
            Name::EcdsaSecp384r1Sha512,
            Hash::Sha512,
        ),
        (
            "csr P-521 SHA-512",
            Name::EcdsaSecp521r1Sha512,
            Hash::Sha512,
        ),
    ] {
        run.set(set, name.json_data(), signs(Scheme::Ecdsa(hash)));
    }
    run.ends_with([32, 0, 0]);
}

#[test]
fn an_ed25519_vector_is_answered_wrongly() {
    let json = eddsa::TestName::Ed25519.json_data();
    let mut run = Run::default();
    run.set("Ed25519", json, proves);
    run.set("csr Ed25519", json, signs(Scheme::Ed25519));
    run.ends_with([0, 2, 0]);
}

#[test]
fn an_rsa_vector_is_answered_wrongly() {
    use pkcs1::TestName as Name;
    let mut run = Run::default();
    for (set, name) in [
        ("RSA-2048 SHA-256", Name::Rsa2048Sha256),
        ("RSA-3072 SHA-256", Name::Rsa3072Sha256),
        ("RSA-4096 SHA-256", Name::Rsa4096Sha256),
    ] {
        run.set(set, name.json_data(), proves);
    }
    for (set, name, hash) in [
        ("csr RSA-2048 SHA-256", Name::Rsa2048Sha256, Hash::Sha256),
        ("csr RSA-2048 SHA-384", Name::Rsa2048Sha384, Hash::Sha384),
        ("csr RSA-2048 SHA-512", Name::Rsa2048Sha512, Hash::Sha512),
        ("csr RSA-3072 SHA-256", Name::Rsa3072Sha256, Hash::Sha256),
        ("csr RSA-3072 SHA-384", Name::Rsa3072Sha384, Hash::Sha384),
        ("csr RSA-3072 SHA-512", Name::Rsa3072Sha512, Hash::Sha512),
        ("csr RSA-4096 SHA-256", Name::Rsa4096Sha256, Hash::Sha256),
        ("csr RSA-4096 SHA-384", Name::Rsa4096Sha384, Hash::Sha384),
        ("csr RSA-4096 SHA-512", Name::Rsa4096Sha512, Hash::Sha512),
    ] {
        run.set(set, name.json_data(), signs(Scheme::RsaPkcs1(hash)));
    }
    run.ends_with([0, 0, 8]);
}

/// Signatures that are good in a scheme this room does not know prove nothing in those it knows.
#[test]
fn a_signature_in_another_scheme_is_taken_for_one_in_ours() {
    let rsa = [
        pkcs1::TestName::Rsa2048Sha224.json_data(),
        pkcs1::TestName::Rsa2048Sha512_224.json_data(),
        pkcs1::TestName::Rsa2048Sha512_256.json_data(),
        pkcs1::TestName::Rsa2048Sha3_256.json_data(),
        pss::TestName::RsaPss2048Sha256Mgf1SaltLen32.json_data(),
        pss::TestName::RsaPss3072Sha256Mgf1SaltLen32.json_data(),
    ];
    let curves = [
        ecdsa::TestName::EcdsaSecp256r1Sha3_256.json_data(),
        ecdsa::TestName::EcdsaSecp384r1Sha3_384.json_data(),
        ecdsa::TestName::EcdsaSecp521r1Sha3_512.json_data(),
    ];
    for json in rsa.into_iter().chain(curves) {
        let vectors: Vectors = serde_json::from_str(json).unwrap();
        for group in &vectors.test_groups {
            let der = hex(&group.public_key_der);
            let key = CandidateKey::from_request(&der).ok().unwrap();
            for vector in group.tests.iter().filter(|vector| vector.result == "valid") {
                let (message, signature) = (hex(&vector.msg), hex(&vector.sig));
                let proved = proves(&key, &der, &message, &signature);
                assert!(proved.is_err(), "{}", vector.tc_id);
                for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
                    for scheme in [Scheme::RsaPkcs1(hash), Scheme::Ecdsa(hash)] {
                        let good = key.verifies(scheme, &message, &signature);
                        assert!(!good, "{} {scheme:?}", vector.tc_id);
                    }
                }
            }
        }
    }
}

#[test]
fn a_key_of_a_size_or_curve_that_no_certificate_has_is_taken() {
    use ecdsa::TestName as Curve;
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for (what, json) in [
        ("RSA-8192", pkcs1::TestName::Rsa8192Sha256.json_data()),
        ("P-224", Curve::EcdsaSecp224r1Sha256.json_data()),
        ("secp256k1", Curve::EcdsaSecp256k1Sha256.json_data()),
        ("secp192r1", Curve::EcdsaSecp192r1Sha256.json_data()),
        (
            "brainpoolP256r1",
            Curve::EcdsaBrainpool256r1Sha256.json_data(),
        ),
        ("Ed448", eddsa::TestName::Ed448.json_data()),
    ] {
        let vectors: Vectors = serde_json::from_str(json).unwrap();
        for group in &vectors.test_groups {
            let key = CandidateKey::from_request(&hex(&group.public_key_der));
            assert!(key.is_err(), "{what}");
            *refused.entry(what).or_default() += 1;
        }
    }
    assert_eq!(refused.len(), 6);
}
