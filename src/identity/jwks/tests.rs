//! Key sets and signatures, held against tokens that OpenSSL signed (`testdata/tokens/signed`).

use super::*;
use serde_json::{Value as Json, json};

const KEYS: &str = include_str!("../../../testdata/tokens/signed/keys.json");

/// Algorithm, the key's name, the token.
const TOKENS: [(&str, &str, &str); 9] = [
    (
        "RS256",
        "rsa",
        include_str!("../../../testdata/tokens/signed/RS256.jwt"),
    ),
    (
        "RS384",
        "rsa",
        include_str!("../../../testdata/tokens/signed/RS384.jwt"),
    ),
    (
        "RS512",
        "rsa",
        include_str!("../../../testdata/tokens/signed/RS512.jwt"),
    ),
    (
        "PS256",
        "rsa",
        include_str!("../../../testdata/tokens/signed/PS256.jwt"),
    ),
    (
        "PS384",
        "rsa",
        include_str!("../../../testdata/tokens/signed/PS384.jwt"),
    ),
    (
        "PS512",
        "rsa",
        include_str!("../../../testdata/tokens/signed/PS512.jwt"),
    ),
    (
        "ES256",
        "ec256",
        include_str!("../../../testdata/tokens/signed/ES256.jwt"),
    ),
    (
        "ES384",
        "ec384",
        include_str!("../../../testdata/tokens/signed/ES384.jwt"),
    ),
    (
        "EdDSA",
        "ed",
        include_str!("../../../testdata/tokens/signed/EdDSA.jwt"),
    ),
];

fn all() -> Vec<Algorithm> {
    TOKENS
        .iter()
        .map(|(name, ..)| algorithm(name).unwrap())
        .collect()
}

fn set(keys: &Json) -> Result<KeySet, KeySetError> {
    KeySet::parse(keys.to_string().as_bytes(), all())
}

fn published() -> Json {
    serde_json::from_str(KEYS).unwrap()
}

/// The published keys, one of them changed.
fn with(kid: &str, change: impl Fn(&mut Json)) -> KeySet {
    let mut keys = published();
    let list = keys["keys"].as_array_mut().unwrap();
    change(list.iter_mut().find(|key| key["kid"] == kid).unwrap());
    set(&keys).unwrap()
}

fn verify(
    keys: &KeySet,
    kid: Option<&str>,
    algorithm: &str,
    token: &str,
) -> Result<(), SignatureError> {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let length = URL_SAFE_NO_PAD.decode(signature).unwrap().len();
    let algorithm = super::algorithm(algorithm).unwrap();
    keys.verify(kid, algorithm, signed.as_bytes(), signature, length)
}

#[test]
fn a_token_that_openssl_signed_is_refused() {
    let keys = set(&published()).unwrap();
    assert_eq!(keys.len(), 4);
    for (name, kid, token) in TOKENS {
        assert_eq!(verify(&keys, Some(kid), name, token), Ok(()), "{name}");
        assert_eq!(
            verify(&keys, None, name, token),
            Ok(()),
            "{name} without kid"
        );
    }
}

#[test]
fn a_changed_token_or_signature_is_accepted() {
    let keys = set(&published()).unwrap();
    for (name, kid, token) in TOKENS {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for forged in [
            format!("x{signed}.{signature}"),
            format!("{signed}x.{signature}"),
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 96])),
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 256])),
            format!("{signed}.{}", &signature[4..]),
            format!("{signed}.AAAA{signature}"),
        ] {
            let verdict = verify(&keys, Some(kid), name, &forged);
            assert_eq!(verdict, Err(SignatureError::Signature), "{name} {forged}");
        }
    }
}

#[test]
fn a_key_verifies_for_an_algorithm_it_is_not_for() {
    let keys = set(&published()).unwrap();
    for (name, kid, token) in TOKENS {
        for (other, other_kid, _) in TOKENS {
            if other == name {
                continue;
            }
            let verdict = verify(&keys, Some(kid), other, token);
            let expected = if other_kid == kid {
                SignatureError::Signature
            } else {
                SignatureError::Key
            };
            assert_eq!(verdict, Err(expected), "{name} read as {other}");
        }
    }
}

#[test]
fn an_algorithm_that_the_issuer_does_not_use_is_accepted() {
    let keys = KeySet::parse(KEYS.as_bytes(), vec![Algorithm::RS256]).unwrap();
    for (name, kid, token) in TOKENS {
        let expected = if name == "RS256" {
            Ok(())
        } else {
            Err(SignatureError::Algorithm(name.parse().unwrap()))
        };
        assert_eq!(verify(&keys, Some(kid), name, token), expected, "{name}");
    }
    let none = KeySet::parse(KEYS.as_bytes(), Vec::new()).unwrap();
    let (_, kid, token) = TOKENS[0];
    assert_eq!(
        verify(&none, Some(kid), "RS256", token),
        Err(SignatureError::Algorithm(Algorithm::RS256))
    );
}

