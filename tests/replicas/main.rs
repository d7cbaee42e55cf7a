//! Three servers on one database: servers are killed, the database is stopped as by a power cut, and all
//! the while clients ask whichever server they like. At the end everything that anybody ever received is
//! looked up from outside, by code that shares nothing with the program but the bytes.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test program: it asks the clock, reports, and ends at the first surprise"
)]

mod encrypted;
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the tests of crashes use the rest")]
#[path = "../crash/log.rs"]
mod log;
mod standby;
#[allow(dead_code, reason = "the tests of crashes use the rest")]
#[path = "../crash/tree.rs"]
mod tree;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::postgres::PgPool;
use tokio::sync::mpsc;

use self::harness::deployment::{Deployment, Server};
use self::harness::der;
use self::harness::http::Connection;
use self::harness::issuer::Issuer;
use self::harness::postgres::Cluster;
use self::harness::received::{Received, SCT_LIST};
use self::harness::request::{SigningRequest, prepare};
use self::log::{Checkpoint, LogKey, entries};
use self::tree::Tree;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_share_a_log_through_kills_and_a_database_that_goes_away() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let issuer = Arc::new(Issuer::start());
    let deployment = Deployment::create_in(&database, &issuer);
    let mut replicas = vec![(deployment.address(), deployment.configuration())];
    replicas.extend([deployment.replica(), deployment.replica()]);
    let addresses: Vec<SocketAddr> = replicas.iter().map(|(address, _)| *address).collect();
    let mut servers: Vec<Option<Server>> = replicas
        .iter()
        .map(|replica| Some(deployment.start_replica(replica)))
        .collect();
    let key = Arc::new(LogKey::fetch(deployment.address()));

    let load = Load {
        addresses: addresses.clone(),
        key: Arc::clone(&key),
        issuer,
        next: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let load = Arc::new(load);
    let (events, arrived) = mpsc::unbounded_channel();
    for number in 0..CLIENTS {
        tokio::spawn(Arc::clone(&load).client(number, events.clone()));
    }
    drop(events);
    let seen = tokio::spawn(gather(arrived));

    let mut outages = Vec::new();
    for round in 0..ROUNDS {
        tokio::time::sleep(BETWEEN).await;
        let at = round % servers.len();
        tokio::task::block_in_place(|| {
            servers[at].take().expect("a server that runs").kill();
        });
        tokio::time::sleep(BETWEEN).await;
        if round % 2 == 1 {
            tokio::task::block_in_place(|| {
                cluster.stop();
                std::thread::sleep(AWAY);
                cluster.start_again();
            });
            outages.push(Instant::now());
        }
        tokio::task::block_in_place(|| {
            servers[at] = Some(deployment.start_replica(&replicas[at]));
        });
    }
    tokio::time::sleep(BETWEEN).await;
    load.is_over.store(true, Ordering::Relaxed);
    let seen = seen.await.expect("what the clients saw");
    if let Some(fault) = seen.fault {
        panic!("{fault}\n{}", deployment.talk());
    }

    check(&seen, &addresses, &key, &database).await;
    let back: Vec<Duration> = outages
        .iter()
        .map(|since| {
            let after = seen.certificates.iter().filter(|one| one.at > *since);
            let first = after
                .map(|one| one.at)
                .min()
                .expect("a certificate after the outage");
            first.duration_since(*since)
        })
        .collect();
    eprintln!(
        "{} certificates, {} refusals, slowest answer {:?}; after the database was back: {back:?}",
        seen.certificates.len(),
        seen.refusals,
        seen.slowest
    );
    for back in back {
        assert!(back < Duration::from_secs(5), "back after {back:?}");
    }
    assert!(seen.slowest < Duration::from_secs(15), "{:?}", seen.slowest);
    drop(servers);
}

/// What the clients share.
struct Load {
    addresses: Vec<SocketAddr>,
    key: Arc<LogKey>,
    issuer: Arc<Issuer>,
    next: AtomicU64,
    is_over: AtomicBool,
}

enum Event {
    Certificate(Box<Given>),
    Checkpoint(Checkpoint),
    Refusal,
    Answered(Duration),
    Fault(String),
}

/// A certificate, who asked for it, and when it came.
struct Given {
    request: SigningRequest,
    received: Received,
    at: Instant,
}

