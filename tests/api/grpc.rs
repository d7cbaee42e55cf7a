//! gRPC beside HTTP on one port: what it answers that HTTP cannot be asked.

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use vouchsafe::api::google::HttpBody;
use vouchsafe::api::v2;

use super::caller::Caller;
use super::door::{Key, Question, V1_CREATE, V2_CREATE, v2_message, verdict};
use super::house::{House, TOKEN, Transport, der_of};

fn question(house: &House, name: &str) -> Question {
    let caller = Caller::new(name);
    Question {
        token: house.provider.token(name),
        key: Key::Public {
            pem: caller.pem().into_bytes(),
            proof: caller.proof(),
        },
    }
}

#[tokio::test]
async fn bundle_configuration_and_root_are_those_of_http() {
    for transport in [Transport::Plain, Transport::Tls] {
        let house = House::open_with(transport).await;
        let request = Request::new(v2::GetTrustBundleRequest {});
        let path = "/dev.sigstore.fulcio.v2.CA/GetTrustBundle";
        let bundle: v2::TrustBundle = house.call(path, request).await.unwrap();
        let json = house.get("/api/v2/trustBundle").await.json();
        let chains: Vec<_> = bundle
            .chains
            .iter()
            .map(|chain| &chain.certificates)
            .collect();
        let [chain] = chains.as_slice() else {
            panic!("one chain: {bundle:?}");
        };
        assert_eq!(json["chains"][0]["certificates"], serde_json::json!(chain));
        assert!(
            chain.iter().all(|pem| pem.ends_with("-----\n")),
            "{chain:?}"
        );

        let request = Request::new(v2::GetConfigurationRequest {});
        let path = "/dev.sigstore.fulcio.v2.CA/GetConfiguration";
        let configuration: v2::Configuration = house.call(path, request).await.unwrap();
        let json = house.get("/api/v2/configuration").await.json();
        let issuers = json["issuers"].as_array().unwrap();
        assert_eq!(configuration.issuers.len(), issuers.len());
        assert!(issuers.len() >= 5);
        for (issuer, json) in configuration.issuers.iter().zip(issuers) {
            let (name, url) = match issuer.issuer.clone().unwrap() {
                v2::oidc_issuer::Issuer::IssuerUrl(url) => ("issuerUrl", url),
                v2::oidc_issuer::Issuer::WildcardIssuerUrl(url) => ("wildcardIssuerUrl", url),
            };
            let expected = serde_json::json!({
                name: url,
                "audience": issuer.audience,
                "challengeClaim": issuer.challenge_claim,
                "spiffeTrustDomain": issuer.spiffe_trust_domain,
                "issuerType": issuer.issuer_type,
                "subjectDomain": issuer.subject_domain,
                "skipEmailVerification": issuer.skip_email_verification,
            });
            assert_eq!(json, &expected);
        }

        let path = "/dev.sigstore.fulcio.v1beta.CA/GetRootCertificate";
        let root: HttpBody = house.call(path, Request::new(())).await.unwrap();
        let http = house.get("/api/v1/rootCert").await;
        assert_eq!(root.data, http.body);
        assert_eq!(Some(&*root.content_type), http.header("content-type"));
    }
}

