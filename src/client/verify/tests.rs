use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use time::macros::datetime;

use super::*;
use crate::certificate::precertificate::POISON_OID;
use crate::trust::{Authority, TransparencyLog};

/// A CA and a log of its own for each test.
struct World {
    issuer: Issuer<'static, KeyPair>,
    log: SigningKey,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::default();
        root.distinguished_name
            .push(DnType::CommonName, "Test root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.not_before = datetime!(2026-01-01 00:00 UTC);
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let root = Issuer::new(root, root_key);
        let mut intermediate = CertificateParams::default();
        intermediate
            .distinguished_name
            .push(DnType::CommonName, "Test intermediate");
        intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        intermediate.not_before = datetime!(2026-02-01 00:00 UTC);
        intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let key = KeyPair::generate().unwrap();
        let intermediate_der = intermediate.signed_by(&key, &root).unwrap().der().to_vec();
        let chain = vec![intermediate_der, root_der];
        Self {
            issuer: Issuer::new(intermediate, key),
            log: SigningKey::from_slice(&[7; 32]).unwrap(),
            authority: Authority::new("https://ca.example.com", chain).unwrap(),
        }
    }

    fn log_key(&self) -> Vec<u8> {
        let key = self.log.verifying_key().to_public_key_der().unwrap();
        key.into_vec()
    }

    fn trusted_log(&self) -> TransparencyLog {
        let start = datetime!(2026-02-01 00:00 UTC);
        TransparencyLog::new("https://ca.example.com/log", &self.log_key(), start).unwrap()
    }

    fn root(&self) -> TrustedRoot {
        TrustedRoot {
            authorities: vec![self.authority.clone()],
            logs: vec![self.trusted_log()],
            ..TrustedRoot::default()
        }
    }

    /// An SCT over these to-be-signed bytes, put together by hand and signed by another library.
    fn sct(&self, tbs: &[u8], timestamp_ms: u64) -> Sct {
        let extensions = vec![0, 0, 5, 0, 0, 0, 1, 2];
        let signed = self.merkle_tree_leaf(tbs, timestamp_ms, &extensions);
        let signature: Signature = self.log.sign(&signed);
        Sct {
            log_id: sha256(&self.log_key()),
            timestamp_ms,
            extensions,
            signature: signature.to_der().as_bytes().to_vec(),
        }
    }

    fn merkle_tree_leaf(&self, tbs: &[u8], timestamp_ms: u64, extensions: &[u8]) -> Vec<u8> {
        let issuer_key = self.issuer.key().subject_public_key_info();
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        [
            &[0, 0][..],
            &timestamp_ms.to_be_bytes(),
            &[0, 1],
            &sha256(&issuer_key),
            &length[1..],
            tbs,
            &[0, 8],
            extensions,
        ]
        .concat()
    }

    /// Issues the leaf twice, as a CA does: poisoned, then with the list of `timestamps`, a function
    /// of what the log would hash.
    fn issue(&self, leaf: &Leaf, timestamps: impl Fn(&[u8]) -> Vec<Sct>) -> Vec<u8> {
        let poisoned = leaf.sign(self, vec![extension(POISON_OID, vec![5, 0], true)]);
        let tbs = tbs_without(&poisoned, POISON_OID).unwrap();
        leaf.sign(self, vec![sct_list(&timestamps(&tbs))])
    }

    fn issue_logged(&self, leaf: &Leaf) -> Vec<u8> {
        self.issue(leaf, |tbs| vec![self.sct(tbs, LOGGED_AT_MS)])
    }

    fn verify(&self, leaf: &Leaf) -> Result<Verified, VerifyError> {
        verify(&self.issue_logged(leaf), &self.root())
    }
}

/// What varies between certificates.
struct Leaf {
    key: KeyPair,
    usage: Vec<KeyUsagePurpose>,
    purpose: Vec<ExtendedKeyUsagePurpose>,
    is_ca: IsCa,
    names: Option<Vec<u8>>,
    more: Vec<CustomExtension>,
}

impl Leaf {
    fn new() -> Self {
        Self {
            key: KeyPair::generate().unwrap(),
            usage: vec![KeyUsagePurpose::DigitalSignature],
            purpose: vec![ExtendedKeyUsagePurpose::CodeSigning],
            is_ca: IsCa::NoCa,
            names: Some(names(&[(EMAIL, "alice@example.com")])),
            more: vec![
                identity(1, b"https://login.example.com"),
                identity(8, b"\x0c\x19https://login.example.com"),
                identity(24, b"\x0c\x0512345"),
                identity(99, b"an extension of the future"),
            ],
        }
    }

    fn named(kind: u8, name: &str) -> Self {
        Self {
            names: Some(names(&[(kind, name)])),
            ..Self::new()
        }
    }

