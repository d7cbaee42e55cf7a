//! A log on a server that several processes write to, and what may happen between them and it.

use super::checkpoint::Checkpoint;
use super::store::CommitError;
use super::store::postgres::PostgresStore;
use super::testing::{Fault, FaultyStore, ORIGIN, at, entry, log_entries, log_entry, signer};
use super::*;
use crate::database::Server;
use crate::database::cluster::Cluster;
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn config(address: &str) -> Config {
    let server = Server::new(address, Path::new(""), None).unwrap();
    Config {
        extended_key_usages: vec!["any".to_owned()],
        ..Config::new(server, ORIGIN.to_owned())
    }
}

async fn open(address: &str) -> Log {
    let opened = Log::open(&config(address), signer(1), &Chains::default(), at(0)).await;
    opened.unwrap()
}

/// The address of a database with an empty log.
async fn create() -> String {
    let address = Cluster::shared().database();
    let created = Log::create(&config(&address), &signer(1), at(0)).await;
    created.unwrap();
    address
}

fn sql(address: &str, statements: &str) -> String {
    Cluster::shared().sql(address.rsplit_once('/').unwrap().1, statements)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_append_to_one_tree_and_answer_alike() {
    let address = create().await;
    let logs = [
        open(&address).await,
        open(&address).await,
        open(&address).await,
    ];
    let mut tasks = Vec::new();
    for (share, log) in (0..).zip(&logs) {
        let log = log.clone();
        // Half of what each logs is logged by all.
        tasks.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            for round in 0..10_u64 {
                let own = 10_000 * (share + 1) + round * 20;
                answers.extend(log_entries(&log, own..own + 20, at(10)).await);
                let common = round * 20;
                answers.extend(log_entries(&log, common..common + 20, at(10)).await);
            }
            answers
        }));
    }
    let mut indices = Vec::new();
    let mut distinct = HashSet::new();
    for task in tasks {
        for answer in task.await.unwrap() {
            let appended = answer.unwrap();
            indices.push(appended.index.unwrap());
            distinct.insert((
                appended.index,
                appended.sct.signature,
                appended.sct.timestamp_ms,
            ));
        }
    }
    assert_eq!(indices.len(), 1200);
    // 3 * 200 of their own, and 200 that all of them were given the same answer for.
    assert_eq!(distinct.len(), 800, "one index, two answers");
    let head = logs[0].reader().newest_head().await.unwrap();
    assert_eq!(head.size, 800);
    for log in &logs {
        assert_eq!(log.reader().newest_head().await.unwrap(), head);
        assert_eq!(log.check().await.unwrap().head, *head);
        assert!(log.in_service());
    }
}

#[tokio::test]
async fn a_checkpoint_is_never_behind_what_another_process_has_answered() {
    let address = create().await;
    let (one, other) = (open(&address).await, open(&address).await);
    let verifier = signer(1).verifier().clone();
    for number in 0..300 {
        let appended = log_entry(&one, number, at(10)).await.unwrap();
        let note = other.reader().checkpoint().await.unwrap();
        let checkpoint = Checkpoint::verify(&note, ORIGIN, &verifier).unwrap();
        assert!(Some(checkpoint.size) > appended.index);
    }
    // Nor is what is read.
    assert!(other.reader().tile(1, 0, 1).await.unwrap().is_some());
    assert!(other.reader().data_tile(1, 44).await.unwrap().is_some());
    assert_eq!(other.reader().data_tile(1, 45).await.unwrap(), None);
    let appended = log_entry(&other, 300, at(10)).await.unwrap();
    assert_eq!(appended.index, Some(300));
}

#[tokio::test]
async fn an_unknown_outcome_is_found_out_and_answered_both_ways() {
    for is_persisted in [false, true] {
        for (start, added) in [(0, 1), (0, 300), (255, 1), (255, 2), (300, 600)] {
            let address = create().await;
            let server = Server::new(&address, Path::new(""), None).unwrap();
            let inner = PostgresStore::open(&server, &signer(1).verifier().log_id()).await;
            let store = Arc::new(FaultyStore::new(Arc::new(inner.unwrap())));
            let (config, chains) = (config(&address), Chains::default());
            let log = Log::open_in(store.clone(), &config, signer(1), &chains, at(0)).await;
            let log = log.unwrap();
            for result in log_entries(&log, 0..start, at(10)).await {
                result.unwrap();
            }
            let unknown = CommitError::Unknown("the connection was lost".to_owned());
            store.fail(match is_persisted {
                true => Fault::Persisted(unknown),
                false => Fault::NotPersisted(unknown),
            });
            let mut indices = Vec::new();
            for result in log_entries(&log, start..start + added, at(20)).await {
                indices.push(result.unwrap().index.unwrap());
            }
            indices.sort_unstable();
            assert_eq!(
                indices,
                (start..start + added).collect::<Vec<_>>(),
                "{is_persisted}"
            );
            let refused = CommitError::NotWritten("no room".to_owned());
            store.fail(Fault::NotPersisted(refused));
            let next = log_entry(&log, start + added, at(30)).await;
            assert_eq!(next, Err(AppendError::NotWritten));
            log_entry(&log, start + added, at(30)).await.unwrap();
            assert_eq!(log.check().await.unwrap().head.size, start + added + 1);
            assert!(log.in_service());
        }
    }
}

