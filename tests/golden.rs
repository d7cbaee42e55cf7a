//! Golden certificates: everything that goes into one is fixed, and so every byte that comes out is.
//! A change of the profile, of an extension's encoding, or of the shipped templates shows here as a
//! difference in a file that people can read with `openssl x509 -text`.
//!
//! `VOUCHSAFE_WRITE_GOLDEN=1` writes the files anew, and fails, so that it cannot go unnoticed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is how a test fails, in its helpers too"
)]

#[path = "golden/kinds.rs"]
mod kinds;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode as _, Encode as _};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use time::OffsetDateTime;
use time::macros::datetime;
use vouchsafe::certificate::extensions::{Extension, Extensions};
use vouchsafe::certificate::name::SubjectAlternativeName;
use vouchsafe::certificate::precertificate::{POISON_OID, tbs_without};
use vouchsafe::certificate::profile::{Issuer, Profile, SerialNumber, SignatureAlgorithm};
use vouchsafe::certificate::sct::{SCT_LIST_OID, Sct, read_list};
use vouchsafe::dev::provider::{Provider, Shape};
use vouchsafe::identity::{Config, Issuers, Options, Patience, Principal};
use vouchsafe::possession::{KeyRequest, SubjectKey, prove};
use vouchsafe::server::serve_router;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::X509Certificate;

#[tokio::test]
async fn a_change_of_one_byte_in_any_certificate_is_seen() {
    for (name, principal) in principals().await {
        let made = Made::of(&principal);
        compare(&name, &made.certificate);
        compare(&format!("{name}-pre"), &made.precertificate);
    }
    if env::var_os("VOUCHSAFE_WRITE_GOLDEN").is_some() {
        panic!("the golden certificates were written anew: look at what changed");
    }
}

#[tokio::test]
async fn a_type_of_issuer_has_other_extensions_than_its_table_says() {
    let kinds = kinds::principals().await;
    for (kind, principal) in kinds {
        assert_eq!(
            (principal.name.kind(), principal.name.as_str()),
            kind.subject
        );
        assert_eq!(principal.challenge, kind.challenge);
        let subject = principal.subject.clone();
        let made = Made::of(&Fixed::of(kind.name, &principal));
        let (_, certificate) = x509_parser::parse_x509_certificate(&made.certificate).unwrap();
        let found: Vec<(u8, Vec<u8>)> = certificate
            .extensions()
            .iter()
            .filter_map(|one| {
                let oid = one.oid.to_id_string();
                let arc = oid.strip_prefix("1.3.6.1.4.1.57264.1.")?;
                Some((arc.parse().unwrap(), one.value.to_vec()))
            })
            .collect();
        let issuer = format!("https://issuer.example.com/{}", kind.name);
        let mut expected = kind.values;
        expected.push((1, issuer.as_bytes().to_vec()));
        expected.push(kinds::utf8(8, &issuer));
        expected.push(kinds::utf8(24, &subject));
        expected.sort();
        assert_eq!(found, expected, "{}", kind.name);
    }
}

#[tokio::test]
async fn a_username_has_other_bytes_than_verifiers_read() {
    let kinds = kinds::principals().await;
    let (_, principal) = kinds
        .iter()
        .find(|(kind, _)| kind.name == "username")
        .unwrap();
    let made = Made::of(&Fixed::of("username", principal));
    let (_, certificate) = x509_parser::parse_x509_certificate(&made.certificate).unwrap();
    let name = &certificate.extensions()[4];
    assert!(name.critical);
    // SEQUENCE { [0] { OID 1.3.6.1.4.1.57264.1.7, [0] { UTF8String "alice!localhost" } } }
    let expected = "3021a01f060a2b0601040183bf300107a0110c0f616c696365216c6f63616c686f7374";
    assert_eq!(name.value, unhex(expected));
}

#[tokio::test]
async fn every_field_is_what_the_profile_says_by_a_parser_of_others() {
    for (_, principal) in principals().await {
        let made = Made::of(&principal);
        let (rest, certificate) = x509_parser::parse_x509_certificate(&made.certificate).unwrap();
        assert!(rest.is_empty());
        check_fields(&certificate);
        check_extensions(&certificate, &principal, true);
        let (_, precertificate) =
            x509_parser::parse_x509_certificate(&made.precertificate).unwrap();
        check_fields(&precertificate);
        check_extensions(&precertificate, &principal, false);
        for signed in [&certificate, &precertificate] {
            let signature = Signature::from_der(&signed.signature_value.data).unwrap();
            let tbs = signed.tbs_certificate.as_ref();
            authority().verifying_key().verify(tbs, &signature).unwrap();
        }
    }
}

