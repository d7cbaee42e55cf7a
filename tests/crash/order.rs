//! The order of system calls: no octet of a certificate goes out before the log's journal, after it the
//! high-water mark and after that the ledger's journal were synced with that certificate in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::harness::deployment::Deployment;
use super::harness::der;
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::postgres::Cluster;
use super::harness::received::Received;
use super::harness::request::prepare;
use super::strace::Strace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_octet_of_a_certificate_precedes_the_syncs_that_keep_it() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let (calls, bodies) = traced(&provider, &deployment, &[]).await;
    let log = Journal::of(&calls, &deployment.path().join("log/log.sqlite-wal"));
    let ledger = Journal::of(&calls, &deployment.path().join("ledger.sqlite-wal"));
    let marks = Marks::of(&calls, &deployment.path().join("high-water"));
    let mut shared = BTreeSet::new();
    for body in &bodies {
        let received = Received::read(body).expect("a certificate");
        let needles = Needles::of(&received);
        let logged = log.synced(&needles);
        let marked = marks.synced(&received);
        let recorded = ledger.synced(&needles);
        shared.insert(logged.synced);
        in_order(&logged, &marked, &recorded, told(&calls, &needles));
    }
    assert!(
        shared.len() < bodies.len(),
        "no two certificates shared a commit, so this was no crowd"
    );
}

/// The same with log and ledger on a database server: that server's word for a commit has arrived, and it
/// had synced its journal before it gave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_octet_of_a_certificate_precedes_the_word_of_the_database_server() {
    let provider = Issuer::start();
    // Of its own: nobody else has it sync anything.
    let cluster = Cluster::start();
    let deployment = Deployment::create_in(&cluster.database(), &provider);
    let (calls, bodies) = traced(&provider, &deployment, &[&cluster]).await;
    let marks = Marks::of(&calls, &deployment.path().join("high-water"));
    for body in &bodies {
        let received = Received::read(body).expect("a certificate");
        let needles = Needles::of(&received);
        let sent = |call: &&Call| {
            call.is_to_a_socket() && needles.stored.iter().any(|needle| call.holds(needle))
        };
        // Whatever is sent to a database with the certificate in it: to the log's, then to the ledger's.
        let sent: Vec<&Call> = calls.iter().filter(sent).collect();
        let (first, last) = (sent[0], sent[sent.len() - 1]);
        assert!(
            first.target != last.target,
            "log and ledger over one connection"
        );
        let logged = word(&calls, first);
        let marked = marks.synced(&received);
        let recorded = word(&calls, last);
        in_order(&logged, &marked, &recorded, told(&calls, &needles));
    }
}

/// The order in which a certificate must be kept by log, mark and ledger, and then told.
fn in_order(logged: &Kept, marked: &Kept, recorded: &Kept, told: u64) {
    assert!(
        logged.synced < marked.written,
        "marked before it was logged: {logged:?}, {marked:?}"
    );
    assert!(
        marked.synced < recorded.written,
        "recorded before it was marked: {marked:?}, {recorded:?}"
    );
    assert!(
        recorded.synced < told,
        "told before it was recorded: {recorded:?}, {told} ns"
    );
}

/// When a statement was sent to a database server, and when its word came back that no transaction is
/// open any more: `ReadyForQuery` with `I`. Between the two the server must have synced its journal.
fn word(calls: &[Call], sent: &Call) -> Kept {
    let is_word = |call: &&Call| {
        call.is_from_a_socket()
            && call.target == sent.target
            && call.ended > sent.begun
            && call.holds(b"Z\0\0\0\x05I")
    };
    let word = calls.iter().find(is_word).expect("the server's word");
    let is_synced = calls.iter().any(|call| {
        call.is_sync()
            && call.target.contains("/pg_wal/")
            && call.begun > sent.begun
            && call.ended < word.ended
    });
    assert!(is_synced, "its word came before its journal was synced");
    Kept {
        written: sent.begun,
        synced: word.ended,
    }
}

/// When the first octets of the answer were sent.
fn told(calls: &[Call], needles: &Needles) -> u64 {
    let told = calls
        .iter()
        .find(|call| call.is_to_a_socket() && call.holds(&needles.answer));
    told.expect("the answer was sent").begun
}

