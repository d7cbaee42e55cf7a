use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::EncodePublicKey as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

/// An intermediate and a root, with different starts and names.
fn chain() -> Vec<Vec<u8>> {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.distinguished_name
        .push(DnType::OrganizationName, "Example");
    root.distinguished_name
        .push(DnType::CommonName, "Example root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.not_before = datetime!(2026-01-02 03:04:05 UTC);
    let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
    let issuer = Issuer::new(root, root_key);
    let mut intermediate = CertificateParams::default();
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    intermediate
        .distinguished_name
        .push(DnType::CommonName, "Example intermediate");
    intermediate.not_before = datetime!(2026-02-03 04:05:06 UTC);
    let key = KeyPair::generate().unwrap();
    vec![
        intermediate
            .signed_by(&key, &issuer)
            .unwrap()
            .der()
            .to_vec(),
        root_der,
    ]
}

fn log_key() -> Vec<u8> {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    key.public_key().to_public_key_der().unwrap().into_vec()
}

fn root() -> TrustedRoot {
    TrustedRoot {
        authorities: vec![
            Authority::new("https://ca.example.com", chain()).unwrap(),
            Authority::new("https://ca.example.com", chain())
                .unwrap()
                .retired(datetime!(2027-01-01 00:00 UTC))
                .unwrap(),
        ],
        logs: vec![
            TransparencyLog::new(
                "https://ca.example.com/log",
                &log_key(),
                datetime!(2026-02-03 04:05:06.789 UTC),
            )
            .unwrap(),
        ],
        ..TrustedRoot::default()
    }
}

fn written(root: &TrustedRoot) -> Value {
    serde_json::from_str(&root.to_json().unwrap()).unwrap()
}

fn read(value: &Value) -> Result<TrustedRoot, TrustError> {
    TrustedRoot::from_json(value.to_string().as_bytes())
}

#[test]
fn every_member_that_the_strictest_reader_demands_is_written_and_no_other() {
    let root = root();
    let key_id = STANDARD.encode(digest::digest(&digest::SHA256, &log_key()));
    let certificates = |authority: &Authority| -> Vec<Value> {
        let chain = authority.chain().iter();
        chain
            .map(|der| json!({"rawBytes": STANDARD.encode(der)}))
            .collect()
    };
    let subject = json!({"organization": "Example", "commonName": "Example root"});
    assert_eq!(
        written(&root),
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [],
            "certificateAuthorities": [
                {
                    "subject": subject,
                    "uri": "https://ca.example.com",
                    "certChain": {"certificates": certificates(&root.authorities[0])},
                    "validFor": {"start": "2026-02-03T04:05:06Z"},
                },
                {
                    "subject": subject,
                    "uri": "https://ca.example.com",
                    "certChain": {"certificates": certificates(&root.authorities[1])},
                    "validFor": {"start": "2026-02-03T04:05:06Z", "end": "2027-01-01T00:00:00Z"},
                },
            ],
            "ctlogs": [{
                "baseUrl": "https://ca.example.com/log",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(log_key()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": "2026-02-03T04:05:06Z"},
                },
                "logId": {"keyId": key_id},
            }],
            "timestampAuthorities": [],
        })
    );
    assert_eq!(root.to_json().unwrap(), root.to_json().unwrap());
}

#[test]
fn a_certificate_without_names_still_gets_both_members_of_its_subject() {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let root = TrustedRoot {
        authorities: vec![Authority::new("http://127.0.0.1:5555", vec![der]).unwrap()],
        ..TrustedRoot::default()
    };
    assert_eq!(
        written(&root)["certificateAuthorities"][0]["subject"],
        json!({"organization": "", "commonName": ""})
    );
}

#[test]
fn a_trusted_root_survives_being_written_and_read() {
    let original = root();
    let mut expected = original.clone();
    // A start is written in whole seconds, and never later than it was.
    expected.logs[0].valid_from = datetime!(2026-02-03 04:05:06 UTC);
    assert_eq!(read(&written(&original)).unwrap(), expected);
    let log = &expected.logs[0];
    assert_eq!(expected.log(&log.log_id()), Some(log));
    assert_eq!(expected.log(&[0; 32]), None);
}

