//! Clients that wait for an answer before they ask again.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::door::{Client, Door, as_json};
use super::harness::deployment::Deployment;
use super::harness::der;
use super::harness::http::Response;
use super::harness::received::Received;
use super::harness::request::SigningRequest;
use super::process::{Process, of_this_machine, of_this_process};

/// One row of the table.
pub(crate) struct Row {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Processor time of the server process.
    pub(crate) cpu_per_certificate: Duration,
    /// Certificates that shared a commit of the log, on average: those of one commit have the same
    /// timestamp and no two commits have.
    pub(crate) per_commit: f64,
    /// Memory resident when three quarters were answered.
    pub(crate) resident: u64,
    /// Processors that neither server nor clients used but somebody else: above a tenth of one, the
    /// row says more about the neighbours than about the server.
    pub(crate) others: f64,
    pub(crate) failures: Vec<String>,
}

/// An answer with its request and how long it took.
struct Answered {
    request: SigningRequest,
    response: std::io::Result<Response>,
    took: Duration,
}

/// Sends all requests through `clients` connections.
pub(crate) fn run(
    deployment: &Deployment,
    process: &Process,
    door: Door,
    clients: usize,
    requests: Vec<SigningRequest>,
    runtime: &Runtime,
) -> Row {
    let count = requests.len();
    let waiting = Rc::new(RefCell::new(requests));
    let answered = Rc::new(RefCell::new(Vec::with_capacity(count)));
    let resident = Rc::new(RefCell::new(0));
    let local = LocalSet::new();
    let (elapsed, used, others) = runtime.block_on(local.run_until(async {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(Client::open(door, deployment).await.expect("a connection"));
        }
        let before = process.used();
        let ours = of_this_process();
        let machine = of_this_machine();
        let begin = Instant::now();
        let running: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                let (waiting, answered, resident) = (
                    Rc::clone(&waiting),
                    Rc::clone(&answered),
                    Rc::clone(&resident),
                );
                let process = process.clone();
                tokio::task::spawn_local(async move {
                    loop {
                        let next = waiting.borrow_mut().pop();
                        let Some(request) = next else { return };
                        let asked = Instant::now();
                        let response = connection.exchange(&request).await;
                        let took = asked.elapsed();
                        let broken = response.is_err();
                        answered.borrow_mut().push(Answered {
                            request,
                            response,
                            took,
                        });
                        if answered.borrow().len() == count * 3 / 4 {
                            *resident.borrow_mut() = process.resident();
                        }
                        if broken {
                            return;
                        }
                    }
                })
            })
            .collect();
        for client in running {
            client.await.expect("a client ends by itself");
        }
        let elapsed = begin.elapsed();
        let used = process.used().saturating_sub(before);
        let others = (of_this_machine() - machine)
            .saturating_sub(used)
            .saturating_sub(of_this_process() - ours);
        (elapsed, used, others)
    }));
    let answered = answered.take();
    let resident = *resident.borrow();
    let mut answered = answered;
    if door.is_grpc {
        for answer in &mut answered {
            if let Ok(response) = &mut answer.response {
                response.body = as_json(&response.body).unwrap_or_default();
            }
        }
    }
    let mut row = summary(answered, count, elapsed, used);
    row.resident = resident;
    row.others = others.div_duration_f64(elapsed);
    row
}

fn summary(answered: Vec<Answered>, asked: usize, elapsed: Duration, used: Duration) -> Row {
    let mut failures: Vec<String> = (answered.len()..asked)
        .map(|_| "never sent: its connection had ended".to_owned())
        .collect();
    let mut took: Vec<Duration> = answered.iter().map(|answer| answer.took).collect();
    took.sort_unstable();
    let mut serials = HashSet::new();
    let mut commits = HashSet::new();
    for answer in &answered {
        match certificate(answer) {
            Ok(received) => {
                commits.insert(received.sct.timestamp_ms);
                if !serials.insert(received.serial) {
                    failures.push("a serial number was given out twice".to_owned());
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    let good = serials.len().max(1);
    Row {
        rate: serials.len() as f64 / elapsed.as_secs_f64(),
        p50: percentile(&took, 50),
        p99: percentile(&took, 99),
        cpu_per_certificate: used.div_f64(good as f64),
        per_commit: serials.len() as f64 / commits.len().max(1) as f64,
        resident: 0,
        others: 0.0,
        failures,
    }
}

/// The certificate in an answer, if it is for the key that was sent.
fn certificate(answer: &Answered) -> Result<Received, String> {
    let response = answer
        .response
        .as_ref()
        .map_err(|error| format!("no answer: {error}"))?;
    let text = || String::from_utf8_lossy(&response.body).into_owned();
    if response.status != 200 {
        return Err(format!("{}: {}", response.status, text()));
    }
    Received::read(&response.body)
        .filter(|received| der::spki(&received.certificate) == Some(&answer.request.spki[..]))
        .ok_or_else(|| format!("not a certificate for the key that was sent: {}", text()))
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
