//! What every store promises, asked of each of them.

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::*;
use crate::database::Server;
use crate::database::cluster::Cluster;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const LOG_ID: Hash = [3; 32];

pub(super) fn head(size: u64) -> Head {
    let mut root = [0; 32];
    root[..8].copy_from_slice(&size.to_be_bytes());
    Head {
        size,
        root,
        timestamp_ms: 1000 + size,
        checkpoint: format!("note {size}"),
    }
}

fn leaf_hash(number: u64) -> Hash {
    [number as u8 ^ 0x55; 32]
}

/// What a tile of level 0 says of these entries.
pub(super) fn leaf_hashes(entries: Range<u64>) -> Vec<u8> {
    entries.flat_map(leaf_hash).collect()
}

/// Entries `from..to` with everything around them.
pub(super) fn batch(from: u64, to: u64) -> Batch {
    let entry = |number: u64| {
        let mut dedup = [0; 32];
        dedup[..8].copy_from_slice(&number.to_be_bytes());
        NewEntry {
            dedup,
            leaf: vec![number as u8; 100],
            leaf_hash: leaf_hash(number),
            sct_signature: vec![1; 70],
        }
    };
    let full = (from / 256..to / 256).map(|n| Tile {
        level: 0,
        n,
        hashes: leaf_hashes(n * 256..(n + 1) * 256),
    });
    let growing = Tile {
        level: 1,
        n: 0,
        hashes: vec![to as u8; 32],
    };
    Batch {
        head: head(to),
        entries: (from..to).map(entry).collect(),
        tiles: full.chain([growing]).collect(),
        issuers: vec![([to as u8; 32], vec![5; 10])],
    }
}

/// Where a store of a test is.
#[derive(Debug)]
pub(super) enum Home {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

impl Home {
    /// One of each kind, empty.
    pub(super) fn both() -> [Self; 2] {
        let directory = tempfile::tempdir().unwrap();
        [
            Self::Sqlite(directory),
            Self::Postgres(Cluster::shared().database()),
        ]
    }

    fn file(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("log.sqlite")
    }

    /// Makes a log and opens it.
    async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(directory) => {
                let path = Self::file(directory);
                let made = SqliteStore::create(&path, "ca.example", &LOG_ID, &head(0)).await;
                made.unwrap();
                Arc::new(SqliteStore::open(&path).await.unwrap())
            }
            Self::Postgres(address) => {
                let server = Server::new(address, Path::new(""), None).unwrap();
                let made = PostgresStore::create(&server, "ca.example", &LOG_ID, &head(0)).await;
                made.unwrap();
                Arc::new(PostgresStore::open(&server, &LOG_ID).await.unwrap())
            }
        }
    }

    /// Does something behind the store's back.
    async fn run(&self, statements: &str) {
        match self {
            Self::Sqlite(directory) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new();
                let connecting = options.filename(Self::file(directory)).connect().await;
                let mut connection = connecting.unwrap();
                let ran = sqlx::raw_sql(AssertSqlSafe(statements));
                ran.execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Postgres(address) => {
                let database = address.rsplit_once('/').unwrap().1;
                let statements = format!("SET search_path = ctlog; {statements}");
                Cluster::shared().sql(database, &statements);
            }
        }
    }

    /// Makes every insertion into a table fail after it was done; or the commit of it.
    async fn break_insertion(&self, table: &str, is_at_commit: bool) {
        let sqlite = match is_at_commit {
            // A deferred foreign key is the one constraint that COMMIT itself checks.
            true => "CREATE TABLE parent (id INTEGER PRIMARY KEY);
                CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);"
                .to_owned(),
            false => String::new(),
        };
        let effect = match is_at_commit {
            true => "INSERT INTO child VALUES (1)",
            false => "SELECT RAISE(ABORT, 'no')",
        };
        let sqlite =
            format!("{sqlite} CREATE TRIGGER broken AFTER INSERT ON {table} BEGIN {effect}; END");
        let (constraint, deferred) = match is_at_commit {
            true => ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED"),
            false => ("", ""),
        };
        let postgres = format!(
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN RAISE EXCEPTION ''no''; END';
             CREATE {constraint} TRIGGER broken AFTER INSERT OR UPDATE ON {table} {deferred}
                 FOR EACH ROW EXECUTE FUNCTION broken()"
        );
        match self {
            Self::Sqlite(_) => self.run(&sqlite).await,
            Self::Postgres(_) => self.run(&postgres).await,
        }
    }

    async fn mend(&self, table: &str) {
        match self {
            Self::Sqlite(_) => self.run("DROP TRIGGER broken").await,
            Self::Postgres(_) => {
                let statement = format!("DROP TRIGGER broken ON {table}; DROP FUNCTION broken");
                self.run(&statement).await;
            }
        }
    }
}

