//! Certificates as others read them: the `openssl` command line and webpki.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::caller::Caller;
use super::house::{House, V2, der_of};
use super::provider::JOB;

fn openssl(arguments: &[&str], directory: &Path) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test]
async fn openssl_verifies_the_chain_and_prints_what_was_meant() {
    let house = House::open().await;
    let caller = Caller::new(JOB);
    let token = house.provider.sign(&house.provider.job());
    let body = caller.v2(Some(&token)).to_string();
    let chain = house.post(V2, &[], body).await.chain();
    let directory = tempfile::tempdir().unwrap();
    for (name, pem) in ["leaf", "intermediate", "root"].iter().zip(&chain) {
        fs::write(directory.path().join(name), pem).unwrap();
    }
    let verify = [
        "verify",
        "-x509_strict",
        "-CAfile",
        "root",
        "-untrusted",
        "intermediate",
        "-purpose",
        "any",
        "leaf",
    ];
    let (good, told) = openssl(&verify, directory.path());
    assert!(good && told.trim() == "leaf: OK", "{told}");
    // Without the intermediate there is no path, and for a server there never is.
    let (good, told) = openssl(&["verify", "-CAfile", "root", "leaf"], directory.path());
    assert!(!good, "{told}");
    let mut server = verify;
    server[7] = "sslserver";
    let (good, told) = openssl(&server, directory.path());
    assert!(!good, "{told}");

    let (good, text) = openssl(
        &["x509", "-in", "leaf", "-noout", "-text"],
        directory.path(),
    );
    assert!(good, "{text}");
    let squeezed: Vec<&str> = text.lines().map(str::trim).collect();
    let squeezed = squeezed.join("\n");
    for expected in [
        "Version: 3 (0x2)",
        "Issuer: O = Example organisation, CN = Example intermediate",
        "Subject: \n",
        "Public Key Algorithm: id-ecPublicKey",
        "X509v3 Key Usage: critical\nDigital Signature\n",
        "X509v3 Extended Key Usage: \nCode Signing\n",
        "X509v3 Subject Alternative Name: critical\nURI:https://github.com/example-org/example-repo/.github/workflows/release.yml@refs/heads/main\n",
        "CT Precertificate SCTs: \nSigned Certificate Timestamp:\nVersion   : v1 (0x0)",
        "Signature : ecdsa-with-SHA256",
    ] {
        // One version of the program writes a space after a colon where another does not.
        let normal = |text: &str| text.replace(": \n", ":\n");
        assert!(
            normal(&squeezed).contains(&normal(expected)),
            "no {expected:?} in\n{text}"
        );
    }
    assert!(!text.contains("Basic Constraints"), "{text}");
}

#[tokio::test]
async fn webpki_accepts_the_chain_for_signing_code_and_for_nothing_else() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    let chain = house.post(V2, &[], body.to_string()).await.chain();
    let ders: Vec<CertificateDer<'static>> = chain
        .iter()
        .map(|pem| CertificateDer::from(der_of(pem)))
        .collect();
    let anchor = anchor_from_trusted_cert(&ders[2]).unwrap();
    let leaf = EndEntityCert::try_from(&ders[0]).unwrap();
    let check = |usage: &'static [u8], time: SystemTime, intermediates: &[CertificateDer<'_>]| {
        let time = UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        let anchors = [anchor.clone()];
        let path = leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            intermediates,
            time,
            KeyUsage::required(usage),
            None,
            None,
        );
        path.map(|_| ()).map_err(|error| error.to_string())
    };
    let code_signing = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
    let server = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    let now = SystemTime::now();
    let later = now + std::time::Duration::from_secs(601);
    assert_eq!(check(code_signing, now, &ders[1..2]), Ok(()));
    assert!(check(server, now, &ders[1..2]).is_err());
    assert!(check(code_signing, later, &ders[1..2]).is_err());
    assert!(check(code_signing, now, &[]).is_err());
}
