//! The generated code is what the `.proto` files say, and these say what clients of Fulcio speak.

#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use std::fs;
use std::path::Path;

use protox::prost_reflect::DescriptorPool;

const FILES: [&str; 2] = ["fulcio.proto", "legacy.proto"];
const SOURCES: &str = "src/api";

#[test]
fn the_generated_code_is_that_of_the_proto_files() {
    let written = tempfile::tempdir().unwrap();
    let files = protox::compile(FILES, [SOURCES]).unwrap();
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".google.api", "crate::api::google")
        .out_dir(written.path())
        .compile_fds(files)
        .unwrap();
    let files = protox::compile(["google/api/httpbody.proto"], [SOURCES]).unwrap();
    tonic_prost_build::configure()
        .out_dir(written.path())
        .compile_fds(files)
        .unwrap();
    let kept = Path::new(SOURCES).join("generated");
    let mut compared = 0;
    for entry in fs::read_dir(written.path()).unwrap() {
        let entry = entry.unwrap();
        let (new, place) = (entry.path(), kept.join(entry.file_name()));
        if std::env::var_os("REGENERATE").is_some() {
            fs::copy(&new, &place).unwrap();
        }
        let is_same = fs::read(&new).unwrap() == fs::read(&place).unwrap_or_default();
        let name = place.display();
        assert!(
            is_same,
            "{name} is not what the .proto files say: REGENERATE=1 cargo test --test protocol writes it"
        );
        compared += 1;
    }
    assert_eq!(compared, fs::read_dir(kept).unwrap().count());
}

/// Names and numbers on the wire, written down a second time: a change of the `.proto` files that
/// clients would notice is no accident.
#[test]
fn names_and_numbers_are_those_that_clients_know() {
    let pool = DescriptorPool::from_file_descriptor_set(protox::compile(FILES, [SOURCES]).unwrap())
        .unwrap();
    let mut found = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            let (input, output) = (method.input(), method.output());
            assert!(!method.is_client_streaming() && !method.is_server_streaming());
            found.push(format!(
                "{} ({}) {}",
                method.full_name(),
                input.full_name(),
                output.full_name()
            ));
        }
    }
    for message in pool.all_messages().filter(|message| {
        let package = message.package_name();
        package.starts_with("dev.sigstore") || package == "google.api"
    }) {
        for field in message.fields() {
            let kind = field.kind();
            let message = kind.as_message().map(|kind| kind.full_name().to_owned());
            let values = kind.as_enum().map(|kind| kind.full_name().to_owned());
            let kind = message
                .or(values)
                .unwrap_or_else(|| format!("{kind:?}").to_lowercase());
            let many = if field.is_list() { " repeated" } else { "" };
            let choice = field
                .containing_oneof()
                .map(|choice| format!(" {}", choice.name()));
            let choice = choice.unwrap_or_default();
            found.push(format!(
                "{} = {} {kind}{many}{choice}",
                field.full_name(),
                field.number()
            ));
        }
    }
    for values in pool
        .all_enums()
        .filter(|values| values.package_name().starts_with("dev."))
    {
        for value in values.values() {
            found.push(format!("{} = {}", value.full_name(), value.number()));
        }
    }
    found.sort();
    let found: Vec<_> = found
        .iter()
        .map(|line| line.replace("dev.sigstore.fulcio.", ""))
        .collect();
    assert_eq!(found, KNOWN);
}

const KNOWN: [&str; 40] = [
    "v1beta.CA.CreateSigningCertificate (v1beta.CreateSigningCertificateRequest) google.api.HttpBody",
    "v1beta.CA.GetRootCertificate (google.protobuf.Empty) google.api.HttpBody",
    "v1beta.CreateSigningCertificateRequest.certificate_signing_request = 3 bytes",
    "v1beta.CreateSigningCertificateRequest.public_key = 1 v1beta.PublicKey",
    "v1beta.CreateSigningCertificateRequest.signed_email_address = 2 bytes",
    "v1beta.PublicKey.algorithm = 1 string",
    "v1beta.PublicKey.content = 2 bytes",
    "v2.CA.CreateSigningCertificate (v2.CreateSigningCertificateRequest) v2.SigningCertificate",
    "v2.CA.GetConfiguration (v2.GetConfigurationRequest) v2.Configuration",
    "v2.CA.GetTrustBundle (v2.GetTrustBundleRequest) v2.TrustBundle",
    "v2.CertificateChain.certificates = 1 string repeated",
    "v2.Configuration.issuers = 1 v2.OIDCIssuer repeated",
    "v2.CreateSigningCertificateRequest.certificate_signing_request = 3 bytes key",
    "v2.CreateSigningCertificateRequest.credentials = 1 v2.Credentials",
    "v2.CreateSigningCertificateRequest.public_key_request = 2 v2.PublicKeyRequest key",
    "v2.Credentials.oidc_identity_token = 1 string credentials",
    "v2.ECDSA = 2",
    "v2.ED25519 = 3",
    "v2.OIDCIssuer.audience = 3 string",
    "v2.OIDCIssuer.challenge_claim = 4 string",
    "v2.OIDCIssuer.issuer_type = 6 string",
    "v2.OIDCIssuer.issuer_url = 1 string issuer",
    "v2.OIDCIssuer.skip_email_verification = 8 bool",
    "v2.OIDCIssuer.spiffe_trust_domain = 5 string",
    "v2.OIDCIssuer.subject_domain = 7 string",
    "v2.OIDCIssuer.wildcard_issuer_url = 2 string issuer",
    "v2.PUBLIC_KEY_ALGORITHM_UNSPECIFIED = 0",
    "v2.PublicKey.algorithm = 1 v2.PublicKeyAlgorithm",
    "v2.PublicKey.content = 2 string",
    "v2.PublicKeyRequest.proof_of_possession = 2 bytes",
    "v2.PublicKeyRequest.public_key = 1 v2.PublicKey",
    "v2.RSA_PSS = 1",
    "v2.SigningCertificate.signed_certificate_detached_sct = 1 v2.SigningCertificateDetachedSCT certificate",
    "v2.SigningCertificate.signed_certificate_embedded_sct = 2 v2.SigningCertificateEmbeddedSCT certificate",
    "v2.SigningCertificateDetachedSCT.chain = 1 v2.CertificateChain",
    "v2.SigningCertificateDetachedSCT.signed_certificate_timestamp = 2 bytes",
    "v2.SigningCertificateEmbeddedSCT.chain = 1 v2.CertificateChain",
    "v2.TrustBundle.chains = 1 v2.CertificateChain repeated",
    "google.api.HttpBody.content_type = 1 string",
    "google.api.HttpBody.data = 2 bytes",
];