impl Load {
    /// Asks one server after the other until it is over. What is refused is asked again elsewhere.
    async fn client(self: Arc<Self>, number: usize, events: mpsc::UnboundedSender<Event>) {
        let tell = |event| {
            // Nobody listens any more only when the test has failed already.
            events.send(event).ok();
        };
        let mut turn = number;
        while !self.is_over.load(Ordering::Relaxed) {
            let first = self.next.fetch_add(BATCH as u64, Ordering::Relaxed);
            let issuer = Arc::clone(&self.issuer);
            let prepared = tokio::task::spawn_blocking(move || prepare(&issuer, first, BATCH));
            for request in prepared.await.expect("requests") {
                turn += 1;
                let address = self.addresses[turn % self.addresses.len()];
                let begun = Instant::now();
                let Ok(answer) = ask(address, &request.http).await else {
                    // A server that was killed. The next will do.
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                tell(Event::Answered(begun.elapsed()));
                let text = || String::from_utf8_lossy(&answer.body).into_owned();
                match answer.status {
                    200 => {}
                    503 => {
                        tell(Event::Refusal);
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    other => return tell(Event::Fault(format!("{other}: {}", text()))),
                }
                let Some(received) = Received::read(&answer.body) else {
                    return tell(Event::Fault(format!("not a certificate: {}", text())));
                };
                let index = received.index();
                let at = Instant::now();
                tell(Event::Certificate(Box::new(Given {
                    request,
                    received,
                    at,
                })));
                // Any other server knows of it already.
                let other = self.addresses[(turn + 1) % self.addresses.len()];
                if let Some(checkpoint) = self.checkpoint(other).await {
                    if index.is_none_or(|index| index >= checkpoint.size) {
                        let size = checkpoint.size;
                        let fault = format!("a checkpoint of {size} after entry {index:?}");
                        return tell(Event::Fault(fault));
                    }
                    tell(Event::Checkpoint(checkpoint));
                }
            }
        }
    }

    /// The checkpoint of one server; none if it does not answer or cannot say.
    async fn checkpoint(&self, address: SocketAddr) -> Option<Checkpoint> {
        let mut connection = Connection::open(address).await.ok()?;
        let answer = connection.get("/log/checkpoint").await.ok()?;
        (answer.status == 200).then_some(())?;
        self.key.checkpoint(&mut connection).await.ok()
    }
}

async fn ask(address: SocketAddr, request: &[u8]) -> std::io::Result<harness::http::Response> {
    Connection::open(address).await?.exchange(request).await
}

/// All that the clients saw.
#[derive(Default)]
struct Seen {
    certificates: Vec<Given>,
    checkpoints: Vec<Checkpoint>,
    refusals: usize,
    slowest: Duration,
    fault: Option<String>,
}

async fn gather(mut arrived: mpsc::UnboundedReceiver<Event>) -> Seen {
    let mut seen = Seen::default();
    while let Some(event) = arrived.recv().await {
        match event {
            Event::Certificate(given) => seen.certificates.push(*given),
            Event::Checkpoint(checkpoint) => seen.checkpoints.push(checkpoint),
            Event::Refusal => seen.refusals += 1,
            Event::Answered(after) => seen.slowest = seen.slowest.max(after),
            Event::Fault(fault) => seen.fault = seen.fault.or(Some(fault)),
        }
    }
    seen
}

/// No certificate lost, no index given out twice, no fork, and the ledger has every certificate.
async fn check(seen: &Seen, addresses: &[SocketAddr], key: &LogKey, database: &str) {
    let mut connection = Connection::open(addresses[0]).await.expect("a server");
    let head = key.checkpoint(&mut connection).await.expect("a checkpoint");
    let mut tree = Tree::new();
    let served = entries(&mut connection, 0, head.size).await;
    for entry in &served {
        tree.push(&entry.merkle_tree_leaf);
    }
    assert_eq!(
        tree.root_at(head.size),
        Some(&head.root),
        "the tree as served"
    );
    for address in addresses {
        let mut connection = Connection::open(*address).await.expect("a server");
        let other = key.checkpoint(&mut connection).await.expect("a checkpoint");
        assert_eq!(other, head, "{address} has another newest checkpoint");
        let again = entries(&mut connection, 0, head.size).await;
        assert!(again == served, "{address} serves another log");
    }
    let mut last = 0;
    let ordered: BTreeMap<u64, &Checkpoint> = seen
        .checkpoints
        .iter()
        .map(|checkpoint| (checkpoint.timestamp_ms, checkpoint))
        .collect();
    for checkpoint in ordered.values() {
        let rebuilt = tree.root_at(checkpoint.size);
        assert_eq!(rebuilt, Some(&checkpoint.root), "a fork: {checkpoint:?}");
        assert!(checkpoint.size >= last, "smaller and later: {checkpoint:?}");
        last = checkpoint.size;
    }

    let pool = PgPool::connect(database).await.expect("the database");
    let rows = sqlx::query("SELECT serial, certificate, log_index FROM ledger.certificates")
        .fetch_all(&pool)
        .await
        .expect("the ledger");
    let rows: BTreeMap<Vec<u8>, (Vec<u8>, i64)> = rows
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    let mut indices = HashSet::new();
    for Given {
        request, received, ..
    } in &seen.certificates
    {
        let spki = der::spki(&received.certificate);
        assert_eq!(spki, Some(&request.spki[..]), "another client's key");
        assert_eq!(received.sct.log_id, key.id);
        assert!(
            received.is_promised_by(&key.key),
            "an SCT that does not verify"
        );
        let index = received.index().expect("an index");
        assert!(indices.insert(index), "index {index} was given out twice");
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| served.get(index));
        let entry = entry.unwrap_or_else(|| panic!("entry {index} was lost"));
        let promised = received.merkle_tree_leaf().expect("a leaf");
        assert_eq!(
            entry.merkle_tree_leaf, promised,
            "entry {index} is not what was signed"
        );
        let row = rows.get(&received.serial[..]);
        let row = row.unwrap_or_else(|| panic!("the ledger lost the certificate of entry {index}"));
        assert_eq!(*row, (received.certificate.clone(), index as i64));
    }
    for (certificate, index) in rows.values() {
        let (tbs, _) = der::without_extension(certificate, &SCT_LIST).expect("a certificate");
        let index = usize::try_from(*index).expect("an index");
        assert_eq!(served[index].tbs, tbs, "row of index {index}");
    }
    let distinct: HashSet<&[u8]> = served.iter().map(|entry| &entry.tbs[..]).collect();
    assert_eq!(distinct.len(), served.len(), "something was logged twice");
    eprintln!(
        "{} received, {} recorded, {} logged, {} checkpoints",
        seen.certificates.len(),
        rows.len(),
        served.len(),
        seen.checkpoints.len()
    );
}

const CLIENTS: usize = 6;
/// Requests prepared at a time.
const BATCH: usize = 8;
/// Kills; every second one comes with an outage of the database.
const ROUNDS: usize = 6;
const BETWEEN: Duration = Duration::from_millis(1500);
/// How long the database stays away.
const AWAY: Duration = Duration::from_millis(1500);
/// Before somebody who was refused asks again.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_moves_from_its_files_to_a_database_as_it_is() {
    let cluster = Cluster::start();
    let issuer = Issuer::start();
    let deployment = Deployment::create(&issuer);
    let server = deployment.start();
    let key = LogKey::fetch(deployment.address());
    let given = issue(&deployment, prepare(&issuer, 0, 20)).await;
    let settings = deployment.configuration();
    let in_files = std::fs::read_to_string(&settings).unwrap();
    let in_database = format!("{in_files}\ndatabase: {}\n", cluster.database());
    std::fs::write(&settings, &in_database).unwrap();
    let (moved, said) = deployment.run(&["database", "move"]);
    assert!(
        !moved && said.contains("open"),
        "moved under a server: {said}"
    );
    drop(server);

