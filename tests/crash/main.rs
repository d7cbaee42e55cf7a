//! Whatever happens to the process, a certificate that somebody holds stands in the log and in the
//! ledger. The server is killed again and again in the middle of its work and started again on what
//! it left; after each time everything that any client ever received is looked up from outside, by
//! code that shares nothing with the program but the bytes.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test program: it asks the clock, reports, and ends at the first surprise"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod log;
mod tree;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hint::spin_loop;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::sync::mpsc;

use self::harness::deployment::{Deployment, Server};
use self::harness::der;
use self::harness::http::Connection;
use self::harness::issuer::Issuer;
use self::harness::received::{POISON, Received, SCT_LIST, sha256};
use self::harness::request::{SigningRequest, prepare};
use self::log::{Checkpoint, Entry, LogKey, entries};
use self::tree::Tree;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_lost_no_certificate_that_anybody_received() {
    let rounds: u64 = from_environment("VOUCHSAFE_KILL_ROUNDS").unwrap_or(50);
    let seed = from_environment("VOUCHSAFE_KILL_SEED").unwrap_or_else(entropy);
    eprintln!("{rounds} rounds, VOUCHSAFE_KILL_SEED={seed}");
    let mut random = Random(seed);
    let issuer = Issuer::start();
    let deployment = Deployment::create(&issuer);
    let mut server = deployment.start();
    let mut witness = Witness::new(&deployment).await;
    for round in 0..rounds {
        let enough = 1 + random.below(MOST_BEFORE_KILL);
        let delay = Duration::from_micros(random.below(MOST_DELAY_US));
        let requests = prepare(&issuer, round * REQUESTS as u64, REQUESTS);
        let load = run_until_killed(
            server,
            deployment.address(),
            &witness.key,
            requests,
            enough,
            delay,
        )
        .await;
        let seen =
            load.unwrap_or_else(|fault| panic!("round {round}: {fault}\n{}", deployment.talk()));
        server = deployment.start();
        witness.take(seen, round).await;
        witness.check_what_is_new(round).await;
    }
    witness.check_everything(rounds).await;
}

/// What the clients of one round saw.
#[derive(Default)]
struct Seen {
    certificates: Vec<(SigningRequest, Vec<u8>)>,
    checkpoints: Vec<Checkpoint>,
}

enum Event {
    Certificate(SigningRequest, Vec<u8>),
    Checkpoint(Checkpoint),
    Fault(String),
}

/// Loads the server with [`CLIENTS`] clients, kills it `delay` after the certificate number
/// `enough` arrived, and returns all that arrived, up to the last whole answer.
async fn run_until_killed(
    server: Server,
    address: SocketAddr,
    key: &Arc<LogKey>,
    requests: Vec<SigningRequest>,
    enough: u64,
    delay: Duration,
) -> Result<Seen, String> {
    let (events, mut arrived) = mpsc::unbounded_channel();
    let mut shares: Vec<Vec<SigningRequest>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (number, request) in requests.into_iter().enumerate() {
        shares[number % CLIENTS].push(request);
    }
    for share in shares {
        tokio::spawn(client(address, Arc::clone(key), share, events.clone()));
    }
    drop(events);
    let mut server = Some(server);
    let mut seen = Seen::default();
    let mut fault = None;
    while let Some(event) = arrived.recv().await {
        match event {
            Event::Certificate(request, body) => seen.certificates.push((request, body)),
            Event::Checkpoint(checkpoint) => seen.checkpoints.push(checkpoint),
            Event::Fault(text) => fault = fault.or(Some(text)),
        }
        let is_time = seen.certificates.len() as u64 >= enough || fault.is_some();
        if let Some(server) = server.take_if(|_| is_time) {
            let begin = Instant::now();
            while begin.elapsed() < delay {
                spin_loop();
            }
            server.kill();
        }
    }
    match (fault, server) {
        (Some(fault), _) => Err(fault),
        (None, Some(_)) => Err(format!(
            "all requests ended before {enough} certificates had come"
        )),
        (None, None) => Ok(seen),
    }
}

