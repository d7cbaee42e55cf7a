use super::open::is_at_least;
use super::*;
use crate::ctlog::store::MINIMUM_SQLITE;
use crate::ctlog::store::tests::{LOG_ID, batch, head};
use sqlx::sqlite::SqliteConnectOptions;
use std::fs::OpenOptions;

async fn store(directory: &Path) -> SqliteStore {
    let path = directory.join("log.sqlite");
    SqliteStore::create(&path, "ca.example", &LOG_ID, &head(0))
        .await
        .unwrap();
    SqliteStore::open(&path).await.unwrap()
}

#[tokio::test]
async fn a_write_that_ends_the_transaction_by_itself_leaves_nothing() {
    let triggers = ["head", "issuer", "tile", "entry"]
        .into_iter()
        .flat_map(|table| ["FAIL", "ROLLBACK"].map(|how| (table, how)));
    for (table, how) in triggers {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path()).await;
        store.commit(&head(0), batch(0, 2)).await.unwrap();
        let trigger = format!(
            "CREATE TRIGGER broken AFTER INSERT ON {table} BEGIN SELECT RAISE({how}, 'no'); END"
        );
        run(&store, &trigger).await;
        let result = store.commit(&head(2), batch(2, 70)).await;
        assert!(
            matches!(result, Err(CommitError::NotWritten(_))),
            "{table} {how}: {result:?}"
        );
        let state = store.state().await.unwrap();
        assert_eq!(
            (state.head, state.entries, state.tiles[1]),
            (head(2), 2, 1),
            "{table} {how}"
        );
        assert_eq!(store.issuers().await.unwrap().len(), 1);
        run(&store, "DROP TRIGGER broken").await;
        store.commit(&head(2), batch(2, 70)).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_a_batch_and_room_lets_it_in() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    store.commit(&head(0), batch(0, 2)).await.unwrap();
    run(&store, "PRAGMA max_page_count = 1").await;
    let result = store.commit(&head(2), batch(2, 1000)).await;
    assert!(
        matches!(result, Err(CommitError::NotWritten(_))),
        "{result:?}"
    );
    assert_eq!(store.state().await.unwrap().entries, 2);
    run(&store, "PRAGMA max_page_count = 100000").await;
    store.commit(&head(2), batch(2, 1000)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_leaves_the_outcome_unknown() {
    use std::os::unix::fs::FileExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.sqlite");
    let store = store(directory.path()).await;
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'entry'";
    let row = sqlx::query(query).fetch_one(&store.readers).await.unwrap();
    let page = unsigned(row.get(0)).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4096], (page - 1) * 4096).unwrap();
    let result = store.commit(&head(0), batch(0, 1)).await;
    assert!(matches!(result, Err(CommitError::Unknown(_))), "{result:?}");
}

#[tokio::test]
async fn another_programs_write_lock_refuses_the_batch_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let path = directory.path().join("log.sqlite");
    run(&store, "PRAGMA busy_timeout = 1").await;
    let mut other = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let result = store.commit(&head(0), batch(0, 1)).await;
    assert!(
        matches!(result, Err(CommitError::NotWritten(_))),
        "{result:?}"
    );
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.commit(&head(0), batch(0, 1)).await.unwrap();
}

#[tokio::test]
async fn settings_that_do_not_hold_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.sqlite");
    SqliteStore::create(&path, "ca.example", &LOG_ID, &head(0))
        .await
        .unwrap();
    for (pragma, value, name) in [
        ("synchronous", "NORMAL", "synchronous"),
        ("fullfsync", "OFF", "fullfsync"),
        ("checkpoint_fullfsync", "OFF", "checkpoint_fullfsync"),
        ("journal_mode", "DELETE", "journal_mode"),
    ] {
        let options = writer_options(&path).pragma(pragma, value);
        let mut connection = options.connect().await.unwrap();
        let refused = prepare_writer(&mut connection).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Setting { setting, .. } if setting == name),
            "{pragma}: {refused}"
        );
        connection.close().await.unwrap();
    }
}

#[test]
fn versions_are_compared_as_numbers() {
    for (version, expected) in [
        ("3.51.3", true),
        ("3.51.10", true),
        ("3.54.0", true),
        ("4.0.0", true),
        ("3.51.2", false),
        ("3.9.9", false),
        ("3.51", false),
        ("x", false),
    ] {
        assert_eq!(is_at_least(version, MINIMUM_SQLITE), expected, "{version}");
    }
}

#[tokio::test]
async fn a_closed_store_lets_another_open_it_and_writes_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.sqlite");
    let first = store(directory.path()).await;
    assert!(matches!(
        SqliteStore::open(&path).await,
        Err(StoreError::Locked(_))
    ));
    first.close().await;
    let second = SqliteStore::open(&path).await.unwrap();
    assert!(first.commit(&head(0), batch(0, 1)).await.is_err());
    second.commit(&head(0), batch(0, 1)).await.unwrap();
    let reader = SqliteStore::open_read_only(&path).await.unwrap();
    assert_eq!(
        reader.state().await.unwrap().head,
        head(1),
        "read beside the writer"
    );
    assert!(reader.commit(&head(1), batch(1, 2)).await.is_err());
    assert!(reader.add_issuers(&[([1; 32], vec![1])]).await.is_err());
}

async fn run(store: &SqliteStore, statement: &str) {
    let mut writer = store.writer.lock().await;
    let connection = writer.as_mut().unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .unwrap();
}
