//! The transparency log read as RFC 6962 section 4 has it, for tools that know no tiles.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::ctlog::{refusal, unreadable};
use crate::ctlog::checkpoint::tree_head_signature;
use crate::ctlog::store::StoreError;
use crate::ctlog::{RawEntry, Reader};

pub(super) fn routes(log: &Reader) -> Router {
    let searching = Arc::new(Semaphore::new(SEARCHES));
    let proof = async move |log, leaf| proof(log, leaf, &searching).await;
    Router::new()
        .route("/ct/v1/get-sth", get(sth))
        .route("/ct/v1/get-sth-consistency", get(consistency))
        .route("/ct/v1/get-proof-by-hash", get(proof))
        .route("/ct/v1/get-entries", get(entries))
        .route("/ct/v1/get-entry-and-proof", get(entry_and_proof))
        .with_state(log.clone())
}

type Asked<T> = Result<Query<T>, QueryRejection>;

#[derive(Deserialize)]
struct Trees {
    first: u64,
    second: u64,
}

#[derive(Deserialize)]
struct Leaf {
    hash: String,
    tree_size: u64,
}

#[derive(Deserialize)]
struct Span {
    start: u64,
    end: u64,
}

#[derive(Deserialize)]
struct Place {
    leaf_index: u64,
    tree_size: u64,
}

async fn sth(State(log): State<Reader>) -> Response {
    let head = match log.newest_head().await {
        Ok(head) => head,
        Err(error) => return unreadable(&error),
    };
    let Some(signature) = tree_head_signature(&head.checkpoint) else {
        return unreadable(&"the checkpoint has no signature of a tree head");
    };
    Json(json!({
        "tree_size": head.size,
        "timestamp": head.timestamp_ms,
        "sha256_root_hash": STANDARD.encode(head.root),
        "tree_head_signature": STANDARD.encode(signature),
    }))
    .into_response()
}

async fn consistency(State(log): State<Reader>, trees: Asked<Trees>) -> Response {
    let Ok(Query(Trees { first, second })) = trees else {
        return refused("first and second are sizes of trees");
    };
    match log.consistency_proof(first, second).await {
        Ok(Some(proof)) => Json(json!({"consistency": encoded(&proof)})).into_response(),
        Ok(None) => refused("first is larger than second, or second than the log"),
        Err(error) => unreadable(&error),
    }
}

async fn proof(State(log): State<Reader>, leaf: Asked<Leaf>, searching: &Semaphore) -> Response {
    let sentence = "hash is the base64 of a leaf's SHA-256, tree_size a size of the tree";
    let Ok(Query(Leaf { hash, tree_size })) = leaf else {
        return refused(sentence);
    };
    let Some(hash) = STANDARD
        .decode(hash)
        .ok()
        .and_then(|hash| hash.try_into().ok())
    else {
        return refused(sentence);
    };
    // A hash that nobody has logged is looked for in the whole log.
    let Ok(_place) = searching.try_acquire() else {
        let retry = [(header::RETRY_AFTER, "2")];
        let busy = refusal(StatusCode::TOO_MANY_REQUESTS, "too many search for a leaf");
        return (retry, busy).into_response();
    };
    let newest = match log.newest_head().await {
        Ok(head) => head.size,
        Err(error) => return unreadable(&error),
    };
    if tree_size == 0 || tree_size > newest {
        return refused("tree_size is 1 to the size of the log");
    }
    let index = match log.index_of(&hash, tree_size).await {
        Ok(Some(index)) => index,
        Ok(None) => return refusal(StatusCode::NOT_FOUND, "no such leaf in a tree of this size"),
        Err(error) => return unreadable(&error),
    };
    match log.inclusion_proof(index, tree_size).await {
        Ok(path) => {
            let path = encoded(&path.unwrap_or_default());
            Json(json!({"leaf_index": index, "audit_path": path})).into_response()
        }
        Err(error) => unreadable(&error),
    }
}

