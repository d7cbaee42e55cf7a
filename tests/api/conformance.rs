//! One question, every door, plain and in TLS: one verdict.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::caller::{ARTIST, Caller, fixture, pem};
use super::door::{DOORS, Door, Key, Question};
use super::house::{House, KEY, PROOF, TOKEN, Transport, der_of};
use super::provider::with;

struct Case {
    name: String,
    question: Question,
    /// Nothing, if it is granted.
    refusal: Option<(u64, String, &'static str)>,
}

impl Case {
    fn granted(name: impl Into<String>, token: &str, key: Key) -> Self {
        Self {
            name: name.into(),
            question: Question {
                token: token.to_owned(),
                key,
            },
            refusal: None,
        }
    }

    fn refused(
        name: impl Into<String>,
        token: &str,
        key: Key,
        message: &str,
        reason: &'static str,
    ) -> Self {
        Self {
            refusal: Some((3, message.to_owned(), reason)),
            ..Self::granted(name, token, key)
        }
    }
}

fn public(key: &str, proof: &str) -> Key {
    Key::Public {
        pem: fixture(&format!("{key}.pem")),
        proof: fixture(&format!("{proof}.sig")),
    }
}

fn request(name: &str) -> Key {
    Key::Request(fixture(&format!("csr-{name}.pem")))
}

fn of(caller: &Caller) -> Key {
    Key::Public {
        pem: caller.pem().into_bytes(),
        proof: caller.proof(),
    }
}

/// Keys, proofs and requests.
fn of_possession(house: &House, cases: &mut Vec<Case>) {
    const CSR: &str = "The certificate signing request could not be parsed";
    const INSECURE: &str = "The public key supplied in the request is insecure";
    let token = &house.provider.token(ARTIST);
    for name in [
        "p256", "p384", "p521", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096",
    ] {
        cases.push(Case::granted(name, token, public(name, name)));
    }
    for name in [
        "p256-sha256",
        "p384-sha384",
        "p521-sha512",
        "ed25519",
        "rsa-2048-sha256",
        "rsa-3072-sha256",
        "rsa-4096-sha256",
        "p256-new-label",
        "p256-greedy",
    ] {
        cases.push(Case::granted(format!("CSR {name}"), token, request(name)));
    }
    for name in [
        "rsa-1024",
        "rsa-2056",
        "rsa-e3",
        "weak-roca-2048",
        "weak-close-2048",
        "weak-factor-751-2048",
        "p224",
    ] {
        let key = public(name, "p256");
        cases.push(Case::refused(name, token, key, INSECURE, "KEY_INSECURE"));
    }
    for name in ["private", "csr-p256-sha256", "p256-explicit"] {
        let key = public(name, "p256");
        cases.push(Case::refused(name, token, key, KEY, "KEY_INVALID"));
    }
    cases.push(Case::refused(
        "no key",
        token,
        Key::Nothing,
        KEY,
        "KEY_INVALID",
    ));
    for (key, proof) in [
        ("rsa-2048", "rsa-2048-pss"),
        ("rsa-2048", "rsa-2048-sha384"),
        ("p384", "p384-sha256"),
        ("p521", "p521-sha256"),
        ("p256", "p384"),
        ("ed25519", "p256"),
    ] {
        let name = format!("{key} with the proof {proof}");
        cases.push(Case::refused(
            name,
            token,
            public(key, proof),
            PROOF,
            "PROOF_INVALID",
        ));
    }
    let other = Caller::new("not-the-artist@example.com");
    cases.push(Case::refused(
        "another's name",
        token,
        of(&other),
        PROOF,
        "PROOF_INVALID",
    ));
    let long = Key::Public {
        pem: fixture("p256.pem"),
        proof: vec![0x30; 1 << 14],
    };
    cases.push(Case::refused(
        "a long proof",
        token,
        long,
        PROOF,
        "PROOF_INVALID",
    ));
    let no_pem = Key::Request(b"not PEM".to_vec());
    cases.push(Case::refused(
        "CSR no PEM",
        token,
        no_pem,
        CSR,
        "CSR_INVALID",
    ));
    let weak = request("rsa-1024-sha256");
    cases.push(Case::refused(
        "CSR RSA-1024",
        token,
        weak,
        INSECURE,
        "KEY_INSECURE",
    ));
    for (name, message, reason) in [
        (
            "rsa-2048-pss-sha256",
            "unrecognized signature algorithm: SHA256-RSAPSS",
            "CSR_ALGORITHM_UNKNOWN",
        ),
        (
            "p256-sha1",
            "unrecognized signature algorithm: ECDSA-SHA1",
            "CSR_ALGORITHM_UNKNOWN",
        ),
        (
            "p256-sha384",
            "signing algorithm not permitted: *ecdsa.PublicKey, SHA-384",
            "ALGORITHM_NOT_PERMITTED",
        ),
        (
            "rsa-2048-sha512",
            "signing algorithm not permitted: *rsa.PublicKey, SHA-512",
            "ALGORITHM_NOT_PERMITTED",
        ),
    ] {
        let case = Case::refused(format!("CSR {name}"), token, request(name), message, reason);
        cases.push(case);
    }
    let mut der = der_of(str::from_utf8(&fixture("csr-p256-sha256.pem")).unwrap());
    *der.last_mut().unwrap() ^= 1;
    let flipped = Key::Request(pem("CERTIFICATE REQUEST", &der).into_bytes());
    cases.push(Case::refused(
        "CSR flipped",
        token,
        flipped,
        PROOF,
        "PROOF_INVALID",
    ));
}

/// Tokens.
fn of_identity(house: &House, cases: &mut Vec<Case>) {
    let provider = &house.provider;
    let caller = Caller::new("one@example.com");
    let person = || provider.person(&caller.name);
    let changed = |changes: Value| provider.sign(&with(person(), changes));
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let good = provider.token(&caller.name);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let github = provider.sign(&provider.job());
    let job = Caller::new(super::provider::JOB);
    cases.push(Case::granted("a person", &good, of(&caller)));
    cases.push(Case::granted("a job", &github, of(&job)));
    let several = changed(json!({"aud": ["elsewhere", "sigstore"]}));
    cases.push(Case::granted("several audiences", &several, of(&caller)));
    let text = changed(json!({"email_verified": "true"}));
    cases.push(Case::granted("a text for a truth", &text, of(&caller)));
    for (name, reason, token) in [
        ("no token", "TOKEN_MALFORMED", String::new()),
        ("one part", "TOKEN_MALFORMED", "garbage".to_owned()),
        ("two parts", "TOKEN_MALFORMED", "a.b".to_owned()),
        ("five parts", "TOKEN_MALFORMED", "a.b.c.d.e".to_owned()),
        ("dots", "TOKEN_MALFORMED", ".".repeat(20_000)),
        ("padding", "TOKEN_MALFORMED", format!("{good}=")),
        (
            "no issuer",
            "TOKEN_MALFORMED",
            changed(json!({"iss": null})),
        ),
        (
            "none",
            "TOKEN_MALFORMED",
            provider.sign_under(&json!({"alg": "none"}), &person()),
        ),
        (
            "HS256",
            "TOKEN_MALFORMED",
            provider.sign_under(&json!({"alg": "HS256", "kid": "test"}), &person()),
        ),
        (
            "a stranger's issuer",
            "ISSUER_UNKNOWN",
            changed(json!({"iss": "https://issuer.example.com"})),
        ),
        (
            "beside the pattern",
            "ISSUER_UNKNOWN",
            changed(json!({"iss": "https://oidc.a.b.example.com/id"})),
        ),
        (
            "an unknown key",
            "TOKEN_SIGNATURE_INVALID",
            provider.sign_under(&json!({"alg": "ES256", "kid": "withdrawn"}), &person()),
        ),
        (
            "another algorithm",
            "TOKEN_SIGNATURE_INVALID",
            provider.sign_under(&json!({"alg": "RS256", "kid": "test"}), &person()),
        ),
        (
            "a wrong signature",
            "TOKEN_SIGNATURE_INVALID",
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([7; 64])),
        ),
        (
            "audience",
            "AUDIENCE_MISMATCH",
            changed(json!({"aud": "elsewhere"})),
        ),
        (
            "another issuer's audience",
            "AUDIENCE_MISMATCH",
            changed(json!({"iss": provider.other()})),
        ),
        (
            "no audience",
            "CLAIM_MISSING",
            changed(json!({"aud": null})),
        ),
        ("no end", "CLAIM_MISSING", changed(json!({"exp": null}))),
        (
            "no address",
            "CLAIM_MISSING",
            changed(json!({"email": null})),
        ),
        ("no subject", "CLAIM_MISSING", changed(json!({"sub": null}))),
        (
            "a number for an audience",
            "CLAIM_INVALID",
            changed(json!({"aud": 7})),
        ),
        ("expired", "TOKEN_EXPIRED", changed(json!({"exp": 0}))),
        (
            "not yet",
            "TOKEN_NOT_YET_VALID",
            changed(json!({"nbf": now + 3_000, "exp": now + 3_600})),
        ),
        (
            "two days",
            "TOKEN_LIFETIME_TOO_LONG",
            changed(json!({"exp": now + 172_800})),
        ),
        (
            "unverified",
            "EMAIL_UNVERIFIED",
            changed(json!({"email_verified": false})),
        ),
        (
            "no such address",
            "IDENTITY_INVALID",
            changed(json!({"email": "no address"})),
        ),
        (
            "a job without its repository",
            "CLAIM_MISSING",
            provider.sign(&with(provider.job(), json!({"repository": null}))),
        ),
    ] {
        cases.push(Case::refused(name, &token, of(&caller), TOKEN, reason));
    }
    let down = changed(json!({"iss": provider.down()}));
    let mut down = Case::refused("down", &down, of(&caller), TOKEN, "ISSUER_UNAVAILABLE");
    down.refusal.as_mut().unwrap().0 = 14;
    cases.push(down);
}