#[test]
fn what_other_deployments_have_besides_is_passed_over() {
    let mut value = written(&root());
    value["tlogs"] = json!([{"baseUrl": "https://rekor.example.com", "logId": {"keyId": "AAAA"}}]);
    value["timestampAuthorities"] = json!([{"uri": "https://tsa.example.com"}]);
    value["ctlogs"][0]["operator"] = json!("example.com");
    value["ctlogs"][0]["publicKey"]["validFor"]["start"] = json!("2026-02-03T05:05:06.25+01:00");
    let mut rsa = value["ctlogs"][0].clone();
    rsa["publicKey"]["keyDetails"] = json!("PKIX_RSA_PKCS1V15_2048_SHA256");
    value["ctlogs"].as_array_mut().unwrap().push(rsa);
    value["mediaType"] = json!("application/vnd.dev.sigstore.trustedroot.v0.2+json");
    let read = read(&value).unwrap();
    assert_eq!(read.logs.len(), 1);
    assert_eq!(
        read.logs[0].valid_from,
        datetime!(2026-02-03 04:05:06.25 UTC)
    );
}

#[test]
fn a_trusted_root_with_one_broken_entry_is_refused_whole() {
    let good = written(&root());
    let broken = |pointer: &str, with: Value| {
        let mut value = good.clone();
        *value.pointer_mut(pointer).unwrap() = with;
        read(&value)
    };
    assert!(matches!(
        broken("/mediaType", json!("text/plain")),
        Err(TrustError::MediaType(_))
    ));
    assert!(matches!(
        broken("/ctlogs/0/logId/keyId", json!(STANDARD.encode([0; 32]))),
        Err(TrustError::LogId)
    ));
    let other_curve = p384::SecretKey::from_slice(&[7; 48]).unwrap();
    let other_curve = other_curve.public_key().to_public_key_der().unwrap();
    assert!(matches!(
        broken(
            "/ctlogs/0/publicKey/rawBytes",
            json!(STANDARD.encode(other_curve))
        ),
        Err(TrustError::LogKey)
    ));
    assert!(matches!(
        broken("/ctlogs/0/publicKey/rawBytes", json!("?")),
        Err(TrustError::Json(_))
    ));
    assert!(matches!(
        broken(
            "/certificateAuthorities/0/certChain/certificates",
            json!([])
        ),
        Err(TrustError::ChainLength(0))
    ));
    assert!(matches!(
        broken(
            "/certificateAuthorities/0/certChain/certificates/0/rawBytes",
            json!("MAA=")
        ),
        Err(TrustError::Certificate(_))
    ));
    assert!(matches!(
        broken(
            "/certificateAuthorities/1/validFor/end",
            json!("2020-01-01T00:00:00Z")
        ),
        Err(TrustError::Period)
    ));
    // Without a start anything at all would be covered.
    assert!(matches!(
        broken("/certificateAuthorities/0/validFor", json!({})),
        Err(TrustError::Json(_))
    ));
    let many = vec![good["ctlogs"][0].clone(); MAX_ENTRIES + 1];
    assert!(matches!(
        broken("/ctlogs", json!(many)),
        Err(TrustError::TooMany { found: 65, .. })
    ));
    assert!(matches!(
        TrustedRoot::from_json(&vec![b' '; MAX_JSON + 1]),
        Err(TrustError::TooLarge(_))
    ));
}

#[test]
fn the_period_of_trust_includes_both_its_ends() {
    let root = root();
    let [current, retired] = root.authorities.as_slice() else {
        panic!()
    };
    assert!(current.covers(datetime!(2026-02-03 04:05:06 UTC)));
    assert!(!current.covers(datetime!(2026-02-03 04:05:05 UTC)));
    assert!(current.covers(datetime!(2099-01-01 00:00 UTC)));
    assert!(retired.covers(datetime!(2027-01-01 00:00 UTC)));
    assert!(!retired.covers(datetime!(2027-01-01 00:00:01 UTC)));
    assert!(matches!(
        retired.clone().retired(datetime!(2025-01-01 00:00 UTC)),
        Err(TrustError::Period)
    ));
}

