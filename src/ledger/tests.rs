use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, SqliteConnection};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::*;
use crate::database::both::{Home, on_both};
use crate::database::cluster::Cluster;

on_both! {
    #[tokio::test]
    a_row_reads_back_as_it_was_written,
    #[tokio::test]
    a_serial_issued_twice_fails_the_second_certificate_alone,
    #[tokio::test]
    a_row_the_database_refuses_takes_no_neighbour_with_it,
    #[tokio::test]
    a_search_takes_every_character_for_itself,
    #[tokio::test]
    a_search_gives_the_newest_first_and_no_more_than_asked_for,
    #[tokio::test]
    a_full_queue_answers_busy_at_once_and_loses_nothing,
    #[tokio::test]
    a_caller_who_goes_away_leaves_the_row_written,
    #[tokio::test]
    a_number_too_large_for_the_database_is_refused_not_wrapped,
    #[tokio::test]
    closing_writes_what_waits_and_refuses_what_comes_later,
    #[tokio::test]
    written_rows_are_neither_changed_nor_deleted,
    #[tokio::test]
    a_damaged_row_is_an_error_that_names_it,
}

/// A ledger of its own.
struct TestLedger {
    _directory: tempfile::TempDir,
    place: Place,
    ledger: Arc<Ledger>,
}

impl TestLedger {
    async fn create(home: Home) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = match home {
            Home::File => Place::Sqlite(directory.path().join("ledger.db")),
            Home::Server => {
                let address = Cluster::shared().database();
                Place::Postgres(Server::new(&address, Path::new(""), None).unwrap())
            }
        };
        Self {
            _directory: directory,
            ledger: Arc::new(Ledger::create(place.clone()).await.unwrap()),
            place,
        }
    }

    /// Has the database do something behind the ledger's back.
    async fn say(&self, sql: &str) -> Result<(), sqlx::Error> {
        match &self.place {
            Place::Sqlite(path) => {
                let sql = AssertSqlSafe(sql);
                sqlx::raw_sql(sql)
                    .execute(&mut stranger(path).await)
                    .await?;
            }
            Place::Postgres(server) => {
                let sql = AssertSqlSafe(format!("SET search_path = ledger; {sql}"));
                let mut connection = server.connect().await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await?;
            }
        }
        Ok(())
    }
}

