//! The shape of good answers and of the questions that have none.

use reqwest::Method;

use super::caller::Caller;
use super::house::{House, V1, V2, der_of};

#[tokio::test]
async fn the_second_version_answers_200_with_one_field_and_trimmed_pem() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let body = caller.v2(Some(&token)).to_string();
    // Clients ask for PEM and read JSON.
    let accept = [("accept", "application/pem-certificate-chain")];
    let answer = house.post(V2, &accept, body).await;
    let chain = answer.chain();
    let own = house.issuance.authority.chain().der();
    assert_eq!(chain.len(), 3, "leaf, intermediate, root");
    for (pem, expected) in chain[1..].iter().zip(own) {
        assert_eq!(&der_of(pem), expected);
    }
    for pem in &chain {
        assert_eq!(pem.trim(), pem, "no white space around a certificate");
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    }
    let leaked = answer
        .headers
        .keys()
        .find(|name| name.as_str().starts_with("grpc-"));
    assert_eq!(leaked, None);
    assert_eq!(answer.header("sct"), None);
    assert_eq!(house.issued().await, (1, 1));
}

#[tokio::test]
async fn the_first_version_answers_201_with_certificates_one_line_break_apart() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let bearer = format!("Bearer {}", house.provider.token(&caller.name));
    let headers = [("authorization", bearer.as_str())];
    let answer = house.post(V1, &headers, caller.v1().to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let media = Some("application/pem-certificate-chain");
    assert_eq!(answer.header("content-type"), media);
    assert_eq!(answer.header("sct"), None);
    let text = answer.text();
    assert_eq!(text.trim(), text);
    let pems: Vec<&str> = text
        .split_inclusive("-----END CERTIFICATE-----")
        .map(|pem| pem.strip_prefix('\n').unwrap_or(pem))
        .collect();
    assert_eq!(
        pems.join("\n"),
        text,
        "exactly one line break between two certificates"
    );
    let own = house.issuance.authority.chain().der();
    assert_eq!(pems.len(), 3);
    assert_eq!(
        [der_of(pems[1]), der_of(pems[2])],
        [own[0].clone(), own[1].clone()]
    );
}

#[tokio::test]
async fn both_versions_and_repeated_requests_give_certificates_of_their_own() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let body = caller.v2(Some(&token)).to_string();
    let first = house.post(V2, &[], body.clone()).await.leaf();
    let second = house.post(V2, &[], body).await.leaf();
    let serial = |der: &[u8]| {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        certificate.tbs_certificate.raw_serial().to_vec()
    };
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(house.issued().await, (2, 2));
}

#[tokio::test]
async fn a_question_nobody_answers_is_refused_as_the_known_gateway_does() {
    let house = House::open().await;
    for path in ["/", "/api/v2/signingcert", "/api/v3/signingCert", "/api"] {
        let answer = house.get(path).await;
        answer.is_refused(404, 5, "Not Found", "NOT_FOUND");
    }
    for (method, path) in [
        (Method::GET, V2),
        (Method::PUT, V2),
        (Method::GET, V1),
        (Method::DELETE, V1),
        (Method::POST, "/api/v2/trustBundle"),
        (Method::POST, "/api/v2/configuration"),
        (Method::PUT, "/api/v1/rootCert"),
        (Method::POST, "/healthz"),
    ] {
        let answer = house.send(method, path, &[], Vec::new()).await;
        answer.is_refused(501, 12, "Method Not Allowed", "METHOD_NOT_ALLOWED");
    }
    for path in [
        "/api/v2/trustBundle",
        "/api/v2/configuration",
        "/api/v1/rootCert",
        V2,
        V1,
    ] {
        let answer = house.send(Method::HEAD, path, &[], Vec::new()).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (501, &b""[..]));
    }
}

#[tokio::test]
async fn every_answer_has_a_name_and_a_tame_one_is_kept() {
    let house = House::open().await;
    let kept = house
        .post(V2, &[("x-request-id", "build-77_a.b:c")], "{}")
        .await;
    assert_eq!(kept.header("x-request-id"), Some("build-77_a.b:c"));
    for wild in ["a b", "a\"b", "<x>", &"x".repeat(129)] {
        let answer = house.post(V2, &[("x-request-id", wild)], "{}").await;
        let id = answer.header("x-request-id").unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
    }
    let (one, two) = (house.get("/healthz").await, house.get("/nowhere").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert!(one.header("x-request-id").is_some());
}

/// Browsers send a token in the body or, after asking, in the header.
#[tokio::test]
async fn a_browser_may_ask_from_anywhere() {
    let house = House::open().await;
    let origin = ("origin", "https://sign.example.com");
    let preflight = [
        origin,
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let answer = house
        .send(Method::OPTIONS, V2, &preflight, Vec::new())
        .await;
    assert!(answer.status.is_success(), "{answer:?}");
    let allowed = |name: &str| answer.header(name).unwrap_or_default().to_lowercase();
    assert_eq!(allowed("access-control-allow-origin"), "*");
    assert!(allowed("access-control-allow-methods").contains("post"));
    for header in ["authorization", "content-type", "x-requested-with"] {
        assert!(allowed("access-control-allow-headers").contains(header));
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);

    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    let good = house.post(V2, &[origin], body.to_string()).await;
    good.leaf();
    let refused = house.post(V2, &[origin], "{}").await;
    let asked = [origin];
    let elsewhere = house.send(Method::GET, "/nowhere", &asked, Vec::new());
    let bundle = house.send(Method::GET, "/api/v2/trustBundle", &asked, Vec::new());
    for answer in [good, refused, elsewhere.await, bundle.await] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"));
        let leaked = answer
            .headers
            .keys()
            .find(|name| name.as_str().starts_with("grpc-"));
        assert_eq!(leaked, None);
    }
}