#[tokio::test]
async fn precertificate_and_certificate_are_the_logged_bytes_and_one_extension_each() {
    for (_, principal) in principals().await {
        let made = Made::of(&principal);
        assert_eq!(
            tbs_without(&made.certificate, SCT_LIST_OID).unwrap(),
            made.tbs
        );
        assert_eq!(
            tbs_without(&made.precertificate, POISON_OID).unwrap(),
            made.tbs
        );
        // And in the words of a library that decodes and encodes again, where the program splices.
        let logged = x509_cert::TbsCertificate::from_der(&made.tbs).unwrap();
        assert_eq!(logged.to_der().unwrap(), made.tbs);
        for (der, last) in [
            (&made.certificate, "1.3.6.1.4.1.11129.2.4.2"),
            (&made.precertificate, "1.3.6.1.4.1.11129.2.4.3"),
        ] {
            let whole = x509_cert::Certificate::from_der(der).unwrap();
            assert_eq!(&whole.to_der().unwrap(), der, "one encoding, and it is DER");
            let extensions = whole.tbs_certificate().extensions().unwrap();
            let (added, kept) = extensions.split_last().unwrap();
            assert_eq!(added.extn_id.to_string(), last);
            assert_eq!(kept, logged.extensions().unwrap().as_slice());
            let tbs = whole.tbs_certificate();
            assert_eq!(
                (tbs.serial_number(), tbs.validity(), tbs.subject()),
                (logged.serial_number(), logged.validity(), logged.subject())
            );
            assert_eq!(
                (tbs.issuer(), tbs.subject_public_key_info()),
                (logged.issuer(), logged.subject_public_key_info())
            );
        }
    }
}

/// Everything before the extensions.
fn check_fields(certificate: &X509Certificate<'_>) {
    let tbs = &certificate.tbs_certificate;
    assert_eq!(tbs.version, x509_parser::x509::X509Version::V3);
    let mut serial = SERIAL;
    serial[0] = serial[0] & 0x3f | 0x40;
    assert_eq!(tbs.raw_serial(), serial);
    assert_eq!(tbs.signature.algorithm.to_id_string(), ECDSA_WITH_SHA256);
    assert_eq!(tbs.signature.parameters, None);
    assert_eq!(certificate.signature_algorithm, tbs.signature);
    assert_eq!(tbs.issuer.as_raw(), unhex(ISSUER_NAME));
    assert_eq!(tbs.subject.as_raw(), [0x30, 0]);
    let seconds = |time: OffsetDateTime| time.unix_timestamp();
    assert_eq!(tbs.validity.not_before.timestamp(), seconds(NOW));
    assert_eq!(tbs.validity.not_after.timestamp(), seconds(NOW) + 600);
    let spki = subject().verifying_key().to_public_key_der().unwrap();
    assert_eq!(tbs.subject_pki.raw, spki.as_bytes());
    assert_eq!(
        (tbs.issuer_uid.is_none(), tbs.subject_uid.is_none()),
        (true, true)
    );
}