/// A record unlike any other number's.
pub(super) fn record(number: u64) -> Record {
    let hash = |what: &str| {
        digest(&SHA256, format!("{what} {number}").as_bytes())
            .as_ref()
            .try_into()
            .unwrap()
    };
    let mut serial = [0; 20];
    serial[12..].copy_from_slice(&number.to_be_bytes());
    Record {
        serial,
        sha256: hash("certificate"),
        identity: format!(
            "https://github.com/example-org/repo-{number}/.github/workflows/w.yml@refs/heads/main"
        ),
        identity_kind: "uri".to_owned(),
        issuer: "https://issuer.example.com".to_owned(),
        subject: format!("repo:example-org/repo-{number}:ref:refs/heads/main"),
        extensions: BTreeMap::from([
            (
                "issuer-v2".to_owned(),
                "https://issuer.example.com".to_owned(),
            ),
            (
                "github-workflow-name".to_owned(),
                "\"quoted\" \\ and ünïcode".to_owned(),
            ),
        ]),
        not_before: at(1_700_000_000),
        not_after: at(1_700_000_600),
        log_id: [7; 32],
        log_index: Some(number),
        sct_timestamp_ms: 1_700_000_000_123,
        token_sha256: hash("token"),
        key_sha256: hash("key"),
        issued_at: at(1_700_000_001),
        certificate: vec![0x30; 2700],
    }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// A connection that is none of the ledger's own.
pub(super) async fn stranger(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

pub(super) async fn execute(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap();
}

/// Records all of them at once; the answers in the order of the records.
pub(super) async fn record_together(
    ledger: &Arc<Ledger>,
    records: Vec<Record>,
) -> Vec<Result<(), LedgerError>> {
    let mut tasks = JoinSet::new();
    for (position, record) in records.into_iter().enumerate() {
        let ledger = Arc::clone(ledger);
        tasks.spawn(async move { (position, ledger.record(record).await) });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(position, _)| *position);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Where each commit in the write-ahead log ends, read from the file itself: a 32-byte header, then
/// frames of a 24-byte header and a page; a frame that ends a commit has the size of the database
/// in bytes 4..8.
fn commits_in_wal(wal: &[u8]) -> Vec<usize> {
    let page = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
    let ends_commit = |frame: &[u8]| frame[4..8] != [0; 4];
    let frames = wal[32..].chunks_exact(24 + page).enumerate();
    frames
        .filter(|(_, frame)| ends_commit(frame))
        .map(|(at, _)| 32 + (at + 1) * (24 + page))
        .collect()
}

fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

async fn a_row_reads_back_as_it_was_written(home: Home) {
    let TestLedger { ledger, .. } = &TestLedger::create(home).await;
    let plain = record(1);
    let bare = Record {
        identity: "a@example.com".to_owned(),
        identity_kind: "email".to_owned(),
        log_index: None,
        extensions: BTreeMap::new(),
        ..record(2)
    };
    for record in [&plain, &bare] {
        ledger.record(record.clone()).await.unwrap();
        for query in [
            Query::Serial(record.serial),
            Query::Sha256(record.sha256),
            Query::Identity(record.identity.clone()),
        ] {
            let found = ledger.find(&query, 9).await.unwrap();
            assert_eq!(found, std::slice::from_ref(record), "{query:?}");
        }
    }
    assert_eq!(ledger.count().await.unwrap(), 2);
    let reader = ledger.reader();
    let rows = reader.rows_after(0, 9).await.unwrap().into_iter();
    let rows: Vec<_> = rows.map(|(id, row)| (id, row.unwrap())).collect();
    assert_eq!(rows, [(1, plain), (2, bare)]);
    assert_eq!(reader.rows_after(1, 9).await.unwrap().len(), 1);
    let recorded = reader.recorded(&[record(2).serial, record(3).serial]).await;
    assert_eq!(recorded.unwrap(), HashSet::from([record(2).serial]));
    ledger.healthy().await.unwrap();
}

#[tokio::test]
async fn a_row_survives_a_crash_at_the_moment_record_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = Ledger::create(&path).await.unwrap();
    for number in 0..5 {
        ledger.record(record(number)).await.unwrap();
        // What a killed process leaves behind: the files as they are, and no shared memory.
        let image = dir.path().join(format!("image-{number}.db"));
        std::fs::copy(&path, &image).unwrap();
        std::fs::copy(wal_of(&path), wal_of(&image)).unwrap();
        let survivor = Ledger::open(&image).await.unwrap();
        assert_eq!(
            survivor
                .find(&Query::Serial(record(number).serial), 1)
                .await
                .unwrap(),
            [record(number)]
        );
        assert_eq!(survivor.count().await.unwrap(), number + 1);
    }
}

#[tokio::test]
async fn a_log_torn_anywhere_opens_with_the_whole_commits_before_the_tear() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = Ledger::create(&path).await.unwrap();
    let (before, wal) = (std::fs::read(&path).unwrap(), wal_of(&path));
    let made = commits_in_wal(&std::fs::read(&wal).unwrap()).len();
    for number in 0..4 {
        ledger.record(record(number)).await.unwrap();
    }
    let whole = std::fs::read(&wal).unwrap();
    let commits = commits_in_wal(&whole);
    assert_eq!(commits.len(), made + 4);
    assert_eq!(
        before,
        std::fs::read(&path).unwrap(),
        "no checkpoint came between"
    );
    for cut in (commits[made - 1]..=whole.len())
        .step_by(1499)
        .chain(commits[made..].iter().copied())
    {
        let image = dir.path().join(format!("image-{cut}.db"));
        std::fs::write(&image, &before).unwrap();
        std::fs::write(wal_of(&image), &whole[..cut]).unwrap();
        let survivor = Ledger::open(&image).await.unwrap();
        let expected = commits[made..].iter().filter(|end| **end <= cut).count();
        assert_eq!(
            survivor.count().await.unwrap(),
            expected as u64,
            "cut at {cut}"
        );
        survivor.record(record(100)).await.unwrap();
    }
}

#[tokio::test]
async fn a_crowd_shares_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = Arc::new(Ledger::create(&path).await.unwrap());
    let before = commits_in_wal(&std::fs::read(wal_of(&path)).unwrap()).len();
    let answers = record_together(&ledger, (0..300).map(record).collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let commits = commits_in_wal(&std::fs::read(wal_of(&path)).unwrap()).len() - before;
    assert!(commits <= 10, "300 rows took {commits} commits");
    assert_eq!(ledger.count().await.unwrap(), 300);
}

async fn a_serial_issued_twice_fails_the_second_certificate_alone(home: Home) {
    let TestLedger { ledger, .. } = &TestLedger::create(home).await;
    ledger.record(record(5)).await.unwrap();
    // One batch, longer than one statement; 5 is taken by an earlier batch, 90 within this one.
    let mut records: Vec<_> = (0..100).map(record).collect();
    records[5].sha256 = [1; 32];
    records[91].serial = records[90].serial;
    let answers = record_together(ledger, records).await;
    for (position, answer) in answers.iter().enumerate() {
        if matches!(position, 5 | 91) {
            assert!(
                matches!(answer, Err(LedgerError::DuplicateSerial)),
                "{position}: {answer:?}"
            );
        } else {
            assert!(answer.is_ok(), "{position}: {answer:?}");
        }
    }
    assert_eq!(ledger.count().await.unwrap(), 99);
    assert_eq!(
        ledger
            .find(&Query::Serial(record(5).serial), 9)
            .await
            .unwrap(),
        [record(5)]
    );
    ledger.healthy().await.unwrap();
}

async fn a_row_the_database_refuses_takes_no_neighbour_with_it(home: Home) {
    let test = TestLedger::create(home).await;
    let ledger = &test.ledger;
    let marked = home.choose([
        "CREATE TRIGGER marked BEFORE INSERT ON certificates WHEN NEW.identity = 'marked@example.com'
         BEGIN SELECT RAISE(ABORT, 'marked'); END",
        "ALTER TABLE certificates ADD CHECK (identity <> 'marked@example.com')",
    ]);
    test.say(marked).await.unwrap();
    for size in [3, 70] {
        let mut records: Vec<_> = (size * 100..size * 101).map(record).collect();
        records[1].identity = "marked@example.com".to_owned();
        records[2].identity_kind = "nonsense".to_owned();
        let answers = record_together(ledger, records).await;
        let refused = |answer: &&_| matches!(answer, Err(LedgerError::Refused(_)));
        assert!(
            refused(&&answers[1]) && refused(&&answers[2]),
            "{answers:?}"
        );
        assert_eq!(
            answers.iter().filter(|answer| answer.is_ok()).count() as u64,
            size - 2,
            "{answers:?}"
        );
    }
    let marked = Query::Identity("marked@example.com".to_owned());
    assert_eq!(ledger.find(&marked, 9).await.unwrap(), []);
    assert_eq!(ledger.count().await.unwrap(), 69);
    ledger.healthy().await.unwrap();
}

async fn a_search_takes_every_character_for_itself(home: Home) {
    let TestLedger { ledger, .. } = &TestLedger::create(home).await;
    let names = [
        "o'brien@example.com",
        "a%@example.com",
        "a_@example.com",
        "ab@example.com",
        "A%@EXAMPLE.COM",
    ];
    for (number, name) in (0..).zip(names) {
        ledger
            .record(Record {
                identity: (*name).to_owned(),
                ..record(number)
            })
            .await
            .unwrap();
    }
    for (number, name) in (0..).zip(names) {
        let found = ledger
            .find(&Query::Identity((*name).to_owned()), 9)
            .await
            .unwrap();
        assert_eq!(
            found.iter().map(|row| row.serial).collect::<Vec<_>>(),
            [record(number).serial],
            "{name}"
        );
    }
    for nobody in ["%", "", "' OR 1=1 --", "*", "ab@example.com\0"] {
        assert_eq!(
            ledger
                .find(&Query::Identity(nobody.to_owned()), 9)
                .await
                .unwrap(),
            [],
            "{nobody}"
        );
    }
}

async fn a_search_gives_the_newest_first_and_no_more_than_asked_for(home: Home) {
    let TestLedger { ledger, .. } = &TestLedger::create(home).await;
    for number in 0..5 {
        ledger
            .record(Record {
                identity: "a@example.com".to_owned(),
                ..record(number)
            })
            .await
            .unwrap();
    }
    let query = Query::Identity("a@example.com".to_owned());
    let found = ledger.find(&query, 2).await.unwrap();
    assert_eq!(
        found.iter().map(|row| row.log_index).collect::<Vec<_>>(),
        [Some(4), Some(3)]
    );
    assert_eq!(ledger.find(&query, u32::MAX).await.unwrap().len(), 5);
    assert_eq!(ledger.find(&query, 0).await.unwrap(), []);
}

async fn a_full_queue_answers_busy_at_once_and_loses_nothing(home: Home) {
    let test = TestLedger::create(home).await;
    let store: Arc<dyn Store> = match &test.place {
        Place::Sqlite(path) => Arc::new(SqliteStore::new(path.clone())),
        Place::Postgres(server) => Arc::new(PostgresStore::open(server).await.unwrap()),
    };
    let ledger = &Arc::new(Ledger::run(store, 4).await.unwrap());
    // On a runtime of one thread the writer does not run before all ten have asked.
    let answers = record_together(ledger, (0..10).map(record).collect()).await;
    let busy = answers
        .iter()
        .filter(|answer| matches!(answer, Err(LedgerError::Busy)))
        .count();
    assert_eq!(busy, 6, "{answers:?}");
    assert_eq!(ledger.count().await.unwrap(), 4);
    ledger.record(record(10)).await.unwrap();
}

async fn a_caller_who_goes_away_leaves_the_row_written(home: Home) {
    let TestLedger { ledger, .. } = &TestLedger::create(home).await;
    {
        let mut abandoned = std::pin::pin!(ledger.record(record(1)));
        let waker = std::task::Waker::noop();
        assert!(
            abandoned
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_pending()
        );
    }
    // The queue is in order, so the second answer comes after the first row.
    ledger.record(record(2)).await.unwrap();
    assert_eq!(ledger.count().await.unwrap(), 2);
}

async fn a_number_too_large_for_the_database_is_refused_not_wrapped(home: Home) {
    let TestLedger { ledger, .. } = &TestLedger::create(home).await;
    let refused = ledger
        .record(Record {
            log_index: Some(1 << 63),
            ..record(1)
        })
        .await;
    assert!(
        matches!(refused, Err(LedgerError::OutOfRange { .. })),
        "{refused:?}"
    );
    let refused = ledger
        .record(Record {
            sct_timestamp_ms: u64::MAX,
            ..record(1)
        })
        .await;
    assert!(
        matches!(refused, Err(LedgerError::OutOfRange { .. })),
        "{refused:?}"
    );
    ledger
        .record(Record {
            log_index: Some((1 << 63) - 1),
            ..record(1)
        })
        .await
        .unwrap();
}

async fn closing_writes_what_waits_and_refuses_what_comes_later(home: Home) {
    let test = TestLedger::create(home).await;
    let ledger = &test.ledger;
    let mut waiting = JoinSet::new();
    for number in 0..20 {
        let ledger = Arc::clone(ledger);
        waiting.spawn(async move { ledger.record(record(number)).await });
    }
    tokio::task::yield_now().await;
    ledger.close().await;
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    assert!(matches!(
        ledger.record(record(99)).await,
        Err(LedgerError::Closed)
    ));
    assert!(matches!(ledger.healthy().await, Err(LedgerError::Closed)));
    ledger.close().await;
    // Closed in order: the database is one file again, and can be searched without a writer.
    if let Place::Sqlite(path) = &test.place {
        assert!(!wal_of(path).exists());
    }
    assert_eq!(
        Ledger::open_read_only(test.place.clone())
            .await
            .unwrap()
            .count()
            .await
            .unwrap(),
        20
    );
}

#[tokio::test]
async fn nothing_is_made_overwritten_or_adopted_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    assert!(matches!(
        Ledger::open(&path).await,
        Err(LedgerError::Missing { .. })
    ));
    assert!(matches!(
        Ledger::open_read_only(&path).await,
        Err(LedgerError::Missing { .. })
    ));
    assert!(!path.exists());

    let ledger = Ledger::create(&path).await.unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(matches!(
        Ledger::create(&path).await,
        Err(LedgerError::Exists { .. })
    ));
    ledger.record(record(1)).await.unwrap();
    ledger.close().await;
    assert_eq!(Ledger::open(&path).await.unwrap().count().await.unwrap(), 1);

    let (empty, text, other) = (
        dir.path().join("empty"),
        dir.path().join("text"),
        dir.path().join("other.db"),
    );
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&text, "not a database\n".repeat(99)).unwrap();
    std::fs::write(&other, "").unwrap();
    execute(
        &mut stranger(&other).await,
        "CREATE TABLE certificates (id)",
    )
    .await;
    for path in [&empty, &text, &other, dir.path()] {
        let before = std::fs::read(path).ok();
        assert!(Ledger::open(path).await.is_err(), "{path:?}");
        assert!(Ledger::open_read_only(path).await.is_err(), "{path:?}");
        assert!(Ledger::create(path).await.is_err(), "{path:?}");
        assert_eq!(std::fs::read(path).ok(), before, "{path:?}");
    }
    assert!(matches!(
        Ledger::open(&text).await,
        Err(LedgerError::NotALedger { .. })
    ));
    assert!(matches!(
        Ledger::open(&other).await,
        Err(LedgerError::NotALedger { .. })
    ));

    let nowhere = dir.path().join("no/such/directory/ledger.db");
    assert!(matches!(
        Ledger::create(&nowhere).await,
        Err(LedgerError::File { .. })
    ));
}