async fn entries(State(log): State<Reader>, span: Asked<Span>) -> Response {
    let Ok(Query(Span { start, end })) = span else {
        return refused("start and end are indices of leaves, both included");
    };
    let newest = match log.newest_head().await {
        Ok(head) => head.size,
        Err(error) => return unreadable(&error),
    };
    if start > end || start >= newest {
        return refused("start is beyond end or beyond the log");
    }
    let end = end
        .saturating_add(1)
        .min(start.saturating_add(MOST_ENTRIES))
        .min(newest);
    // What cannot be read at all is told by the status; what cannot be read later on breaks the answer off.
    let begun = match some_entries(&log, start..end).await {
        Ok(begun) => format!("{{\"entries\":[{begun}"),
        Err(error) => return unreadable(&error),
    };
    let rest = stream::try_unfold(start + AT_ONCE, move |next| {
        let log = log.clone();
        async move {
            if next >= end {
                return Ok(None);
            }
            let read = some_entries(&log, next..end).await;
            let read =
                read.inspect_err(|error| tracing::error!(%error, "the log cannot be read"))?;
            Ok::<_, StoreError>(Some((format!(",{read}"), next + AT_ONCE)))
        }
    });
    let whole = stream::iter([Ok(begun)])
        .chain(rest)
        .chain(stream::iter([Ok("]}".to_owned())]));
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, Body::from_stream(whole)).into_response()
}

/// The first entries of a range, as they stand in an answer: no more than may be held at a time for each
/// who asks, however slowly the answer is read.
async fn some_entries(log: &Reader, range: Range<u64>) -> Result<String, StoreError> {
    let range = range.start..range.end.min(range.start + AT_ONCE);
    let entries = log.raw_entries(range.clone()).await?;
    if entries.len() as u64 != range.end - range.start {
        return Err(StoreError::Malformed("entries are missing"));
    }
    let entries: Vec<String> = entries.iter().map(|it| entry(it).to_string()).collect();
    Ok(entries.join(","))
}

async fn entry_and_proof(State(log): State<Reader>, place: Asked<Place>) -> Response {
    let Ok(Query(Place {
        leaf_index,
        tree_size,
    })) = place
    else {
        return refused("leaf_index is that of a leaf, tree_size a size of the tree");
    };
    let path = match log.inclusion_proof(leaf_index, tree_size).await {
        Ok(Some(path)) => path,
        Ok(None) => return refused("no such leaf in a tree of this size, or no such tree"),
        Err(error) => return unreadable(&error),
    };
    let found = log
        .raw_entries(leaf_index..leaf_index.saturating_add(1))
        .await;
    match found.map(|found| found.first().map(entry)) {
        Ok(Some(mut answer)) => {
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("audit_path".to_owned(), encoded(&path).into());
            }
            Json(answer).into_response()
        }
        Ok(None) => unreadable(&StoreError::Malformed("an entry is missing")),
        Err(error) => unreadable(&error),
    }
}

fn entry(entry: &RawEntry) -> Value {
    json!({
        "leaf_input": STANDARD.encode(&entry.leaf_input),
        "extra_data": STANDARD.encode(&entry.extra_data),
    })
}

fn encoded(hashes: &[[u8; 32]]) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash)).collect()
}

fn refused(sentence: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, sentence)
}

/// Searches for a leaf by its hash at the same time.
const SEARCHES: usize = 4;
/// Entries of one answer: some monitors ask once for all that is new and do not ask for the rest.
const MOST_ENTRIES: u64 = 10_000;
/// Entries that are held at a time. The largest, with their chains, have less than 16 MiB.
const AT_ONCE: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::hierarchy::new_p256_key;
    use crate::ctlog::signer::LogSigner;
    use crate::ctlog::{Chains, Config, Log};

    #[tokio::test]
    async fn as_many_search_the_whole_log_as_like() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log.sqlite");
        let config = Config::new(file, "ca.example/log".to_owned());
        let key = new_p256_key().unwrap();
        let signer = || LogSigner::from_private_key(&key).unwrap();
        let now = time::macros::datetime!(2026-11-25 12:00 UTC);
        Log::create(&config, &signer(), now).await.unwrap();
        let log = Log::open(&config, signer(), &Chains::default(), now).await;
        let log = log.unwrap();
        let ask = async |places| {
            let leaf = Leaf {
                hash: STANDARD.encode([0; 32]),
                tree_size: 1,
            };
            let searching = Semaphore::new(places);
            proof(State(log.reader().clone()), Ok(Query(leaf)), &searching).await
        };
        let busy = ask(0).await;
        assert_eq!(busy.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "2");
        // With a place it is looked at: there is no tree of this size.
        assert_eq!(ask(1).await.status(), StatusCode::BAD_REQUEST);
    }
}
