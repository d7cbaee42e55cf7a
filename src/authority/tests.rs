use super::*;
use crate::authority::file::{FileKey, Passphrase};
use crate::authority::hierarchy::{Curve, Hierarchy, encrypt_private_key};
use crate::authority::memory::MemoryKey;
use crate::certificate::profile::SerialNumber;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
};
use std::process::Command;
use time::Duration;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

fn hierarchy(curve: Curve) -> Hierarchy {
    let serials = [
        SerialNumber::from_random([1; 20]),
        SerialNumber::from_random([2; 20]),
    ];
    Hierarchy::create("Example Org", "Example", curve, serials, NOW).unwrap()
}

async fn open(
    key_der: &[u8],
    chain: &str,
    now: OffsetDateTime,
) -> Result<Authority, AuthorityError> {
    Authority::new(Box::new(MemoryKey::from_der(key_der).unwrap()), chain, now).await
}

fn params(name: &str, ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = ca;
    params.not_before = NOW - Duration::days(1);
    params.not_after = NOW + Duration::days(30);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = params("root", IsCa::Ca(BasicConstraints::Unconstrained));
    change(&mut params);
    (key.serialize_der(), params.self_signed(&key).unwrap().pem())
}

/// An issuing certificate under a good root; `change` spoils one thing.
fn two_tier(
    change: impl FnOnce(&mut CertificateParams, &mut CertificateParams),
) -> (Vec<u8>, String) {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = params("root", IsCa::Ca(BasicConstraints::Unconstrained));
    let mut issuing = params("issuing", IsCa::Ca(BasicConstraints::Constrained(0)));
    issuing.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    change(&mut root, &mut issuing);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuing_certificate = issuing
        .signed_by(&key, &Issuer::from_params(&root, &root_key))
        .unwrap();
    (
        key.serialize_der(),
        issuing_certificate.pem() + &root_certificate.pem(),
    )
}

#[tokio::test]
async fn a_fresh_hierarchy_issues_on_either_curve() {
    for curve in [Curve::P256, Curve::P384] {
        let made = hierarchy(curve);
        let chain = made.intermediate.certificate_pem.clone() + &made.root.certificate_pem;
        let authority = open(&made.intermediate.private_key_der, &chain, NOW)
            .await
            .unwrap();
        assert_eq!(authority.chain().der().len(), 2);
        assert_eq!(
            authority.chain().pem().concat(),
            chain.replace("\r\n", "\n")
        );
        let (not_before, not_after) = authority.chain().validity();
        assert_eq!((not_before, not_after), (NOW, NOW + Duration::days(1095)));
    }
}

#[tokio::test]
async fn openssl_reads_the_hierarchy_as_it_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    let made = hierarchy(Curve::P256);
    let (root, intermediate) = (
        directory.path().join("root.pem"),
        directory.path().join("intermediate.pem"),
    );
    std::fs::write(&root, &made.root.certificate_pem).unwrap();
    std::fs::write(&intermediate, &made.intermediate.certificate_pem).unwrap();
    let epoch = (NOW + Duration::days(1)).unix_timestamp().to_string();
    let verified = Command::new("openssl")
        .args(["verify", "-x509_strict", "-attime", &epoch, "-CAfile"])
        .arg(&root)
        .arg(&intermediate)
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    let text = |path| {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-text", "-in"])
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (root, intermediate) = (text(&root), text(&intermediate));
    assert!(
        intermediate.contains("CA:TRUE, pathlen:0") && intermediate.contains("Code Signing"),
        "{intermediate}"
    );
    assert!(
        intermediate.contains("O = Example Org, CN = Example intermediate"),
        "{intermediate}"
    );
    assert!(
        root.contains("secp384r1") && !root.contains("Extended Key Usage"),
        "{root}"
    );
}

