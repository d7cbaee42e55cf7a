//! The crate `sigstore`, unmodified: its client for both versions of the interface, its verifier.

use std::str::FromStr as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openidconnect::core::CoreIdToken;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore::bundle::Bundle;
use sigstore::bundle::verify::policy::Identity;
use sigstore::bundle::verify::{
    CertificateErrorKind, VerificationError, VerificationResult, Verifier,
};
use sigstore::crypto::SigningScheme;
use sigstore::fulcio::{FulcioClient, TokenProvider};
use sigstore::oauth::IdentityToken;
use sigstore::trust::sigstore::SigstoreTrustRoot;
use vouchsafe_client_tests::{ARTIFACT, Server, from_pem, pem};
use x509_cert::builder::{Builder as _, RequestBuilder};
use x509_cert::name::Name;

/// This client's first version: a key in DER with proof, the token in the header, PEM back.
async fn sign_v1(server: &Server, token: &str, challenge: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
    let token = CoreIdToken::from_str(token).unwrap();
    let provider = TokenProvider::Static((token, challenge.to_owned()));
    let client = FulcioClient::new(server.url.parse().unwrap(), provider);
    let scheme = SigningScheme::ECDSA_P256_SHA256_ASN1;
    let (signer, chain) = client.request_cert(scheme).await.unwrap();
    // It hands out the body of a refusal just the same.
    let chain = from_pem(&chain.to_string());
    (chain, signer.sign(ARTIFACT).unwrap())
}

/// Its second version: a request for a certificate in PKCS#10.
async fn sign_v2(server: &Server, token: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
    let key = SigningKey::try_from([7_u8; 32].as_slice()).unwrap();
    let request = RequestBuilder::new(Name::default()).unwrap();
    let request = request.build::<_, DerSignature>(&key).unwrap();
    let token = IdentityToken::try_from(token).unwrap();
    let unused = TokenProvider::Static((
        CoreIdToken::from_str(&token.to_string()).unwrap(),
        String::new(),
    ));
    let client = FulcioClient::new(server.url.parse().unwrap(), unused);
    let reply = client.request_cert_v2(request, &token).await.unwrap();
    assert!(reply.detached_sct.is_none());
    let chain = reply
        .chain
        .iter()
        .map(|one| x509_cert::der::Encode::to_der(one).unwrap());
    let chain = std::iter::once(reply.cert_der.clone())
        .chain(chain)
        .collect();
    let signature: DerSignature = key.sign(ARTIFACT);
    (chain, signature.as_bytes().to_vec())
}

