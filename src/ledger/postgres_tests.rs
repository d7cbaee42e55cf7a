//! The ledger on a server. What it shares with the one in a file is asked of both; the rest is what
//! happens to a server.

use std::sync::Arc;

use super::tests::{record, record_together};
use super::*;
use crate::database::cluster::Cluster;

fn server(address: &str) -> Server {
    Server::new(address, Path::new(""), None).unwrap()
}

fn name(address: &str) -> &str {
    address.rsplit_once('/').unwrap().1
}

async fn create(address: &str) -> Arc<Ledger> {
    let created = Ledger::create(Place::Postgres(server(address))).await;
    Arc::new(created.unwrap())
}

/// A ledger in a file and one on a server, and what keeps the file.
async fn both() -> (tempfile::TempDir, [Arc<Ledger>; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let file = Ledger::create(&directory.path().join("ledger.db")).await;
    let ledgers = [
        Arc::new(file.unwrap()),
        create(&Cluster::shared().database()).await,
    ];
    (directory, ledgers)
}

#[tokio::test]
async fn a_row_reads_back_as_it_was_written_from_either() {
    let (_directory, ledgers) = both().await;
    for ledger in ledgers {
        let bare = Record {
            identity: "a@example.com".to_owned(),
            identity_kind: "email".to_owned(),
            log_index: None,
            extensions: Default::default(),
            ..record(2)
        };
        for record in [&record(1), &bare] {
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
        ledger.healthy().await.unwrap();
        let reader = ledger.reader();
        let rows = reader.rows_after(0, 9).await.unwrap();
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(id, row)| (id, row.unwrap()))
            .collect();
        assert_eq!(rows, [(1, record(1)), (2, bare)]);
        assert_eq!(reader.rows_after(1, 9).await.unwrap().len(), 1);
        let recorded = reader.recorded(&[record(2).serial, record(3).serial]).await;
        assert_eq!(recorded.unwrap(), HashSet::from([record(2).serial]));
        ledger.close().await;
        assert!(matches!(
            ledger.record(record(4)).await,
            Err(LedgerError::Closed)
        ));
    }
}

#[tokio::test]
async fn bad_rows_of_a_batch_take_no_neighbour_with_them_in_either() {
    let (_directory, ledgers) = both().await;
    for ledger in ledgers {
        ledger.record(record(5)).await.unwrap();
        let mut records: Vec<_> = (0..100).map(record).collect();
        records[5].sha256 = [1; 32];
        records[91].serial = records[90].serial;
        records[7].identity_kind = "nonsense".to_owned();
        let answers = record_together(&ledger, records).await;
        for (position, answer) in answers.iter().enumerate() {
            let is_right = match position {
                5 | 91 => matches!(answer, Err(LedgerError::DuplicateSerial)),
                7 => matches!(answer, Err(LedgerError::Refused(_))),
                _ => answer.is_ok(),
            };
            assert!(is_right, "{position}: {answer:?}");
        }
        assert_eq!(ledger.count().await.unwrap(), 98);
        ledger.healthy().await.unwrap();
    }
}

#[tokio::test]
async fn a_search_takes_every_character_for_itself_and_gives_the_newest_first_in_either() {
    let (_directory, ledgers) = both().await;
    for ledger in ledgers {
        let names = [
            "o'brien@example.com",
            "a%@example.com",
            "ab@example.com",
            "A%@EXAMPLE.COM",
        ];
        for (number, name) in (0..).zip(names.into_iter().chain(names)) {
            let row = Record {
                identity: name.to_owned(),
                ..record(number)
            };
            ledger.record(row).await.unwrap();
        }
        for (number, name) in (0..).zip(names) {
            let query = Query::Identity(name.to_owned());
            let found = ledger.find(&query, 9).await.unwrap();
            let serials: Vec<_> = found.iter().map(|row| row.serial).collect();
            assert_eq!(
                serials,
                [record(number + 4).serial, record(number).serial],
                "{name}"
            );
            assert_eq!(ledger.find(&query, 1).await.unwrap().len(), 1);
        }
        for nobody in ["%", "", "' OR 1=1 --", "ab@example.com\0"] {
            let query = Query::Identity(nobody.to_owned());
            assert_eq!(ledger.find(&query, 9).await.unwrap(), [], "{nobody}");
        }
    }
}

#[tokio::test]
async fn rows_on_a_server_are_never_changed_or_deleted() {
    let address = Cluster::shared().database();
    let ledger = create(&address).await;
    ledger.record(record(1)).await.unwrap();
    for statement in [
        "UPDATE ledger.certificates SET subject = 'x'",
        "DELETE FROM ledger.certificates",
        "TRUNCATE ledger.certificates",
    ] {
        let attempt = format!(
            "DO $$ BEGIN {statement}; EXCEPTION WHEN integrity_constraint_violation THEN
             RETURN; END $$; SELECT count(*) FROM ledger.certificates WHERE subject <> 'x'"
        );
        assert_eq!(
            Cluster::shared().sql(name(&address), &attempt),
            "1",
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_server_has_one_ledger_and_opening_makes_none() {
    let address = Cluster::shared().database();
    let place = || Place::Postgres(server(&address));
    let missing = Ledger::open(place()).await.unwrap_err().to_string();
    assert!(missing.contains("vouchsafe database upgrade"), "{missing}");
    create(&address).await;
    let again = Ledger::create(place()).await;
    assert!(matches!(again, Err(LedgerError::Taken { .. })), "{again:?}");
    let other = Ledger::open(place()).await.unwrap();
    other.record(record(1)).await.unwrap();
}

#[tokio::test]
async fn a_dead_connection_costs_nobody_a_row() {
    let address = Cluster::shared().database();
    let ledger = create(&address).await;
    for number in 0..10 {
        ledger.record(record(number)).await.unwrap();
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        Cluster::shared().sql(name(&address), kill);
    }
    assert_eq!(ledger.count().await.unwrap(), 10);
    ledger.healthy().await.unwrap();
}

#[tokio::test]
async fn a_server_that_restarts_keeps_rows_waiting_and_one_that_stays_away_refuses_them() {
    let cluster = Arc::new(Cluster::start());
    let ledger = create(&cluster.database()).await;
    ledger.record(record(0)).await.unwrap();
    cluster.stop();
    let starting = tokio::task::spawn_blocking({
        let cluster = Arc::clone(&cluster);
        move || cluster.start_again()
    });
    ledger.record(record(1)).await.unwrap();
    starting.await.unwrap();
    assert_eq!(ledger.count().await.unwrap(), 2);

    cluster.stop();
    let refused = ledger.record(record(2)).await;
    assert!(
        matches!(refused, Err(LedgerError::Unavailable)),
        "{refused:?}"
    );
    assert!(ledger.healthy().await.is_err());
    cluster.start_again();
    let well = async {
        while ledger.healthy().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let well = tokio::time::timeout(std::time::Duration::from_secs(5), well);
    well.await.expect("well again within five seconds");
    ledger.record(record(2)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_may_lose_rows_is_refused() {
    let cluster = Cluster::shared();
    let address = cluster.database();
    create(&address).await;
    let set = |setting: &str| {
        let name = name(&address);
        cluster.sql("postgres", &format!("ALTER DATABASE {name} SET {setting}"));
    };
    let open = || Ledger::open(Place::Postgres(server(&address)));
    set("default_transaction_read_only = on");
    let refused = open().await.unwrap_err().to_string();
    assert!(
        refused.contains("default_transaction_read_only = on"),
        "{refused}"
    );
    set("default_transaction_read_only = off");
    // What a session can set for itself is set.
    set("synchronous_commit = off");
    set("default_transaction_isolation = serializable");
    let ledger = open().await.unwrap();
    ledger.record(record(1)).await.unwrap();
}