#[test]
fn a_key_for_something_else_verifies_signatures() {
    type Change = fn(&mut Json);
    let changes: [(&str, Change); 16] = [
        ("use", |key| key["use"] = json!("enc")),
        ("use of another type", |key| key["use"] = json!(1)),
        ("key_ops", |key| key["key_ops"] = json!(["sign", "encrypt"])),
        ("no key_ops", |key| key["key_ops"] = json!([])),
        ("key_ops of another type", |key| {
            key["key_ops"] = json!("verify")
        }),
        ("alg", |key| key["alg"] = json!("RSA-OAEP")),
        ("alg of another family", |key| key["alg"] = json!("HS256")),
        ("alg of another key", |key| key["alg"] = json!("PS512")),
        ("alg of another type", |key| key["alg"] = json!(null)),
        ("kid", |key| key["kid"] = json!("other")),
        ("kid of another type", |key| key["kid"] = json!(7)),
        ("kty", |key| key["kty"] = json!("oct")),
        ("crv", |key| key["crv"] = json!("P-521")),
        ("crv of secp256k1", |key| key["crv"] = json!("secp256k1")),
        ("a private key", |key| key["d"] = json!("AAAA")),
        ("no kty", |key| {
            key.as_object_mut().unwrap().remove("kty");
        }),
    ];
    for (name, kid, token) in TOKENS {
        for (what, change) in changes {
            let harmless = match (what, name) {
                // An RSA key has no curve; PS512 may say so.
                ("crv" | "crv of secp256k1", _) => kid == "rsa",
                ("alg of another key", "PS512") => true,
                _ => false,
            };
            let verdict = verify(&with(kid, change), Some(kid), name, token);
            assert_eq!(verdict.is_ok(), harmless, "{name}: {what}: {verdict:?}");
        }
        let ops = with(kid, |key| key["key_ops"] = json!(["verify"]));
        assert!(verify(&ops, Some(kid), name, token).is_ok());
    }
}

#[test]
fn a_key_that_is_none_stops_the_others() {
    for strange in [
        json!({}),
        json!({"kty": "future", "kid": "x", "anything": [1, {"a": null}]}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "pq"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "hmac"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "short"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "off the curve",
            "x": URL_SAFE_NO_PAD.encode([1; 32]), "y": URL_SAFE_NO_PAD.encode([1; 32])}),
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 128]), "e": "AQAB", "kid": "1024"}),
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 256]), "e": "AQ", "kid": "one"}),
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 256]), "e": "Ag", "kid": "two"}),
        json!({"kty": "RSA", "n": "not base64!", "e": "AQAB", "kid": "text"}),
        json!({"kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([9; 32]), "kid": "x"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "short"}),
    ] {
        let mut keys = published();
        keys["keys"]
            .as_array_mut()
            .unwrap()
            .insert(0, strange.clone());
        let keys = set(&keys).unwrap();
        assert_eq!(keys.len(), 4, "{strange}");
        for (name, kid, token) in TOKENS {
            assert_eq!(verify(&keys, Some(kid), name, token), Ok(()), "{name}");
        }
    }
}

#[test]
fn a_bad_key_set_is_taken() {
    let twice = {
        let mut keys = published();
        let again = keys["keys"][0].clone();
        keys["keys"].as_array_mut().unwrap().push(again);
        keys
    };
    assert_eq!(set(&twice).unwrap_err(), KeySetError::Duplicate);
    let many = json!({"keys": vec![json!({"kty": "x"}); 65]});
    assert_eq!(set(&many).unwrap_err(), KeySetError::TooMany);
    for form in [
        json!({}),
        json!({"keys": {}}),
        json!({"keys": null}),
        json!({"keys": ["x"]}),
    ] {
        assert_eq!(set(&form).unwrap_err(), KeySetError::Form, "{form}");
    }
    for text in [
        "",
        "[]",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kid\":\"a\",\"kid\":\"b\"}]}",
    ] {
        assert!(matches!(
            KeySet::parse(text.as_bytes(), all()),
            Err(KeySetError::Json(_))
        ));
    }
}

#[test]
fn an_unnamed_key_verifies_a_token_that_names_one() {
    let unnamed = with("ed", |key| {
        key.as_object_mut().unwrap().remove("kid");
    });
    let (name, kid, token) = TOKENS[8];
    assert_eq!(
        verify(&unnamed, Some(kid), name, token),
        Err(SignatureError::Key)
    );
    assert_eq!(verify(&unnamed, None, name, token), Ok(()));
}