#[tokio::test]
async fn a_name_that_sqlite_would_interpret_is_only_a_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["file:x.db?mode=memory", ":memory:", "100%41 'a'?b#c.db"] {
        let path = dir.path().join(name);
        let ledger = Ledger::create(&path).await.unwrap();
        ledger.record(record(1)).await.unwrap();
        ledger.close().await;
        assert!(std::fs::metadata(&path).unwrap().len() > 0, "{name}");
    }
}

async fn written_rows_are_neither_changed_nor_deleted(home: Home) {
    let test = TestLedger::create(home).await;
    let ledger = &test.ledger;
    ledger.record(record(1)).await.unwrap();
    let statements = [
        "UPDATE certificates SET identity = 'x'",
        "DELETE FROM certificates",
        "TRUNCATE certificates",
    ];
    // SQLite does not know the last of them.
    for sql in statements {
        let refused = test.say(sql).await.unwrap_err().to_string();
        let why = ["are never ", "near \"TRUNCATE\""];
        assert!(why.iter().any(|why| refused.contains(why)), "{refused}");
    }
    assert_eq!(
        ledger
            .find(&Query::Serial(record(1).serial), 9)
            .await
            .unwrap(),
        [record(1)]
    );
}

async fn a_damaged_row_is_an_error_that_names_it(home: Home) {
    let test = TestLedger::create(home).await;
    let ledger = &test.ledger;
    ledger.record(record(1)).await.unwrap();
    let damage = home.choose([
        "DROP TRIGGER certificates_are_not_changed; UPDATE certificates SET extensions = '{\"issuer\": 1}'",
        "DROP TRIGGER certificates_are_not_changed ON certificates;
         UPDATE certificates SET extensions = '{\"issuer\": 1}'",
    ]);
    test.say(damage).await.unwrap();
    let found = ledger.find(&Query::Serial(record(1).serial), 9).await;
    assert!(
        matches!(
            found,
            Err(LedgerError::Damaged {
                id: 1,
                column: "extensions"
            })
        ),
        "{found:?}"
    );
}

