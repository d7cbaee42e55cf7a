//! The transparency log's public face, read with nothing but a hash and the layout of its files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vouchsafe::certificate::sct::{SCT_LIST_OID, Sct, read_list};

use super::caller::Caller;
use super::house::{House, V2, der_of};

const ADD_CHAIN: &str = "/log/ct/v1/add-chain";
const ADD_PRE_CHAIN: &str = "/log/ct/v1/add-pre-chain";

async fn issue(house: &House) -> Vec<Vec<u8>> {
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    let chain = house.post(V2, &[], body.to_string()).await.chain();
    chain.iter().map(|pem| der_of(pem)).collect()
}

fn submission(chain: &[&[u8]]) -> String {
    let chain: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    json!({"chain": chain}).to_string()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

/// The precertificate in the first leaf of a data tile:
///
/// ```text
/// u64 timestamp | u16 1 | issuer key hash[32] | u24 tbs | u16 extensions | u24 precertificate | …
/// ```
fn first_precertificate(tile: &[u8]) -> Vec<u8> {
    let mut rest = tile;
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at(length);
        rest = after;
        taken
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    take(8);
    assert_eq!(take(2), [0, 1], "a precertificate entry");
    take(32);
    for prefix in [3, 2] {
        let length = number(take(prefix));
        take(length);
    }
    let length = number(take(3));
    take(length).to_vec()
}

fn embedded_sct(leaf: &[u8]) -> Sct {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).unwrap();
    let list = certificate.extensions().last().unwrap();
    assert_eq!(list.oid.as_bytes(), SCT_LIST_OID);
    let [sct] = <[Sct; 1]>::try_from(read_list(list.value).unwrap()).unwrap();
    sct
}

