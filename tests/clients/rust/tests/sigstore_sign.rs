//! The crate `sigstore-sign`, unmodified, with a signature log and a timestamp authority.

use serde_json::{Value, json};
use sigstore_oidc::IdentityToken;
use sigstore_sign::{SigningContext, SigningServices};
use sigstore_trust_root::{SigningConfig, TrustedRoot};
use sigstore_verify::types::Bundle;
use sigstore_verify::{VerificationPolicy, VerificationResult, Verifier};
use vouchsafe_client_tests::{ARTIFACT, Server, client_config, leave_for_others};

async fn sign(server: &Server, token_path: &str) -> Bundle {
    let config = client_config()["signingConfig"].to_string();
    let config = SigningConfig::from_json(&config).unwrap();
    let services = SigningServices::from_signing_config(&config).unwrap();
    let token = IdentityToken::from_jwt(&server.token(token_path).await).unwrap();
    let signer = SigningContext::new(services).signer(token);
    signer.sign(ARTIFACT).await.unwrap()
}

fn verify(
    root: &Value,
    bundle: &Bundle,
    policy: &VerificationPolicy,
) -> sigstore_verify::Result<VerificationResult> {
    let root = TrustedRoot::from_json(&root.to_string()).unwrap();
    Verifier::new(&root)?.verify(ARTIFACT, bundle, policy)
}

#[tokio::test]
async fn an_artefact_cannot_be_signed_and_verified_with_every_service() {
    let server = Server::from_environment();
    let bundle = sign(&server, "email/token?email=rust@example.com").await;
    let policy = VerificationPolicy::new("rust@example.com", server.issuer("email"));
    let root = &client_config()["trustedRoot"];
    let result = verify(root, &bundle, &policy).unwrap();
    assert!(result.certificate_verified() && result.sct_verified());
    let other = VerificationPolicy::new("other@example.com", server.issuer("email"));
    assert!(verify(root, &bundle, &other).is_err());
    leave_for_others("rust", &bundle.to_json().unwrap());
}

#[tokio::test]
async fn the_log_or_the_timestamp_counts_without_being_in_the_trusted_root() {
    let server = Server::from_environment();
    let bundle = sign(&server, "github/token").await;
    let name =
        "https://github.com/example-org/example-repo/.github/workflows/release.yml@refs/heads/main";
    let policy = VerificationPolicy::new(name, server.issuer("github"));
    let whole = &client_config()["trustedRoot"];
    verify(whole, &bundle, &policy).unwrap();
    for service in ["tlogs", "timestampAuthorities"] {
        let mut root = whole.clone();
        root[service] = json!([]);
        assert!(verify(&root, &bundle, &policy).is_err(), "{service}");
    }
}
