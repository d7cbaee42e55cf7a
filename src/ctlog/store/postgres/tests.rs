use super::*;
use crate::ctlog::merkle::Tile;
use crate::ctlog::store::tests::{LOG_ID, batch, head, leaf_hashes};
use crate::database::cluster::Cluster;
use std::path::Path;
use std::sync::Arc;

fn server(address: &str) -> Server {
    Server::new(address, Path::new(""), None).unwrap()
}

async fn create(address: &str, origin: &str, log_id: Hash) {
    let created = PostgresStore::create(&server(address), origin, &log_id, &head(0)).await;
    created.unwrap();
}

async fn open(address: &str) -> PostgresStore {
    PostgresStore::open(&server(address), &LOG_ID)
        .await
        .unwrap()
}

#[tokio::test]
async fn of_two_batches_on_one_head_one_is_written() {
    let address = Cluster::shared().database();
    create(&address, "ca.example", LOG_ID).await;
    let stores = [open(&address).await, open(&address).await];
    let mut entries = 0;
    for round in 0..20 {
        let expected = stores[0].newest_head().await.unwrap().unwrap();
        let batches = [
            batch(entries, entries + 1),
            batch(entries + 1000, entries + 1001),
        ];
        let mut results = Vec::new();
        let [one, other] = batches.map(|mut batch| {
            batch.head.size = entries + 1;
            batch
        });
        let (first, second) = tokio::join!(
            stores[0].commit(&expected, one),
            stores[1].commit(&expected, other)
        );
        results.extend([first, second]);
        results.sort_by_key(Result::is_err);
        assert_eq!(
            results,
            [Ok(()), Err(CommitError::HeadMoved)],
            "round {round}"
        );
        entries += 1;
        assert_eq!(stores[1].state().await.unwrap().entries, entries);
    }
}

#[tokio::test]
async fn a_tree_that_was_signed_anew_is_another_head() {
    let address = Cluster::shared().database();
    create(&address, "ca.example", LOG_ID).await;
    let store = open(&address).await;
    let anew = Head {
        timestamp_ms: head(0).timestamp_ms + 1,
        ..head(0)
    };
    let refresh = Batch {
        head: anew.clone(),
        entries: Vec::new(),
        tiles: Vec::new(),
        issuers: Vec::new(),
    };
    store.commit(&head(0), refresh).await.unwrap();
    let late = store.commit(&head(0), batch(0, 1)).await;
    assert_eq!(late, Err(CommitError::HeadMoved));
    store.commit(&anew, batch(0, 1)).await.unwrap();
}

#[tokio::test]
async fn nobody_else_writes_during_a_turn_and_the_turn_sees_everything() {
    let address = Cluster::shared().database();
    create(&address, "ca.example", LOG_ID).await;
    let store = open(&address).await;
    let other = Arc::new(open(&address).await);
    other.commit(&head(0), batch(0, 3)).await.unwrap();
    let key = batch(0, 1).entries[0].dedup;
    let turn = store
        .take_turn(&[key, [9; 32]], &[(3, 3)])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(turn.head, head(3));
    let tile = Tile {
        level: 0,
        n: 0,
        hashes: leaf_hashes(0..3),
    };
    assert_eq!(turn.tiles, [tile]);
    let found: Vec<u64> = turn.found.iter().map(|entry| entry.index).collect();
    assert_eq!(found, [0]);
    let waiting = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.commit(&head(3), batch(3, 4)).await }
    });
    let is_waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let database = address.rsplit_once('/').unwrap().1.to_owned();
    while Cluster::shared().sql(&database, is_waiting) != "1" {
        tokio::task::yield_now().await;
    }
    store.commit(&head(3), batch(3, 5)).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(CommitError::HeadMoved));
    // A turn that is given back leaves the way free.
    store.take_turn(&[], &[]).await.unwrap().unwrap();
    store.end_turn().await;
    other.commit(&head(5), batch(5, 6)).await.unwrap();
    // And so is one that is never used: the server ends it.
    store.take_turn(&[], &[]).await.unwrap().unwrap();
    other.commit(&head(6), batch(6, 7)).await.unwrap();
    let late = store.commit(&head(6), batch(6, 8)).await;
    assert!(matches!(late, Err(CommitError::NotWritten(_))), "{late:?}");
    assert_eq!(store.state().await.unwrap().head, head(7));
}

