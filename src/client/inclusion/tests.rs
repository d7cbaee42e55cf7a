use std::sync::Mutex;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;

use super::*;

/// A tiled log put together by hand: every file that it serves, by path.
struct Log {
    key: SigningKey,
    leaves: Vec<Hash>,
    files: HashMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl Log {
    fn with_leaves(size: u64) -> Self {
        let leaves: Vec<Hash> = (0..size).map(|n| sha256(&n.to_be_bytes())).collect();
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let root = tree_hash(&leaves);
        let files = [(
            "checkpoint".to_owned(),
            note(&key, size, &root, "log.example.com/2026"),
        )];
        let mut log = Self {
            key,
            files: files.into(),
            asked: Mutex::default(),
            leaves,
        };
        let mut level = log.leaves.clone();
        for number in 0..6 {
            for (n, tile) in level.chunks(256).enumerate() {
                let partial = match tile.len() {
                    256 => String::new(),
                    width => format!(".p/{width}"),
                };
                assert!(n < 1000, "the tests need no longer names");
                let path = format!("tile/{number}/{n:03}{partial}");
                log.files.insert(path, tile.concat());
            }
            level = level.chunks_exact(256).map(tree_hash).collect();
        }
        log
    }

    fn verifier(&self) -> LogVerifier {
        let key = self.key.verifying_key().to_public_key_der().unwrap();
        LogVerifier::from_public_key_der(key.as_bytes()).unwrap()
    }

    async fn prove(&self, index: u64, leaf: &Hash) -> Result<Included, InclusionError> {
        prove(&self.verifier(), index, leaf, async |path: &str, limit| {
            self.asked.lock().unwrap().push(path.to_owned());
            let found = self.files.get(path).cloned();
            assert!(found.as_ref().is_none_or(|file| file.len() <= limit));
            Ok(found)
        })
        .await
    }

    async fn find(&self, index: u64) -> Result<Included, InclusionError> {
        let leaf = self.leaves[usize::try_from(index).unwrap()];
        self.prove(index, &leaf).await
    }
}

/// `MTH` of RFC 6962 section 2.1 as it is defined, over leaf hashes.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(k);
            sha256(&[&[1][..], &tree_hash(left), &tree_hash(right)].concat())
        }
    }
}

/// A checkpoint signed by another library, in another log's name if need be.
fn note(key: &SigningKey, size: u64, root: &Hash, origin: &str) -> Vec<u8> {
    let timestamp = 1_795_000_000_123_u64.to_be_bytes();
    let head = [&[0, 1][..], &timestamp, &size.to_be_bytes(), root].concat();
    let signature: Signature = key.sign(&head);
    let signature = signature.to_der();
    let spki = key.verifying_key().to_public_key_der().unwrap();
    let name = [origin.as_bytes(), b"\n\x05", &sha256(spki.as_bytes())].concat();
    let length = u8::try_from(signature.as_bytes().len()).unwrap();
    let line = [
        &sha256(&name)[..4],
        &timestamp,
        &[4, 3, 0, length],
        signature.as_bytes(),
    ]
    .concat();
    let (root, line) = (STANDARD.encode(root), STANDARD.encode(line));
    format!("{origin}\n{size}\n{root}\n\n\u{2014} {origin} {line}\n").into_bytes()
}

fn sha256(bytes: &[u8]) -> Hash {
    digest::digest(&digest::SHA256, bytes)
        .as_ref()
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn every_leaf_of_small_trees_is_found() {
    for size in 1..=70 {
        let log = Log::with_leaves(size);
        for index in 0..size {
            let found = log.find(index).await.unwrap();
            assert_eq!(found.index, index);
            assert_eq!(found.checkpoint.size, size);
        }
    }
}

#[tokio::test]
async fn leaves_are_found_across_tile_boundaries() {
    for size in [
        255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 66_000,
    ] {
        let log = Log::with_leaves(size);
        for index in [
            0,
            1,
            127,
            254,
            255,
            256,
            511,
            512,
            33_000,
            65_535,
            65_536,
            size - 2,
            size - 1,
        ] {
            if index < size {
                log.find(index).await.unwrap();
            }
        }
        // Few files suffice, and none is asked for twice.
        log.asked.lock().unwrap().clear();
        log.find(size - 1).await.unwrap();
        let asked = log.asked.lock().unwrap();
        let mut once = asked.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), asked.len(), "{asked:?}");
        assert!(asked.len() <= 5, "{asked:?}");
    }
}

#[tokio::test]
async fn another_certificate_at_the_index_is_a_broken_promise() {
    let log = Log::with_leaves(300);
    let other = sha256(b"another");
    for index in [0, 299] {
        assert!(matches!(
            log.prove(index, &other).await,
            Err(InclusionError::Absent(_))
        ));
    }
    // The right leaf at a wrong index.
    let result = log.prove(5, &log.leaves[4]).await;
    assert!(matches!(result, Err(InclusionError::Absent(5))));
}

