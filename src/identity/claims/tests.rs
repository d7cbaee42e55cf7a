use super::*;
use serde_json::json;

const ISSUER: &str = "https://issuer.example";
const NOW: i64 = 1_700_000_000;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

fn check(payload: serde_json::Value) -> Result<Claims, ClaimError> {
    Claims::check(SignedPayload::pretend(payload), ISSUER, "sigstore", now())
}

/// A good payload with one claim changed, or taken away by `null` marked as absent.
fn with(name: &str, value: Option<serde_json::Value>) -> Result<Claims, ClaimError> {
    let mut payload = json!({
        "iss": ISSUER, "aud": "sigstore", "sub": "s", "exp": NOW + 300, "nbf": NOW, "iat": NOW,
    });
    let members = payload.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    check(payload)
}

#[test]
fn a_claim_of_the_wrong_type_counts_as_absent() {
    let strange = [
        json!(null),
        json!(true),
        json!({}),
        json!([]),
        json!({"a": 1}),
        json!([1]),
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in strange.iter().chain(&[
            json!("1700000300"),
            json!("x"),
            json!(-1),
            json!(1_000_000_000_000_i64),
        ]) {
            let error = with(name, Some(value.clone())).unwrap_err();
            assert_eq!(error, ClaimError::Type(name.to_owned()), "{name} {value}");
        }
    }
    for value in strange.iter().chain(&[json!(1), json!(1.5)]) {
        let error = with("sub", Some(value.clone())).unwrap_err();
        assert_eq!(error, ClaimError::Type("sub".to_owned()), "sub {value}");
        let error = with("iss", Some(value.clone())).unwrap_err();
        assert_eq!(error, ClaimError::Issuer, "iss {value}");
    }
}

#[test]
fn a_required_claim_can_be_left_out() {
    for name in ["aud", "exp", "sub"] {
        let error = with(name, None).unwrap_err();
        assert_eq!(error, ClaimError::Missing(name.to_owned()));
    }
    assert_eq!(with("iss", None).unwrap_err(), ClaimError::Issuer);
    assert_eq!(
        with("sub", Some(json!(""))).unwrap_err(),
        ClaimError::Missing("sub".to_owned())
    );
    for name in ["nbf", "iat"] {
        assert!(with(name, None).is_ok(), "{name} is optional");
    }
}

#[test]
fn a_token_for_somebody_else_is_accepted() {
    for (audience, good) in [
        (json!("sigstore"), true),
        (json!(["sigstore"]), true),
        (json!(["other", "sigstore"]), true),
        (json!("Sigstore"), false),
        (json!("sigstore "), false),
        (json!(""), false),
        (json!("sigstore,other"), false),
        (json!([]), false),
        (json!(["other"]), false),
        (json!(["sigstor", "e"]), false),
    ] {
        let result = with("aud", Some(audience.clone()));
        match result {
            Ok(_) => assert!(good, "{audience}"),
            Err(error) => {
                assert!(!good, "{audience}");
                assert!(matches!(error, ClaimError::Audience { .. }), "{error}");
            }
        }
    }
    for audience in [
        json!(null),
        json!(1),
        json!(true),
        json!({"sigstore": 1}),
        json!(["sigstore", 1]),
        json!([["sigstore"]]),
        json!([null, "sigstore"]),
    ] {
        let error = with("aud", Some(audience.clone())).unwrap_err();
        assert_eq!(error, ClaimError::Type("aud".to_owned()), "{audience}");
    }
}

#[test]
fn an_issuer_of_another_spelling_is_accepted() {
    for issuer in [
        "https://issuer.example/",
        "HTTPS://issuer.example",
        "https://Issuer.example",
        "https://issuer.example:443",
        "issuer.example",
        "https://issuer.example#",
        "",
    ] {
        let error = with("iss", Some(json!(issuer))).unwrap_err();
        assert_eq!(error, ClaimError::Issuer, "{issuer}");
    }
}

#[test]
fn a_token_outside_of_its_time_is_accepted() {
    for (claim, value, expected) in [
        ("exp", json!(NOW), Some(ClaimError::Expired { seconds: 0 })),
        (
            "exp",
            json!(NOW - 1),
            Some(ClaimError::Expired { seconds: 1 }),
        ),
        ("exp", json!(0), Some(ClaimError::Expired { seconds: NOW })),
        ("exp", json!(NOW + 1), None),
        ("exp", json!(1_700_000_001.5), None),
        (
            "exp",
            json!(1_700_000_000.5),
            Some(ClaimError::Expired { seconds: 0 }),
        ),
        ("nbf", json!(NOW + 60), None),
        (
            "nbf",
            json!(NOW + 61),
            Some(ClaimError::NotYetValid { seconds: 61 }),
        ),
        (
            "nbf",
            json!(NOW + 240),
            Some(ClaimError::NotYetValid { seconds: 240 }),
        ),
        ("iat", json!(NOW + 60), None),
        (
            "iat",
            json!(NOW + 61),
            Some(ClaimError::IssuedInFuture { seconds: 61 }),
        ),
        ("iat", json!(NOW + 300 - 86_400), None),
        ("iat", json!(NOW + 299 - 86_400), Some(ClaimError::Lifetime)),
        ("exp", json!(NOW + 86_400), None),
        ("exp", json!(NOW + 86_401), Some(ClaimError::Lifetime)),
        (
            "exp",
            json!(253_402_300_799_i64),
            Some(ClaimError::Lifetime),
        ),
    ] {
        assert_eq!(
            with(claim, Some(value.clone())).err(),
            expected,
            "{claim} {value}"
        );
    }
    let forever = check(json!({
        "iss": ISSUER, "aud": "sigstore", "sub": "s", "exp": NOW + 86_401,
    }));
    assert_eq!(forever.err(), Some(ClaimError::Lifetime));
}

#[test]
fn an_error_shows_the_value_of_a_claim() {
    let error = with("aud", Some(json!("hunter2"))).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_claim_becomes_another_text_than_in_go() {
    #[derive(serde::Deserialize)]
    struct Vectors {
        claims: Vec<Vector>,
    }
    #[derive(serde::Deserialize)]
    struct Vector {
        json: String,
        text: String,
    }
    let text = include_str!("../../../testdata/tokens/templates/vectors.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert!(vectors.claims.len() > 20);
    for Vector { json, text } in vectors.claims {
        // As text, because serde_json's own value would not keep `-0` apart from `0`.
        let payload = format!(r#"{{"x":{json}}}"#);
        let limits = super::super::json::Limits {
            depth: 9,
            members: 99,
            items: 99,
            text: 99,
        };
        let claims = Claims {
            claims: Object::parse(payload.as_bytes(), &limits).unwrap(),
            subject: String::new(),
            expires: now(),
        };
        assert_eq!(
            claims.as_text("x").as_deref(),
            Some(text.as_str()),
            "{json}"
        );
        assert_eq!(claims.as_text("y"), None);
    }
}

#[test]
fn an_id_beyond_fifty_three_bits_is_rounded() {
    for (json, text) in [
        (
            json!(12_345_678_901_234_567_890_u64),
            "12345678901234567890",
        ),
        (json!(9_007_199_254_740_993_i64), "9007199254740993"),
        (json!([9_007_199_254_740_993_i64]), "[9007199254740993]"),
    ] {
        let claims = with("id", Some(json)).unwrap();
        assert_eq!(claims.as_text("id").as_deref(), Some(text));
    }
}