#[tokio::test]
async fn a_batch_of_any_length_comes_back_as_it_was_written() {
    for home in Home::both() {
        let store = home.open().await;
        let mut size = 0;
        for length in [0, 1, 2, 63, 64, 65, 128, 1024] {
            let (from, to) = (size, size + length);
            let written = batch(from, to);
            let expected = if from == to { head(from) } else { head(size) };
            store.commit(&expected, written.clone()).await.unwrap();
            let entries = store.entries(from..to).await.unwrap();
            assert_eq!(entries.len() as u64, length);
            for ((entry, written), index) in entries.iter().zip(&written.entries).zip(from..) {
                assert_eq!(entry.index, index);
                assert_eq!(entry.leaf, written.leaf);
                assert_eq!(
                    (entry.dedup, &entry.sct_signature),
                    (written.dedup, &written.sct_signature)
                );
            }
            let keys: Vec<_> = written.entries.iter().map(|entry| entry.dedup).collect();
            assert_eq!(store.find(&keys).await.unwrap().len() as u64, length);
            for tile in &written.tiles {
                let stored = store.tile(tile.level, tile.n).await.unwrap();
                assert_eq!(stored.as_ref(), Some(&tile.hashes));
            }
            let growing = leaf_hashes(to - to % 256..to);
            let growing = (!growing.is_empty()).then_some(growing);
            assert_eq!(store.tile(0, to / 256).await.unwrap(), growing);
            assert_eq!(store.tile(0, 1 << 62).await.unwrap(), None);
            assert_eq!(
                store.issuer(&[to as u8; 32]).await.unwrap(),
                Some(vec![5; 10])
            );
            size = to;
            let state = store.state().await.unwrap();
            assert_eq!((state.head, state.entries), (head(size), size));
        }
    }
}

