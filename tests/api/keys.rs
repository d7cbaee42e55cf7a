//! Every kind of key, as a key with a proof and as a certificate signing request, made by the
//! `openssl` command line and by the pure-Rust curves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::FromDer as _;

use super::caller::{ARTIST, Caller, fixture, pem, v2_with_csr, v2_with_key};
use super::house::{House, KEY, PROOF, V1, V2, der_of};

/// The key of a leaf, by somebody else's parser.
fn key_of(leaf: &[u8]) -> Vec<u8> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).unwrap();
    certificate.tbs_certificate.subject_pki.raw.to_vec()
}

#[tokio::test]
async fn every_kind_of_key_is_certified_by_its_proof() {
    let house = House::open().await;
    let token = house.provider.token(ARTIST);
    for name in [
        "rsa-2048", "rsa-3072", "rsa-4096", "p256", "p384", "p521", "ed25519",
    ] {
        let key = String::from_utf8(fixture(&format!("{name}.pem"))).unwrap();
        let proof = fixture(&format!("{name}.sig"));
        let body = v2_with_key(Some(&token), &key, &proof).to_string();
        let leaf = house.post(V2, &[], body).await.leaf();
        assert_eq!(key_of(&leaf), der_of(&key), "{name}");
    }
    // PKCS#1 is another spelling of the same key.
    let key = String::from_utf8(fixture("rsa-2048-pkcs1.pem")).unwrap();
    let body = v2_with_key(Some(&token), &key, &fixture("rsa-2048.sig")).to_string();
    let leaf = house.post(V2, &[], body).await.leaf();
    let spki = String::from_utf8(fixture("rsa-2048.pem")).unwrap();
    assert_eq!(key_of(&leaf), der_of(&spki));
}

