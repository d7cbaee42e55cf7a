//! The ledger on a server: what happens to servers. What it shares with the one in a file is asked of both
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::postgres::RESTART;
use super::tests::record;
use super::*;
use crate::database::cluster::Cluster;
use crate::telemetry::tick;

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
        move || {
            let begin = tick();
            cluster.start_again();
            begin.elapsed()
        }
    });
    let waited = ledger.record(record(1)).await;
    let took = starting.await.unwrap();
    if waited.is_err() {
        // On a busy machine a server may take longer to start than a row waits.
        assert!(
            took > RESTART - Duration::from_secs(1),
            "{waited:?}: {took:?}"
        );
        ledger.record(record(1)).await.unwrap();
    }
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
    let well = tokio::time::timeout(Duration::from_secs(5), well);
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

#[tokio::test]
async fn a_search_by_issuer_subject_and_time_finds_all_of_them_and_no_others_in_either() {
    let directory = tempfile::tempdir().unwrap();
    let file = Ledger::create(directory.path().join("ledger.db").as_path()).await;
    let server = create(&Cluster::shared().database()).await;
    let ledgers = [Arc::new(file.unwrap()), server];
    let start = record(0).issued_at;
    let step = |number: u64| start + time::Duration::minutes(20) * number as i32;
    let rows: Vec<Record> = (0..60)
        .map(|number| Record {
            issuer: format!("https://issuer-{}.example.com", number % 3),
            // Two are out of order, as the clocks of two servers leave them.
            issued_at: step(if number % 2 == 0 {
                number + 1
            } else {
                number - 1
            }),
            ..record(number)
        })
        .collect();
    for ledger in ledgers {
        for row in &rows {
            ledger.record(row.clone()).await.unwrap();
        }
        let reader = ledger.reader();
        let issuer = || Some("https://issuer-1.example.com".to_owned());
        let subject = || Some(record(31).subject);
        let times = [
            None,
            Some(step(0)),
            Some(step(29)),
            Some(step(59)),
            Some(step(90)),
        ];
        for since in times {
            for until in times {
                for (issuer, subject) in [
                    (None, None),
                    (issuer(), None),
                    (issuer(), subject()),
                    (None, subject()),
                ] {
                    let within = Within {
                        since,
                        until,
                        issuer,
                        subject,
                    };
                    let is_wanted = |row: &&Record| {
                        since.is_none_or(|since| row.issued_at >= since)
                            && until.is_none_or(|until| row.issued_at < until)
                            && within
                                .issuer
                                .as_ref()
                                .is_none_or(|issuer| *issuer == row.issuer)
                            && within
                                .subject
                                .as_ref()
                                .is_none_or(|subject| *subject == row.subject)
                    };
                    let expected: Vec<Record> =
                        rows.iter().rev().filter(is_wanted).cloned().collect();
                    let found = reader.search(None, &within, 100).await.unwrap();
                    assert_eq!(found, expected, "{within:?}");
                    // Over the border of what is read at a time, too.
                    let found = reader.search(None, &within, 11).await.unwrap();
                    assert_eq!(found, expected[..expected.len().min(11)], "{within:?}");
                }
            }
        }
        let query = Query::Identity(record(4).identity);
        for (issuer, count) in [
            (issuer(), 1),
            (Some("\0".to_owned()), 0),
            (Some(record(4).issuer), 0),
        ] {
            let within = Within {
                issuer,
                ..Within::default()
            };
            let found = reader.search(Some(&query), &within, 9).await.unwrap();
            assert_eq!(found.len(), count, "{within:?}");
        }
        ledger.close().await;
    }
}