#[tokio::test]
async fn a_growing_tile_may_have_a_row_with_its_beginning_and_a_full_one_must_have_it() {
    for home in Home::both() {
        let store = home.open().await;
        store.commit(&head(0), batch(0, 300)).await.unwrap();
        // What the version before this one wrote: the whole tile in its row, nothing with the entries.
        let older = match home {
            Home::Sqlite(_) => {
                "INSERT INTO tile (id, hashes) VALUES (1, zeroblob(40 * 32));
                 UPDATE entry SET leaf_hash = NULL WHERE leaf_index < 296"
            }
            Home::Postgres(_) => {
                "INSERT INTO tile SELECT id, 0, 1, decode(repeat('00', 40 * 32), 'hex') FROM log;
                 UPDATE entry SET leaf_hash = NULL WHERE leaf_index < 296"
            }
        };
        home.run(older).await;
        let mut expected = vec![0; 40 * 32];
        expected.extend(leaf_hashes(296..300));
        let tile = store.tile(0, 1).await.unwrap().unwrap();
        assert_eq!(tile, expected);
        if let Some(turn) = store.take_turn(&[], &[(0, 0), (0, 1)]).await.unwrap() {
            let tiles = turn
                .tiles
                .iter()
                .map(|tile| (tile.level, tile.n, tile.hashes.len()));
            let tiles: Vec<_> = tiles.collect();
            assert_eq!(tiles, [(0, 0, 8192), (0, 1, expected.len()), (1, 0, 32)]);
            assert_eq!(turn.tiles[1].hashes, expected);
            store.end_turn().await;
        }
        assert_eq!(store.tile(0, 0).await.unwrap().unwrap().len(), 8192);
        store.commit(&head(300), batch(300, 600)).await.unwrap();
        assert_eq!(
            store.tile(0, 1).await.unwrap().unwrap(),
            leaf_hashes(256..512)
        );
        // All hashes stand with the entries, and that is not enough.
        home.run("UPDATE entry SET leaf_hash = dedup; DELETE FROM tile")
            .await;
        assert_eq!(store.tile(0, 1).await.unwrap(), None);
        assert_eq!(store.tile(0, 2).await.unwrap().unwrap().len(), 88 * 32);
        home.run("UPDATE entry SET leaf_hash = NULL WHERE leaf_index = 550")
            .await;
        assert_eq!(store.tile(0, 2).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_batch_on_another_head_changes_nothing() {
    for home in Home::both() {
        let store = home.open().await;
        store.commit(&head(0), batch(0, 3)).await.unwrap();
        let mut other_root = head(3);
        other_root.root = [9; 32];
        for wrong in [head(0), head(2), head(4), other_root] {
            let result = store.commit(&wrong, batch(3, 5)).await;
            assert_eq!(result, Err(CommitError::HeadMoved));
        }
        assert_eq!(store.state().await.unwrap().entries, 3);
        store.commit(&head(3), batch(3, 5)).await.unwrap();
        assert_eq!(store.state().await.unwrap().head, head(5));
    }
}

#[tokio::test]
async fn a_missing_head_is_not_made_up() {
    for home in Home::both() {
        let store = home.open().await;
        home.run("DELETE FROM head").await;
        assert_eq!(
            store.commit(&head(0), batch(0, 1)).await,
            Err(CommitError::HeadMoved)
        );
        assert!(matches!(store.state().await, Err(StoreError::Malformed(_))));
    }
}

#[tokio::test]
async fn a_repeated_entry_refuses_the_whole_batch_and_the_next_one_goes_in() {
    for home in Home::both() {
        let store = home.open().await;
        store.commit(&head(0), batch(0, 70)).await.unwrap();
        let mut repeated = batch(70, 140);
        repeated.entries[69].dedup = batch(0, 1).entries[0].dedup;
        assert_eq!(
            store.commit(&head(70), repeated).await,
            Err(CommitError::Duplicate)
        );
        let state = store.state().await.unwrap();
        assert_eq!((state.head, state.entries), (head(70), 70));
        store.commit(&head(70), batch(70, 140)).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_fails_anywhere_leaves_nothing_and_the_store_usable() {
    for table in ["head", "issuer", "tile", "entry"] {
        for is_at_commit in [false, true] {
            for home in Home::both() {
                let store = home.open().await;
                store.commit(&head(0), batch(0, 2)).await.unwrap();
                home.break_insertion(table, is_at_commit).await;
                let result = store.commit(&head(2), batch(2, 70)).await;
                assert!(
                    matches!(result, Err(CommitError::NotWritten(_))),
                    "{table} in {home:?}: {result:?}"
                );
                let state = store.state().await.unwrap();
                assert_eq!(
                    (state.head, state.entries, state.tiles[..2].to_vec()),
                    (head(2), 2, vec![0, 1]),
                    "{table} in {home:?}"
                );
                assert_eq!(store.tile(1, 0).await.unwrap(), Some(vec![2; 32]));
                assert_eq!(store.issuers().await.unwrap().len(), 1);
                home.mend(table).await;
                store.commit(&head(2), batch(2, 70)).await.unwrap();
            }
        }
    }
}