    fn sign(&self, world: &World, last: Vec<CustomExtension>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(vec![1; 20].into());
        params.not_before = NOT_BEFORE;
        params.not_after = NOT_AFTER;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = self.usage.clone();
        params.extended_key_usages = self.purpose.clone();
        params.is_ca = self.is_ca;
        if let Some(names) = &self.names {
            params.custom_extensions = vec![extension(SAN_OID, names.clone(), true)];
        }
        params.custom_extensions.extend(self.more.clone());
        params.custom_extensions.extend(last);
        let certificate = params.signed_by(&self.key, &world.issuer).unwrap();
        certificate.der().to_vec()
    }
}

fn extension(oid: &[u8], content: Vec<u8>, critical: bool) -> CustomExtension {
    let oid = const_oid::ObjectIdentifier::from_bytes(oid).unwrap();
    let arcs: Vec<u64> = oid.arcs().map(u64::from).collect();
    let mut extension = CustomExtension::from_oid_content(&arcs, content);
    extension.set_criticality(critical);
    extension
}

fn identity(arc: u8, value: &[u8]) -> CustomExtension {
    extension(&[IDENTITY_ARC, &[arc]].concat(), value.to_vec(), false)
}

fn names(names: &[(u8, &str)]) -> Vec<u8> {
    let mut inner = Vec::new();
    for (kind, name) in names {
        inner.extend([*kind, u8::try_from(name.len()).unwrap()]);
        inner.extend(name.as_bytes());
    }
    [
        &[0x30, u8::try_from(inner.len()).unwrap()],
        inner.as_slice(),
    ]
    .concat()
}

fn sct_list(timestamps: &[Sct]) -> CustomExtension {
    let mut list = Vec::new();
    for timestamp in timestamps {
        let timestamp = timestamp.to_tls();
        list.extend(u16::try_from(timestamp.len()).unwrap().to_be_bytes());
        list.extend(timestamp);
    }
    let list = [
        &u16::try_from(list.len()).unwrap().to_be_bytes(),
        list.as_slice(),
    ]
    .concat();
    let list = der::asn1::OctetString::new(list).unwrap().to_der().unwrap();
    extension(SCT_LIST_OID, list, false)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes)
        .as_ref()
        .try_into()
        .unwrap()
}

#[test]
fn everything_the_certificate_says_comes_out_as_it_stands_in_it() {
    let world = World::new();
    let leaf = Leaf::new();
    let der = world.issue_logged(&leaf);
    let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &der).unwrap();
    let chain = UnverifiedChain::from_pem(&pem).unwrap();
    let key = leaf.key.subject_public_key_info();
    let verified = verify_issued(&chain, &world.root(), &key).unwrap();
    assert_eq!(verified.name().kind(), "email");
    assert_eq!(verified.name().as_str(), "alice@example.com");
    let login = "https://login.example.com";
    assert_eq!(
        verified.extensions(),
        [
            (Extension::Issuer, login.to_owned()),
            (Extension::IssuerV2, login.to_owned()),
            (Extension::TokenSubject, "12345".to_owned()),
        ]
    );
    assert_eq!(verified.extension(Extension::IssuerV2), Some(login));
    assert_eq!(verified.extension(Extension::BuildTrigger), None);
    assert_eq!(verified.not_before(), NOT_BEFORE);
    assert_eq!(verified.not_after(), NOT_AFTER);
    assert_eq!(verified.public_key_der(), key);
    assert_eq!(verified.log_index(), Some(258));
    assert_eq!(verified.sct().timestamp_ms, LOGGED_AT_MS);
    assert_eq!(
        verified.logged_at(),
        NOT_BEFORE + time::Duration::milliseconds(250)
    );
    let tbs = tbs_without(&der, SCT_LIST_OID).unwrap();
    let entry = world.merkle_tree_leaf(&tbs, LOGGED_AT_MS, &verified.sct().extensions);
    assert_eq!(
        *verified.leaf_hash(),
        sha256(&[&[0], entry.as_slice()].concat())
    );

    let other = KeyPair::generate().unwrap().subject_public_key_info();
    assert_eq!(
        verify_issued(&chain, &world.root(), &other),
        Err(VerifyError::OtherKey)
    );
}