#[test]
fn an_address_that_some_client_would_cut_or_double_is_refused() {
    for url in [
        "https://ca.example.com/",
        "https://ca.example.com/fulcio",
        "https://ca.example.com?x=1",
        "ca.example.com",
        "ftp://ca.example.com",
        "mailto:ca@example.com",
    ] {
        assert!(
            matches!(Authority::new(url, chain()), Err(TrustError::Url { .. })),
            "{url}"
        );
    }
    let mut config = signing_config();
    config.certificate_authorities[0].url.push('/');
    assert!(matches!(config.to_json(), Err(TrustError::Url { .. })));
    let mut config = signing_config();
    config.openid_providers[0].url = "not an address".to_owned();
    assert!(matches!(config.to_json(), Err(TrustError::Url { .. })));
}

#[test]
fn a_chain_that_is_no_chain_is_refused() {
    let new = |chain| Authority::new("https://ca.example.com", chain);
    assert!(matches!(new(Vec::new()), Err(TrustError::ChainLength(0))));
    assert!(matches!(
        new(vec![Vec::new(); 9]),
        Err(TrustError::ChainLength(9))
    ));
    assert!(matches!(
        new(vec![vec![0x30, 0]]),
        Err(TrustError::Certificate(_))
    ));
}

#[test]
fn a_log_key_of_any_other_form_is_refused() {
    let new = |key: &[u8]| {
        TransparencyLog::new("https://log.example.com", key, OffsetDateTime::UNIX_EPOCH)
    };
    assert!(new(&log_key()).is_ok());
    let trailing = [log_key().as_slice(), &[0]].concat();
    assert!(matches!(new(&trailing), Err(TrustError::LogKey)));
    assert!(matches!(new(&log_key()[26..]), Err(TrustError::LogKey)));
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = rcgen::PublicKeyData::subject_public_key_info(&ed25519);
    assert!(matches!(new(&ed25519), Err(TrustError::LogKey)));
}

fn signing_config() -> SigningConfig {
    let service = |url: &str| Service {
        url: url.to_owned(),
        major_api_version: 1,
        operator: "example.com".to_owned(),
        valid_from: datetime!(2026-01-02 03:04:05.999 UTC),
    };
    SigningConfig {
        certificate_authorities: vec![service("https://ca.example.com")],
        openid_providers: vec![service("https://login.example.com/dex")],
        ..SigningConfig::default()
    }
}

#[test]
fn a_rule_for_choosing_is_written_only_where_there_is_something_to_choose() {
    let entry = |url: &str| {
        json!([{
            "url": url,
            "majorApiVersion": 1,
            "validFor": {"start": "2026-01-02T03:04:05Z"},
            "operator": "example.com",
        }])
    };
    let mut config = signing_config();
    let mut expected = json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": entry("https://ca.example.com"),
        "oidcUrls": entry("https://login.example.com/dex"),
        "rekorTlogUrls": [],
        "tsaUrls": [],
    });
    let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    assert_eq!(parse(config.to_json().unwrap()), expected);

    let mut tsa = config.certificate_authorities[0].clone();
    tsa.url = "https://tsa.example.com/api/v1/timestamp".to_owned();
    config.timestamp_authorities.push(tsa);
    expected["tsaUrls"] = entry("https://tsa.example.com/api/v1/timestamp");
    expected["tsaConfig"] = json!({"selector": "ANY"});
    assert_eq!(parse(config.to_json().unwrap()), expected);

    let root = root();
    assert_eq!(
        parse(config.with_trusted_root(&root).unwrap()),
        json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": written(&root),
            "signingConfig": expected,
        })
    );
}

#[test]
fn the_bundle_in_pem_holds_every_certificate_once_and_openssl_reads_it() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let mut root = root();
    root.authorities.truncate(1);
    let pem = root.to_pem().unwrap();
    let mut openssl = Command::new("openssl")
        .args(["storeutl", "-noout", "-certs", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl
        .stdin
        .take()
        .unwrap()
        .write_all(pem.as_bytes())
        .unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Total found: 2"));
}
