//! The whole room against real providers on ports of this host. Time is what the tests say it is.

mod cluster;
mod forgery;
mod kinds;
mod provider;
mod rotation;
mod samples;
mod strays;
mod vectors;

use super::*;
use axum::http::StatusCode;
use provider::{Provider, TestKey};
use serde_json::{Value as Json, json};
use std::time::Duration;

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap()
}

/// The claims of a good token, made at a second.
fn claims(issuer: &str, second: i64) -> Json {
    json!({
        "iss": issuer, "aud": "sigstore", "sub": "somebody", "iat": NOW + second,
        "exp": NOW + second + 300, "email": "somebody@example.com", "email_verified": true,
    })
}

/// Trusts these providers, as issuers of e-mail addresses.
fn trusting(providers: &[&Provider]) -> Issuers {
    let issuers: String = providers
        .iter()
        .map(|provider| email(&provider.url(), ""))
        .collect();
    configured(&format!("oidc-issuers:\n{issuers}"))
}

fn email(url: &str, more: &str) -> String {
    format!("  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: email\n{more}")
}

fn configured(text: &str) -> Issuers {
    let patience = Patience {
        connect: Duration::from_secs(2),
        total: Duration::from_secs(10),
    };
    impatient(text, patience)
}

fn impatient(text: &str, patience: Patience) -> Issuers {
    // Somebody may have been faster; then it is the same one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let options = Options {
        allow_http_loopback: true,
    };
    Issuers::new(Config::from_text(text, options).unwrap(), patience).unwrap()
}

/// The checked claims of a good token, with these added.
pub(super) fn checked(mut more: Json) -> Claims {
    let issuer = "https://i.example";
    let claims = more.as_object_mut().unwrap();
    for (name, value) in [
        ("iss", json!(issuer)),
        ("aud", json!("sigstore")),
        ("exp", json!(NOW + 300)),
        ("sub", json!("the subject")),
    ] {
        claims.entry(name).or_insert(value);
    }
    let payload = unverified::SignedPayload::pretend(more);
    Claims::check(payload, issuer, "sigstore", at(0)).unwrap()
}

pub(super) fn of_subject(subject: &str) -> Claims {
    checked(json!({"sub": subject}))
}

/// What a refusal says.
pub(super) fn reason(result: Result<Principal, PrincipalError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(principal) => panic!("{principal:?} was certified"),
    }
}

/// The provider's fault, or a panic that says whose it was.
fn fault(result: Result<Principal, IdentityError>) -> ProviderError {
    match result {
        Err(IdentityError::Provider { error, .. }) => error,
        other => panic!("not the provider's fault: {other:?}"),
    }
}

fn refusal(result: Result<Principal, IdentityError>) -> SignatureError {
    match result {
        Err(IdentityError::Signature(error)) => error,
        other => panic!("not refused for its signature: {other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_is_refused_or_fetches_keys_each_time() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    for second in 0..5 {
        let token = key.sign(&claims(&provider.url(), second));
        let principal = issuers.authenticate(&token, at(second)).await.unwrap();
        assert_eq!(principal.name.to_string(), "somebody@example.com");
        assert_eq!(principal.challenge, "somebody@example.com");
        assert_eq!(principal.issuer, provider.url());
        assert_eq!(principal.subject, "somebody");
        assert_eq!(principal.expires, at(second + 300));
    }
    assert_eq!(provider.fetches(), 1);
    assert_eq!(provider.asked("/.well-known/openid-configuration"), 1);
}

#[tokio::test]
async fn a_slash_at_the_end_makes_the_wrong_address_or_no_difference() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuer = format!("{}/", provider.url());
    let document = json!({"issuer": issuer, "jwks_uri": format!("{}/keys", provider.url()),
        "id_token_signing_alg_values_supported": ["ES256"]});
    provider.discovery(document);
    let issuers = configured(&format!("oidc-issuers:\n{}", email(&issuer, "")));
    let token = key.sign(&claims(&issuer, 0));
    assert!(issuers.authenticate(&token, at(0)).await.is_ok());
    assert_eq!(provider.asked("//.well-known/openid-configuration"), 0);
    let other = key.sign(&claims(&provider.url(), 0));
    let error = issuers.authenticate(&other, at(0)).await.unwrap_err();
    assert_eq!(error, IdentityError::UnknownIssuer);
}