#[tokio::test]
async fn every_kind_of_key_is_certified_by_its_own_request() {
    let house = House::open().await;
    let token = house.provider.token("somebody.else@example.com");
    for name in [
        "csr-rsa-2048-sha256",
        "csr-rsa-3072-sha256",
        "csr-rsa-4096-sha256",
        "csr-p256-sha256",
        "csr-p256-new-label",
        "csr-p384-sha384",
        "csr-p521-sha512",
        "csr-ed25519",
    ] {
        let csr = fixture(&format!("{name}.pem"));
        let body = v2_with_csr(&token, &csr).to_string();
        let leaf = house.post(V2, &[], body).await.leaf();
        let der = der_of(str::from_utf8(&csr).unwrap());
        let (_, request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
        let asked = request.certification_request_info.subject_pki.raw;
        assert_eq!(key_of(&leaf), asked, "{name}");
    }
}

/// RustCrypto's three curves, each with DER and with raw halves, on the spot.
#[tokio::test]
async fn both_forms_of_an_ecdsa_proof_are_taken_on_every_curve() {
    let house = House::open().await;
    let token = house.provider.token(ARTIST);
    macro_rules! pairs {
        ($($curve:ident $length:literal),*) => {[$({
            use $curve::ecdsa::signature::Signer as _;
            use $curve::pkcs8::EncodePublicKey as _;
            let mut secret = [0x21; $length];
            secret[0] = 0;
            let key = $curve::ecdsa::SigningKey::from_slice(&secret).unwrap();
            let spki = key.verifying_key().to_public_key_der().unwrap().into_vec();
            let signature: $curve::ecdsa::Signature = key.sign(ARTIST.as_bytes());
            (spki, signature.to_der().as_bytes().to_vec(), signature.to_bytes().to_vec())
        }),*]};
    }
    for (spki, der, raw) in pairs!(p256 32, p384 48, p521 66) {
        for proof in [der, raw] {
            let body = v2_with_key(Some(&token), &pem("PUBLIC KEY", &spki), &proof).to_string();
            let leaf = house.post(V2, &[], body).await.leaf();
            assert_eq!(key_of(&leaf), spki);
        }
    }
}

#[tokio::test]
async fn the_layouts_of_pem_that_clients_send_are_read() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let body = STANDARD.encode(caller.spki());
    for key in [
        caller.pem().replace('\n', "\r\n"),
        caller.pem().trim_end().to_owned(),
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"),
    ] {
        let request = v2_with_key(Some(&token), &key, &caller.raw_proof()).to_string();
        let leaf = house.post(V2, &[], request).await.leaf();
        assert_eq!(key_of(&leaf), caller.spki(), "{key:?}");
    }
    // The first version's content is the PEM or the DER, in base64.
    let bearer = format!("Bearer {token}");
    for key in [caller.spki(), caller.pem().into_bytes()] {
        let mut request = caller.v1();
        request["publicKey"]["content"] = STANDARD.encode(key).into();
        let headers = [("authorization", bearer.as_str())];
        let answer = house.post(V1, &headers, request.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let leaf = der_of(answer.text());
        assert_eq!(key_of(&leaf), caller.spki());
    }
    let request = serde_json::json!({
        "certificateSigningRequest": STANDARD.encode(fixture("csr-p256-sha256.pem")),
    });
    let headers = [("authorization", bearer.as_str())];
    let answer = house.post(V1, &headers, request.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn a_key_that_must_not_be_certified_is_refused_by_its_own_sentence() {
    const INSECURE: &str = "The public key supplied in the request is insecure";
    let house = House::open().await;
    let token = house.provider.token(ARTIST);
    for name in [
        "rsa-1024",
        "rsa-2056",
        "rsa-e3",
        "weak-roca-2048",
        "weak-close-2048",
        "weak-factor-751-2048",
        "p224",
    ] {
        let key = String::from_utf8(fixture(&format!("{name}.pem"))).unwrap();
        let body = v2_with_key(Some(&token), &key, &fixture("p256.sig")).to_string();
        let answer = house.post(V2, &[], body).await;
        answer.is_refused(400, 3, INSECURE, "KEY_INSECURE");
    }
    for name in ["private", "csr-p256-sha256", "p256-explicit"] {
        let key = String::from_utf8(fixture(&format!("{name}.pem"))).unwrap();
        let body = v2_with_key(Some(&token), &key, &fixture("p256.sig")).to_string();
        house
            .post(V2, &[], body)
            .await
            .is_refused(400, 3, KEY, "KEY_INVALID");
    }
    for (key, proof) in [
        ("rsa-2048", "rsa-2048-pss"),
        ("rsa-2048", "rsa-2048-sha384"),
        ("p384", "p384-sha256"),
        ("p521", "p521-sha256"),
        ("p256", "p384"),
        ("ed25519", "p256"),
    ] {
        let key = String::from_utf8(fixture(&format!("{key}.pem"))).unwrap();
        let body = v2_with_key(Some(&token), &key, &fixture(&format!("{proof}.sig"))).to_string();
        let answer = house.post(V2, &[], body).await;
        answer.is_refused(400, 3, PROOF, "PROOF_INVALID");
    }
    // A proof over another name is a good signature and no proof.
    let caller = Caller::new("not-the-artist@example.com");
    let body = caller.v2(Some(&token)).to_string();
    house
        .post(V2, &[], body)
        .await
        .is_refused(400, 3, PROOF, "PROOF_INVALID");
    assert_eq!(house.issued().await, (0, 0));
}

#[tokio::test]
async fn a_request_that_must_not_be_believed_is_refused_by_its_own_sentence() {
    const CSR: &str = "The certificate signing request could not be parsed";
    const INSECURE: &str = "The public key supplied in the request is insecure";
    let house = House::open().await;
    let token = house.provider.token(ARTIST);
    let refuse = async |csr: &[u8], message: &str, reason: &str| {
        let body = v2_with_csr(&token, csr).to_string();
        let answer = house.post(V2, &[], body).await;
        answer.is_refused(400, 3, message, reason);
    };
    refuse(b"not PEM", CSR, "CSR_INVALID").await;
    refuse(&fixture("p256.pem"), CSR, "CSR_INVALID").await;
    refuse(
        &fixture("csr-rsa-1024-sha256.pem"),
        INSECURE,
        "KEY_INSECURE",
    )
    .await;
    refuse(
        &fixture("csr-rsa-2048-pss-sha256.pem"),
        "unrecognized signature algorithm: SHA256-RSAPSS",
        "CSR_ALGORITHM_UNKNOWN",
    )
    .await;
    refuse(
        &fixture("csr-p256-sha1.pem"),
        "unrecognized signature algorithm: ECDSA-SHA1",
        "CSR_ALGORITHM_UNKNOWN",
    )
    .await;
    let pair = "signing algorithm not permitted: *ecdsa.PublicKey, SHA-384";
    refuse(
        &fixture("csr-p256-sha384.pem"),
        pair,
        "ALGORITHM_NOT_PERMITTED",
    )
    .await;
    let pair = "signing algorithm not permitted: *rsa.PublicKey, SHA-512";
    refuse(
        &fixture("csr-rsa-2048-sha512.pem"),
        pair,
        "ALGORITHM_NOT_PERMITTED",
    )
    .await;
    let mut der = der_of(str::from_utf8(&fixture("csr-p256-sha256.pem")).unwrap());
    *der.last_mut().unwrap() ^= 1;
    let flipped = pem("CERTIFICATE REQUEST", &der);
    refuse(flipped.as_bytes(), PROOF, "PROOF_INVALID").await;
    assert_eq!(house.issued().await, (0, 0));
}
