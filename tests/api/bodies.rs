//! JSON as real clients write it, and as nobody should.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::caller::Caller;
use super::house::{House, TOKEN, V1, V2};

#[tokio::test]
async fn every_dialect_of_the_request_is_read() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let usual = || caller.v2(Some(&token));
    let algorithm = |value: Value| {
        let mut request = usual();
        request["publicKeyRequest"]["publicKey"]["algorithm"] = value;
        request.to_string()
    };
    let proof = |text: String| {
        let mut request = usual();
        request["publicKeyRequest"]["proofOfPossession"] = text.into();
        request.to_string()
    };
    let mut unknown = usual();
    unknown["later"] = json!({"version": [3]});
    unknown["credentials"]["kind"] = "new".into();
    unknown["publicKeyRequest"]["publicKey"]["curve"] = json!(null);
    let mut absent = usual();
    absent["publicKeyRequest"]["publicKey"]
        .as_object_mut()
        .unwrap()
        .remove("algorithm");
    let mut null = usual();
    null["certificateSigningRequest"] = Value::Null;
    let snake = usual()
        .to_string()
        .replace("oidcIdentityToken", "oidc_identity_token")
        .replace("publicKeyRequest", "public_key_request")
        .replace("publicKey", "public_key")
        .replace("proofOfPossession", "proof_of_possession");
    assert!(snake.contains("public_key_request") && snake.contains("\"public_key\""));

    for body in [
        usual().to_string(),
        snake,
        algorithm("".into()),
        algorithm("RSA".into()),
        algorithm(2.into()),
        algorithm(Value::Null),
        unknown.to_string(),
        absent.to_string(),
        null.to_string(),
        format!("{} trailing bytes }}", usual()),
        format!("\r\n\t {}", usual()),
        proof(STANDARD.encode(caller.proof())),
        proof(STANDARD_NO_PAD.encode(caller.proof())),
        proof(URL_SAFE.encode(caller.proof())),
        proof(URL_SAFE_NO_PAD.encode(caller.proof())),
    ] {
        let answer = house.post(V2, &[], body.clone()).await;
        assert_eq!(answer.status, 200, "{}\n{body}", answer.text());
    }
    // No type of content is asked for.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "*"] {
        let headers = [("content-type", kind)];
        house.post(V2, &headers, usual().to_string()).await.leaf();
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_message_is_refused_without_an_echo() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let usual = caller.v2(Some(&token));
    let mut twice = usual.clone();
    twice["certificateSigningRequest"] = "AA==".into();
    let mut bad_base64 = usual.clone();
    bad_base64["publicKeyRequest"]["proofOfPossession"] = "not base64!".into();
    let text = usual.to_string();
    for body in [
        twice.to_string(),
        bad_base64.to_string(),
        text[..text.len() - 1].to_owned(),
        text[..40].to_owned(),
        "null,".replace("null", &format!("\"{token}\"")),
        format!("{{\"credentials\":{{\"oidcIdentityToken\":[\"{token}\"]}}}}"),
        format!("{{\"credentials\":\"{token}\"}}"),
        format!("{{\"certificateSigningRequest\":\"{token} {token}\"}}"),
        format!("{{\"{token}"),
        "[".repeat(60_000),
    ] {
        let answer = house.post(V2, &[], body.clone()).await;
        let problem = answer.problem();
        assert_eq!(
            (problem.status, problem.code, problem.reason.as_str()),
            (400, 3, "REQUEST_MALFORMED"),
            "{body}"
        );
        let part = token.split('.').nth(1).unwrap();
        assert!(!answer.text().contains(part), "{}", answer.text());
        assert!(answer.body.len() < 600, "{}", answer.text());
    }
    for body in ["{", "{\"publicKey\":{\"content\":\"%\"}}"] {
        let problem = house.post(V1, &[], body).await.problem();
        assert_eq!(problem.reason, "REQUEST_MALFORMED");
    }
    let not_text = house.post(V2, &[], vec![0xff, 0xfe, 0x00]).await;
    assert_eq!(not_text.problem().reason, "REQUEST_MALFORMED");
    assert_eq!(house.issued().await, (0, 0));
}

/// A message is an object. The positions of a list are no names.
#[tokio::test]
async fn a_list_is_not_a_message() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let request = caller.v2(Some(&house.provider.token(&caller.name)));
    let key = &request["publicKeyRequest"];
    let list = json!([[request["credentials"]["oidcIdentityToken"]], key, null]);
    for body in ["[]".to_owned(), list.to_string()] {
        let reason = house.post(V2, &[], body).await;
        let is_refused = reason.text().contains("REQUEST_MALFORMED");
        assert!(is_refused, "a list was read as a message");
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_64_kib_and_no_further() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let request = caller.v2(Some(&house.provider.token(&caller.name)));
    let padded = |length: usize| {
        let text = request.to_string();
        let padding = " ".repeat(length - text.len());
        text + &padding
    };
    house.post(V2, &[], padded(64 << 10)).await.leaf();
    for path in [V1, V2] {
        for length in [(64 << 10) + 1, 1 << 20] {
            let answer = house.post(path, &[], padded(length)).await;
            answer.is_refused(400, 3, "http: request body too large", "BODY_TOO_LARGE");
        }
    }
    // Too long a token fits the body and is refused as a token.
    let body = caller.v2(Some(&"a".repeat(60_000))).to_string();
    let answer = house.post(V2, &[], body).await;
    answer.is_refused(400, 3, TOKEN, "TOKEN_MALFORMED");
}