#[tokio::test]
async fn an_encrypted_key_opens_with_its_passphrase_only_here_and_in_openssl() {
    let directory = tempfile::tempdir().unwrap();
    let made = hierarchy(Curve::P256);
    let path = directory.path().join("key.pem");
    let pem = encrypt_private_key(&made.intermediate.private_key_der, "correct horse").unwrap();
    std::fs::write(&path, pem.as_bytes()).unwrap();
    std::fs::write(directory.path().join("passphrase"), "correct horse\n").unwrap();

    let passphrase = Passphrase::File("passphrase".into())
        .read(directory.path())
        .unwrap();
    let key = FileKey::load(&path, Some(&passphrase)).unwrap();
    assert_eq!(
        key.public_key_der(),
        MemoryKey::from_der(&made.intermediate.private_key_der)
            .unwrap()
            .public_key_der()
    );
    assert!(matches!(
        FileKey::load(&path, Some("wrong")),
        Err(KeyError::Passphrase { .. })
    ));
    assert!(matches!(
        FileKey::load(&path, None),
        Err(KeyError::Unusable { .. })
    ));

    let openssl = Command::new("openssl")
        .args(["pkey", "-noout", "-passin", "pass:correct horse", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        openssl.status.success(),
        "{}",
        String::from_utf8_lossy(&openssl.stderr)
    );
}

#[test]
fn every_private_key_form_that_openssl_writes_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        (
            "p256-pkcs8",
            vec![
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ],
        ),
        (
            "p384-sec1",
            vec!["ecparam", "-name", "secp384r1", "-genkey", "-noout"],
        ),
        (
            "p521-pkcs8",
            vec![
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-521",
            ],
        ),
        ("ed25519", vec!["genpkey", "-algorithm", "ED25519"]),
        (
            "rsa-pkcs8",
            vec![
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ],
        ),
        ("rsa-pkcs1", vec!["genrsa", "-traditional", "2048"]),
    ] {
        let path = directory.path().join(name);
        let made = Command::new("openssl")
            .arg(arguments[0])
            .arg("-out")
            .arg(&path)
            .args(&arguments[1..])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        FileKey::load(&path, None).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let small = directory.path().join("rsa-1024");
    Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(&small)
        .arg("1024")
        .output()
        .unwrap();
    assert!(FileKey::load(&small, None).is_err());
}

#[tokio::test]
async fn keys_of_every_kind_sign_what_their_certificate_verifies() {
    for algorithm in [
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ECDSA_P521_SHA512,
        &PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = params("root", IsCa::Ca(BasicConstraints::Unconstrained))
            .self_signed(&key)
            .unwrap()
            .pem();
        open(&key.serialize_der(), &chain, NOW).await.unwrap();
    }
}

#[tokio::test]
async fn a_chain_that_breaks_a_rule_never_issues() {
    let refused = |(key, chain): (Vec<u8>, String)| async move {
        open(&key, &chain, NOW).await.unwrap_err().to_string()
    };
    open(&two_tier(|_, _| ()).0, "", NOW).await.unwrap_err();
    let (key, chain) = two_tier(|_, _| ());
    open(&key, &chain, NOW)
        .await
        .expect("the chain the others are variations of");

    for (made, reason) in [
        (self_signed(|root| root.is_ca = IsCa::NoCa), "is not a CA"),
        (
            self_signed(|root| root.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            "by its key usage",
        ),
        (
            self_signed(|root| {
                root.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            "extended key usage",
        ),
        (self_signed(|root| root.not_after = NOW), "is not valid now"),
        (
            self_signed(|root| root.not_before = NOW + Duration::SECOND),
            "is not valid now",
        ),
        (
            two_tier(|_, issuing| issuing.extended_key_usages.clear()),
            "extended key usage",
        ),
        (
            two_tier(|_, issuing| {
                issuing.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            "extended key usage",
        ),
        (
            two_tier(|_, issuing| issuing.is_ca = IsCa::NoCa),
            "is not a CA",
        ),
        (
            two_tier(|root, _| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            "certificates below it",
        ),
        (
            two_tier(|root, _| {
                root.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            "extended key usage",
        ),
        (two_tier(|root, _| root.not_after = NOW), "is not valid now"),
    ] {
        let error = refused(made).await;
        assert!(error.contains(reason), "{error:?} for {reason:?}");
    }

    let (_, other) = self_signed(|_| ());
    let leaf = chain
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap()
        .to_owned();
    let stranger = open(&key, &(leaf.clone() + &other), NOW)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        stranger.contains("not signed by the next one"),
        "{stranger}"
    );
    let (_, renamed) =
        self_signed(|root| root.distinguished_name.push(DnType::CommonName, "other"));
    let misplaced = open(&key, &(leaf + &renamed), NOW)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        misplaced.contains("is not the next certificate"),
        "{misplaced}"
    );
    let another = KeyPair::generate().unwrap().serialize_der();
    assert!(matches!(
        open(&another, &chain, NOW).await,
        Err(AuthorityError::Chain(ChainError::KeyMismatch))
    ));
    let nine = chain.repeat(5);
    assert!(matches!(
        open(&key, &nine, NOW).await,
        Err(AuthorityError::Chain(ChainError::TooLong(9)))
    ));
}

#[test]
fn a_credential_name_cannot_leave_its_directory() {
    for name in ["", "../key", "a/b", ".hidden"] {
        assert!(
            Passphrase::Credential(name.to_owned())
                .read(std::path::Path::new("/"))
                .is_err(),
            "{name:?}"
        );
    }
}
