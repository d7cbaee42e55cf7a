use super::*;
use crate::ctlog::entry::TileLeaf;
use crate::ctlog::merkle::sha256;
use crate::ctlog::testing::{TestAuthority, poison};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose};
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

fn policy(ca: &TestAuthority) -> Policy {
    let code_signing = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
    Policy {
        roots: ca.roots(),
        usages: vec![code_signing],
        ..Policy::default()
    }
}

fn precertificate(chain: &[&[u8]]) -> Submission {
    Submission::Precertificate(chain.iter().map(|der| der.to_vec()).collect())
}

fn certificate(chain: &[&[u8]]) -> Submission {
    Submission::Certificate(chain.iter().map(|der| der.to_vec()).collect())
}

#[test]
fn the_root_may_be_left_out_and_is_stored_all_the_same() {
    let ca = TestAuthority::new();
    let leaf = ca.leaf(vec![poison()]);
    let (intermediate, root) = (ca.intermediate_der(), ca.root_der());
    let policy = policy(&ca);
    let short = policy
        .accept(precertificate(&[&leaf, &intermediate]), NOW)
        .unwrap();
    let long = policy
        .accept(precertificate(&[&leaf, &intermediate, &root]), NOW)
        .unwrap();
    assert_eq!(short.issuers, long.issuers);
    assert_eq!(
        short.issuers,
        [
            (sha256(&intermediate), intermediate.clone()),
            (sha256(&root), root.clone())
        ]
    );
    assert_eq!(short.entry.packed(1, 2), long.entry.packed(1, 2));
}

#[test]
fn what_is_logged_of_a_precertificate_is_its_tbs_without_poison_and_the_issuers_key() {
    use x509_parser::prelude::FromDer as _;
    let ca = TestAuthority::new();
    let other = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], vec![0x0c, 0]);
    let leaf = ca.leaf(vec![poison(), other]);
    let accepted = policy(&ca)
        .accept(precertificate(&[&leaf, &ca.intermediate_der()]), NOW)
        .unwrap();
    let mut tile_leaf = Vec::new();
    let leaf_as_stored = TileLeaf::unpack(&accepted.entry.packed(0, 0)).unwrap();
    leaf_as_stored.push_to(&mut tile_leaf);
    // u64 time, u16 type, hash, u24 length.
    let intermediate = ca.intermediate_der();
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&intermediate).unwrap();
    assert_eq!(tile_leaf[10..42], sha256(parsed.public_key().raw));
    let length = usize::from(u16::from_be_bytes([tile_leaf[43], tile_leaf[44]]));
    let tbs = &tile_leaf[45..45 + length];
    let (rest, tbs) = x509_parser::certificate::TbsCertificate::from_der(tbs).unwrap();
    assert!(rest.is_empty());
    let (_, whole) = x509_parser::certificate::X509Certificate::from_der(&leaf).unwrap();
    assert_eq!(tbs.raw_serial(), whole.raw_serial());
    let oids = |extensions: &[x509_parser::extensions::X509Extension<'_>]| {
        extensions
            .iter()
            .map(|found| found.oid.to_id_string())
            .collect::<Vec<_>>()
    };
    let mut expected = oids(whole.extensions());
    expected.retain(|oid| oid != "1.3.6.1.4.1.11129.2.4.3");
    assert_eq!(oids(tbs.extensions()), expected);
    assert!(
        tile_leaf.windows(leaf.len()).any(|window| window == leaf),
        "precertificate kept"
    );
}