/// Between a process and the server: cuts the connection when told.
struct Proxy {
    port: u16,
    cut: Arc<AtomicU8>,
}

const BEFORE: u8 = 1;
const AFTER: u8 = 2;

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicU8::new(0));
        let armed = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", Cluster::shared().port()));
                tokio::spawn(Self::carry(
                    client,
                    server.await.unwrap(),
                    Arc::clone(&armed),
                ));
            }
        });
        Self { port, cut }
    }

    /// Before: what the client says next does not arrive. After: it does, and the answer does not.
    async fn carry(mut client: TcpStream, mut server: TcpStream, cut: Arc<AtomicU8>) {
        let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                length = client.read(&mut said) => {
                    let length = length.unwrap_or(0);
                    if length == 0 || cut.compare_exchange(BEFORE, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        return;
                    }
                    server.write_all(&said[..length]).await.unwrap();
                }
                length = server.read(&mut answered) => {
                    let length = length.unwrap_or(0);
                    if length == 0 || cut.compare_exchange(AFTER, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        return;
                    }
                    client.write_all(&answered[..length]).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn a_connection_cut_at_the_commit_costs_nobody_an_entry_or_a_second_one() {
    let address = create().await;
    let proxy = Proxy::start().await;
    let through = address.replace(
        &format!(":{}/", Cluster::shared().port()),
        &format!(":{}/", proxy.port),
    );
    assert_ne!(through, address);
    let log = open(&through).await;
    let mut next = 0;
    for round in 0..20 {
        for cut in [BEFORE, AFTER] {
            for count in [1, 20] {
                // The statement is prepared by this one, so that the next thing said is the commit.
                log_entry(&log, next, at(10)).await.unwrap();
                let size = log.head().size;
                proxy.cut.store(cut, Ordering::SeqCst);
                let mut indices = Vec::new();
                for result in log_entries(&log, next + 1..next + 1 + count, at(10)).await {
                    indices.push(result.unwrap().index.unwrap());
                }
                assert_eq!(proxy.cut.load(Ordering::SeqCst), 0, "nothing was cut");
                next += 1 + count;
                indices.sort_unstable();
                let expected: Vec<u64> = (size..size + count).collect();
                assert_eq!(indices, expected, "round {round}, cut {cut}");
            }
        }
    }
    assert_eq!(log.check().await.unwrap().head.size, next);
    assert_eq!(open(&address).await.head().size, next);
}

/// What a failover to a standby that had not received everything does to the tables.
const REMEMBER: &str =
    "CREATE TABLE old_head AS TABLE ctlog.head; CREATE TABLE old_tile AS TABLE ctlog.tile";
const GO_BACK: &str = "DELETE FROM ctlog.tile; INSERT INTO ctlog.tile TABLE old_tile;
    DELETE FROM ctlog.head; INSERT INTO ctlog.head TABLE old_head;
    DELETE FROM ctlog.entry WHERE leaf_index >= (SELECT size FROM ctlog.head)";

#[tokio::test]
async fn a_database_that_went_back_stops_every_process_that_knows_better() {
    for others in [0, 1, 20] {
        let address = create().await;
        let log = open(&address).await;
        log_entries(&log, 0..5, at(10)).await;
        sql(&address, REMEMBER);
        log_entries(&log, 5..10, at(10)).await;
        let seen = log.head();
        sql(&address, GO_BACK);
        assert!(
            log.reader().newest_head().await.is_err(),
            "an older head was shown"
        );
        assert!(!log.is_healthy(at(20)).await);
        // Somebody who does not know better may already have gone on, even beyond.
        let other = open(&address).await;
        assert_eq!(other.head().size, 5);
        log_entries(&other, 1000..1000 + others, at(10)).await;
        assert_eq!(
            log_entry(&log, 10, at(20)).await,
            Err(AppendError::Unavailable)
        );
        let fatal = log.fatal().await;
        let found = 5 + others;
        let behind = Fatal::Behind {
            seen: seen.size,
            found,
        };
        assert_eq!(fatal, behind);
    }
}

#[tokio::test]
async fn a_database_that_goes_away_is_refused_for_and_comes_back_by_itself() {
    let cluster = Cluster::start();
    let address = cluster.database();
    let created = Log::create(&config(&address), &signer(1), at(0)).await;
    created.unwrap();
    let log = open(&address).await;
    log_entry(&log, 0, at(10)).await.unwrap();
    cluster.stop();
    let refused = log_entry(&log, 1, at(10)).await;
    let is_right = matches!(
        refused,
        Err(AppendError::Undecided | AppendError::NotWritten)
    );
    assert!(is_right, "{refused:?}");
    assert!(log.in_service() && !log.is_healthy(at(20)).await);
    let refused = log_entry(&log, 2, at(10)).await;
    assert_eq!(refused, Err(AppendError::NotWritten), "known at once");
    cluster.start_again();
    let appended = log_entry(&log, 1, at(10)).await.unwrap();
    assert_eq!(appended.index, Some(1));
    assert!(log.is_healthy(at(20)).await);
    // Told to take nothing, it is refused for, too.
    let set = "ALTER DATABASE test_0 SET default_transaction_read_only = on;
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = 'test_0' AND pid <> pg_backend_pid()";
    cluster.sql("postgres", set);
    let refused = log_entry(&log, 2, at(10)).await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.sql(
        "postgres",
        "ALTER DATABASE test_0 RESET default_transaction_read_only",
    );
    assert_eq!(log_entry(&log, 2, at(10)).await.unwrap().index, Some(2));
    log.check().await.unwrap();
}

#[tokio::test]
async fn another_replicas_clock_far_ahead_is_refused() {
    let address = create().await;
    let (one, ahead) = (open(&address).await, open(&address).await);
    log_entry(&one, 0, at(0)).await.unwrap();
    log_entry(&ahead, 1, at(100_000)).await.unwrap();
    let late = log_entry(&one, 2, at(10)).await;
    assert!(
        matches!(late, Err(AppendError::ClockBehind { .. })),
        "{late:?}"
    );
    let second = log_entry(&one, 2, at(95_000)).await.unwrap();
    assert_eq!(second.index, Some(2));
    one.check().await.unwrap();
}

/// The statements of docs/database.md, word for word.
#[tokio::test]
async fn the_documented_rights_are_enough_to_serve_and_no_more() {
    let address = create().await;
    crate::ledger::upgrade(&Server::new(&address, Path::new(""), None).unwrap())
        .await
        .unwrap();
    let page = std::fs::read_to_string("docs/database.md").unwrap();
    let statements = page
        .split("```sql")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    sql(&address, statements);
    let log = open(&address.replace("vouchsafe@", "vouchsafe_server@")).await;
    for result in log_entries(&log, 0..300, at(10)).await {
        result.unwrap();
    }
    log_entry(&open(&address).await, 300, at(10)).await.unwrap();
    log_entry(&log, 301, at(10)).await.unwrap();
    log.refresh(at(20)).await.unwrap();
    let record = "INSERT INTO ledger.certificates SELECT FROM ledger.certificates";
    sql(&address, &format!("SET ROLE vouchsafe_server; {record}"));
    for forbidden in [
        "UPDATE ctlog.entry SET leaf = leaf",
        "DELETE FROM ctlog.entry",
        "DELETE FROM ctlog.tile",
        "DELETE FROM ledger.certificates",
        "UPDATE ctlog.log SET is_complete = false",
    ] {
        for role in ["vouchsafe_server", "vouchsafe_auditor"] {
            let attempt = format!(
                "SET ROLE {role}; DO $$ BEGIN {forbidden}; RAISE 'allowed';
                 EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
            );
            sql(&address, &attempt);
        }
    }
    let auditor = config(&address.replace("vouchsafe@", "vouchsafe_auditor@"));
    let signer = signer(1);
    let report =
        check::check_file(&auditor.database, ORIGIN, signer.verifier(), &mut |_, _| {}).await;
    assert_eq!(report.unwrap().head.size, 302);
    assert_eq!(entry(0, 40).body().dedup_key().len(), 32);
}
