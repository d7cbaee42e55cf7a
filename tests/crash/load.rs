//! Clients that work until the server is no more.

use std::hint::spin_loop;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::harness::deployment::Server;
use super::harness::http::Connection;
use super::harness::received::Received;
use super::harness::request::SigningRequest;
use super::log::{Checkpoint, LogKey};
use super::promise::{Promise, Submission};

/// What the clients of one round saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) certificates: Vec<(SigningRequest, Vec<u8>)>,
    /// Timestamps that submitters were given.
    pub(crate) promises: Vec<Promise>,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

enum Event {
    Certificate(SigningRequest, Vec<u8>),
    Promise(Promise),
    Checkpoint(Checkpoint),
    Fault(String),
}

/// Loads the server with [`CLIENTS`] clients, kills it `delay` after the certificate number
/// `enough` arrived, and returns all that arrived, up to the last whole answer.
pub(crate) async fn run_until_killed(
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
            Event::Promise(promise) => seen.promises.push(promise),
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

/// Loads a server that will end by itself, and returns all that arrived until it did. Half of the
/// connections ask for certificates and half submit to the log.
pub(crate) async fn run_until_ended(
    address: SocketAddr,
    key: &Arc<LogKey>,
    requests: Vec<SigningRequest>,
    submissions: &[Submission],
) -> Result<Seen, String> {
    let (events, mut arrived) = mpsc::unbounded_channel();
    let mut shares: Vec<Vec<SigningRequest>> = (0..ISSUING).map(|_| Vec::new()).collect();
    for (number, request) in requests.into_iter().enumerate() {
        shares[number % ISSUING].push(request);
    }
    for share in shares {
        tokio::spawn(client(address, Arc::clone(key), share, events.clone()));
    }
    for submission in submissions {
        tokio::spawn(submitter(address, submission.clone(), events.clone()));
    }
    drop(events);
    let mut seen = Seen::default();
    while let Some(event) = arrived.recv().await {
        match event {
            Event::Certificate(request, body) => seen.certificates.push((request, body)),
            Event::Promise(promise) => seen.promises.push(promise),
            Event::Checkpoint(checkpoint) => seen.checkpoints.push(checkpoint),
            Event::Fault(text) => return Err(text),
        }
    }
    Ok(seen)
}

/// Submits one precertificate. The end of the connection is the end of the server.
async fn submitter(
    address: SocketAddr,
    submission: Submission,
    events: mpsc::UnboundedSender<Event>,
) {
    let Ok(mut connection) = Connection::open(address).await else {
        return;
    };
    let Ok(answer) = connection.exchange(&submission.http).await else {
        return;
    };
    let promise = (answer.status == 200)
        .then(|| submission.promise(&answer.body))
        .flatten();
    let event = promise.map_or_else(
        || {
            let text = String::from_utf8_lossy(&answer.body);
            Event::Fault(format!("a submission: {}: {text}", answer.status))
        },
        Event::Promise,
    );
    events.send(event).ok();
}

pub(crate) const CLIENTS: usize = 8;
/// Connections that ask for certificates where others submit.
const ISSUING: usize = 4;