#[test]
fn poison_makes_the_difference_between_the_two_calls() {
    let ca = TestAuthority::new();
    let (policy, above) = (policy(&ca), ca.intermediate_der());
    let plain = ca.leaf(Vec::new());
    let refused = policy
        .accept(precertificate(&[&plain, &above]), NOW)
        .unwrap_err();
    assert_eq!(refused, SubmissionError::Poison);
    let poisoned = ca.leaf(vec![poison()]);
    let refused = policy
        .accept(certificate(&[&poisoned, &above]), NOW)
        .unwrap_err();
    assert_eq!(refused, SubmissionError::IsPrecertificate);
    assert!(policy.accept(certificate(&[&plain, &above]), NOW).is_ok());

    let mut harmless = poison();
    harmless.set_criticality(false);
    let mut other_value =
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], vec![4, 0]);
    other_value.set_criticality(true);
    for extension in [harmless, other_value] {
        let leaf = ca.leaf(vec![extension]);
        let refused = policy
            .accept(precertificate(&[&leaf, &above]), NOW)
            .unwrap_err();
        assert_eq!(refused, SubmissionError::Poison);
        let refused = policy
            .accept(certificate(&[&leaf, &above]), NOW)
            .unwrap_err();
        assert_eq!(refused, SubmissionError::IsPrecertificate);
    }
}

#[test]
fn a_chain_is_in_order_complete_and_used_to_the_end() {
    let ca = TestAuthority::new();
    let other = TestAuthority::new();
    let leaf = ca.leaf(Vec::new());
    let (above, root) = (ca.intermediate_der(), ca.root_der());
    let policy = policy(&ca);
    let refused = |chain: &[&[u8]]| policy.accept(certificate(chain), NOW).unwrap_err();
    assert_eq!(refused(&[]), SubmissionError::Length(0));
    assert_eq!(refused(&[leaf.as_slice(); 9]), SubmissionError::Length(9));
    assert_eq!(refused(&[&leaf]), SubmissionError::UnknownRoot);
    assert_eq!(
        refused(&[&leaf, &above, &other.root_der()]),
        SubmissionError::Chain {
            position: 1,
            error: ChainError::Signature
        }
    );
    // Same names, other keys.
    assert_eq!(
        refused(&[&leaf, &other.intermediate_der(), &root]),
        SubmissionError::Chain {
            position: 0,
            error: ChainError::Signature
        }
    );
    let name = ChainError::IssuerName;
    assert_eq!(
        refused(&[&leaf, &root]),
        SubmissionError::Chain {
            position: 0,
            error: name
        }
    );
    let superfluous = [leaf.as_slice(), &above, &root, &leaf];
    assert!(matches!(
        refused(&superfluous),
        SubmissionError::Chain { position: 2, .. }
    ));
    // A leaf cannot issue.
    let not_authority = ChainError::NotAnAuthority;
    assert_eq!(
        refused(&[&leaf, &leaf, &above]),
        SubmissionError::Chain {
            position: 0,
            error: not_authority
        }
    );
    let large = vec![0x30; MAX_CERTIFICATE + 1];
    assert_eq!(
        refused(&[&leaf, &large]),
        SubmissionError::TooLarge {
            position: 1,
            length: MAX_CERTIFICATE + 1
        }
    );
    let malformed = ChainError::Malformed;
    let mut longer = leaf.clone();
    longer.push(0);
    for bad in [&[][..], &[0x30, 0x00], &leaf[..leaf.len() - 1], &longer] {
        let expected = SubmissionError::Chain {
            position: 0,
            error: malformed,
        };
        assert_eq!(refused(&[bad, &above]), expected);
    }
}

#[test]
fn a_changed_certificate_is_refused_wherever_it_changed() {
    let ca = TestAuthority::new();
    let leaf = ca.leaf(Vec::new());
    let policy = policy(&ca);
    for at in (0..leaf.len()).step_by(7) {
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        assert!(
            policy
                .accept(certificate(&[&changed, &ca.intermediate_der()]), NOW)
                .is_err(),
            "{at}"
        );
    }
}