#[tokio::test]
async fn checkpoint_and_tiles_fit_each_other_and_nothing_else_is_there() {
    let house = House::open().await;
    let chain = issue(&house).await;
    issue(&house).await;

    let checkpoint = house.get("/log/checkpoint").await;
    assert_eq!(checkpoint.status, 200);
    assert_eq!(
        checkpoint.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(checkpoint.header("cache-control"), Some("no-store"));
    let origin = format!("{}/log", house.url().strip_prefix("http://").unwrap());
    let mut lines = checkpoint.text().lines();
    assert_eq!((lines.next(), lines.next()), (Some(&*origin), Some("2")));
    let root = STANDARD.decode(lines.next().unwrap()).unwrap();

    let hashes = house.get("/log/tile/0/000.p/2").await;
    assert_eq!((hashes.status.as_u16(), hashes.body.len()), (200, 64));
    assert!(
        hashes
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
    assert_eq!(
        sha256(&[&[1], &hashes.body]),
        *root,
        "the root is over the two leaves"
    );
    let data = house.get("/log/tile/data/000.p/2").await;
    assert_eq!(data.status, 200);
    let precertificate = first_precertificate(&data.body);
    let key = chain[0].windows(91).find(|w| w[..2] == [0x30, 0x59]);
    assert!(
        precertificate.windows(91).any(|w| Some(w) == key),
        "the logged key is the certified one"
    );

    for path in [
        "0/000",
        "0/001.p/1",
        "0/000.p/3",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/02",
        "0/0.p/2",
        "00/000.p/2",
        "1/000.p/1",
        "64/000.p/1",
        "-1/000.p/1",
        "0/x000/000",
        "0/999999999999999999999999",
        "data/000",
        "data/000.p/3",
        "names/000",
        "0/000.p/2/",
        "0/%30%30%30.p/2x",
    ] {
        let answer = house.get(&format!("/log/tile/{path}")).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn issuers_and_roots_are_served_as_they_are() {
    let house = House::open().await;
    let own = house.issuance.authority.chain().der().to_vec();
    for der in &own {
        let name: String = sha256(&[der]).iter().map(|b| format!("{b:02x}")).collect();
        let answer = house.get(&format!("/log/issuer/{name}")).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, der));
        assert_eq!(answer.header("content-type"), Some("application/pkix-cert"));
        let loud = format!("/log/issuer/{}", name.to_uppercase());
        assert_eq!(house.get(&loud).await.status, 404);
        assert_eq!(
            house
                .get(&format!("/log/issuer/{}", &name[1..]))
                .await
                .status,
            404
        );
    }
    let nobody = format!("/log/issuer/{}", "0".repeat(64));
    assert_eq!(house.get(&nobody).await.status, 404);
    let roots = house.get("/log/ct/v1/get-roots").await;
    assert_eq!(
        roots.json(),
        json!({"certificates": [STANDARD.encode(own.last().unwrap())]})
    );
}

#[tokio::test]
async fn a_precertificate_submitted_again_has_the_timestamp_it_had() {
    let house = House::open().await;
    let chain = issue(&house).await;
    let data = house.get("/log/tile/data/000.p/1").await;
    let precertificate = first_precertificate(&data.body);
    let sct = embedded_sct(&chain[0]);
    let expected = json!({
        "sct_version": 0, "id": STANDARD.encode(sct.log_id), "timestamp": sct.timestamp_ms,
        "extensions": STANDARD.encode(&sct.extensions),
        "signature": STANDARD.encode(sct.digitally_signed()),
    });
    for chain in [
        submission(&[&precertificate, &chain[1], &chain[2]]),
        submission(&[&precertificate, &chain[1]]),
    ] {
        let answer = house.post(ADD_PRE_CHAIN, &[], chain).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told: Value = answer.json();
        for field in ["sct_version", "id", "timestamp", "extensions"] {
            assert_eq!(told[field], expected[field], "{field}");
        }
    }
    assert_eq!(house.issued().await, (1, 1), "nothing was logged twice");

    // The final certificate is another entry.
    let all: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let answer = house.post(ADD_CHAIN, &[], submission(&all)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["id"], expected["id"]);
    assert_eq!(house.issued().await, (1, 2));
}

#[tokio::test]
async fn what_is_no_chain_to_our_root_is_not_logged() {
    let house = House::open().await;
    let stranger = House::open().await;
    let chain = issue(&house).await;
    let foreign = issue(&stranger).await;
    let data = house.get("/log/tile/data/000.p/1").await;
    let precertificate = first_precertificate(&data.body);
    let [leaf, intermediate, root] = [&chain[0], &chain[1], &chain[2]];
    let mut forged = leaf.clone();
    *forged.last_mut().unwrap() ^= 1;
    let foreign: Vec<&[u8]> = foreign.iter().map(Vec::as_slice).collect();
    let many: Vec<&[u8]> = vec![leaf; 40];
    for (place, (path, body)) in [
        (ADD_CHAIN, String::new()),
        (ADD_CHAIN, "{}".to_owned()),
        (ADD_CHAIN, "garbage".to_owned()),
        (ADD_CHAIN, json!({"chain": []}).to_string()),
        (ADD_CHAIN, json!({"chain": ["%%%"]}).to_string()),
        (ADD_CHAIN, submission(&[b"not DER"])),
        (ADD_CHAIN, submission(&[leaf])),
        (ADD_CHAIN, submission(&[leaf, root])),
        (ADD_CHAIN, submission(&[root])),
        (ADD_CHAIN, submission(&[&forged, intermediate, root])),
        (
            ADD_CHAIN,
            submission(&[&precertificate, intermediate, root]),
        ),
        (ADD_CHAIN, submission(&foreign)),
        (ADD_CHAIN, submission(&many)),
        (ADD_PRE_CHAIN, submission(&[leaf, intermediate, root])),
        (ADD_PRE_CHAIN, "[1]".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = house.post(path, &[], body).await;
        assert_eq!(answer.status, 400, "case {place}: {}", answer.text());
    }
    let too_large = " ".repeat((128 << 10) + 1);
    let answer = house.post(ADD_CHAIN, &[], too_large).await;
    assert_eq!(answer.status, 413);
    for (method, path) in [
        (Method::GET, ADD_CHAIN),
        (Method::GET, ADD_PRE_CHAIN),
        (Method::PUT, ADD_CHAIN),
        (Method::POST, "/log/checkpoint"),
        (Method::POST, "/log/ct/v1/get-roots"),
    ] {
        let answer = house.send(method.clone(), path, &[], Vec::new()).await;
        assert_eq!(answer.status, 405, "{method} {path}");
    }
    assert_eq!(house.issued().await, (1, 1));
}

/// "Used to its last certificate": what is stored beside an entry is what vouches for it.
#[tokio::test]
async fn a_chain_ends_at_its_first_root() {
    let house = House::open().await;
    let chain = issue(&house).await;
    let [leaf, intermediate, root] = [&chain[0], &chain[1], &chain[2]];
    let body = submission(&[leaf, intermediate, root, root]);
    let answer = house.post(ADD_CHAIN, &[], body).await;
    assert_eq!(answer.status, 400, "a root stands above a root");
}