#[test]
fn the_migration_explains_every_table_and_column() {
    for migration in [
        include_str!("../../migrations/sqlite/ledger/0001_certificates.sql"),
        include_str!("../../migrations/sqlite/ledger/0002_usernames.sql"),
    ] {
        check_comments(migration);
    }
}

fn check_comments(migration: &str) {
    let mut explained = false;
    let mut columns = 0;
    for line in migration.lines() {
        let line = line.trim();
        let is_table = line.starts_with("CREATE TABLE");
        let is_column = [" BLOB", " TEXT", " INTEGER"]
            .iter()
            .any(|kind| line.contains(kind))
            && !line.starts_with("--");
        assert!(
            explained || !(is_table || is_column),
            "no comment above: {line}"
        );
        columns += usize::from(is_column);
        explained = line.starts_with("--");
    }
    assert_eq!(columns, 17);
}

#[tokio::test]
async fn a_ledger_from_before_there_were_usernames_loses_a_row_or_its_guards() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    let first = sqlx::migrate::Migrator {
        migrations: sqlite::MIGRATIONS.migrations[..1].to_vec().into(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    first.run(&mut connection).await.unwrap();
    let insert = "INSERT INTO certificates VALUES (7, randomblob(20), zeroblob(32), 'a@b.example', 'KIND', 'https://i.example', 's', '{}', 1, 2, zeroblob(32), 3, 4, zeroblob(32), zeroblob(32), 5, x'30')";
    execute(&mut connection, &insert.replace("KIND", "email")).await;
    connection.close().await.unwrap();
    let ledger = Ledger::open(&path).await.unwrap();
    let found = ledger
        .find(&Query::Identity("a@b.example".to_owned()), 9)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].certificate, [0x30]);
    let mut username = record(8);
    username.identity_kind = "username".to_owned();
    username.identity = "alice!example.com".to_owned();
    ledger.record(username).await.unwrap();
    let query = Query::Identity("alice!example.com".to_owned());
    assert_eq!(
        ledger.find(&query, 9).await.unwrap()[0].identity_kind,
        "username"
    );
    ledger.close().await;
    let mut connection = stranger(&path).await;
    for statement in [
        "UPDATE certificates SET subject = 'x'",
        "DELETE FROM certificates",
    ] {
        let result = sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await;
        assert!(result.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn another_process_reads_while_this_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = Ledger::create(&path).await.unwrap();
    ledger.record(record(1)).await.unwrap();
    let mut reader = spawn_child("reader", &path, None);
    let mut lines = lines_of(&mut reader);
    for number in 2..5 {
        ledger.record(record(number)).await.unwrap();
        assert_eq!(ask(&mut reader, &mut lines), number.to_string());
    }
    drop(reader.stdin.take());
    assert!(reader.wait().unwrap().success());
}

#[tokio::test]
async fn a_killed_process_loses_no_answered_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    Ledger::create(&path).await.unwrap().close().await;
    let mut answered = 0;
    for round in 1..=3 {
        let mut writer = spawn_child("writer", &path, None);
        let mut lines = lines_of(&mut writer);
        let mut rows: Vec<String> = (0..100 * round).map(|_| lines.next().unwrap()).collect();
        writer.kill().unwrap();
        // Answers given before the kill may still be in the pipe.
        rows.extend(lines);
        assert!(!writer.wait().unwrap().success());
        answered += rows.len() as u64;
        let ledger = Ledger::open(&path).await.unwrap();
        for row in &rows {
            let query = Query::serial_from_hex(row).unwrap();
            assert_eq!(
                ledger.find(&query, 9).await.unwrap().len(),
                1,
                "round {round}: {row}"
            );
        }
        assert!(ledger.count().await.unwrap() >= answered);
        ledger.close().await;
    }
}