/// A crowd of clients, the calls that were made meanwhile, and what the clients received.
async fn traced(
    provider: &Issuer,
    deployment: &Deployment,
    clusters: &[&Cluster],
) -> (Vec<Call>, Vec<Vec<u8>>) {
    let server = deployment.start();
    let output = deployment.path().with_file_name("order");
    // A file for each thread, so that no line is interrupted by another; the tracer's own clock, which
    // reads a call's end before it lets the thread go on to tell anybody.
    let mut options = vec![
        "-ff",
        "--absolute-timestamps=format:unix,precision:ns",
        "--syscall-times=ns",
        "-xx",
        "-s",
        "65536",
        "-e",
        "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg,recvfrom,read",
    ];
    let processes = clusters.iter().map(|cluster| {
        cluster.sql(
            "postgres",
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
             UNION SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int",
        )
    });
    let processes: String = processes.collect();
    options.extend(processes.lines().flat_map(|id| ["-p", id]));
    let strace = Strace::attach(&server, &output, &options);
    let clients = (0..CLIENTS).map(|client| {
        let requests = prepare(provider, client * EACH, EACH as usize);
        let address = deployment.address();
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await.expect("a server");
            let mut bodies = Vec::new();
            for request in requests {
                let answer = connection.exchange(&request.http).await.expect("an answer");
                assert_eq!(answer.status, 200);
                bodies.push(answer.body);
            }
            bodies
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut bodies = Vec::new();
    for client in clients {
        bodies.extend(client.await.expect("a client"));
    }
    drop(strace);
    server.kill();
    assert_eq!(bodies.len() as u64, CLIENTS * EACH);
    (read_all(&output), bodies)
}

/// One call of one thread, in nanoseconds since 1970.
struct Call {
    begun: u64,
    ended: u64,
    name: String,
    /// The file or socket.
    target: String,
    /// What was written.
    octets: Vec<u8>,
}

/// What is searched for.
struct Needles {
    /// In a journal: pieces short enough for one of them to stand undivided on a page.
    stored: [Vec<u8>; 3],
    /// In an answer, which has the certificate as PEM.
    answer: Vec<u8>,
}

/// When a certificate was written to a journal, and when the sync that covers it had returned.
#[derive(Debug)]
struct Kept {
    written: u64,
    synced: u64,
}

/// The calls on one write-ahead journal, in order.
struct Journal<'a>(Vec<&'a Call>);

impl Needles {
    fn of(received: &Received) -> Self {
        let spki = der::spki(&received.certificate).expect("a key");
        let (_, point) = spki.split_at(spki.len() - 64);
        // The serial number, whole groups of three octets of it.
        let pem = STANDARD.encode(&received.certificate[15..33]);
        Self {
            stored: [
                received.serial.to_vec(),
                point[..24].to_vec(),
                point[40..].to_vec(),
            ],
            answer: pem.into_bytes(),
        }
    }
}

impl Call {
    fn holds(&self, needle: &[u8]) -> bool {
        self.octets
            .windows(needle.len())
            .any(|window| window == needle)
    }

    fn is_of_a_socket(&self) -> bool {
        self.target.starts_with("socket:") || self.target.starts_with("TCP")
    }

    fn is_read(&self) -> bool {
        self.name == "recvfrom" || self.name == "read"
    }

    fn is_to_a_socket(&self) -> bool {
        self.is_of_a_socket() && !self.is_read()
    }

    fn is_from_a_socket(&self) -> bool {
        self.is_of_a_socket() && self.is_read()
    }

    fn is_sync(&self) -> bool {
        self.name == "fdatasync" || self.name == "fsync"
    }
}

impl<'a> Journal<'a> {
    fn of(calls: &'a [Call], file: &Path) -> Self {
        let file = file.to_string_lossy();
        let own: Vec<&Call> = calls.iter().filter(|call| call.target == *file).collect();
        assert!(
            own.iter().any(|call| call.is_sync()),
            "{file} was never synced"
        );
        Self(own)
    }

    /// Where a certificate is first written, the frame that commits it, and the sync after that.
    ///
    /// A frame is a header of 24 octets and a page. Octets 4 to 8 of the header are the size of the
    /// database after a commit, and zero in every frame but the last of one.
    fn synced(&self, needles: &Needles) -> Kept {
        let holds = |call: &&Call| needles.stored.iter().any(|needle| call.holds(needle));
        let written = self.0.iter().position(holds).expect("it was written");
        let header = self.0[..written]
            .iter()
            .rposition(|call| call.octets.len() == FRAME_HEADER)
            .expect("a frame has a header");
        let commits =
            |call: &&Call| call.octets.len() == FRAME_HEADER && call.octets[4..8] != [0, 0, 0, 0];
        let after = &self.0[header..];
        let committed = after.iter().position(commits).expect("it was committed");
        let page = after
            .get(committed + 1)
            .expect("the page of the last frame");
        let sync = after[committed..]
            .iter()
            .find(|call| call.is_sync() && call.begun >= page.ended)
            .expect("it was synced");
        Kept {
            written: self.0[written].begun,
            synced: sync.ended,
        }
    }
}

/// The calls on a high-water mark, in order.
struct Marks<'a>(Vec<&'a Call>);

