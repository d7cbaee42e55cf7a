//! A standby that streams, as PostgreSQL makes it: servers that are sent to it, or stay behind with it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::harness::deployment::Deployment;
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::postgres::Cluster;
use super::harness::received::Received;
use super::harness::request::{SigningRequest, prepare};
use super::log::{LogKey, entries};
use super::{CLIENTS, Given, Load, PAUSE, Seen, ask, check, gather, issue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_does_not_work_on_a_standby_and_says_why_and_works_when_it_is_the_primary() {
    let cluster = Cluster::start();
    let mut standby = cluster.standby();
    let issuer = Issuer::start();
    let database = cluster.database();
    let deployment = Deployment::create_in(&database, &issuer);
    let (address, settings) = (deployment.address(), deployment.configuration());
    cluster.until_all_is_in(&standby);

    // Sent to the standby, nothing starts and nothing is made.
    let on_standby = database.replace(&cluster.port().to_string(), &standby.port().to_string());
    with_database(&settings, &database, &on_standby);
    for command in [
        &["serve"][..],
        &["check"],
        &["ledger", "find", "--serial", "01"],
    ] {
        let (done, said) = deployment.run(command);
        assert!(
            !done && said.contains("is a standby"),
            "{command:?}: {said}"
        );
    }
    with_database(&settings, &on_standby, &database);

    let server = deployment.start();
    let key = LogKey::fetch(address);
    let mut requests = prepare(&issuer, 0, 20).into_iter();
    let mut given = issue(&deployment, requests.by_ref().take(5).collect()).await;

    // A primary that takes no writes: its connections live on, and some of them only read.
    cluster.set("default_transaction_read_only", "on");
    given.extend(refused(&deployment, &requests.next().expect("a request")).await);
    let (served, said) = deployment.run(&["check"]);
    assert!(
        !served && said.contains("default_transaction_read_only"),
        "{said}"
    );
    not_ready(&deployment).await;
    cluster.set("default_transaction_read_only", "off");
    given.push(back(&deployment, &requests.next().expect("a request")).await);

    // The standby comes to the primary's address before it is promoted.
    cluster.until_all_is_in(&standby);
    cluster.stop();
    standby.move_to(cluster.port());
    given.extend(refused(&deployment, &requests.next().expect("a request")).await);
    not_ready(&deployment).await;
    let talk = deployment.talk();
    assert!(talk.contains("is a standby"), "{talk}");
    standby.promote();
    given.push(back(&deployment, &requests.next().expect("a request")).await);
    given.extend(issue(&deployment, requests.by_ref().take(5).collect()).await);

    let mut connection = Connection::open(address).await.expect("the server");
    let head = key.checkpoint(&mut connection).await.expect("a checkpoint");
    let served = entries(&mut connection, 0, head.size).await;
    assert_eq!(served.len(), given.len(), "more was logged than answered");
    for received in &given {
        let index = usize::try_from(received.index().expect("an index")).expect("small");
        let promised = received.merkle_tree_leaf();
        assert_eq!(Some(&served[index].merkle_tree_leaf), promised.as_ref());
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_received_survives_a_failover_to_a_synchronous_standby() {
    let cluster = Cluster::start();
    let mut standby = cluster.standby();
    // Only now, so that the standby has nobody to wait for when it is the primary.
    cluster.set("synchronous_standby_names", "standby");
    cluster.until(IN_STEP);
    let issuer = Arc::new(Issuer::start());
    let database = cluster.database();
    let deployment = Deployment::create_in(&database, &issuer);
    let replica = deployment.replica();
    let addresses = vec![deployment.address(), replica.0];
    let servers = [deployment.start(), deployment.start_replica(&replica)];
    let key = Arc::new(LogKey::fetch(addresses[0]));

    // While the standby is away nobody is told that something is safe.
    let mut requests = prepare(&issuer, 0, 200).into_iter();
    let before = issue(&deployment, requests.by_ref().take(3).collect()).await;
    standby.stop();
    let given = refused(&deployment, &requests.next().expect("a request")).await;
    assert!(given.is_empty(), "told before the standby had it");
    standby.start_again();
    cluster.until(IN_STEP);
    back(&deployment, &requests.next().expect("a request")).await;

    let load = Arc::new(Load {
        addresses: addresses.clone(),
        key: Arc::clone(&key),
        issuer,
        next: AtomicU64::new(1_000),
        is_over: AtomicBool::new(false),
    });
    let (events, arrived) = mpsc::unbounded_channel();
    for number in 0..CLIENTS {
        tokio::spawn(Arc::clone(&load).client(number, events.clone()));
    }
    drop(events);
    let seen = tokio::spawn(gather(arrived));
    grown(&load, 100).await;
    let failed_over = block_in_place(|| {
        cluster.stop();
        standby.move_to(cluster.port());
        standby.promote();
        Instant::now()
    });
    grown(&load, 100).await;
    load.is_over.store(true, Ordering::Relaxed);
    let seen: Seen = seen.await.expect("what the clients saw");
    assert_eq!(seen.fault, None, "{}", deployment.talk());

    check(&seen, &addresses, &key, &database).await;
    let after = |given: &&Given| given.at > failed_over;
    let first = seen.certificates.iter().filter(after).map(|one| one.at);
    let first = first.min().expect("a certificate after the failover");
    eprintln!("back {:?} after the promotion", first - failed_over);
    assert!(first - failed_over < SOON);
    let mut connection = Connection::open(addresses[0]).await.expect("a server");
    let served = entries(&mut connection, 0, 3).await;
    for (received, entry) in before.iter().zip(served) {
        assert_eq!(received.merkle_tree_leaf(), Some(entry.merkle_tree_leaf));
    }
    drop(servers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_to_a_standby_that_is_behind_ends_the_log_and_does_not_fork_it() {
    let cluster = Cluster::start();
    let mut standby = cluster.standby();
    let issuer = Issuer::start();
    let database = cluster.database();
    let deployment = Deployment::create_in(&database, &issuer);
    let replica = deployment.replica();
    let server = deployment.start();
    let other = deployment.start_replica(&replica);
    let mut requests = prepare(&issuer, 0, 30).into_iter();
    issue(&deployment, requests.by_ref().take(5).collect()).await;
    cluster.until_all_is_in(&standby);
    standby.stop();
    issue(&deployment, requests.by_ref().take(5).collect()).await;
    // The other server has logged nothing, but has shown what the standby lacks.
    let key = LogKey::fetch(deployment.address());
    let mut connection = Connection::open(replica.0).await.expect("the replica");
    let shown = key.checkpoint(&mut connection).await.expect("a checkpoint");
    assert_eq!(shown.size, 10);

    cluster.stop();
    standby.start_again();
    standby.promote();
    standby.move_to(cluster.port());
    for (server, address) in [(server, deployment.address()), (other, replica.0)] {
        until_gone(address, requests.by_ref()).await;
        assert!(!server.end().success(), "an orderly end");
        let talk = deployment.talk();
        assert!(
            talk.contains("has a tree of 5 entries that is not grown from the 10")
                && talk.contains(WAY_OUT),
            "{talk}"
        );
    }
    // Whoever starts them again hears the same, also where the process itself logged nothing.
    for (file, mark) in [
        (deployment.configuration(), "high-water".to_owned()),
        (replica.1, format!("high-water-{}", replica.0.port())),
    ] {
        let text = fs::read(file).expect("a configuration");
        fs::write(deployment.configuration(), text).expect("the configuration");
        let started = deployment.try_start_under(&["env"]);
        let talk = deployment.talk();
        assert!(started.is_none(), "{talk}");
        let mark = deployment.path().join(mark);
        let sentence = format!(
            "ends at 5 entries, but the high-water mark at {} has seen 10",
            mark.display()
        );
        assert!(talk.contains(&sentence) && talk.contains(WAY_OUT), "{talk}");
    }
    let rows = "SELECT size FROM ctlog.head";
    assert_eq!(standby.sql("test_0", rows), "5", "somebody signed on");
}

/// Writes another database into a configuration.
fn with_database(settings: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(settings).expect("a configuration");
    assert!(text.contains(old), "{old} in {text}");
    fs::write(settings, text.replace(old, new)).expect("the configuration");
}

/// Is told to come again, for a reason that is not the caller's. What the database server was told may
/// reach an idle connection of ours a moment later; what was given until then is returned.
async fn refused(deployment: &Deployment, request: &SigningRequest) -> Vec<Received> {
    let begun = Instant::now();
    let mut given = Vec::new();
    loop {
        let answer = ask(deployment.address(), &request.http).await;
        let answer = answer.expect("an answer");
        match answer.status {
            503 => return given,
            200 => given.push(Received::read(&answer.body).expect("a certificate")),
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        assert!(begun.elapsed() < SOON, "{}", deployment.talk());
    }
}

/// The server runs, and says that it cannot issue.
async fn not_ready(deployment: &Deployment) {
    let address = deployment.address();
    let mut connection = Connection::open(address).await.expect("it runs");
    let ready = connection.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 503, "{}", deployment.talk());
}

/// Asks until there is a certificate again.
async fn back(deployment: &Deployment, request: &SigningRequest) -> Received {
    let begun = Instant::now();
    loop {
        let answer = ask(deployment.address(), &request.http).await;
        let answer = answer.expect("it runs");
        match answer.status {
            200 => return Received::read(&answer.body).expect("a certificate"),
            503 => {}
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        let talk = deployment.talk();
        assert!(begun.elapsed() < SOON, "{talk}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks until there is nobody to ask. No request may succeed.
async fn until_gone(address: SocketAddr, requests: impl Iterator<Item = SigningRequest>) {
    for request in requests {
        let Ok(answer) = ask(address, &request.http).await else {
            return;
        };
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 503, "{text}");
    }
    panic!("{address} still answers");
}

/// Waits until the log has so many entries more.
async fn grown(load: &Load, by: u64) {
    let begun = Instant::now();
    let mut goal = None;
    loop {
        if let Some(checkpoint) = load.checkpoint(load.addresses[0]).await {
            let goal = *goal.get_or_insert(checkpoint.size + by);
            if checkpoint.size >= goal {
                return;
            }
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the log does not grow"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// The standby is connected and waited for.
const IN_STEP: &str = "count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
/// What every refusal of an older database ends with.
const WAY_OUT: &str = "put the newest database back, or retire the log";

/// A request waits for some five seconds itself, and the machine may be busy.
const SOON: Duration = Duration::from_secs(30);
