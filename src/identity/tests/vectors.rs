//! The public Wycheproof vectors for JSON web keys and signatures, through the reading of headers
//! and key sets and the verification that tokens go through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};
use wycheproof_ng_kdf_jose::json_web;

use super::super::header::{Header, algorithm};
use super::super::jwks::KeySet;
use super::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public: Option<Json>,
    private: Option<Json>,
    #[serde(alias = "keyJwk")]
    public_key_jwk: Option<Json>,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: usize,
    comment: String,
    /// A text in the compact form, or an object.
    jws: Option<Json>,
    msg: Option<String>,
    sig: Option<String>,
    result: String,
    flags: Vec<String>,
}

const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// The vectors' payloads are no claims, so the parts are taken apart here and not by
/// [`UnverifiedToken`](super::super::unverified::UnverifiedToken), which reads the payload as well.
fn verify(jws: &str, keys: &KeySet) -> Result<(), String> {
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err("parts".to_owned());
    };
    let decode = |part| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| "encoding".to_owned())
    };
    let _payload = decode(payload)?;
    let length = decode(signature)?.len();
    let header = Header::parse(&decode(header)?).map_err(|error| error.to_string())?;
    let signed = &jws[..jws.rfind('.').unwrap()];
    let key_id = header.key_id.as_deref();
    let verdict = keys.verify(
        key_id,
        header.algorithm,
        signed.as_bytes(),
        signature,
        length,
    );
    verdict.map_err(|error| error.to_string())
}

/// What an issuer would publish.
fn key_set(keys: &Json) -> Result<KeySet, String> {
    let keys = match keys.get("keys") {
        Some(_) => keys.clone(),
        None => json!({"keys": [keys]}),
    };
    let all = ALGORITHMS.map(|name| algorithm(name).unwrap());
    KeySet::parse(keys.to_string().as_bytes(), all.to_vec()).map_err(|error| error.to_string())
}

/// What is refused although the vectors want it accepted; of these nothing is accepted that they want
/// refused.
struct Exception {
    /// How the vector's comment begins.
    comment: &'static str,
    /// Why we refuse it.
    refusal: &'static str,
    times: usize,
    _reason: &'static str,
}

const EXCEPTIONS: [Exception; 3] = [
    Exception {
        comment: "",
        refusal: "the token's header names no algorithm that is accepted",
        times: 16,
        _reason: "HMAC: a secret that the verifier shares is no identity. ES512: no provider of \
                  identities signs with P-521.",
    },
    Exception {
        comment: "Figure20",
        refusal: "the issuer has no key for this token",
        times: 2,
        _reason: "The key says PS256 and the token PS384. RFC 7517, section 4.4: `alg` is the algorithm \
                  intended for use with the key, and there is no other.",
    },
    Exception {
        comment: "InvalidCharacterInserted",
        refusal: "encoding",
        times: 2,
        _reason: "RFC 7515, section 2 has no place for other characters.",
    },
];

/// Surprises, and how often each exception was needed.
#[derive(Default)]
struct Run {
    surprises: Vec<String>,
    excepted: [usize; EXCEPTIONS.len()],
}

impl Run {
    fn judge(&mut self, set: &str, vector: &Vector, answer: Result<(), String>) {
        let refusal = match (vector.result.as_str(), answer) {
            // What a verifier may answer as it likes, this one refuses.
            ("valid", Ok(())) | ("invalid" | "acceptable", Err(_)) => return,
            ("valid", Err(refusal)) => refusal,
            ("invalid" | "acceptable", Ok(())) => "accepted".to_owned(),
            (other, _) => panic!("{set}: {other}"),
        };
        let known = EXCEPTIONS.iter().position(|exception| {
            vector.comment.starts_with(exception.comment) && refusal == exception.refusal
        });
        match known {
            Some(exception) => self.excepted[exception] += 1,
            None => self.surprises.push(format!(
                "{set} {}: {}, but {refusal}: {} {:?}",
                vector.tc_id, vector.result, vector.comment, vector.flags
            )),
        }
    }