impl<'a> Marks<'a> {
    fn of(calls: &'a [Call], file: &Path) -> Self {
        let file = file.to_string_lossy();
        let own = calls.iter().filter(|call| call.target == *file);
        Self(own.collect())
    }

    /// When the first mark was written that is beyond a certificate's entry, and synced.
    fn synced(&self, received: &Received) -> Kept {
        let index = received.index().expect("the index of an entry");
        let is_beyond = |call: &&&Call| {
            let note = String::from_utf8_lossy(&call.octets);
            let size = note
                .lines()
                .nth(1)
                .and_then(|size| size.parse::<u64>().ok());
            call.name == "pwrite64" && size.is_some_and(|size| size > index)
        };
        let written = self.0.iter().find(is_beyond).expect("a mark beyond it");
        let is_sync = |call: &&&Call| call.is_sync() && call.begun >= written.ended;
        let sync = self.0.iter().find(is_sync).expect("it was synced");
        Kept {
            written: written.begun,
            synced: sync.ended,
        }
    }
}

/// Every call of every thread, by the time at which it began.
fn read_all(output: &Path) -> Vec<Call> {
    let directory = output.parent().expect("a directory");
    let name = output.file_name().expect("a name").to_string_lossy();
    let mut calls = Vec::new();
    for file in fs::read_dir(directory).expect("a directory").flatten() {
        let found = file.file_name().to_string_lossy().into_owned();
        let thread = found
            .strip_prefix(&*name)
            .and_then(|rest| rest.strip_prefix('.'));
        if thread.is_some_and(|thread| thread.parse::<u32>().is_ok()) {
            let text = fs::read_to_string(file.path()).expect("a trace");
            calls.extend(text.lines().filter_map(read));
        }
    }
    calls.sort_by_key(|call| call.begun);
    assert!(calls.len() > 100, "only {} calls were seen", calls.len());
    calls
}

/// `1700000000.000000001 pwrite64(12</file>, "\x00…", 24, 32) = 24 <0.000000123>`
fn read(line: &str) -> Option<Call> {
    let (begun, rest) = line.split_once(' ')?;
    let begun = nanoseconds(begun)?;
    let (name, rest) = rest.split_once('(')?;
    let (_, rest) = rest.split_once('<')?;
    let (target, rest) = rest.split_once('>')?;
    let (_, took) = rest.rsplit_once('<')?;
    let took = nanoseconds(took.strip_suffix('>')?)?;
    Some(Call {
        begun,
        ended: begun + took,
        name: name.to_owned(),
        target: unescaped(target),
        octets: rest
            .split('"')
            .skip(1)
            .step_by(2)
            .flat_map(octets)
            .collect(),
    })
}

/// `\x00\x01`
fn octets(hex: &str) -> Vec<u8> {
    let digits = hex.split("\\x").skip(1);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).expect("two digits"))
        .collect()
}

fn unescaped(target: &str) -> String {
    match target.starts_with("\\x") {
        true => String::from_utf8_lossy(&octets(target)).into_owned(),
        false => target.to_owned(),
    }
}

fn nanoseconds(decimal: &str) -> Option<u64> {
    let (seconds, fraction) = decimal.split_once('.')?;
    (fraction.len() == 9).then_some(())?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + fraction.parse::<u64>().ok()?)
}

const CLIENTS: u64 = 8;
const EACH: u64 = 8;
const FRAME_HEADER: usize = 24;