#[test]
fn usages_decide_unless_any_will_do() {
    let ca = TestAuthority::new();
    let mut policy = policy(&ca);
    let above = ca.intermediate_der();
    let server = ca.leaf_for(vec![ExtendedKeyUsagePurpose::ServerAuth], Vec::new());
    let none = ca.leaf_for(Vec::new(), Vec::new());
    let both = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::CodeSigning,
    ];
    let both = ca.leaf_for(both, Vec::new());
    for leaf in [&server, &none] {
        let refused = policy
            .accept(certificate(&[leaf, &above]), NOW)
            .unwrap_err();
        assert_eq!(refused, SubmissionError::Usage);
    }
    assert!(policy.accept(certificate(&[&both, &above]), NOW).is_ok());
    policy.usages.clear();
    for leaf in [&server, &none, &both] {
        assert!(policy.accept(certificate(&[leaf, &above]), NOW).is_ok());
    }
}

#[test]
fn a_root_itself_is_not_logged() {
    let ca = TestAuthority::new();
    let policy = Policy {
        roots: ca.roots(),
        ..Policy::default()
    };
    let refused = policy
        .accept(certificate(&[&ca.root_der()]), NOW)
        .unwrap_err();
    assert_eq!(refused, SubmissionError::IsRoot);
    // An intermediate is a certificate like any other.
    assert!(
        policy
            .accept(certificate(&[&ca.intermediate_der()]), NOW)
            .is_ok()
    );
}

#[test]
fn of_two_roots_with_one_name_the_one_that_signed_is_found() {
    let (ca, other) = (TestAuthority::new(), TestAuthority::new());
    let roots = [other.roots(), ca.roots()].concat();
    let policy = Policy {
        roots,
        ..Policy::default()
    };
    let leaf = ca.leaf(Vec::new());
    let accepted = policy
        .accept(certificate(&[&leaf, &ca.intermediate_der()]), NOW)
        .unwrap();
    assert_eq!(accepted.issuers[1].1, ca.root_der());
}

#[test]
fn chains_of_every_key_kind_verify() {
    for (root, intermediate) in [
        (
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
        ),
        (
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
        ),
        (&rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_ED25519),
        (&rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256),
        (&rcgen::PKCS_RSA_SHA384, &rcgen::PKCS_RSA_SHA512),
    ] {
        let ca = TestAuthority::with_algorithms(root, intermediate);
        let leaf = ca.leaf(vec![poison()]);
        policy(&ca)
            .accept(precertificate(&[&leaf, &ca.intermediate_der()]), NOW)
            .unwrap();
    }
}

#[derive(serde::Deserialize)]
struct Vector {
    name: String,
    chain: Vec<String>,
    leaf: String,
}

/// Precertificates of Precertificate Signing Certificates; how they are made is beside them.
fn vectors() -> Vec<(String, Vec<Vec<u8>>, Vec<u8>)> {
    let text = std::fs::read_to_string("testdata/ct/presigned.json").unwrap();
    let vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
    let decode = |text: &String| STANDARD.decode(text).unwrap();
    let read = |Vector { name, chain, leaf }: Vector| {
        (name, chain.iter().map(decode).collect(), decode(&leaf))
    };
    vectors.into_iter().map(read).collect()
}

#[test]
fn what_a_special_certificate_signed_is_logged_as_its_issuer_will_sign_it() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 14);
    for (name, chain, leaf) in vectors {
        let root = ChainCertificate::from_der(chain[3].clone()).unwrap();
        let policy = Policy {
            roots: vec![root],
            ..Policy::default()
        };
        for length in [3, 4] {
            let submission = Submission::Precertificate(chain[..length].to_vec());
            let Accepted { entry, issuers } = policy.accept(submission, NOW).unwrap();
            let ours = entry.body().merkle_tree_leaf_with(1_795_000_000_123, &[]);
            assert_eq!(ours, leaf, "{name}");
            let above: Vec<_> = issuers.into_iter().map(|(_, der)| der).collect();
            assert_eq!(above, chain[1..], "{name}");
            // The store gives back what was submitted, and what was hashed.
            let stored = TileLeaf::unpack(&entry.packed(7, 8)).unwrap();
            assert_eq!(stored.precertificate.as_ref(), Some(&chain[0]), "{name}");
            assert_eq!(&stored.body, entry.body(), "{name}");
        }
    }
}