    fn ends(self) -> [usize; EXCEPTIONS.len()] {
        let list = self.surprises.join("\n");
        assert!(
            self.surprises.is_empty(),
            "{}:\n{list}",
            self.surprises.len()
        );
        self.excepted
    }
}

#[test]
fn a_json_web_vector_is_answered_wrongly() {
    let mut run = Run::default();
    for (set, name) in [
        ("key", json_web::TestName::JsonWebKey),
        ("signature", json_web::TestName::JsonWebSignature),
        ("crypto", json_web::TestName::JsonWebCrypto),
    ] {
        let vectors: Vectors = serde_json::from_str(name.json_data()).unwrap();
        let mut seen = 0;
        for group in &vectors.test_groups {
            let keys = key_set(group.public.as_ref().or(group.private.as_ref()).unwrap());
            for vector in &group.tests {
                seen += 1;
                // The others are about encryption.
                if let Some(jws) = &vector.jws {
                    let answer = match (&keys, jws) {
                        (Err(error), _) => Err(error.clone()),
                        (Ok(keys), Json::String(jws)) => verify(jws, keys),
                        (Ok(_), _) => Err("not compact".to_owned()),
                    };
                    run.judge(set, vector, answer);
                }
            }
        }
        assert_eq!(seen, vectors.number_of_tests);
    }
    assert_eq!(run.ends(), EXCEPTIONS.map(|exception| exception.times));
}

/// The vectors for the bare algorithms have their keys as JSON web keys too.
#[test]
fn a_vector_of_an_algorithm_of_tokens_is_answered_wrongly() {
    use ecdsa::TestName as Ecdsa;
    use rsa_pkcs1_verify::TestName as Pkcs1;
    use rsa_pss_verify::TestName as Pss;
    let mut run = Run::default();
    for (name, json) in [
        ("ES256", Ecdsa::EcdsaSecp256r1Sha256P1363.json_data()),
        ("ES384", Ecdsa::EcdsaSecp384r1Sha384P1363.json_data()),
        ("EdDSA", eddsa::TestName::Ed25519.json_data()),
        ("RS256", Pkcs1::Rsa2048Sha256.json_data()),
        ("RS256", Pkcs1::Rsa3072Sha256.json_data()),
        ("RS256", Pkcs1::Rsa4096Sha256.json_data()),
        ("RS256", Pkcs1::Rsa8192Sha256.json_data()),
        ("RS384", Pkcs1::Rsa2048Sha384.json_data()),
        ("RS512", Pkcs1::Rsa2048Sha512.json_data()),
        ("PS256", Pss::RsaPss2048Sha256Mgf1SaltLen32.json_data()),
        ("PS256", Pss::RsaPss3072Sha256Mgf1SaltLen32.json_data()),
        ("PS384", Pss::RsaPss2048Sha384Mgf1SaltLen48.json_data()),
        ("PS512", Pss::RsaPss4096Sha512Mgf1SaltLen64.json_data()),
    ] {
        let vectors: Vectors = serde_json::from_str(json).unwrap();
        let mut checked = 0;
        for group in &vectors.test_groups {
            let Some(key) = &group.public_key_jwk else {
                continue;
            };
            let keys = key_set(key);
            for vector in &group.tests {
                checked += 1;
                let signature = hex(vector.sig.as_ref().unwrap());
                let message = hex(vector.msg.as_ref().unwrap());
                let answer = keys.as_ref().map_err(String::clone).and_then(|keys| {
                    let text = URL_SAFE_NO_PAD.encode(&signature);
                    let algorithm = algorithm(name).unwrap();
                    keys.verify(None, algorithm, &message, &text, signature.len())
                        .map_err(|error| error.to_string())
                });
                run.judge(name, vector, answer);
            }
        }
        // A few keys are there in DER only.
        assert!(
            checked >= 100 && checked + 10 >= vectors.number_of_tests,
            "{name}"
        );
    }
    assert_eq!(run.ends(), [0; EXCEPTIONS.len()]);
}

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}
