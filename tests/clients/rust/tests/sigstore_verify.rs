//! The crates `sigstore-fulcio`, `sigstore-trust-root` and `sigstore-verify`, unmodified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_crypto::KeyPair;
use sigstore_fulcio::{FulcioClient, IssuerUrl, SigningCertificate};
use sigstore_oidc::IdentityToken;
use sigstore_trust_root::{SigningConfig, TrustedRoot};
use sigstore_verify::types::{Bundle, DerCertificate};
use sigstore_verify::{SubjectAltName, VerificationPolicy, VerificationResult, Verifier};
use vouchsafe_client_tests::{ARTIFACT, Server};

async fn sign(server: &Server, token_path: &str) -> Bundle {
    let token = IdentityToken::from_jwt(&server.token(token_path).await).unwrap();
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let client = FulcioClient::new(&server.url).unwrap();
    let reply = client
        .create_signing_certificate(&token, &key)
        .await
        .unwrap();
    assert!(matches!(reply, SigningCertificate::EmbeddedSct { .. }));
    let signature = key.sign(ARTIFACT).unwrap();
    let leaf = reply.leaf_certificate().as_bytes();
    let digest = Sha256::digest(ARTIFACT);
    let bundle = server.bundle(leaf, &digest, signature.as_bytes(), json!([]));
    Bundle::from_json(&bundle.to_string()).unwrap()
}

/// Everything but the signature log, which is no part of a certificate authority.
fn verify(
    root: &Value,
    bundle: &Bundle,
    policy: VerificationPolicy,
) -> sigstore_verify::Result<VerificationResult> {
    let root = TrustedRoot::from_json(&root.to_string()).unwrap();
    let verifier = Verifier::new(&root).unwrap();
    verifier.verify(ARTIFACT, bundle, &policy.skip_tlog_unsafe())
}

#[tokio::test]
async fn an_e_mail_identity_signs_and_its_chain_sct_name_and_issuer_verify() {
    let server = Server::from_environment();
    let bundle = sign(&server, "email/token?email=rust@example.com").await;
    let policy = VerificationPolicy::new("rust@example.com", server.issuer("email"));
    let result = verify(&server.trusted_root(), &bundle, policy).unwrap();
    assert!(result.certificate_verified() && result.sct_verified());
    assert!(
        matches!(result.identity(), Some(SubjectAltName::Email(name)) if name == "rust@example.com")
    );
}

#[tokio::test]
async fn a_ci_identity_signs_and_its_chain_sct_name_and_issuer_verify() {
    let server = Server::from_environment();
    let bundle = sign(&server, "github/token?repository=example-org/other").await;
    let name = "https://github.com/example-org/other/.github/workflows/release.yml@refs/heads/main";
    let policy = VerificationPolicy::new(name, server.issuer("github"));
    let result = verify(&server.trusted_root(), &bundle, policy).unwrap();
    assert!(result.certificate_verified() && result.sct_verified());
}

#[tokio::test]
async fn a_service_account_signs_and_its_chain_sct_name_and_issuer_verify() {
    let server = Server::from_environment();
    let bundle = sign(&server, "google/token").await;
    let name = "builder@example-project.iam.gserviceaccount.com";
    let policy = VerificationPolicy::new(name, server.issuer("google"));
    let result = verify(&server.trusted_root(), &bundle, policy).unwrap();
    assert!(result.certificate_verified() && result.sct_verified());
}

#[tokio::test]
async fn another_name_issuer_log_or_authority_is_refused() {
    let server = Server::from_environment();
    let bundle = sign(&server, "email/token?email=rust@example.com").await;
    let right = || VerificationPolicy::new("rust@example.com", server.issuer("email"));
    let root = server.trusted_root();
    verify(&root, &bundle, right()).unwrap();
    let name = VerificationPolicy::new("other@example.com", server.issuer("email"));
    assert!(verify(&root, &bundle, name).is_err());
    let issuer = VerificationPolicy::new("rust@example.com", server.issuer("google"));
    assert!(verify(&root, &bundle, issuer).is_err());

    let other = KeyPair::generate_ecdsa_p256()
        .unwrap()
        .public_key_der()
        .unwrap();
    let mut other_log = root.clone();
    other_log["ctlogs"][0]["publicKey"]["rawBytes"] = json!(STANDARD.encode(other.as_bytes()));
    let error = verify(&other_log, &bundle, right())
        .unwrap_err()
        .to_string();
    assert!(error.contains("SCT"), "{error}");
    let mut other_authority = root.clone();
    other_authority["certificateAuthorities"][0]["certChain"] =
        root["timestampAuthorities"][0]["certChain"].clone();
    assert!(verify(&other_authority, &bundle, right()).is_err());
}

#[tokio::test]
async fn the_trust_files_and_the_configuration_read_as_they_were_meant() {
    let server = Server::from_environment();
    let get = async |path: &str| {
        let reply = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
        reply.error_for_status().unwrap().text().await.unwrap()
    };
    let config = SigningConfig::from_json(&get("/trust/signing-config").await).unwrap();
    assert_eq!(config.ca_urls.len(), 1);
    assert_eq!(config.ca_urls[0].url, server.url);

    let client = FulcioClient::new(&server.url).unwrap();
    let issuers = client.get_configuration().await.unwrap().issuers;
    let email = IssuerUrl::Exact(server.issuer("email"));
    let email = issuers.iter().find(|one| one.issuer == email).unwrap();
    assert_eq!(email.audience, "sigstore");
    assert_eq!(email.challenge_claim.as_deref(), Some("email"));

    // This client's own reader of the trust bundle looks for a `chain` in each of the `chains`, which
    // the interface does not have. Its reader of certificates can be given the lists all the same.
    let bundle: Value = serde_json::from_str(&get("/api/v2/trustBundle").await).unwrap();
    let pems = bundle["chains"][0]["certificates"].as_array().unwrap();
    let read = |pem: &Value| DerCertificate::from_pem(pem.as_str().unwrap()).unwrap();
    let root = TrustedRoot::from_json(&server.trusted_root().to_string()).unwrap();
    assert_eq!(
        pems.iter().map(read).collect::<Vec<_>>(),
        root.fulcio_certs()
    );
}