/// The child may not make a file larger than a limit, so its writes really fail, in the
/// write-ahead log, in checkpoints and in the database, until the limit is lifted.
#[tokio::test]
async fn a_full_disk_answers_truthfully_and_heals_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    Ledger::create(&path).await.unwrap().close().await;
    let mut child = spawn_child("filler", &path, Some(1 << 19));
    let mut lines = lines_of(&mut child);
    assert_eq!(lines.next().unwrap(), "full");
    let lifted = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(lifted.success());
    assert_eq!(ask(&mut child, &mut lines), "well");
    let answers: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success());

    let ledger = Ledger::open(&path).await.unwrap();
    let mut seen = BTreeMap::new();
    for answer in &answers {
        let (answer, serial) = answer.split_once(' ').unwrap();
        let found = ledger
            .find(&Query::serial_from_hex(serial).unwrap(), 9)
            .await
            .unwrap()
            .len();
        match answer {
            "written" => assert_eq!(found, 1, "{serial}"),
            "absent" => assert_eq!(found, 0, "{serial}"),
            _ => assert_eq!(answer, "unknown"),
        }
        *seen.entry(answer.to_owned()).or_insert(0) += 1;
    }
    assert!(
        seen.len() == 3,
        "not every kind of answer was seen: {seen:?}"
    );
}

