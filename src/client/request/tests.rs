use std::sync::{Arc, Mutex};

use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn alice() -> String {
    token(&json!({"email": "alice@example.com", "email_verified": true, "sub": "12345"}))
}

/// Answers one request with these bytes, and keeps what was asked.
async fn answer(reply: Vec<u8>) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&asked);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            let read = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..read]);
        }
        *keep.lock().unwrap() = String::from_utf8(request).unwrap();
        // The client hangs up on a reply that is too long.
        stream.write_all(&reply).await.ok();
    });
    (origin, asked)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("content-length: ").nth(1).unwrap();
    body.len() >= length.lines().next().unwrap().parse().unwrap()
}

fn reply(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into()
}

async fn ask(reply: Vec<u8>) -> (Result<UnverifiedChain, RequestError>, String) {
    let key = EphemeralKey::generate().unwrap();
    let (origin, asked) = answer(reply).await;
    let result = request_certificate(&http(), &origin, &alice(), &key).await;
    let asked = asked.lock().unwrap().clone();
    (result, asked)
}

fn http() -> reqwest::Client {
    crate::client::http_client().unwrap()
}

fn certificate(octet: u8) -> String {
    let pem = pem::encode_string("CERTIFICATE", LineEnding::LF, &[octet; 90]).unwrap();
    pem.trim_end().to_owned()
}

fn embedded(certificates: &[String]) -> String {
    let chain = json!({"chain": {"certificates": certificates}});
    json!({"signedCertificateEmbeddedSct": chain}).to_string()
}

#[tokio::test]
async fn the_request_proves_possession_of_the_key_that_it_sends() {
    let (result, asked) = ask(reply(
        "200 OK",
        &embedded(&[certificate(1), certificate(2)]),
    ))
    .await;
    assert_eq!(
        result.unwrap().certificates_der(),
        [vec![1; 90], vec![2; 90]]
    );
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /api/v2/signingCert HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["credentials"], json!({"oidcIdentityToken": alice()}));
    let request = &body["publicKeyRequest"];
    assert_eq!(request["publicKey"]["algorithm"], "ECDSA");
    let pem = request["publicKey"]["content"].as_str().unwrap();
    let key = p256::ecdsa::VerifyingKey::from_public_key_pem(pem).unwrap();
    let proof = STANDARD
        .decode(request["proofOfPossession"].as_str().unwrap())
        .unwrap();
    let proof = p256::ecdsa::Signature::from_der(&proof).unwrap();
    key.verify(b"alice@example.com", &proof).unwrap();
}

#[tokio::test]
async fn a_refusal_tells_the_authoritys_reason_without_its_control_characters() {
    let body = json!({"code": 3, "message": "no\u{1b}[31m such\nissuer", "details": []});
    let (result, _) = ask(reply("400 Bad Request", &body.to_string())).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, RequestError::Refused { status: 400, message }
        if message == "no[31m suchissuer")
    );
    assert!(!error.to_string().contains(&alice()));
    for body in ["<html>", "", "{}", r#"{"message":""}"#] {
        let (result, _) = ask(reply("503 Service Unavailable", body)).await;
        assert!(
            matches!(result, Err(RequestError::Refused { status: 503, message })
            if message == "no reason given")
        );
    }
    let long = json!({"message": "x".repeat(5000)}).to_string();
    let (result, _) = ask(reply("400 Bad Request", &long)).await;
    assert!(matches!(result, Err(RequestError::Refused { message, .. }) if message.len() == 1000));
}

#[tokio::test]
async fn a_reply_that_is_no_logged_certificate_is_refused() {
    let detached = json!({"signedCertificateDetachedSct": {
        "chain": {"certificates": [certificate(1)]}, "signedCertificateTimestamp": ""}});
    let (result, _) = ask(reply("200 OK", &detached.to_string())).await;
    assert!(matches!(result, Err(RequestError::NotLogged)));
    let (result, _) = ask(reply("200 OK", "{")).await;
    assert!(matches!(result, Err(RequestError::Reply)));
    let (result, _) = ask(reply("200 OK", &embedded(&[]))).await;
    assert!(matches!(
        result,
        Err(RequestError::Chain(ChainError::Length(0)))
    ));
    let (result, _) = ask(reply("200 OK", &embedded(&["x".repeat(MAX_REPLY)]))).await;
    assert!(matches!(
        result,
        Err(RequestError::Body(BodyError::TooLarge { .. }))
    ));
    let whole = reply("200 OK", &embedded(&[certificate(1)]));
    let (result, _) = ask(whole[..whole.len() - 10].to_vec()).await;
    assert!(matches!(
        result,
        Err(RequestError::Body(BodyError::Connection(_)))
    ));
}

#[tokio::test]
async fn an_authority_that_is_not_there_is_told_from_one_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let key = EphemeralKey::generate().unwrap();
    let ask = async |origin: &str| request_certificate(&http(), origin, &alice(), &key).await;
    assert!(matches!(
        ask(&origin).await,
        Err(RequestError::Unreachable(_))
    ));
    assert!(matches!(
        ask("ca.example.com").await,
        Err(RequestError::Address(_))
    ));
}

#[tokio::test]
async fn a_redirect_is_not_followed_since_the_token_would_go_along() {
    let elsewhere = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\n\
        content-length: 0\r\nconnection: close\r\n\r\n";
    let (result, _) = ask(elsewhere.to_vec()).await;
    assert!(matches!(
        result,
        Err(RequestError::Refused { status: 307, .. })
    ));
}

#[test]
fn the_challenge_is_the_verified_address_or_else_the_subject() {
    let both = |verified: Value| {
        let claims =
            json!({"email": "alice@example.com", "email_verified": verified, "sub": "12345"});
        challenge(&token(&claims)).unwrap()
    };
    assert_eq!(both(json!(true)), "alice@example.com");
    assert_eq!(both(json!("true")), "alice@example.com");
    assert_eq!(both(json!(false)), "12345");
    assert_eq!(both(json!("yes")), "12345");
    assert_eq!(both(Value::Null), "12345");
    let subject = json!({"email": "", "email_verified": true, "sub": "12345"});
    assert_eq!(challenge(&token(&subject)).unwrap(), "12345");
}

#[test]
fn a_token_without_a_challenge_is_refused_and_not_repeated() {
    for bad in [
        String::new(),
        "a.b".to_owned(),
        "a.b.c.d".to_owned(),
        "a.?.c".to_owned(),
        token(&json!([])),
        token(&json!({})),
        token(&json!({"sub": ""})),
        token(&json!({"sub": 7})),
    ] {
        let error = challenge(&bad).unwrap_err();
        assert!(matches!(error, RequestError::Token(_)), "{bad}");
    }
    assert_eq!(
        format!("{:?}", EphemeralKey::generate().unwrap()),
        "EphemeralKey { .. }"
    );
}