#[test]
fn a_uri_is_a_name_too_but_no_other_kind_and_no_second_spelling() {
    let world = World::new();
    let uri = "https://example.com/org/repo/.github/workflows/release.yml@refs/heads/main";
    let verified = world.verify(&Leaf::named(URI, uri)).unwrap();
    assert_eq!(verified.name().kind(), "uri");
    assert_eq!(verified.name().as_str(), uri);

    let mut two = Leaf::new();
    two.names = Some(names(&[
        (EMAIL, "alice@example.com"),
        (EMAIL, "bob@example.com"),
    ]));
    let mut none = Leaf::new();
    none.names = None;
    let mut empty = Leaf::new();
    empty.names = Some(vec![0x30, 0]);
    for (case, leaf) in [
        ("two", two),
        ("none", none),
        ("empty", empty),
        ("dns", Leaf::named(0x82, "example.com")),
        (
            "line break",
            Leaf::named(EMAIL, "alice@example.com\nbob@example.com"),
        ),
        ("no address", Leaf::named(EMAIL, "alice")),
        (
            "scheme in capitals",
            Leaf::named(URI, "HTTPS://example.com/a"),
        ),
        ("no host", Leaf::named(URI, "urn:a:b")),
    ] {
        let result = world.verify(&leaf);
        assert!(
            matches!(result, Err(VerifyError::Name(_))),
            "{case}: {result:?}"
        );
    }
}

#[test]
fn a_username_is_a_name_only_in_the_form_in_which_it_is_issued() {
    let world = World::new();
    let leaf = |arc: u8, tag: u8, text: &str| {
        let part = |tag: u8, value: &[u8]| {
            let length = u8::try_from(value.len()).unwrap();
            [&[tag, length][..], value].concat()
        };
        let oid = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, arc];
        let value = part(0xa0, &part(tag, text.as_bytes()));
        let name = part(0xa0, &[part(0x06, &oid), value].concat());
        let mut leaf = Leaf::new();
        leaf.names = Some(part(0x30, &name));
        leaf
    };
    let verified = world.verify(&leaf(7, 0x0c, "alice!example.com")).unwrap();
    assert_eq!(verified.name().kind(), "username");
    assert_eq!(verified.name().as_str(), "alice!example.com");
    for (arc, tag, text) in [
        (9, 0x0c, "alice!example.com"),
        (7, 0x16, "alice!example.com"),
        (7, 0x0c, "alice"),
        (7, 0x0c, "!example.com"),
        (7, 0x0c, "alice!bob!example.com"),
        (7, 0x0c, "alice\n!example.com"),
        (7, 0x0c, "alice@example.com"),
    ] {
        let result = world.verify(&leaf(arc, tag, text));
        assert!(
            matches!(result, Err(VerifyError::Name(_))),
            "{arc} {text}: {result:?}"
        );
    }
}

#[test]
fn only_an_authority_of_the_trusted_root_vouches_and_only_within_its_period() {
    let world = World::new();
    let der = world.issue_logged(&Leaf::new());
    let mut root = world.root();
    // The same names and the same log, other keys.
    root.authorities = vec![World::new().authority];
    assert!(matches!(verify(&der, &root), Err(VerifyError::Chain(_))));
    // The right one is found behind a wrong one.
    root.authorities.push(world.authority.clone());
    assert!(verify(&der, &root).is_ok());
    let retired = world.authority.clone();
    root.authorities = vec![retired.retired(NOT_BEFORE).unwrap()];
    assert_eq!(verify(&der, &root), Err(VerifyError::NoAuthority));
    root.authorities.clear();
    assert_eq!(verify(&der, &root), Err(VerifyError::NoAuthority));
}

#[test]
fn a_certificate_for_anything_but_signing_code_is_refused() {
    let world = World::new();
    for purpose in [vec![ExtendedKeyUsagePurpose::ServerAuth], Vec::new()] {
        let leaf = Leaf {
            purpose,
            ..Leaf::new()
        };
        assert!(matches!(world.verify(&leaf), Err(VerifyError::Chain(_))));
    }
    for usage in [vec![KeyUsagePurpose::KeyAgreement], Vec::new()] {
        let leaf = Leaf {
            usage,
            ..Leaf::new()
        };
        assert_eq!(world.verify(&leaf), Err(VerifyError::KeyUsage));
    }
    let leaf = Leaf {
        is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
        ..Leaf::new()
    };
    assert!(matches!(world.verify(&leaf), Err(VerifyError::Chain(_))));
}

#[test]
fn exactly_one_timestamp_counts() {
    let world = World::new();
    let leaf = Leaf::new();
    let root = world.root();
    let count = |count| Err(VerifyError::NoSct(SpliceError::Count(count)));
    assert_eq!(verify(&leaf.sign(&world, Vec::new()), &root), count(0));
    let sct = world.sct(b"", LOGGED_AT_MS);
    let list = sct_list(std::slice::from_ref(&sct));
    let twice = leaf.sign(&world, vec![list.clone(), list.clone()]);
    assert_eq!(verify(&twice, &root), count(2));
    let two = world.issue(&leaf, |tbs| vec![world.sct(tbs, LOGGED_AT_MS); 2]);
    assert_eq!(verify(&two, &root), Err(VerifyError::SctCount(2)));
    let garbled = leaf.sign(&world, vec![extension(SCT_LIST_OID, vec![4, 0], false)]);
    assert_eq!(
        verify(&garbled, &root),
        Err(VerifyError::Sct(SctError::Malformed))
    );
    let poison = extension(POISON_OID, vec![5, 0], true);
    let poisoned = leaf.sign(&world, vec![poison, list]);
    assert!(matches!(
        verify(&poisoned, &root),
        Err(VerifyError::Chain(_))
    ));
}