/// Sends its requests one after another until the connection ends, which is the kill. Now and then
/// it asks for a checkpoint: that must already cover what this client was given.
async fn client(
    address: SocketAddr,
    key: Arc<LogKey>,
    requests: Vec<SigningRequest>,
    events: mpsc::UnboundedSender<Event>,
) {
    let tell = |event| {
        // Nobody listens any more only when the test has failed already.
        events.send(event).ok();
    };
    let Ok(mut connection) = Connection::open(address).await else {
        return;
    };
    for (number, request) in requests.into_iter().enumerate() {
        let Ok(answer) = connection.exchange(&request.http).await else {
            return;
        };
        if answer.status != 200 {
            return tell(Event::Fault(format!(
                "{}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )));
        }
        let index = Received::read(&answer.body).and_then(|received| received.index());
        tell(Event::Certificate(request, answer.body));
        if number % 8 == 0 {
            let Ok(checkpoint) = key.checkpoint(&mut connection).await else {
                return;
            };
            if index.is_none_or(|index| index >= checkpoint.size) {
                return tell(Event::Fault(format!(
                    "a checkpoint of size {} after entry {index:?}",
                    checkpoint.size
                )));
            }
            tell(Event::Checkpoint(checkpoint));
        }
    }
}

/// Who remembers everything and believes nothing.
struct Witness {
    address: SocketAddr,
    key: Arc<LogKey>,
    ledger: SqlitePool,
    tree: Tree,
    entries: Vec<Entry>,
    /// Received certificates by the index their timestamp promises.
    received: HashMap<u64, Received>,
    checkpoints: BTreeSet<Checkpoint>,
    unchecked: Vec<u64>,
}

impl Witness {
    async fn new(deployment: &Deployment) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(deployment.path().join("ledger.sqlite"))
            .read_only(true);
        Self {
            address: deployment.address(),
            key: Arc::new(LogKey::fetch(deployment.address())),
            ledger: SqlitePool::connect_with(options)
                .await
                .expect("the ledger's database"),
            tree: Tree::new(),
            entries: Vec::new(),
            received: HashMap::new(),
            checkpoints: BTreeSet::new(),
            unchecked: Vec::new(),
        }
    }

    /// Files what clients saw; a certificate must be for the key and the name that asked, with a
    /// timestamp of this log and an index that nobody else was given.
    async fn take(&mut self, seen: Seen, round: u64) {
        self.checkpoints.extend(seen.checkpoints);
        for (request, body) in seen.certificates {
            let received = Received::read(&body).unwrap_or_else(|| {
                panic!(
                    "round {round}: not a certificate: {}",
                    String::from_utf8_lossy(&body)
                )
            });
            assert_eq!(
                der::spki(&received.certificate),
                Some(&request.spki[..]),
                "round {round}: another client's key"
            );
            let names_caller = received
                .certificate
                .windows(request.email.len())
                .any(|part| part == request.email.as_bytes());
            assert!(
                names_caller,
                "round {round}: {} is not named",
                request.email
            );
            assert_eq!(
                received.sct.log_id, self.key.id,
                "round {round}: another log's timestamp"
            );
            assert!(
                received.is_promised_by(&self.key.key),
                "round {round}: the timestamp's signature does not verify"
            );
            let index = received
                .index()
                .expect("a timestamp of the built-in log tells the index");
            self.unchecked.push(index);
            let twice = self.received.insert(index, received);
            assert!(
                twice.is_none(),
                "round {round}: index {index} was given out twice"
            );
        }
    }

    /// Reads what the restarted server's log has grown by, and looks up this round's certificates.
    async fn check_what_is_new(&mut self, round: u64) {
        let mut connection = Connection::open(self.address)
            .await
            .expect("the server listens");
        let head = self
            .key
            .checkpoint(&mut connection)
            .await
            .expect("a checkpoint");
        assert!(
            head.size >= self.tree.size(),
            "round {round}: the log shrank from {} to {}",
            self.tree.size(),
            head.size
        );
        for entry in entries(&mut connection, self.tree.size(), head.size).await {
            self.tree.push(&entry.merkle_tree_leaf);
            self.entries.push(entry);
        }
        self.checkpoints.insert(head);
        self.check_checkpoints(round);
        for index in std::mem::take(&mut self.unchecked) {
            self.check_entry(index, round);
            self.check_row(index, round).await;
        }
    }

    /// Every checkpoint ever seen is a prefix of the tree as it is, and none is older than its
    /// entries or than a smaller one.
    fn check_checkpoints(&self, round: u64) {
        let mut size = 0;
        for checkpoint in &self.checkpoints {
            let rebuilt = self.tree.root_at(checkpoint.size);
            assert_eq!(
                rebuilt,
                Some(&checkpoint.root),
                "round {round}: the tree of {} leaves",
                checkpoint.size
            );
            assert!(
                checkpoint.size >= size,
                "round {round}: a smaller tree was signed later: {checkpoint:?}"
            );
            size = checkpoint.size;
            let youngest = size
                .checked_sub(1)
                .and_then(|last| self.entries.get(usize::try_from(last).ok()?));
            let in_time =
                youngest.is_none_or(|entry| entry.timestamp_ms <= checkpoint.timestamp_ms);
            assert!(
                in_time,
                "round {round}: an entry is younger than the checkpoint over it: {checkpoint:?}"
            );
        }
    }

    fn check_entry(&self, index: u64, round: u64) {
        let received = &self.received[&index];
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index));
        let entry = entry.unwrap_or_else(|| {
            panic!(
                "round {round}: entry {index} was promised and the log has {}",
                self.tree.size()
            )
        });
        assert_eq!(
            entry.tbs, received.tbs,
            "round {round}: entry {index} is of another certificate"
        );
        let promised = received.merkle_tree_leaf().expect("the parts of a leaf");
        assert_eq!(
            entry.merkle_tree_leaf, promised,
            "round {round}: entry {index} is not what was signed"
        );
        let (tbs, poison) = der::without_extension(&entry.precertificate, &POISON)
            .expect("a poisoned precertificate");
        assert_eq!(
            (tbs, &poison[..]),
            (received.tbs.clone(), &[5, 0][..]),
            "round {round}: precertificate {index}"
        );
        assert_eq!(
            entry.chain.first(),
            Some(&sha256(&received.issuer)),
            "round {round}: the chain of entry {index}"
        );
    }

    async fn check_row(&self, index: u64, round: u64) {
        let received = &self.received[&index];
        let row = sqlx::query(
            "SELECT certificate, log_index, sct_timestamp_ms FROM certificates WHERE serial = ?",
        )
        .bind(&received.serial[..])
        .fetch_optional(&self.ledger)
        .await
        .expect("the ledger can be read");
        let row = row.unwrap_or_else(|| {
            panic!("round {round}: the ledger does not know the certificate of entry {index}")
        });
        assert_eq!(
            row.get::<Vec<u8>, _>(0),
            received.certificate,
            "round {round}: the ledger's certificate of entry {index}"
        );
        let place = (row.get::<i64, _>(1) as u64, row.get::<i64, _>(2) as u64);
        assert_eq!(
            place,
            (index, received.sct.timestamp_ms),
            "round {round}: the ledger's index and time"
        );
    }

    /// The whole once more from nothing: the log as served now, every certificate, every row.
    async fn check_everything(&mut self, rounds: u64) {
        let mut connection = Connection::open(self.address)
            .await
            .expect("the server listens");
        let head = self
            .key
            .checkpoint(&mut connection)
            .await
            .expect("a checkpoint");
        let served = entries(&mut connection, 0, head.size).await;
        assert!(
            served == self.entries,
            "an entry changed after it was first read"
        );
        let mut tree = Tree::new();
        served
            .iter()
            .for_each(|entry| tree.push(&entry.merkle_tree_leaf));
        assert_eq!(
            tree.root_at(head.size),
            Some(&head.root),
            "the tree as served"
        );
        self.tree = tree;
        self.check_checkpoints(rounds);
        for index in self.received.keys() {
            self.check_entry(*index, rounds);
            self.check_row(*index, rounds).await;
        }
        let distinct: HashSet<&[u8]> = served.iter().map(|entry| &entry.tbs[..]).collect();
        assert_eq!(distinct.len(), served.len(), "something was logged twice");
        for fingerprint in served
            .iter()
            .flat_map(|entry| &entry.chain)
            .collect::<HashSet<_>>()
        {
            let name: String = fingerprint
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let issuer = connection
                .get(&format!("/log/issuer/{name}"))
                .await
                .expect("an issuer");
            assert_eq!(
                (issuer.status, sha256(&issuer.body)),
                (200, *fingerprint),
                "issuer {name}"
            );
        }
        let rows = self.check_rows(&served).await;
        let (logged, received) = (served.len(), self.received.len());
        assert!(
            received <= rows && rows <= logged,
            "{received} received, {rows} recorded, {logged} logged"
        );
        // Each client loses at most the one request it waits for.
        let in_flight = usize::try_from(rounds)
            .unwrap_or(usize::MAX)
            .saturating_mul(CLIENTS);
        assert!(
            logged - received <= in_flight,
            "{logged} logged, {received} received: more than was under way"
        );
        let checkpoints = self.checkpoints.len();
        eprintln!(
            "{received} received, {rows} recorded, {logged} logged, {checkpoints} checkpoints"
        );
    }

    /// Every row of the ledger stands in the log where the row says.
    async fn check_rows(&self, served: &[Entry]) -> usize {
        let rows = sqlx::query("SELECT certificate, log_index FROM certificates")
            .fetch_all(&self.ledger)
            .await;
        let rows = rows.expect("the ledger can be read");
        for row in &rows {
            let certificate: Vec<u8> = row.get(0);
            let index = usize::try_from(row.get::<i64, _>(1)).expect("an index");
            let (tbs, _) = der::without_extension(&certificate, &SCT_LIST)
                .expect("a certificate with a timestamp");
            let entry = served
                .get(index)
                .unwrap_or_else(|| panic!("row of index {index} is beyond the log"));
            assert_eq!(
                entry.tbs, tbs,
                "the row of index {index} is not what the log has there"
            );
        }
        rows.len()
    }
}

/// SplitMix64: repeatable and small.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn entropy() -> u64 {
    time::OffsetDateTime::now_utc().unix_timestamp_nanos() as u64
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

const CLIENTS: usize = 8;
/// More than can be answered before the kill.
const REQUESTS: usize = 256;
const MOST_BEFORE_KILL: u64 = 120;
const MOST_DELAY_US: u64 = 4_000;
