//! The log as tools read it that know no tiles: every proof is checked, none is believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use serde_json::Value;
use vouchsafe::ctlog::merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion};

use super::caller::Caller;
use super::house::{House, Transport, V2, der_of};

async fn house() -> House {
    House::open_changed(Transport::Plain, |settings| {
        settings.replace("\nlog:\n", "\nlog:\n  rfc6962-reads: true\n")
    })
    .await
}

async fn issue(house: &House) -> Vec<Vec<u8>> {
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    let chain = house.post(V2, &[], body.to_string()).await.chain();
    chain.iter().map(|pem| der_of(pem)).collect()
}

async fn get(house: &House, path: &str) -> Value {
    let answer = house.get(&format!("/log/ct/v1/{path}")).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn octets(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn hash(value: &Value) -> Hash {
    octets(value).try_into().unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

/// The root and the size of a signed tree head, its signature checked.
async fn head(house: &House) -> (Hash, u64) {
    let sth = get(house, "get-sth").await;
    let (root, size) = (
        hash(&sth["sha256_root_hash"]),
        sth["tree_size"].as_u64().unwrap(),
    );
    let timestamp = sth["timestamp"].as_u64().unwrap();
    let signed = [
        &[0, 1][..],
        &timestamp.to_be_bytes(),
        &size.to_be_bytes(),
        &root,
    ]
    .concat();
    let signature = octets(&sth["tree_head_signature"]);
    let (kind, der) = signature.split_at(4);
    assert_eq!(kind[..2], [4, 3], "SHA-256, ECDSA");
    assert_eq!(usize::from(kind[2]) << 8 | usize::from(kind[3]), der.len());
    let key = VerifyingKey::from_public_key_der(house.log().public_key_der()).unwrap();
    key.verify(&signed, &Signature::from_der(der).unwrap())
        .unwrap();
    (root, size)
}

#[tokio::test]
async fn every_proof_of_a_growing_log_holds() {
    let house = house().await;
    let (empty, size) = head(&house).await;
    assert_eq!(size, 0);
    let mut roots = vec![empty];
    let mut chain = Vec::new();
    for _ in 0..7 {
        chain = issue(&house).await;
        roots.push(head(&house).await.0);
    }
    // One past the last index, as some ask.
    let entries = get(&house, "get-entries?start=0&end=7").await;
    let entries = entries["entries"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 7);
    let leaves: Vec<Vec<u8>> = entries
        .iter()
        .map(|entry| octets(&entry["leaf_input"]))
        .collect();

    for size in 1..=7 {
        let root = &roots[size];
        for (index, leaf) in leaves.iter().enumerate().take(size) {
            let leaf = leaf_hash(leaf);
            let path = format!("get-entry-and-proof?leaf_index={index}&tree_size={size}");
            let answer = get(&house, &path).await;
            assert_eq!(answer["leaf_input"], entries[index]["leaf_input"]);
            assert_eq!(answer["extra_data"], entries[index]["extra_data"]);
            let escaped = STANDARD
                .encode(leaf)
                .replace('+', "%2B")
                .replace('/', "%2F");
            let path = format!("get-proof-by-hash?hash={escaped}&tree_size={size}");
            let by_hash = get(&house, &path).await;
            assert_eq!(by_hash["leaf_index"], index);
            assert_eq!(by_hash["audit_path"], answer["audit_path"]);
            let proof = hashes(&answer["audit_path"]);
            let (index, size) = (index.try_into().unwrap(), size.try_into().unwrap());
            assert!(verify_inclusion(&leaf, index, size, &proof, root));
        }
        for (first, old) in roots.iter().enumerate().take(size + 1) {
            let path = format!("get-sth-consistency?first={first}&second={size}");
            let proof = hashes(&get(&house, &path).await["consistency"]);
            let sizes = [first, size].map(|size| u64::try_from(size).unwrap());
            let holds = verify_consistency(sizes[0], old, sizes[1], root, &proof);
            assert!(holds, "{first} {size}");
        }
    }

    // u24 precertificate, then the certificates above it, root included.
    let extra = octets(&entries[6]["extra_data"]);
    let number = |at: usize| {
        let [a, b, c] = [extra[at], extra[at + 1], extra[at + 2]].map(usize::from);
        a << 16 | b << 8 | c
    };
    let precertificate = number(0);
    let above = &extra[3 + precertificate..];
    let expected: Vec<u8> = chain[1..]
        .iter()
        .flat_map(|der| {
            let length = u32::try_from(der.len()).unwrap().to_be_bytes();
            [&length[1..], der].concat()
        })
        .collect();
    assert_eq!(&above[3..], expected);
}

#[tokio::test]
async fn what_is_not_there_is_not_answered() {
    let house = house().await;
    issue(&house).await;
    issue(&house).await;
    let nothing = STANDARD.encode([0; 32]).replace('+', "%2B");
    for (path, status) in [
        ("get-sth-consistency?first=1&second=3", 400),
        ("get-sth-consistency?first=2&second=1", 400),
        ("get-sth-consistency?first=1", 400),
        ("get-sth-consistency?first=-1&second=2", 400),
        (
            &format!("get-proof-by-hash?hash={nothing}&tree_size=2"),
            404,
        ),
        (
            &format!("get-proof-by-hash?hash={nothing}&tree_size=3"),
            400,
        ),
        (
            &format!("get-proof-by-hash?hash={nothing}&tree_size=0"),
            400,
        ),
        ("get-proof-by-hash?hash=AAAA&tree_size=1", 400),
        ("get-proof-by-hash?tree_size=1", 400),
        ("get-entries?start=2&end=2", 400),
        ("get-entries?start=1&end=0", 400),
        ("get-entries?start=0&end=x", 400),
        ("get-entry-and-proof?leaf_index=2&tree_size=2", 400),
        ("get-entry-and-proof?leaf_index=0&tree_size=3", 400),
        ("get-entry-and-proof?leaf_index=0&tree_size=0", 400),
    ] {
        let answer = house.get(&format!("/log/ct/v1/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let all = get(&house, "get-entries?start=0&end=18446744073709551615").await;
    assert_eq!(all["entries"].as_array().unwrap().len(), 2);
    let one = get(&house, "get-entry-and-proof?leaf_index=0&tree_size=1").await;
    assert_eq!(one["audit_path"], serde_json::json!([]));
    let posted = house.post("/log/ct/v1/get-sth", &[], "").await;
    assert_eq!(posted.status, 405);
}

/// A monitor that finds `get-sth` takes the log for one without tiles.
#[tokio::test]
async fn nobody_finds_these_where_nobody_asked_for_them() {
    let house = House::open().await;
    for path in ["get-sth", "get-entries?start=0&end=0"] {
        let answer = house.get(&format!("/log/ct/v1/{path}")).await;
        assert_eq!(answer.status, 404);
    }
}

/// A hash that nobody has logged is looked for from one end to the other.
#[tokio::test]
async fn strangers_search_the_log_as_many_at_a_time_as_they_like() {
    let house = house().await;
    issue(&house).await;
    let path = format!(
        "/log/ct/v1/get-proof-by-hash?hash={}&tree_size=1",
        STANDARD.encode([0; 32])
    );
    let searches = (0..64).map(|_| house.get(&path));
    let mut found = 0;
    for answer in futures_util::future::join_all(searches).await {
        match answer.status.as_u16() {
            404 => found += 1,
            429 => assert_eq!(answer.header("retry-after"), Some("2")),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(found > 0, "nobody was answered");
    // Every place was given back.
    assert_eq!(house.get(&path).await.status, 404);
}
