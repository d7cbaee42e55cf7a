//! A log that has grown before a test begins: real entries, timestamps and tiles in real commits, made
//! by the program's own parts, only more of them at once than a server would take.

use vouchsafe::ctlog::checkpoint::Checkpoint;
use vouchsafe::ctlog::config::Database;
use vouchsafe::ctlog::entry::Entry;
use vouchsafe::ctlog::merkle::leaf_hash;
use vouchsafe::ctlog::recovery::recover;
use vouchsafe::ctlog::signer::LogSigner;
use vouchsafe::ctlog::store::postgres::PostgresStore;
use vouchsafe::ctlog::store::sqlite::SqliteStore;
use vouchsafe::ctlog::store::{Batch, Head, NewEntry, Store};
use vouchsafe::ctlog::{self};

/// Lets a log that nobody has open grow to `size` entries, each made by `entry` from its index.
pub(crate) async fn grow(
    config: &ctlog::Config,
    signer: &LogSigner,
    size: u64,
    entry: impl Fn(u64) -> Entry,
) {
    let store = open(config, signer).await;
    let recovered = recover(&*store, &config.origin, signer.verifier()).await;
    let (mut head, mut edge) = recovered.expect("a log that is whole");
    while edge.size() < size {
        let timestamp_ms = head.timestamp_ms + 1;
        let mut tiles = Vec::new();
        let mut entries = Vec::new();
        for index in edge.size()..size.min(edge.size() + BATCH) {
            let entry = entry(index);
            let leaf = entry.body().merkle_tree_leaf(timestamp_ms, index);
            let leaf_hash = leaf_hash(&leaf);
            edge.push(leaf_hash, &mut tiles);
            entries.push(NewEntry {
                dedup: entry.body().dedup_key(),
                leaf: entry.packed(timestamp_ms, index),
                leaf_hash,
                sct_signature: signer.sign(&leaf).expect("a signature"),
            });
        }
        tiles.extend(edge.changed_since(head.size).filter(|tile| tile.level > 0));
        let checkpoint = Checkpoint {
            origin: config.origin.clone(),
            size: edge.size(),
            root: edge.root(),
            timestamp_ms,
        };
        let next = Head {
            size: checkpoint.size,
            root: checkpoint.root,
            timestamp_ms,
            checkpoint: checkpoint.sign(signer).expect("a signature"),
        };
        let batch = Batch {
            head: next.clone(),
            entries,
            tiles,
            issuers: Vec::new(),
        };
        store.take_turn(&[], &[]).await.expect("the turn");
        store.commit(&head, batch).await.expect("a commit");
        head = next;
    }
    store.close().await;
}

async fn open(config: &ctlog::Config, signer: &LogSigner) -> Box<dyn Store> {
    match &config.database {
        Database::Sqlite(path) => Box::new(SqliteStore::open(path).await.expect("the log")),
        Database::Postgres(server) => {
            let log_id = signer.verifier().log_id();
            let store = PostgresStore::open(server, &log_id).await;
            Box::new(store.expect("the log"))
        }
    }
}

/// Entries of one commit.
const BATCH: u64 = 4_096;