async fn one_verdict(transport: Transport) {
    let house = House::open_with(transport).await;
    let mut cases = Vec::new();
    of_possession(&house, &mut cases);
    of_identity(&house, &mut cases);
    let mut granted = 0;
    for Case {
        name,
        question,
        refusal,
    } in &cases
    {
        let mut details = Vec::new();
        for door in DOORS {
            match (house.ask(door, question).await, refusal) {
                (Ok(chain), None) => {
                    granted += 1;
                    assert_eq!(chain.len(), 3, "{name} at {door:?}");
                    let own = house.issuance.authority.chain().der();
                    assert_eq!([&der_of(&chain[1]), &der_of(&chain[2])], [&own[0], &own[1]]);
                    let leaf = der_of(&chain[0]);
                    x509_parser::parse_x509_certificate(&leaf).unwrap();
                }
                (Err(verdict), Some((code, message, reason))) => {
                    let found = (verdict.code, &verdict.message, verdict.reason.as_str());
                    assert_eq!(found, (*code, message, *reason), "{name} at {door:?}");
                    details.push(verdict.detail);
                }
                (answer, _) => panic!("{name} at {door:?}: {answer:?}"),
            }
        }
        // An expiry is told in seconds, which may pass between two doors; and the first version says
        // what its own body lacks.
        details.retain(|detail| !detail.contains(" s ago") && !detail.contains("neither"));
        details.retain(|detail| !detail.contains(" s from now"));
        details.dedup();
        let is_one = details.len() <= 1 || matches!(question.key, Key::Nothing);
        assert!(is_one, "{name}: {details:?}");
        let is_ours = matches!(refusal, Some((14, ..)));
        let says_why = details.iter().all(|detail| detail.is_empty() == is_ours);
        assert!(says_why, "{name}: {details:?}");
    }
    assert_eq!(house.issued().await, (granted, granted));
    assert!(granted >= 80, "{granted}");

    // Who has neither key nor token hears of the key first in the old version only.
    for (door, message, reason) in [
        (Door::V1, KEY, "KEY_INVALID"),
        (Door::LegacyGrpc, KEY, "KEY_INVALID"),
        (Door::V2, TOKEN, "TOKEN_MALFORMED"),
        (Door::Grpc, TOKEN, "TOKEN_MALFORMED"),
    ] {
        let nothing = Question {
            token: String::new(),
            key: Key::Nothing,
        };
        let verdict = house.ask(door, &nothing).await.unwrap_err();
        assert_eq!((&*verdict.message, &*verdict.reason), (message, reason));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_has_the_same_verdict_in_plain_text() {
    one_verdict(Transport::Plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_has_the_same_verdict_in_tls() {
    one_verdict(Transport::Tls).await;
}
