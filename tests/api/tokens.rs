//! Where a token may stand and why it is not believed. The sentence is one for all causes, the
//! reason beside it is one for each.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::caller::Caller;
use super::house::{House, KEY, TOKEN, V1, V2};
use super::provider::with;

/// The one name of a certificate.
fn name_of(leaf: &[u8]) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let [x509_parser::extensions::GeneralName::RFC822Name(name)] =
        names.value.general_names.as_slice()
    else {
        panic!("one e-mail address: {names:?}");
    };
    (*name).to_owned()
}

#[tokio::test]
async fn the_token_in_the_body_wins_and_the_header_needs_no_scheme() {
    let house = House::open().await;
    let [body, header] = ["in.body@example.com", "in.header@example.com"].map(Caller::new);
    let token = house.provider.token(&header.name);
    let both = body.v2(Some(&house.provider.token(&body.name))).to_string();
    let bearer = format!("Bearer {token}");
    let leaf = house.post(V2, &[("authorization", &bearer)], both).await;
    assert_eq!(name_of(&leaf.leaf()), body.name);

    for value in [&bearer, &token] {
        let headers = [("authorization", value.as_str())];
        for request in [header.v2(None), header.v2(Some(""))] {
            let leaf = house.post(V2, &headers, request.to_string()).await.leaf();
            assert_eq!(name_of(&leaf), header.name);
        }
        let answer = house.post(V1, &headers, header.v1().to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    // Another spelling of the scheme is part of the token, and a bad token in the body is not
    // healed by a good one in the header.
    let lower = format!("bearer {token}");
    let headers = [("authorization", lower.as_str())];
    for (path, request) in [(V2, header.v2(None)), (V1, header.v1())] {
        let answer = house.post(path, &headers, request.to_string()).await;
        answer.is_refused(400, 3, TOKEN, "TOKEN_MALFORMED");
    }
    let bad = header.v2(Some("x")).to_string();
    let answer = house.post(V2, &[("authorization", &bearer)], bad).await;
    answer.is_refused(400, 3, TOKEN, "TOKEN_MALFORMED");
    // The first version reads no token from the body.
    let mut request = header.v1();
    request["credentials"] = json!({"oidcIdentityToken": token});
    let answer = house.post(V1, &[], request.to_string()).await;
    answer.is_refused(400, 3, TOKEN, "TOKEN_MALFORMED");
}

#[tokio::test]
async fn the_first_version_misses_the_key_before_the_token() {
    let house = House::open().await;
    for body in [
        "",
        "{}",
        r#"{"signedEmailAddress":"AQID"}"#,
        r#"{"publicKey":null,"certificateSigningRequest":""}"#,
    ] {
        let headers = [("authorization", "Bearer not.a.token")];
        let answer = house.post(V1, &headers, body).await;
        answer.is_refused(400, 3, KEY, "KEY_INVALID");
    }
    // The second asks who is there first.
    for body in ["", "{}"] {
        house
            .post(V2, &[], body)
            .await
            .is_refused(400, 3, TOKEN, "TOKEN_MALFORMED");
    }
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let body = json!({"credentials": {"oidcIdentityToken": token}}).to_string();
    house
        .post(V2, &[], body)
        .await
        .is_refused(400, 3, KEY, "KEY_INVALID");
}

#[tokio::test]
async fn a_token_that_is_not_good_here_and_now_is_refused_with_its_reason() {
    let house = House::open().await;
    let provider = &house.provider;
    let caller = Caller::new("one@example.com");
    let person = || provider.person(&caller.name);
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let changed = |changes: Value| provider.sign(&with(person(), changes));
    let good = provider.token(&caller.name);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let foreign = |issuer: &str| changed(json!({"iss": issuer}));

    let cases: Vec<(&str, String)> = vec![
        ("TOKEN_MALFORMED", "garbage".to_owned()),
        ("TOKEN_MALFORMED", "a.b".to_owned()),
        ("TOKEN_MALFORMED", "a.b.c.d.e".to_owned()),
        ("TOKEN_MALFORMED", ".".repeat(20_000)),
        ("TOKEN_MALFORMED", "x".repeat(20_000)),
        ("TOKEN_MALFORMED", format!("{good}=")),
        ("TOKEN_MALFORMED", changed(json!({"iss": null}))),
        (
            "TOKEN_MALFORMED",
            provider.sign_under(&json!({"alg": "none"}), &person()),
        ),
        (
            "TOKEN_MALFORMED",
            provider.sign_under(&json!({"alg": "HS256", "kid": "test"}), &person()),
        ),
        ("ISSUER_UNKNOWN", foreign("https://issuer.example.com")),
        ("ISSUER_UNKNOWN", foreign(&format!("{}/", provider.email()))),
        ("ISSUER_UNKNOWN", foreign("https://oidc.a.b.example.com/id")),
        (
            "TOKEN_SIGNATURE_INVALID",
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([7; 64])),
        ),
        (
            "TOKEN_SIGNATURE_INVALID",
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        ("AUDIENCE_MISMATCH", changed(json!({"aud": "elsewhere"}))),
        ("AUDIENCE_MISMATCH", changed(json!({"aud": ["Sigstore"]}))),
        (
            "AUDIENCE_MISMATCH",
            changed(json!({"aud": "other-audience"})),
        ),
        // This issuer's own audience is another one.
        ("AUDIENCE_MISMATCH", foreign(&provider.other())),
        ("CLAIM_MISSING", changed(json!({"aud": null}))),
        ("CLAIM_INVALID", changed(json!({"aud": 7}))),
        ("CLAIM_INVALID", changed(json!({"aud": {"sigstore": true}}))),
        ("CLAIM_MISSING", changed(json!({"exp": null}))),
        ("CLAIM_MISSING", changed(json!({"email": null}))),
        ("TOKEN_EXPIRED", changed(json!({"exp": now - 1}))),
        ("TOKEN_EXPIRED", changed(json!({"exp": 0}))),
        (
            "TOKEN_NOT_YET_VALID",
            changed(json!({"nbf": now + 3_000, "exp": now + 3_600})),
        ),
        (
            "EMAIL_UNVERIFIED",
            changed(json!({"email_verified": false})),
        ),
        ("IDENTITY_INVALID", changed(json!({"email": "no address"}))),
    ];
    for (reason, token) in cases {
        let body = caller.v2(Some(&token)).to_string();
        let answer = house.post(V2, &[], body).await;
        assert_eq!(answer.problem().reason, reason, "{}", answer.text());
        answer.is_refused(400, 3, TOKEN, reason);
        let longest = token.split('.').max_by_key(|part| part.len()).unwrap();
        assert!(
            longest.is_empty() || longest.len() < 4 || !answer.text().contains(longest),
            "the answer repeats the token"
        );
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer = house.post(V1, &headers, caller.v1().to_string()).await;
        answer.is_refused(400, 3, TOKEN, reason);
    }
    assert_eq!(house.issued().await, (0, 0));
    let body = caller.v2(Some(&good)).to_string();
    assert_eq!(
        name_of(&house.post(V2, &[], body).await.leaf()),
        caller.name
    );
}

#[tokio::test]
async fn an_issuer_that_is_down_is_not_the_callers_fault_and_stops_nobody_else() {
    let house = House::open().await;
    let provider = &house.provider;
    let caller = Caller::new("one@example.com");
    let claims = with(
        provider.person(&caller.name),
        json!({"iss": provider.down()}),
    );
    let body = caller.v2(Some(&provider.sign(&claims))).to_string();
    for _ in 0..2 {
        let answer = house.post(V2, &[], body.clone()).await;
        answer.is_refused(503, 14, TOKEN, "ISSUER_UNAVAILABLE");
        let port = provider.down().rsplit(':').next().unwrap();
        assert!(!answer.text().contains(port), "{}", answer.text());
    }
    let body = caller.v2(Some(&provider.token(&caller.name))).to_string();
    house.post(V2, &[], body).await.leaf();
    let ready = house.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (200, "ok\n"));
}