#[tokio::test]
async fn logs_in_one_database_do_not_see_each_other() {
    let address = Cluster::shared().database();
    create(&address, "ca.example/2026", LOG_ID).await;
    create(&address, "ca.example/2027", [4; 32]).await;
    let (old, new) = (
        open(&address).await,
        PostgresStore::open(&server(&address), &[4; 32])
            .await
            .unwrap(),
    );
    old.commit(&head(0), batch(0, 3)).await.unwrap();
    new.commit(&head(0), batch(0, 2)).await.unwrap();
    assert_eq!(old.state().await.unwrap().entries, 3);
    let state = new.state().await.unwrap();
    assert_eq!(
        (state.origin.as_str(), state.log_id),
        ("ca.example/2027", [4; 32])
    );
    assert_eq!((state.head, state.entries, state.tiles[1]), (head(2), 2, 1));
    assert_eq!(new.issuers().await.unwrap(), [[2; 32]]);
    for (origin, log_id, what) in [
        ("ca.example/2026", [5; 32], "name"),
        ("ca.example/2028", LOG_ID, "key"),
    ] {
        let made = PostgresStore::create(&server(&address), origin, &log_id, &head(0)).await;
        let taken = StoreError::Taken {
            database: address.clone(),
            what,
        };
        assert_eq!(made, Err(taken));
    }
    let other = PostgresStore::open(&server(&address), &[6; 32]).await;
    assert_eq!(other.unwrap_err(), StoreError::NoLog(address));
}

#[tokio::test]
async fn a_database_without_tables_is_not_given_any_by_opening_it() {
    let address = Cluster::shared().database();
    let opened = PostgresStore::open(&server(&address), &LOG_ID).await;
    let refused = opened.unwrap_err().to_string();
    assert!(refused.contains("vouchsafe database upgrade"), "{refused}");
}

#[tokio::test]
async fn a_store_that_only_reads_writes_nothing() {
    let address = Cluster::shared().database();
    create(&address, "ca.example", LOG_ID).await;
    let reader = PostgresStore::open_read_only(&server(&address), &LOG_ID).await;
    let reader = reader.unwrap();
    assert!(reader.commit(&head(0), batch(0, 1)).await.is_err());
    assert!(reader.add_issuers(&[([1; 32], vec![1])]).await.is_err());
    let writer = open(&address).await;
    writer.commit(&head(0), batch(0, 1)).await.unwrap();
    assert_eq!(reader.state().await.unwrap().head, head(1));
    writer.close().await;
    assert!(writer.commit(&head(1), batch(1, 2)).await.is_err());
}

#[tokio::test]
async fn the_growing_tile_is_read_by_the_index_however_large_the_log() {
    let address = Cluster::shared().database();
    create(&address, "ca.example", LOG_ID).await;
    let database = address.rsplit_once('/').unwrap().1;
    let fill = "INSERT INTO ctlog.entry (log, leaf_index, dedup, leaf, leaf_hash, sct_signature)
         SELECT 1, i, sha256(int8send(i)), '', sha256(int8send(i)), ''
         FROM generate_series(0, 99999) AS i;
         ANALYZE ctlog.entry";
    Cluster::shared().sql(database, fill);
    for (statement, types, values) in [
        (BOTTOM_TILE, "int, bigint", "1, 390"),
        (
            commit::TILES,
            "int, smallint[], bigint[], bigint",
            "1, '{0,0}', '{3,390}', 390",
        ),
    ] {
        for mode in ["force_generic_plan", "force_custom_plan"] {
            let explain = format!(
                "SET plan_cache_mode = {mode}; PREPARE asked ({types}) AS {statement};
                 EXPLAIN EXECUTE asked ({values})"
            );
            let plan = Cluster::shared().sql(database, &explain);
            // As in "Sort  (cost=0.42..497.19 rows=257 width=41)"; the whole table costs thousands.
            let cost = plan.split("..").nth(1).unwrap().split(' ').next().unwrap();
            let cost: f64 = cost.parse().unwrap();
            assert!(cost < 1000.0, "{mode}: {plan}");
        }
    }
}
