//! What a certificate says, and what cannot make it say anything else.

use x509_parser::prelude::X509Certificate;

use vouchsafe::certificate::extensions::Extension;
use vouchsafe::client::chain::UnverifiedChain;
use vouchsafe::client::inclusion::check_inclusion;
use vouchsafe::client::verify::verify_issued;
use vouchsafe::ledger::Query;
use vouchsafe::trust::TrustedRoot;

use super::caller::{Caller, fixture, v2_with_csr};
use super::house::{House, V2};
use super::provider::{COMMIT, JOB};

/// Everything of a certificate that is not its serial number, its time or its timestamp.
fn essence<'a>(certificate: &'a X509Certificate<'_>) -> Vec<(String, bool, &'a [u8])> {
    let tbs = &certificate.tbs_certificate;
    let mut parts = vec![
        ("subject".to_owned(), false, tbs.subject.as_raw()),
        ("issuer".to_owned(), false, tbs.issuer.as_raw()),
        ("key".to_owned(), false, tbs.subject_pki.raw),
    ];
    let (_, extensions) = tbs.extensions().split_last().unwrap();
    parts.extend(
        extensions
            .iter()
            .map(|one| (one.oid.to_id_string(), one.critical, one.value)),
    );
    parts
}

#[tokio::test]
async fn what_a_signing_request_asks_for_does_not_reach_the_certificate() {
    let house = House::open().await;
    let token = house.provider.token("one@example.com");
    let mut leaves = Vec::new();
    for name in ["csr-p256-bare.pem", "csr-p256-greedy.pem"] {
        let csr = fixture(name);
        let body = v2_with_csr(&token, &csr).to_string();
        leaves.push(house.post(V2, &[], body).await.leaf());
    }
    let greedy = fixture("csr-p256-greedy.pem");
    let greedy = super::house::der_of(str::from_utf8(&greedy).unwrap());
    let ca_true = [0x30, 0x03, 0x01, 0x01, 0xff];
    let asks = greedy.windows(5).any(|window| window == ca_true);
    assert!(asks, "the greedy request asks to be an authority");
    let parsed: Vec<X509Certificate<'_>> = leaves
        .iter()
        .map(|der| x509_parser::parse_x509_certificate(der).unwrap().1)
        .collect();
    assert_eq!(essence(&parsed[0]), essence(&parsed[1]));
    assert!(!parsed[1].is_ca());
    assert!(parsed[1].basic_constraints().unwrap().is_none());
    assert_eq!(parsed[1].subject().as_raw(), [0x30, 0]);
    assert_eq!(house.issued().await, (2, 2));
}

#[tokio::test]
async fn a_person_and_a_job_are_certified_logged_and_recorded_as_they_are() {
    let house = House::open().await;
    let root = house.get("/trust/trusted-root").await;
    let root = TrustedRoot::from_json(&root.body).unwrap();
    let person = "one@example.com";
    let workflow =
        "https://github.com/example-org/example-repo/.github/workflows/release.yml@refs/heads/main";
    let job = house.provider.sign(&house.provider.job());
    let cases = [
        (person, house.provider.token(person), person, 3),
        (JOB, job, workflow, 22),
    ];
    for (position, (challenge, token, name, count)) in cases.into_iter().enumerate() {
        let caller = Caller::new(challenge);
        let body = caller.v2(Some(&token)).to_string();
        let chain = house.post(V2, &[], body).await.chain();
        let chain = UnverifiedChain::from_pems(chain.iter().map(String::as_str)).unwrap();
        let verified = verify_issued(&chain, &root, &caller.spki()).unwrap();
        assert_eq!(verified.name().as_str(), name);
        assert_eq!(
            verified.not_after() - verified.not_before(),
            time::Duration::minutes(10)
        );
        let (_, leaf) = x509_parser::parse_x509_certificate(chain.leaf()).unwrap();
        assert_eq!(leaf.extensions().len(), 5 + count + 1, "{name}");
        if name == workflow {
            for extension in [
                Extension::GithubWorkflowSha,
                Extension::BuildSignerDigest,
                Extension::SourceRepositoryDigest,
            ] {
                assert_eq!(verified.extension(extension), Some(COMMIT));
            }
            assert_eq!(verified.extension(Extension::TokenSubject), Some(JOB));
        }
        let included = check_inclusion(&house.http, &root, &verified)
            .await
            .unwrap();
        assert_eq!(included.index, position as u64);

        let query = Query::serial_from_hex(&hex(leaf.tbs_certificate.raw_serial())).unwrap();
        let rows = house.issuance.ledger.find(&query, 2).await.unwrap();
        let [row] = rows.as_slice() else {
            panic!("one row: {}", rows.len());
        };
        assert_eq!(
            (row.certificate.as_slice(), row.identity.as_str()),
            (chain.leaf(), name)
        );
        assert_eq!(row.log_index, Some(included.index));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