/// Verifies the certificate's chain, its one SCT, the name and the issuer, and the signature.
async fn verify(
    server: &Server,
    trusted_root: &Value,
    (chain, signature): &(Vec<Vec<u8>>, Vec<u8>),
    name: &str,
    issuer: &str,
) -> VerificationResult {
    let root = trusted_root.to_string();
    let root = SigstoreTrustRoot::from_trusted_root_json_unchecked(root.as_bytes()).unwrap();
    let verifier = Verifier::new(Default::default(), root).unwrap();
    let digest = Sha256::digest(ARTIFACT);
    // This verifier wants an entry of a signature log and believes any whose content fits. A
    // certificate authority has none, so one is made up.
    let entry = made_up_entry(&chain[0], &digest, signature);
    let bundle = server.bundle(&chain[0], &digest, signature, json!([entry]));
    let bundle: Bundle = serde_json::from_value(bundle).unwrap();
    let policy = Identity::new(name, issuer);
    verifier.verify(ARTIFACT, bundle, &policy, true).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the entry is to be of the present"
)]
fn made_up_entry(leaf: &[u8], digest: &[u8], signature: &[u8]) -> Value {
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "signature": {
                "content": STANDARD.encode(signature),
                "publicKey": {"content": STANDARD.encode(pem(leaf))},
            },
            "data": {"hash": {"algorithm": "sha256", "value": hex(digest)}},
        },
    });
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    json!({
        "logIndex": "1",
        "logId": {"keyId": STANDARD.encode([0; 32])},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "integratedTime": now.to_string(),
        "inclusionProof": {
            "logIndex": "1",
            "rootHash": STANDARD.encode([0; 32]),
            "treeSize": "2",
            "hashes": [STANDARD.encode([0; 32])],
            "checkpoint": {"envelope": "made up"},
        },
        "canonicalizedBody": STANDARD.encode(body.to_string()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn version_1_gives_an_e_mail_identity_a_certificate_that_verifies() {
    let server = Server::from_environment();
    let token = server.token("email/token?email=v1@example.com").await;
    let signed = sign_v1(&server, &token, "v1@example.com").await;
    assert!(signed.0.len() >= 2, "no chain came back");
    let (root, issuer) = (server.trusted_root(), server.issuer("email"));
    verify(&server, &root, &signed, "v1@example.com", &issuer)
        .await
        .unwrap();
}

#[tokio::test]
async fn version_1_gives_a_ci_identity_a_certificate_that_verifies() {
    let server = Server::from_environment();
    let token = server.token("github/token").await;
    let challenge = "repo:example-org/example-repo:ref:refs/heads/main";
    let signed = sign_v1(&server, &token, challenge).await;
    assert!(signed.0.len() >= 2, "no chain came back");
    let name =
        "https://github.com/example-org/example-repo/.github/workflows/release.yml@refs/heads/main";
    let (root, issuer) = (server.trusted_root(), server.issuer("github"));
    verify(&server, &root, &signed, name, &issuer)
        .await
        .unwrap();
}

#[tokio::test]
async fn version_1_refuses_a_proof_over_another_challenge() {
    let server = Server::from_environment();
    let token = server.token("email/token?email=v1@example.com").await;
    let (chain, _) = sign_v1(&server, &token, "developer-1").await;
    assert!(chain.is_empty());
}

#[tokio::test]
async fn version_2_gives_an_e_mail_identity_a_certificate_that_verifies() {
    let server = Server::from_environment();
    let token = server.token("email/token?email=v2@example.com").await;
    let signed = sign_v2(&server, &token).await;
    let trusted: Vec<Value> = signed.0[1..]
        .iter()
        .map(|der| json!({"rawBytes": STANDARD.encode(der)}))
        .collect();
    let root = server.trusted_root();
    assert_eq!(
        root["certificateAuthorities"][0]["certChain"]["certificates"],
        json!(trusted)
    );
    let issuer = server.issuer("email");
    verify(&server, &root, &signed, "v2@example.com", &issuer)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_verifier_refuses_another_name_another_issuer_and_another_log() {
    let server = Server::from_environment();
    let token = server.token("email/token?email=v2@example.com").await;
    let signed = sign_v2(&server, &token).await;
    let (root, issuer) = (server.trusted_root(), server.issuer("email"));
    let result = verify(&server, &root, &signed, "other@example.com", &issuer).await;
    assert!(
        matches!(result, Err(VerificationError::Policy(_))),
        "{result:?}"
    );
    let other = server.issuer("google");
    let result = verify(&server, &root, &signed, "v2@example.com", &other).await;
    assert!(
        matches!(result, Err(VerificationError::Policy(_))),
        "{result:?}"
    );
    let mut root = root;
    let key = p256_public_key_der();
    root["ctlogs"][0]["publicKey"]["rawBytes"] = json!(STANDARD.encode(key));
    let result = verify(&server, &root, &signed, "v2@example.com", &issuer).await;
    let sct = matches!(
        result,
        Err(VerificationError::Certificate(CertificateErrorKind::Sct(_)))
    );
    assert!(sct, "{result:?}");
}

fn p256_public_key_der() -> Vec<u8> {
    use p256::pkcs8::EncodePublicKey as _;
    let key = SigningKey::try_from([9_u8; 32].as_slice()).unwrap();
    key.verifying_key().to_public_key_der().unwrap().into_vec()
}