#[tokio::test]
async fn one_issuer_vouches_with_the_keys_or_audience_of_another() {
    let (ours, theirs) = (TestKey::new("same", 1), TestKey::new("same", 2));
    let one = Provider::start(&[&ours]).await;
    let other = Provider::start(&[&theirs]).await;
    let audience = email(&other.url(), "").replace("client-id: sigstore", "client-id: other");
    let issuers = configured(&format!(
        "oidc-issuers:\n{}{audience}",
        email(&one.url(), "")
    ));
    let good = ours.sign(&claims(&one.url(), 0));
    assert!(issuers.authenticate(&good, at(0)).await.is_ok());
    let mut for_other = claims(&other.url(), 0);
    for_other["aud"] = json!("other");
    let good = theirs.sign(&for_other);
    assert!(issuers.authenticate(&good, at(0)).await.is_ok());
    // The same key name, the other issuer's key.
    for forged in [theirs.sign(&claims(&one.url(), 0)), ours.sign(&for_other)] {
        let result = issuers.authenticate(&forged, at(0)).await;
        assert_eq!(refusal(result), SignatureError::Signature);
    }
    // The right key, the other issuer's audience.
    let wrong = theirs.sign(&claims(&other.url(), 0));
    let error = issuers.authenticate(&wrong, at(0)).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::Claim(ClaimError::Audience { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn what_clients_are_told_is_not_what_is_configured() {
    let text = "oidc-issuers:\n  http://127.0.0.1:1:\n    issuer-url: http://127.0.0.1:1\n    client-id: a\n    type: email\n    skip-email-verification: true\n    subject-domain: d\n    environment: staging\n    spiffe-trust-domain: t\nmeta-issuers:\n  https://*.a.example/x:\n    client-id: b\n    type: email\n    challenge-claim: c\n";
    let issuers = configured(text);
    let told: Vec<_> = issuers.configured().cloned().collect();
    let fixed = ConfiguredIssuer {
        url: IssuerUrl::Fixed("http://127.0.0.1:1".into()),
        audience: "a".into(),
        challenge_claim: "email".into(),
        spiffe_trust_domain: "t".into(),
        issuer_type: "email",
        subject_domain: "d".into(),
        skip_email_verification: true,
        environment: "staging".into(),
    };
    let wildcard = ConfiguredIssuer {
        url: IssuerUrl::Wildcard("https://*.a.example/x".into()),
        audience: "b".into(),
        challenge_claim: "c".into(),
        spiffe_trust_domain: String::new(),
        issuer_type: "email",
        subject_domain: String::new(),
        skip_email_verification: false,
        environment: String::new(),
    };
    assert_eq!(told, [fixed, wildcard]);
}

#[tokio::test]
async fn an_unknown_issuer_makes_us_ask_it() {
    let key = TestKey::new("k", 1);
    let (trusted, stranger) = (
        Provider::start(&[&key]).await,
        Provider::start(&[&key]).await,
    );
    let issuers = trusting(&[&trusted]);
    for issuer in [
        stranger.url(),
        format!("{}/", trusted.url()),
        trusted.url().replace("http", "HTTP"),
        trusted.url().replace("127.0.0.1", "localhost"),
        trusted.url() + "#",
        String::new(),
        format!("{}/?{}", stranger.url(), trusted.url()),
    ] {
        let token = key.sign(&claims(&issuer, 0));
        let error = issuers.authenticate(&token, at(0)).await.unwrap_err();
        assert_eq!(error, IdentityError::UnknownIssuer, "{issuer}");
    }
    assert_eq!(trusted.asked("") + stranger.asked(""), 0);
}