/// Not a test: the other process of the tests above.
#[test]
#[ignore = "run as a child of other tests"]
fn child() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var(PATH)) else {
        return;
    };
    let path = PathBuf::from(path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // The test harness leaves its own line unfinished.
    println!();
    runtime.block_on(async move {
        match &*role {
            "reader" => read(&path).await,
            "writer" => write(&path).await,
            "filler" => fill(&path).await,
            _ => panic!("unknown role {role}"),
        }
    });
}

/// Tells the number of rows each time it is asked.
async fn read(path: &Path) {
    let reader = Ledger::open_read_only(path).await.unwrap();
    for _ in std::io::stdin().lines() {
        say(&reader.count().await.unwrap().to_string());
    }
}

/// Writes until killed, and tells each row that was answered.
async fn write(path: &Path) {
    let ledger = Arc::new(Ledger::open(path).await.unwrap());
    let first = ledger.count().await.unwrap() * 1000;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let ledger = Arc::clone(&ledger);
        writers.spawn(async move {
            for number in 0.. {
                let record = record(first + number * 8 + writer);
                let serial = hex(&record.serial);
                ledger.record(record).await.unwrap();
                say(&serial);
            }
        });
    }
    writers.join_all().await;
}

/// Writes until the disk has been found full for good, waits, writes until a row is taken again,
/// and tells what was said of each.
async fn fill(path: &Path) {
    let ledger = Arc::new(Ledger::open(path).await.unwrap());
    let mut answers = Vec::new();
    let mut numbers = 0..;
    let mut write = async || {
        let records: Vec<_> = numbers.by_ref().take(16).map(record).collect();
        let serials: Vec<_> = records.iter().map(|record| hex(&record.serial)).collect();
        let mut all_written = true;
        for (answer, serial) in record_together(&ledger, records)
            .await
            .into_iter()
            .zip(serials)
        {
            let answer = match answer {
                Ok(()) => "written",
                Err(LedgerError::NotWritten(_)) => "absent",
                Err(LedgerError::Unavailable) => "unknown",
                Err(other) => panic!("{other:?}"),
            };
            all_written &= answer == "written";
            answers.push(format!("{answer} {serial}"));
        }
        all_written
    };
    let mut failures = 0;
    while failures < 4 || ledger.healthy().await.is_ok() {
        failures += u32::from(!write().await);
    }
    assert!(
        ledger
            .find(&Query::Serial(record(0).serial), 1)
            .await
            .unwrap()
            .len()
            == 1,
        "reading goes on"
    );
    say("full");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    assert!(write().await, "there is space again");
    ledger.healthy().await.unwrap();
    say("well");
    answers.iter().for_each(|answer| say(answer));
    ledger.close().await;
}

fn spawn_child(role: &str, path: &Path, file_limit: Option<u64>) -> Child {
    let executable = std::env::current_exe().unwrap();
    let mut command = match file_limit {
        None => Command::new(executable),
        Some(bytes) => {
            let mut command = Command::new("prlimit");
            command.arg(format!("--fsize={bytes}:unlimited"));
            // Ignored, the signal becomes an error of the write.
            command
                .args(["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
                .arg(executable);
            command
        }
    };
    command
        .args([
            "--exact",
            "ledger::tests::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .env(PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child says, without what the test harness says.
fn lines_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix(VOICE).map(str::to_owned))
}

fn ask(child: &mut Child, lines: &mut impl Iterator<Item = String>) -> String {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    lines.next().unwrap()
}

fn say(line: &str) {
    println!("{VOICE}{line}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ROLE: &str = "VOUCHSAFE_LEDGER_TEST_ROLE";
const PATH: &str = "VOUCHSAFE_LEDGER_TEST_PATH";
const VOICE: &str = "child: ";