#[test]
fn a_promise_for_another_certificate_is_no_promise() {
    let world = World::new();
    let root = world.root();
    let leaf = Leaf::new();
    let other = world.issue(&leaf, |tbs| {
        let mut other = tbs.to_vec();
        *other.last_mut().unwrap() ^= 1;
        vec![world.sct(&other, LOGGED_AT_MS)]
    });
    assert_eq!(verify(&other, &root), Err(VerifyError::SctSignature));
    for alter in [
        (|sct: &mut Sct| sct.timestamp_ms += 1) as fn(&mut Sct),
        |sct| sct.extensions[7] ^= 1,
        |sct| sct.signature[20] ^= 1,
    ] {
        let altered = world.issue(&leaf, |tbs| {
            let mut sct = world.sct(tbs, LOGGED_AT_MS);
            alter(&mut sct);
            vec![sct]
        });
        assert_eq!(verify(&altered, &root), Err(VerifyError::SctSignature));
    }
}

#[test]
fn only_a_log_of_the_trusted_root_counts_and_only_within_its_period() {
    let world = World::new();
    let der = world.issue_logged(&Leaf::new());
    let mut root = world.root();
    root.logs.clear();
    assert_eq!(verify(&der, &root), Err(VerifyError::UnknownLog));
    root.logs = vec![world.trusted_log().retired(NOT_BEFORE).unwrap()];
    assert_eq!(verify(&der, &root), Err(VerifyError::UnknownLog));
    let claimed = world.issue(&Leaf::new(), |tbs| {
        let mut sct = world.sct(tbs, LOGGED_AT_MS);
        sct.log_id[0] ^= 1;
        vec![sct]
    });
    assert_eq!(
        verify(&claimed, &world.root()),
        Err(VerifyError::UnknownLog)
    );
}

#[test]
fn a_promise_made_outside_the_validity_is_refused() {
    let world = World::new();
    let start = u64::try_from(NOT_BEFORE.unix_timestamp()).unwrap() * 1000;
    let end = u64::try_from(NOT_AFTER.unix_timestamp()).unwrap() * 1000;
    let at = |ms| {
        let der = world.issue(&Leaf::new(), |tbs| vec![world.sct(tbs, ms)]);
        verify(&der, &world.root())
    };
    assert!(at(start).is_ok());
    assert!(at(end).is_ok());
    for outside in [start - 1, end + 1, 0, u64::MAX] {
        assert_eq!(at(outside), Err(VerifyError::SctTime), "{outside}");
    }
}

#[test]
fn an_extension_that_two_readers_could_read_differently_is_refused() {
    let world = World::new();
    for more in [
        vec![
            identity(1, b"https://a.example.com"),
            identity(1, b"https://b.example.com"),
        ],
        vec![identity(8, b"https://a.example.com")],
        vec![identity(8, b"\x0c\x04a\x1b[m")],
        vec![identity(2, b"\xff")],
        vec![extension(
            SAN_OID,
            names(&[(EMAIL, "bob@example.com")]),
            true,
        )],
    ] {
        let leaf = Leaf {
            more,
            ..Leaf::new()
        };
        let result = world.verify(&leaf);
        assert!(
            matches!(result, Err(VerifyError::Extension(_))),
            "{result:?}"
        );
    }
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    let world = World::new();
    let der = world.issue_logged(&Leaf::new());
    for cut in (0..der.len()).step_by(7) {
        assert!(verify(&der[..cut], &world.root()).is_err(), "{cut}");
    }
    let longer = [der.as_slice(), &[0]].concat();
    assert!(matches!(
        verify(&longer, &world.root()),
        Err(VerifyError::Malformed(_))
    ));
    // No octet can change without notice: everything is signed by the authority.
    for at in (0..der.len()).step_by(11) {
        let mut altered = der.clone();
        altered[at] ^= 0x01;
        assert!(verify(&altered, &world.root()).is_err(), "{at}");
    }
}

const NOT_BEFORE: OffsetDateTime = datetime!(2026-11-05 06:07:08 UTC);
const NOT_AFTER: OffsetDateTime = datetime!(2026-11-05 06:17:08 UTC);
const LOGGED_AT_MS: u64 = NOT_BEFORE.unix_timestamp().unsigned_abs() * 1000 + 250;
const SAN_OID: &[u8] = &[0x55, 0x1d, 0x11];
const EMAIL: u8 = 0x81;
const URI: u8 = 0x86;