/// The extensions: which, in what order, how critical, with what values.
fn check_extensions(certificate: &X509Certificate<'_>, principal: &Fixed, is_final: bool) {
    let extensions = certificate.extensions();
    let mut order = vec![
        "2.5.29.15",
        "2.5.29.37",
        "2.5.29.14",
        "2.5.29.35",
        "2.5.29.17",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    let values: Vec<(Extension, &str)> = principal.extensions.iter().collect();
    let arcs = values.iter().map(|(extension, _)| extension.arc());
    order.extend(arcs.map(|arc| format!("1.3.6.1.4.1.57264.1.{arc}")));
    let last = if is_final { 2 } else { 3 };
    order.push(format!("1.3.6.1.4.1.11129.2.4.{last}"));
    let found: Vec<String> = extensions
        .iter()
        .map(|one| one.oid.to_id_string())
        .collect();
    assert_eq!(found, order);
    let mut sorted: Vec<u8> = values
        .iter()
        .map(|(extension, _)| extension.arc())
        .collect();
    sorted.sort_unstable();
    let emitted: Vec<u8> = values
        .iter()
        .map(|(extension, _)| extension.arc())
        .collect();
    assert_eq!(emitted, sorted, "the arcs ascend");

    for extension in extensions {
        let oid = extension.oid.to_id_string();
        let is_critical = ["2.5.29.15", "2.5.29.17", "1.3.6.1.4.1.11129.2.4.3"].contains(&&*oid);
        assert_eq!(extension.critical, is_critical, "{oid}");
    }
    assert_eq!(
        extensions[0].value,
        [3, 2, 7, 0x80],
        "digitalSignature alone"
    );
    assert_eq!(extensions[1].value, unhex("300a06082b06010505070303"));
    let point = subject().verifying_key().to_sec1_point(false);
    let identifier = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        point.as_bytes(),
    );
    assert_eq!(
        extensions[2].value,
        [&[4, 20], identifier.as_ref()].concat()
    );
    assert_eq!(
        extensions[3].value,
        [&[0x30, 22, 0x80, 20], &AUTHORITY_KEY_IDENTIFIER[..]].concat()
    );
    let ParsedExtension::SubjectAlternativeName(names) = extensions[4].parsed_extension() else {
        panic!("a subject alternative name");
    };
    let [name] = names.general_names.as_slice() else {
        panic!("exactly one name: {names:?}");
    };
    match name {
        GeneralName::RFC822Name(name) => {
            assert_eq!(
                (principal.name.kind(), *name),
                ("email", principal.name.as_str())
            );
        }
        GeneralName::URI(name) => {
            assert_eq!(
                (principal.name.kind(), *name),
                ("uri", principal.name.as_str())
            );
        }
        GeneralName::OtherName(oid, value) => {
            let text = principal.name.as_str();
            assert_eq!(principal.name.kind(), "username");
            assert_eq!(oid.to_id_string(), "1.3.6.1.4.1.57264.1.7");
            let length = u8::try_from(text.len()).unwrap();
            let head = [0xa0, length + 2, 0x0c, length];
            assert_eq!(*value, [&head[..], text.as_bytes()].concat());
        }
        GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => panic!("{name:?}"),
    }
    for ((extension, value), found) in values.iter().zip(&extensions[5..]) {
        let bytes = value.as_bytes();
        let encoded = if extension.arc() <= 6 {
            bytes.to_vec()
        } else {
            der::asn1::Utf8StringRef::new(value)
                .unwrap()
                .to_der()
                .unwrap()
        };
        assert_eq!(found.value, encoded, "{extension:?}");
    }
    let added = extensions.last().unwrap().value;
    if is_final {
        assert_eq!(read_list(added).unwrap(), [sct()]);
        // OCTET STRING { u16 list { u16 sct { v1 … } } }, written out once more by hand.
        let sct = sct();
        let signature = sct.signature.as_slice();
        let mut one = [&[0][..], &sct.log_id, &sct.timestamp_ms.to_be_bytes()].concat();
        for (prefix, part) in [(&[][..], &*sct.extensions), (&[4, 3], signature)] {
            one.extend_from_slice(prefix);
            one.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
            one.extend_from_slice(part);
        }
        let length = u16::try_from(one.len()).unwrap();
        let list = [&(length + 2).to_be_bytes()[..], &length.to_be_bytes(), &one].concat();
        let string = der::asn1::OctetStringRef::new(&list).unwrap();
        assert_eq!(added, string.to_der().unwrap());
    } else {
        assert_eq!(added, [5, 0], "NULL");
    }
}

/// One certificate in all its stages.
struct Made {
    tbs: Vec<u8>,
    precertificate: Vec<u8>,
    certificate: Vec<u8>,
}

impl Made {
    fn of(principal: &Fixed) -> Self {
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let profile = Profile::new(&Issuer {
            subject_der: unhex(ISSUER_NAME),
            subject_key_identifier: Some(AUTHORITY_KEY_IDENTIFIER.to_vec()),
            not_before: datetime!(2025-01-01 00:00 UTC),
            not_after: datetime!(2035-01-01 00:00 UTC),
            algorithm,
        });
        let serial = SerialNumber::from_random(SERIAL);
        let (name, extensions) = (&principal.name, &principal.extensions);
        let key = proven(&principal.challenge);
        let template = profile
            .template(name, extensions, &key, serial, NOW)
            .unwrap();
        let to_be_signed = template.precertificate_to_be_signed();
        let signature = sign(&to_be_signed);
        let precertificate = template.into_precertificate(&to_be_signed, &signature, algorithm);
        let (tbs, pre) = (precertificate.tbs().to_vec(), precertificate.der().to_vec());
        let to_be_signed = precertificate.certificate_to_be_signed(&sct());
        let signature = sign(&to_be_signed);
        let certificate = precertificate
            .into_certificate(&to_be_signed, &signature)
            .unwrap();
        Self {
            tbs,
            precertificate: pre,
            certificate: certificate.der().to_vec(),
        }
    }
}