#[test]
fn who_issues_at_last_must_be_known() {
    let (_, chain, _) = vectors().swap_remove(0);
    let root = |der: &Vec<u8>| ChainCertificate::from_der(der.clone()).unwrap();
    let accept = |roots: Vec<ChainCertificate>, chain: &[Vec<u8>]| {
        let policy = Policy {
            roots,
            ..Policy::default()
        };
        policy.accept(Submission::Precertificate(chain.to_vec()), NOW)
    };
    let refused = accept(vec![root(&chain[3])], &chain[..2]).unwrap_err();
    assert_eq!(refused, SubmissionError::UnknownRoot);
    let signer_as_root = accept(vec![root(&chain[1])], &chain[..2]).unwrap_err();
    assert_eq!(signer_as_root, SubmissionError::PrecertificateSigner);
    let issuer_as_root = accept(vec![root(&chain[2])], &chain[..2]).unwrap();
    assert_eq!(issuer_as_root.issuers[1].1, chain[2]);
}

/// It is passed over where lengths of paths are counted, but only below its own issuer.
#[test]
fn the_right_to_sign_precertificates_is_no_longer_path_for_others() {
    let vectors = vectors();
    let (_, chain, _) = vectors
        .iter()
        .find(|(name, ..)| name.contains("no intermediates"))
        .unwrap();
    let root = ChainCertificate::from_der(chain[3].clone()).unwrap();
    let policy = Policy {
        roots: vec![root],
        ..Policy::default()
    };
    assert!(
        policy
            .accept(Submission::Precertificate(chain.clone()), NOW)
            .is_ok()
    );
    // The signing certificate submitted as one that was issued is below no intermediate at all.
    assert!(
        policy
            .accept(Submission::Certificate(chain[1..].to_vec()), NOW)
            .is_ok()
    );
}

#[test]
fn a_shard_takes_what_ends_in_its_window_and_nothing_else() {
    let ca = TestAuthority::new();
    let leaf = ca.leaf(Vec::new());
    let end = ChainCertificate::from_der(leaf.clone())
        .unwrap()
        .not_after();
    let second = time::Duration::SECOND;
    let above = ca.intermediate_der();
    for (start, limit, is_taken) in [
        (None, None, true),
        (Some(end), None, true),
        (Some(end + second), None, false),
        (Some(end - second), Some(end + second), true),
        (None, Some(end + second), true),
        (None, Some(end), false),
        (Some(end - second), Some(end), false),
    ] {
        let window = Window { start, end: limit };
        let policy = Policy {
            window,
            ..policy(&ca)
        };
        let accepted = policy.accept(certificate(&[&leaf, &above]), NOW);
        match accepted {
            Ok(_) => assert!(is_taken, "{window}"),
            Err(error) => {
                let not_after = end;
                assert_eq!(error, SubmissionError::Window { not_after, window });
                assert!(!is_taken, "{window}");
            }
        }
    }
}

#[test]
fn the_expired_are_taken_unless_they_are_not_wanted() {
    let ca = TestAuthority::new();
    let leaf = ca.leaf(Vec::new());
    let not_after = ChainCertificate::from_der(leaf.clone())
        .unwrap()
        .not_after();
    let chain = || certificate(&[&leaf, &ca.intermediate_der()]);
    let after = not_after + time::Duration::SECOND;
    let mut policy = policy(&ca);
    assert!(policy.accept(chain(), after).is_ok());
    policy.reject_expired = true;
    assert!(policy.accept(chain(), not_after).is_ok(), "its last second");
    let refused = policy.accept(chain(), after).unwrap_err();
    assert_eq!(refused, SubmissionError::Expired { not_after });
}