    let (checked, said) = deployment.run(&["check"]);
    assert!(!checked, "checked before there was anything: {said}");
    let (moved, said) = deployment.run(&["database", "move"]);
    assert!(moved, "{said}");
    for command in [&["check"][..], &["log", "fsck"], &["database", "upgrade"]] {
        let (good, said) = deployment.run(command);
        assert!(good, "{command:?}: {said}");
    }
    let find = ["ledger", "find", "--identity", "signer-7@example.com"];
    let (found, said) = deployment.run(&find);
    assert!(found && said.contains("signer-7@example.com"), "{said}");

    let server = deployment.start();
    let key_there = LogKey::fetch(deployment.address());
    assert_eq!(key.id, key_there.id, "another log");
    let more = issue(&deployment, prepare(&issuer, 20, 20)).await;
    let mut connection = Connection::open(deployment.address()).await.unwrap();
    let head = key.checkpoint(&mut connection).await.unwrap();
    let served = entries(&mut connection, 0, head.size).await;
    assert_eq!(served.len(), 40);
    for received in given.iter().chain(&more) {
        let index = usize::try_from(received.index().unwrap()).unwrap();
        let promised = received.merkle_tree_leaf().unwrap();
        assert_eq!(served[index].merkle_tree_leaf, promised, "entry {index}");
    }
    drop(server);

    // The files are copies now, whatever the configuration says.
    std::fs::write(&settings, &in_files).unwrap();
    let (served, said) = deployment.run(&["serve"]);
    assert!(!served && said.contains("was moved to"), "{said}");
}

async fn issue(deployment: &Deployment, requests: Vec<SigningRequest>) -> Vec<Received> {
    let mut received = Vec::new();
    for request in requests {
        let answer = ask(deployment.address(), &request.http).await.unwrap();
        assert_eq!(answer.status, 200, "{}", deployment.talk());
        received.push(Received::read(&answer.body).expect("a certificate"));
    }
    received
}
