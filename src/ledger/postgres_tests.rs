//! The ledger on a server: what happens to servers. What it shares with the one in a file is asked of both
//! elsewhere.

use std::sync::Arc;

use super::tests::record;
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