#[tokio::test]
async fn a_promise_not_yet_due_is_told_from_a_broken_one() {
    let log = Log::with_leaves(300);
    let result = log.prove(300, &sha256(b"new")).await;
    assert!(matches!(
        result,
        Err(InclusionError::NotYet {
            index: 300,
            size: 300
        })
    ));
    let empty = Log::with_leaves(0);
    let result = empty.prove(0, &sha256(b"new")).await;
    assert!(matches!(
        result,
        Err(InclusionError::NotYet { index: 0, size: 0 })
    ));
}

#[tokio::test]
async fn a_log_may_drop_a_partial_tile_once_the_full_one_is_there() {
    let mut log = Log::with_leaves(300);
    let later = Log::with_leaves(512);
    log.files.remove("tile/0/001.p/44").unwrap();
    log.files
        .extend([("tile/0/001".to_owned(), later.files["tile/0/001"].clone())]);
    log.find(299).await.unwrap();
    log.files.remove("tile/0/001").unwrap();
    let result = log.find(299).await;
    assert!(matches!(result, Err(InclusionError::Missing(path)) if path == "tile/0/001"));
}

#[tokio::test]
async fn tiles_that_do_not_fit_the_checkpoint_are_refused() {
    let good = Log::with_leaves(300);
    for path in ["tile/0/000", "tile/0/001.p/44"] {
        let mut log = Log::with_leaves(300);
        log.files.get_mut(path).unwrap()[33] ^= 1;
        assert!(
            matches!(log.find(0).await, Err(InclusionError::Absent(0))),
            "{path}"
        );
        log.files.get_mut(path).unwrap().pop();
        let result = log.find(0).await;
        assert!(
            matches!(result, Err(InclusionError::TileLength { .. })),
            "{path}"
        );
    }
    good.find(0).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_the_log_did_not_sign_is_refused() {
    let mut log = Log::with_leaves(10);
    let root = tree_hash(&log.leaves);
    let replace = |log: &mut Log, note| log.files.insert("checkpoint".to_owned(), note);
    let other = SigningKey::from_slice(&[8; 32]).unwrap();
    replace(&mut log, note(&other, 10, &root, "log.example.com/2026"));
    assert!(matches!(
        log.find(0).await,
        Err(InclusionError::Checkpoint(_))
    ));
    let whole = note(&log.key, 10, &root, "log.example.com/2026");
    let altered = String::from_utf8(whole)
        .unwrap()
        .replace("\n10\n", "\n11\n");
    replace(&mut log, altered.into_bytes());
    assert!(matches!(
        log.find(0).await,
        Err(InclusionError::Checkpoint(_))
    ));
    replace(&mut log, vec![0xff]);
    assert!(matches!(
        log.find(0).await,
        Err(InclusionError::Checkpoint(_))
    ));
    let huge = note(&log.key, MAX_SIZE + 1, &root, "log.example.com/2026");
    replace(&mut log, huge);
    let result = log.find(0).await;
    assert!(matches!(
        result,
        Err(InclusionError::TooLarge(_) | InclusionError::Checkpoint(_))
    ));
    log.files.remove("checkpoint");
    assert!(matches!(log.find(0).await, Err(InclusionError::Missing(_))));
}

#[tokio::test]
async fn a_log_under_a_new_address_is_still_the_log() {
    let mut log = Log::with_leaves(10);
    let renamed = note(
        &log.key,
        10,
        &tree_hash(&log.leaves),
        "elsewhere.example.com",
    );
    log.files.insert("checkpoint".to_owned(), renamed);
    let found = log.find(3).await.unwrap();
    assert_eq!(found.checkpoint.origin, "elsewhere.example.com");
}

#[tokio::test]
async fn a_file_that_cannot_be_fetched_is_named() {
    let log = Log::with_leaves(10);
    let result = prove(
        &log.verifier(),
        0,
        &log.leaves[0],
        async |path: &str, _| match path {
            CHECKPOINT => Ok(log.files.get(path).cloned()),
            _ => Err(FetchError::Status(500)),
        },
    )
    .await;
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("tile/0/000.p/10") && error.contains("500"),
        "{error}"
    );
}

#[tokio::test]
async fn over_http_absence_is_told_from_failure_and_no_file_is_read_without_end() {
    use axum::http::StatusCode;
    use axum::routing::get as route;

    let router = axum::Router::new()
        .route("/log/checkpoint", route(|| async { "note" }))
        .route("/log/large", route(|| async { vec![0_u8; 9000] }))
        .route("/log/broken", route(|| async { StatusCode::BAD_GATEWAY }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/log", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let http = crate::client::http_client().unwrap();
    let fetch = async |path: &str| get(&http, &format!("{base}/{path}"), TILE_BYTES).await;
    assert_eq!(fetch("checkpoint").await.unwrap(), Some(b"note".to_vec()));
    assert_eq!(fetch("tile/0/000").await.unwrap(), None);
    assert!(matches!(
        fetch("broken").await,
        Err(FetchError::Status(502))
    ));
    let large = fetch("large").await;
    assert!(matches!(
        large,
        Err(FetchError::Body(BodyError::TooLarge { limit: TILE_BYTES }))
    ));
    let address = get(&http, "log.example.com/checkpoint", 1).await;
    assert!(matches!(address, Err(FetchError::Address)));
    server.abort();
}