/// A principal with an issuer that is the same in every run.
struct Fixed {
    name: SubjectAlternativeName,
    challenge: String,
    extensions: Extensions,
}

impl Fixed {
    /// Only the port of its issuer is another one each time, which the issuer's extensions would tell.
    fn of(name: &str, principal: &Principal) -> Self {
        let issuer = format!("https://issuer.example.com/{name}");
        let mut extensions = Extensions::new(&issuer, &principal.subject).unwrap();
        let authority = principal.issuer.split('/').nth(2).unwrap();
        for (extension, value) in principal.extensions.iter() {
            if value == principal.issuer {
                assert!([1, 8].contains(&extension.arc()), "{extension:?}");
            } else {
                assert!(
                    !value.contains(authority),
                    "{extension:?} has the port: {value}"
                );
                extensions.insert(extension, value).unwrap();
            }
        }
        Self {
            name: principal.name.clone(),
            challenge: principal.challenge.clone(),
            extensions,
        }
    }
}

/// The demo provider's three identities, through its real tokens and the shipped templates, and one of
/// every other type of issuer.
async fn principals() -> Vec<(String, Fixed)> {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let provider = Arc::new(Provider::new(&url).unwrap());
    let serving = tokio::spawn(serve_router(
        listener,
        provider.router(),
        std::future::pending(),
    ));
    let options = Options {
        allow_http_loopback: true,
    };
    let config = Config::from_text(&provider.issuers_yaml(), options).unwrap();
    let issuers = Issuers::new(config, Patience::default()).unwrap();
    let mut all = Vec::new();
    for shape in Shape::ALL {
        let token = provider
            .mint(shape, "sigstore", &BTreeMap::new(), "1", NOW)
            .unwrap();
        let principal = issuers.authenticate(&token, NOW).await.unwrap();
        all.push((shape.path().to_owned(), Fixed::of(shape.path(), &principal)));
    }
    let kinds = kinds::principals().await;
    for (kind, principal) in kinds {
        all.push((kind.name.to_owned(), Fixed::of(kind.name, &principal)));
    }
    serving.abort();
    all
}

/// The subject's key, proven as a caller proves it.
fn proven(challenge: &str) -> SubjectKey {
    let signature: Signature = subject().sign(challenge.as_bytes());
    let spki = subject().verifying_key().to_public_key_der().unwrap();
    let request = KeyRequest::PublicKey {
        key: spki.into_vec(),
        proof: signature.to_der().as_bytes().to_vec(),
    };
    prove(&request, challenge).unwrap()
}

fn subject() -> SigningKey {
    SigningKey::from_slice(&[0x11; 32]).unwrap()
}

fn authority() -> SigningKey {
    SigningKey::from_slice(&[0x22; 32]).unwrap()
}

/// RFC 6979: the same signature over the same bytes.
fn sign(to_be_signed: &[u8]) -> Vec<u8> {
    let signature: Signature = authority().sign(to_be_signed);
    signature.to_der().as_bytes().to_vec()
}

/// A promise that no log has made.
fn sct() -> Sct {
    let signature: Signature = SigningKey::from_slice(&[0x33; 32])
        .unwrap()
        .sign(b"promise");
    Sct {
        log_id: [0x44; 32],
        timestamp_ms: 1_780_315_200_123,
        extensions: vec![0, 0, 5, 0, 0, 0, 0, 7],
        signature: signature.to_der().as_bytes().to_vec(),
    }
}

#[track_caller]
fn compare(name: &str, der: &[u8]) {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/certificates/{name}.pem"));
    let text = pem(der);
    if env::var_os("VOUCHSAFE_WRITE_GOLDEN").is_some() {
        fs::write(&file, text).unwrap();
        return;
    }
    let golden =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(text, golden, "{name} is not the golden certificate");
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64);
    let lines: Vec<&str> = lines.map(|line| str::from_utf8(line).unwrap()).collect();
    let lines = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00:00.987 UTC);
const SERIAL: [u8; 20] = [
    0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
];
const AUTHORITY_KEY_IDENTIFIER: [u8; 20] = [0x55; 20];
/// O = Example, CN = Golden
const ISSUER_NAME: &str =
    "30233110300e060355040a0c074578616d706c65310f300d06035504030c06476f6c64656e";
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