#[tokio::test]
async fn the_token_in_the_metadata_counts_where_it_is_the_only_one() {
    let house = House::open().await;
    let good = question(&house, "one@example.com");
    let without = Question {
        token: String::new(),
        ..good.clone()
    };
    let ask = async |tokens: &[&str]| {
        let mut request = Request::new(v2_message(&without));
        for token in tokens {
            let metadata = request.metadata_mut();
            metadata.append("oidcidentitytoken", token.parse().unwrap());
        }
        house
            .call::<_, v2::SigningCertificate>(V2_CREATE, request)
            .await
    };
    assert!(ask(&[&good.token]).await.is_ok());
    let token = good.token.as_str();
    for tokens in [&[][..], &[token, token], &["", token]] {
        let verdict = verdict(&ask(tokens).await.unwrap_err());
        assert_eq!(
            (&*verdict.message, &*verdict.reason),
            (TOKEN, "TOKEN_MALFORMED")
        );
    }
    // The header of HTTP is not looked at.
    let mut request = Request::new(v2_message(&without));
    let bearer = format!("Bearer {}", good.token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let refused = house.call::<_, v2::SigningCertificate>(V2_CREATE, request);
    assert_eq!(refused.await.unwrap_err().code(), Code::InvalidArgument);
}

/// A call as octets: what comes back in headers, data and trailers, which a client of HTTP sees.
struct Raw {
    status: u16,
    grpc_status: Option<String>,
    reason: String,
    data: Vec<u8>,
}

async fn raw(house: &House, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Raw {
    let address = house.url().strip_prefix("http://").unwrap();
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let driving = tokio::spawn(connection);
    let mut request = hyper::Request::post(format!("{}{path}", house.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(bytes::Bytes::copy_from_slice(message));
    let answer = client
        .send_request(request.body(body).unwrap())
        .await
        .unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let all = [&head.headers, &trailers];
    let find = |name: &str| {
        let value = all.iter().find_map(|headers| headers.get(name));
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let header_map = all
        .iter()
        .find(|headers| headers.contains_key("grpc-status"));
    let reason = header_map
        .and_then(|headers| tonic::Status::from_header_map(headers))
        .filter(|status| status.code() != Code::Ok)
        .map_or_else(String::new, |status| verdict(&status).reason);
    driving.abort();
    Raw {
        status: head.status.as_u16(),
        grpc_status: find("grpc-status"),
        reason,
        data: body.to_bytes().to_vec(),
    }
}

/// Length-prefixed, as gRPC has it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// A field of wire type 2, its tag written down by hand.
fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(value);
    out
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn the_octets_on_the_wire_are_those_of_other_implementations() {
    let house = House::open().await;
    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let credentials = field(0x0a, &field(0x0a, token.as_bytes()));
    // The algorithm is one that nobody knows, and there is a field that nobody knows.
    let key = [&[0x08, 0x63][..], &field(0x12, caller.pem().as_bytes())].concat();
    let key = [field(0x0a, &key), field(0x12, &caller.proof())].concat();
    let message = [credentials, field(0x12, &key), field(0x7a, b"later")].concat();
    let answer = raw(&house, V2_CREATE, &[GRPC], &framed(&message)).await;
    assert_eq!(
        (answer.status, answer.grpc_status.as_deref()),
        (200, Some("0"))
    );
    // embedded(2) { chain(1) { certificates(1) ... } }
    let data = &answer.data[5..];
    assert_eq!(data[0], 0x12);
    let text = String::from_utf8_lossy(data);
    assert_eq!(text.matches("-----BEGIN CERTIFICATE-----").count(), 3);

    let key = field(0x0a, &field(0x12, &caller.spki()));
    let message = [key, field(0x12, &caller.proof())].concat();
    let headers = [GRPC, ("oidcidentitytoken", &token)];
    let answer = raw(&house, V1_CREATE, &headers, &framed(&message)).await;
    assert_eq!(answer.grpc_status.as_deref(), Some("0"));
    let kind = field(0x0a, b"application/pem-certificate-chain");
    assert!(answer.data[5..].starts_with(&kind));
    let begins = String::from_utf8_lossy(&answer.data);
    let leaf = begins.find("-----BEGIN").map(|at| &begins[at..]).unwrap();
    assert!(!der_of(leaf).is_empty());
    assert_eq!(house.issued().await, (2, 2));
}

#[tokio::test]
async fn what_no_method_is_asked_with_is_refused_in_the_words_of_all_doors() {
    let house = House::open().await;
    for (path, message, code, reason) in [
        (
            "/dev.sigstore.fulcio.v2.CA/Sign",
            framed(b""),
            "12",
            "METHOD_NOT_ALLOWED",
        ),
        (
            "/dev.sigstore.fulcio.v3.CA/Sign",
            framed(b""),
            "12",
            "METHOD_NOT_ALLOWED",
        ),
        ("/", framed(b""), "12", "METHOD_NOT_ALLOWED"),
        (V2_CREATE, framed(b"\xff\xff"), "3", "REQUEST_MALFORMED"),
        (
            V2_CREATE,
            framed(&field(0x0a, b"\xff")),
            "3",
            "REQUEST_MALFORMED",
        ),
        (
            V2_CREATE,
            framed(&vec![0x7a; (64 << 10) + 1]),
            "3",
            "BODY_TOO_LARGE",
        ),
        (
            V2_CREATE,
            framed(&vec![0x7a; 4 << 20]),
            "3",
            "BODY_TOO_LARGE",
        ),
        (V2_CREATE, framed(b""), "3", "TOKEN_MALFORMED"),
        (V1_CREATE, framed(b""), "3", "KEY_INVALID"),
    ] {
        let answer = raw(&house, path, &[GRPC], &message).await;
        let found = (
            answer.status,
            answer.grpc_status.as_deref(),
            &*answer.reason,
        );
        assert_eq!(found, (200, Some(code), reason), "{path}");
    }
    // Its addresses are nothing over HTTP.
    for path in [V2_CREATE, V1_CREATE, "/grpc.health.v1.Health/Check"] {
        let answer = house
            .post(path, &[("content-type", "application/json")], "{}")
            .await;
        answer.is_refused(404, 5, "Not Found", "NOT_FOUND");
    }
    assert_eq!(house.issued().await, (0, 0));
}

#[tokio::test]
async fn a_caller_that_cannot_wait_is_told_so() {
    let house = House::open().await;
    let message = v2_message(&question(&house, "one@example.com"));
    let message = framed(&prost::Message::encode_to_vec(&message));
    for (timeout, code, reason) in [
        ("0n", "4", "DEADLINE_EXCEEDED"),
        ("soon", "3", "REQUEST_MALFORMED"),
        ("20S", "0", ""),
    ] {
        let headers = [GRPC, ("grpc-timeout", timeout)];
        let answer = raw(&house, V2_CREATE, &headers, &message).await;
        let found = (answer.grpc_status.as_deref(), &*answer.reason);
        assert_eq!(found, (Some(code), reason), "{timeout}");
    }
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    let headers = [("grpc-timeout", "0n")];
    let late = house.post("/api/v2/signingCert", &headers, body.to_string());
    let message = "the request took too long";
    late.await.is_refused(504, 4, message, "DEADLINE_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_what_is_the_case_and_ends_with_the_server() {
    let mut house = House::open().await;
    let mut client = HealthClient::new(house.channel().await);
    let services = [
        "",
        "dev.sigstore.fulcio.v2.CA",
        "dev.sigstore.fulcio.v1beta.CA",
    ];
    let mut watches = Vec::new();
    for service in services {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let told = client.check(request.clone()).await.unwrap().into_inner();
        assert_eq!(told.status(), ServingStatus::Serving);
        let mut watch = client.watch(request).await.unwrap().into_inner();
        let first = watch.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        watches.push(watch);
    }
    let unknown = HealthCheckRequest {
        service: "nobody".to_owned(),
    };
    let refused = client.check(unknown).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    // The log stops: nothing can be issued any more.
    house.issuance.log.close().await;
    let is = |told: Option<Result<HealthCheckResponse, _>>, expected: ServingStatus| {
        let told: HealthCheckResponse = told
            .unwrap()
            .map_err(|status: tonic::Status| status)
            .unwrap();
        assert_eq!(told.status(), expected);
    };
    for watch in &mut watches {
        is(watch.next().await, ServingStatus::NotServing);
    }
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, 503);

    // Streams that are watched do not keep the server from ending.
    house.stop();
    let begun = std::time::Instant::now();
    for watch in &mut watches {
        // It may say once more what it said.
        while let Some(Ok(told)) = watch.next().await {
            assert_eq!(told.status(), ServingStatus::NotServing);
        }
    }
    house.ended().await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
