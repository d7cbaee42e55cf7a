use std::collections::BTreeSet;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use time::macros::datetime;

use super::claims::OpenClaim;
use super::*;
use crate::identity::{Config, Issuers, Options, Patience};

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

/// The provider on a port of its own, and its base URL.
async fn served() -> (Arc<Provider>, String) {
    // Another test may have been first.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let provider = Arc::new(Provider::new(&base).unwrap());
    let router = provider.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (provider, base)
}

async fn get(url: &str) -> (StatusCode, String) {
    let response = reqwest::get(url).await.unwrap();
    let notice = response.headers().get("x-notice").unwrap();
    assert!(
        notice.to_str().unwrap().contains("FOR DEVELOPMENT ONLY"),
        "{url}"
    );
    (response.status(), response.text().await.unwrap())
}

/// The claims of a token, believed only after discovery, by the keys that its issuer serves.
async fn verified(token: &str, issuer: &str) -> Value {
    let (status, discovered) = get(&format!("{issuer}/.well-known/openid-configuration")).await;
    assert_eq!(status, StatusCode::OK);
    let discovered: Value = serde_json::from_str(&discovered).unwrap();
    assert_eq!(
        discovered["issuer"], issuer,
        "a client refuses another issuer than it asked"
    );
    let (_, keys) = get(discovered["jwks_uri"].as_str().unwrap()).await;
    let keys: JwkSet = serde_json::from_str(&keys).unwrap();
    let key = keys
        .find(&decode_header(token).unwrap().kid.unwrap())
        .unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&["sigstore"]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    decode(token, &DecodingKey::from_jwk(key).unwrap(), &rules)
        .unwrap()
        .claims
}

fn chosen(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn text<'a>(claims: &'a Value, name: &str) -> &'a str {
    claims[name].as_str().unwrap()
}

#[tokio::test]
async fn a_token_of_each_url_verifies_by_the_keys_its_issuer_serves() {
    let (_, base) = served().await;
    for shape in ["github", "google", "email"] {
        let issuer = format!("{base}/{shape}");
        let urls = [
            format!("{issuer}/token"),
            format!("{base}/token?identity={shape}"),
        ];
        let mut names = BTreeSet::new();
        for url in &urls {
            let (status, token) = get(url).await;
            assert_eq!(status, StatusCode::OK, "{url}: {token}");
            let claims = verified(&token, &issuer).await;
            let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
            assert_eq!(life, 600);
            names.insert(text(&claims, "jti").to_owned());
        }
        assert_eq!(names.len(), 2, "two tokens of one name");
    }
}

#[tokio::test]
async fn a_github_token_lacks_no_claim_a_certificate_is_made_of() {
    let (_, base) = served().await;
    let (_, token) = get(&format!("{base}/github/token")).await;
    let claims = verified(&token, &format!("{base}/github")).await;
    for name in [
        "actor",
        "actor_id",
        "base_ref",
        "check_run_id",
        "event_name",
        "head_ref",
        "job_workflow_ref",
        "job_workflow_sha",
        "jti",
        "ref",
        "ref_protected",
        "ref_type",
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "repository_visibility",
        "run_attempt",
        "run_id",
        "run_number",
        "runner_environment",
        "sha",
        "sub",
        "workflow",
        "workflow_ref",
        "workflow_sha",
    ] {
        assert!(claims[name].is_string(), "{name}: {}", claims[name]);
    }
    assert!(claims.get("environment").is_none());
    assert_eq!(
        text(&claims, "sub"),
        "repo:example-org/example-repo:ref:refs/heads/main"
    );
}

#[tokio::test]
async fn what_is_chosen_is_in_every_claim_it_shapes() {
    let (_, base) = served().await;
    let query = "repository=example-net/other.repo&ref=refs/tags/v1.0&event_name=release&environment=production";
    let (_, token) = get(&format!("{base}/token?{query}&identity=github")).await;
    let claims = verified(&token, &format!("{base}/github")).await;
    assert_eq!(
        text(&claims, "sub"),
        "repo:example-net/other.repo:environment:production"
    );
    assert_eq!(text(&claims, "repository_owner"), "example-net");
    assert_eq!(text(&claims, "ref_type"), "tag");
    assert_eq!(text(&claims, "environment"), "production");
    assert_eq!(
        text(&claims, "job_workflow_ref"),
        "example-net/other.repo/.github/workflows/release.yml@refs/tags/v1.0"
    );

    let query = "email=ci@other.iam.gserviceaccount.com&sub=42";
    let (_, token) = get(&format!("{base}/google/token?{query}")).await;
    let claims = verified(&token, &format!("{base}/google")).await;
    assert_eq!(text(&claims, "email"), "ci@other.iam.gserviceaccount.com");
    assert_eq!(claims["email_verified"], true);
    assert_eq!((text(&claims, "sub"), text(&claims, "azp")), ("42", "42"));

    let query = "email=someone%2Bsigning@example.org&sub=x&connector=https://login.example.org";
    let (_, token) = get(&format!("{base}/email/token?{query}")).await;
    let claims = verified(&token, &format!("{base}/email")).await;
    assert_eq!(text(&claims, "email"), "someone+signing@example.org");
    assert_eq!(
        claims["federated_claims"]["connector_id"],
        "https://login.example.org"
    );
}

