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

mod audit;
mod cosigner;
mod creation;
mod faults;
mod guards;
#[path = "../harness/mod.rs"]
mod harness;
mod ledger;
mod load;
mod log;
mod matrix;
mod order;
mod places;
mod promise;
mod published;
mod seed;
mod strace;
mod tree;
mod witness;

use std::time::Duration;

use self::harness::deployment::Deployment;
use self::harness::issuer::Issuer;
use self::harness::request::prepare;
use self::load::{CLIENTS, run_until_killed};
use self::witness::{Sums, Witness};

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
        let when = format!("round {round}");
        witness.take(seen, &when).await;
        witness.check_what_is_new(&when).await;
    }
    let sums = witness.check_everything("at the end").await;
    let Sums {
        received,
        recorded,
        logged,
        checkpoints,
    } = sums;
    eprintln!(
        "{received} received, {recorded} recorded, {logged} logged, {checkpoints} checkpoints"
    );
    // Each client loses at most the one request it waits for.
    let in_flight = usize::try_from(rounds)
        .unwrap_or(usize::MAX)
        .saturating_mul(CLIENTS);
    assert!(
        logged - received <= in_flight,
        "{logged} logged, {received} received: more than was under way"
    );
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

/// More than can be answered before the kill.
const REQUESTS: usize = 256;
const MOST_BEFORE_KILL: u64 = 120;
const MOST_DELAY_US: u64 = 4_000;
