//! The document that the server gives about itself, against the server.

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;
use serde_json::Value;

use super::caller::Caller;
use super::house::{Answer, House, V1, V2};
use super::schema;

/// The addresses of the street, from the source: the transparency log has its own protocol and the
/// metrics their own listener.
fn routes() -> BTreeSet<String> {
    let source = fs::read_to_string("src/server/mod.rs").unwrap();
    let calls = source.split(".route(").skip(1);
    calls
        .map(|call| call.split('"').nth(1).unwrap().to_owned())
        .collect()
}

/// That an answer is one of those that the document promises for the operation.
fn check(document: &Value, path: &str, method: &str, answer: &Answer) {
    let status = answer.status.as_str();
    let mut promised = &document["paths"][path][method]["responses"][status];
    if let Some(reference) = promised["$ref"].as_str() {
        promised = document
            .pointer(reference.strip_prefix('#').unwrap())
            .unwrap();
    }
    assert!(
        promised.is_object(),
        "{method} {path}: {status} is no promise"
    );
    for name in promised["headers"].as_object().into_iter().flatten() {
        assert!(
            answer.header(&name.0.to_lowercase()).is_some(),
            "{answer:?}"
        );
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let content = &promised["content"][kind]["schema"];
    assert!(
        content.is_object(),
        "{method} {path}: {kind:?} is no promise"
    );
    if kind == "application/json" {
        schema::check(document, content, &answer.json()).unwrap();
    }
}

#[tokio::test]
async fn the_document_is_what_the_server_does() {
    let house = House::open().await;
    let document = house.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<String> = paths.keys().cloned().collect();
    assert_eq!(documented, routes());

    let caller = Caller::new("one@example.com");
    let token = house.provider.token(&caller.name);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    for (path, request) in [(V2, caller.v2(None)), (V1, caller.v1())] {
        let good = house.post(path, &headers, request.to_string()).await;
        assert!(good.status.is_success(), "{}", good.text());
        check(&document, path, "post", &good);
        let refused = house.post(path, &[], request.to_string()).await;
        assert_eq!(refused.status, 400);
        check(&document, path, "post", &refused);
        // The schema of the request knows what clients send.
        let body = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        schema::check(&document, &body["schema"], &request).unwrap();
    }
    house.issuance.log.close().await;
    let outage = house.post(V2, &headers, caller.v2(None).to_string()).await;
    assert_eq!(outage.status, 503);
    check(&document, V2, "post", &outage);

    for (path, operations) in paths {
        let files = ["trusted-root", "signing-config", "client-config", "bundle"];
        let files: &[&str] = if path.contains("{file}") {
            &files
        } else {
            &[""]
        };
        for file in files {
            let address = path.replace("{file}", file);
            if operations.get("get").is_some() {
                check(&document, path, "get", &house.get(&address).await);
            }
            let method = operations.as_object().unwrap().keys().next().unwrap();
            let wrong = house.send(Method::DELETE, &address, &[], Vec::new()).await;
            assert_eq!(wrong.status, 501, "{address}");
            check(&document, path, method, &wrong);
        }
    }
    let missing = house.get("/trust/nothing").await;
    assert_eq!(missing.status, 404);
    check(&document, "/trust/{file}", "get", &missing);
}

#[test]
fn a_schema_that_promises_something_else_is_seen() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "array", "items": {"enum": ["x"]}}, "b": {"type": "integer"}},
    });
    let check = |value: Value| schema::check(&schema, &schema, &value);
    assert_eq!(check(serde_json::json!({"a": ["x"], "b": 1})), Ok(()));
    for wrong in [
        serde_json::json!({}),
        serde_json::json!([]),
        serde_json::json!({"a": "x"}),
        serde_json::json!({"a": ["y"]}),
        serde_json::json!({"a": [], "b": 1.5}),
        serde_json::json!({"a": [], "c": 1}),
    ] {
        assert!(check(wrong.clone()).is_err(), "{wrong}");
    }
}
