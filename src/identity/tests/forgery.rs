//! Tokens that are not what they seem.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

#[tokio::test]
async fn a_forged_header_gets_past_the_key_set() {
    let (key, attacker) = (TestKey::new("k", 1), TestKey::new("k", 9));
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    let claims = claims(&provider.url(), 0);
    let good = key.sign(&claims);
    assert!(issuers.authenticate(&good, at(0)).await.is_ok());
    let asked = provider.asked("");

    // A key that the token brings along is not looked at.
    for header in [
        json!({"alg": "ES256", "kid": "k", "jwk": attacker.jwk()}),
        json!({"alg": "ES256", "jwk": attacker.jwk()}),
        json!({"alg": "ES256", "kid": "k", "jku": format!("{}/evil", provider.url())}),
        json!({"alg": "ES256", "kid": "k", "x5u": format!("{}/evil", provider.url())}),
        json!({"alg": "ES256", "kid": "k", "x5c": ["AAAA"]}),
        json!({"alg": "ES256"}),
        json!({"alg": "ES256", "kid": ""}),
    ] {
        let token = attacker.sign_with(&header, &claims);
        let verdict = refusal(issuers.authenticate(&token, at(0)).await);
        assert_eq!(verdict, SignatureError::Signature, "{header}");
        // The same header over the issuer's own signature does no harm.
        let token = key.sign_with(&header, &claims);
        assert!(
            issuers.authenticate(&token, at(0)).await.is_ok(),
            "{header}"
        );
    }
    // No algorithm but the key's own.
    for (algorithm, expected) in [
        ("RS256", SignatureError::Key),
        ("ES384", SignatureError::Algorithm(Algorithm::ES384)),
        ("PS256", SignatureError::Algorithm(Algorithm::PS256)),
        ("EdDSA", SignatureError::Algorithm(Algorithm::EdDSA)),
    ] {
        let token = key.sign_with(&json!({"alg": algorithm, "kid": "k"}), &claims);
        let verdict = refusal(issuers.authenticate(&token, at(0)).await);
        assert_eq!(verdict, expected, "{algorithm}");
    }
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "k"}),
        json!({"alg": "ES512", "kid": "k"}),
        json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": false}),
        json!({"alg": "ES256", "kid": "k", "zip": "DEF"}),
        json!({"alg": "ES256", "kid": "k", "cty": "JWT"}),
        json!({"alg": "ES256", "kid": ["k"]}),
    ] {
        let token = key.sign_with(&header, &claims);
        let error = issuers.authenticate(&token, at(0)).await.unwrap_err();
        assert!(
            matches!(error, IdentityError::Malformed(_)),
            "{header}: {error}"
        );
    }
    assert_eq!(
        provider.asked(""),
        asked,
        "within ten seconds nobody is asked again"
    );
}

#[tokio::test]
async fn a_public_key_is_used_as_a_shared_secret() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    let encode = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = json!({"alg": "HS256", "kid": "k"});
    let signed = format!(
        "{}.{}",
        encode(&header),
        encode(&claims(&provider.url(), 0))
    );
    let secret = jsonwebtoken::EncodingKey::from_secret(key.jwk().to_string().as_bytes());
    let algorithm = Algorithm::HS256;
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, algorithm).unwrap();
    let error = issuers
        .authenticate(&format!("{signed}.{signature}"), at(0))
        .await;
    let expected = IdentityError::Malformed(MalformedToken::Header(HeaderError::Algorithm));
    assert_eq!(error.unwrap_err(), expected);
    assert_eq!(provider.asked(""), 0);
}

#[tokio::test]
async fn an_algorithm_counts_that_the_issuer_does_not_advertise() {
    let key = TestKey::new("k", 1);
    for (advertised, expected) in [
        (
            json!(null),
            Some(ProviderError::Discovery("has no list of algorithms")),
        ),
        (
            json!("ES256"),
            Some(ProviderError::Discovery("has no list of algorithms")),
        ),
        (json!(["ES256"]), None),
        (json!(["HS256", "none", "ES256", 1]), None),
    ] {
        let provider = Provider::start(&[&key]).await;
        let url = provider.url();
        provider.discovery(json!({"issuer": url, "jwks_uri": format!("{url}/keys"),
            "id_token_signing_alg_values_supported": advertised}));
        let result = trusting(&[&provider])
            .authenticate(&key.sign(&claims(&url, 0)), at(0))
            .await;
        match expected {
            Some(expected) => assert_eq!(fault(result), expected, "{advertised}"),
            None => assert!(result.is_ok(), "{advertised}: {result:?}"),
        }
    }
    for advertised in [
        json!({}),
        json!({"id_token_signing_alg_values_supported": []}),
        json!({"id_token_signing_alg_values_supported": ["RS256"]}),
        json!({"id_token_signing_alg_values_supported": ["HS256", "none"]}),
    ] {
        let provider = Provider::start(&[&key]).await;
        let url = provider.url();
        let mut document = advertised.clone();
        document["issuer"] = json!(url);
        document["jwks_uri"] = json!(format!("{url}/keys"));
        provider.discovery(document);
        let result = trusting(&[&provider])
            .authenticate(&key.sign(&claims(&url, 0)), at(0))
            .await;
        assert_eq!(
            refusal(result),
            SignatureError::Algorithm(Algorithm::ES256),
            "{advertised}"
        );
    }
}

#[tokio::test]
async fn a_signed_token_with_bad_claims_is_believed() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    for (name, value) in [
        ("aud", json!("other")),
        ("aud", json!({"sigstore": true})),
        ("aud", json!(null)),
        ("exp", json!(NOW)),
        ("exp", json!((NOW + 300).to_string())),
        ("exp", json!(NOW + 100_000)),
        ("nbf", json!(NOW + 61)),
        ("iat", json!(NOW + 61)),
        ("iat", json!("now")),
        ("sub", json!("")),
        ("sub", json!(1)),
    ] {
        let mut claims = claims(&provider.url(), 0);
        claims[name] = value.clone();
        let error = issuers
            .authenticate(&key.sign(&claims), at(0))
            .await
            .unwrap_err();
        assert!(
            matches!(error, IdentityError::Claim(_)),
            "{name} {value}: {error}"
        );
    }
    for (name, value) in [
        ("email", json!(null)),
        ("email_verified", json!(1)),
        ("email_verified", json!(false)),
    ] {
        let mut claims = claims(&provider.url(), 0);
        claims[name] = value.clone();
        let error = issuers
            .authenticate(&key.sign(&claims), at(0))
            .await
            .unwrap_err();
        assert!(
            matches!(error, IdentityError::Principal(_)),
            "{name} {value}: {error}"
        );
    }
}

#[tokio::test]
async fn an_error_shows_the_token() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    let mut hostile = claims(&provider.url(), 0);
    hostile["aud"] = json!("hunter2");
    hostile["email"] = json!("hunter2");
    let good = claims(&provider.url(), 0);
    let token = key.sign(&good);
    let texts = [
        key.sign(&hostile),
        token.clone() + "hunter2",
        token.replace('.', ".hunter2"),
        key.sign_with(&json!({"alg": "hunter2"}), &good),
        key.sign_with(&json!({"alg": "ES256", "kid": "hunter2"}), &good),
        key.sign(&claims("https://hunter2.example", 0)),
    ];
    for text in texts {
        let error = issuers.authenticate(&text, at(0)).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2"), "{said}");
        for part in text.split('.').filter(|part| part.len() > 20) {
            assert!(!said.contains(part), "{said}");
        }
    }
}