#[tokio::test]
async fn an_odd_question_is_answered_with_a_sentence_and_no_token() {
    let (_, base) = served().await;
    let long = format!("audience={}", "a".repeat(201));
    for (path, query, says) in [
        ("/token", "", "identity must be one of"),
        ("/token", "identity=root", "identity must be one of"),
        (
            "/token",
            "identity=email&identity=email",
            "cannot be chosen",
        ),
        (
            "/email/token",
            "iss=https://example.com",
            "cannot be chosen",
        ),
        ("/email/token", "email_verified=false", "cannot be chosen"),
        ("/email/token", "repository=a/b", "cannot be chosen"),
        ("/github/token", "sha=0", "cannot be chosen"),
        ("/email/token", "email=a@b.c&email=d@e.f", "more than once"),
        ("/email/token", "audience=a&audience=b", "more than once"),
        ("/email/token", "audience=", "audience must be"),
        ("/email/token", "audience=a%20b", "audience must be"),
        ("/email/token", &long, "audience must be"),
        ("/email/token", "email=nobody", "email must be"),
        ("/email/token", "email=a@b@c", "email must be"),
        ("/email/token", "email=a@example..com", "email must be"),
        ("/email/token", "email=a%22b@example.com", "email must be"),
        ("/email/token", "email=a%00b@example.com", "email must be"),
        (
            "/email/token",
            "connector=http://example.com",
            "connector must be",
        ),
        ("/google/token", "email=a@example.com", "email must be"),
        ("/google/token", "sub=12a", "sub must be"),
        ("/github/token", "repository=example", "repository must be"),
        ("/github/token", "repository=a/b/c", "repository must be"),
        ("/github/token", "repository=a/..", "repository must be"),
        ("/github/token", "ref=main", "ref must be"),
        ("/github/token", "ref=refs/heads/a//b", "ref must be"),
        ("/github/token", "ref=refs/heads/../b", "ref must be"),
        ("/github/token", "environment=", "environment must be"),
        ("/email/token", "email=%FF@example.com", "must be"),
    ] {
        let (status, said) = get(&format!("{base}{path}?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}?{query}: {said}");
        assert!(said.contains(says), "{path}?{query}: {said}");
    }
    for path in [
        "/nobody/token",
        "/nobody/keys",
        "/nobody/.well-known/openid-configuration",
    ] {
        assert_eq!(get(&format!("{base}{path}")).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn every_page_says_what_it_is_good_for() {
    let (_, base) = served().await;
    for path in [
        "/",
        "/email/.well-known/openid-configuration",
        "/email/keys",
        "/token",
    ] {
        let (_, page) = get(&format!("{base}{path}")).await;
        assert!(page.contains("FOR DEVELOPMENT ONLY"), "{path}: {page}");
    }
}

#[tokio::test]
async fn the_url_on_the_front_page_gives_a_token() {
    let (_, base) = served().await;
    let (_, page) = get(&base).await;
    let url = page.split('\'').nth(1).unwrap();
    assert_eq!(get(url).await.0, StatusCode::OK, "{url}");
}

#[test]
fn a_chosen_claim_is_checked_without_the_router_as_well() {
    let provider = Provider::new("http://127.0.0.1:1").unwrap();
    for (name, value) in [("iss", "x"), ("email", ""), ("email", "a b@example.com")] {
        let minted = provider.mint(Shape::Email, "sigstore", &chosen(name, value), "1", NOW);
        assert!(minted.is_err(), "{name}={value}");
    }
    let minted = provider.mint(Shape::Email, "a b", &BTreeMap::new(), "1", NOW);
    assert!(minted.is_err());
}

#[test]
fn the_usual_values_keep_their_own_rules() {
    for claim in Shape::ALL.into_iter().flat_map(claims::open) {
        let OpenClaim {
            name, usual, holds, ..
        } = claim;
        assert!(usual.is_empty() || holds(usual), "{name}");
    }
}

#[tokio::test]
async fn every_shape_is_believed_by_an_authority_that_trusts_the_provider() {
    let (provider, _) = served().await;
    let options = Options {
        allow_http_loopback: true,
    };
    let config = Config::from_text(&provider.issuers_yaml(), options).unwrap();
    let issuers = Issuers::new(config, Patience::default()).unwrap();
    for (shape, name) in [
        (
            Shape::Github,
            "https://github.com/example-org/example-repo/.github/workflows/release.yml@refs/heads/main",
        ),
        (
            Shape::Google,
            "builder@example-project.iam.gserviceaccount.com",
        ),
        (Shape::Email, "developer@example.com"),
    ] {
        let token = provider
            .mint(shape, "sigstore", &BTreeMap::new(), "1", NOW)
            .unwrap();
        let principal = issuers.authenticate(&token, NOW).await.unwrap();
        assert_eq!(principal.name.as_str(), name);
    }
}
