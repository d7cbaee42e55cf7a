//! What is answered without a token: the chain, the configuration, the trust files, and health.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use vouchsafe::trust::TrustedRoot;

use super::house::{House, der_of};

#[tokio::test]
async fn the_chain_is_one_in_all_its_forms() {
    let house = House::open().await;
    let own = house.issuance.authority.chain().der().to_vec();

    let bundle = house.get("/api/v2/trustBundle").await;
    assert_eq!(bundle.status, 200);
    let json = bundle.json();
    let pems = json["chains"][0]["certificates"].as_array().unwrap();
    assert_eq!(json, json!({"chains": [{"certificates": pems}]}));
    let pems: Vec<&str> = pems.iter().map(|pem| pem.as_str().unwrap()).collect();
    for pem in &pems {
        assert!(pem.ends_with("-----END CERTIFICATE-----\n"), "{pem:?}");
    }
    let ders: Vec<Vec<u8>> = pems.iter().map(|pem| der_of(pem)).collect();
    assert_eq!(ders, own);

    // The first version: one empty line between certificates, nothing after the last.
    let roots = house.get("/api/v1/rootCert").await;
    assert_eq!(roots.status, 200);
    let media = Some("application/pem-certificate-chain");
    assert_eq!(roots.header("content-type"), media);
    assert_eq!(roots.text(), pems.join("\n").trim_end());
}

#[tokio::test]
async fn the_configuration_tells_every_issuer_with_all_six_scalars() {
    let house = House::open().await;
    let provider = &house.provider;
    let answer = house.get("/api/v2/configuration").await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 1);
    let issuer = |which: &str, url: &str, audience: &str, claim: &str, kind: &str| {
        json!({
            which: url, "audience": audience, "challengeClaim": claim, "spiffeTrustDomain": "",
            "issuerType": kind, "subjectDomain": "", "skipEmailVerification": false,
        })
        .to_string()
    };
    let expected = BTreeSet::from([
        issuer("issuerUrl", &provider.email(), "sigstore", "email", "email"),
        issuer(
            "issuerUrl",
            &provider.other(),
            "other-audience",
            "email",
            "email",
        ),
        issuer(
            "issuerUrl",
            &provider.github(),
            "sigstore",
            "sub",
            "ci-provider",
        ),
        issuer("issuerUrl", provider.down(), "sigstore", "email", "email"),
        issuer(
            "wildcardIssuerUrl",
            "https://oidc.*.example.com/id",
            "sigstore",
            "sub",
            "ci-provider",
        ),
    ]);
    let told = json["issuers"].as_array().unwrap().iter();
    assert_eq!(
        told.map(Value::to_string).collect::<BTreeSet<_>>(),
        expected
    );
}

#[tokio::test]
async fn the_trust_files_are_read_by_the_verifiers_parser_and_agree() {
    let house = House::open().await;
    let answer = house.get("/trust/trusted-root").await;
    let trusted = TrustedRoot::from_json(&answer.body).unwrap();
    let chain = house.issuance.authority.chain();
    assert_eq!(trusted.authorities.len(), 1);
    assert_eq!(trusted.authorities[0].chain(), chain.der());
    assert_eq!(trusted.authorities[0].url(), house.url());
    let log = trusted.log(&house.log().log_id()).unwrap();
    assert_eq!(log.base_url(), format!("{}/log", house.url()));

    let root = answer.json();
    let client = house.get("/trust/client-config").await.json();
    let signing = house.get("/trust/signing-config").await.json();
    assert_eq!(client["trustedRoot"], root);
    assert_eq!(client["signingConfig"], signing);
    assert_eq!(signing["caUrls"][0]["url"], house.url());
    let bundle = house.get("/trust/bundle").await;
    assert_eq!(bundle.status, 200);
    assert_eq!(bundle.text(), chain.pem().concat());

    for path in ["/trust/", "/trust/nothing", "/trust/..%2fvouchsafe.yaml"] {
        let answer = house.get(path).await;
        answer.is_refused(404, 5, "Not Found", "NOT_FOUND");
    }
}

#[tokio::test]
async fn health_is_told_in_the_words_that_probes_know() {
    let house = House::open().await;
    for path in ["/healthz", "/healthz?service=anything"] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!({"status": "SERVING"}));
    }
    for path in ["/livez", "/readyz"] {
        let answer = house.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok\n"));
        let head = house.send(Method::HEAD, path, &[], Vec::new()).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    }
}
