#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use super::super::publisher::{Found, Kind, Target, TargetError};
use super::super::testing::{TestLog, at, log_entries};
use super::*;

/// A place that takes a file and never says that it has it.
#[derive(Debug)]
struct Stuck;

#[async_trait::async_trait]
impl Target for Stuck {
    async fn get(&self, _path: &str, _limit: usize) -> Result<Option<Found>, TargetError> {
        Ok(None)
    }

    async fn put(
        &self,
        _path: &str,
        _bytes: Vec<u8>,
        _kind: Kind,
        _over: Option<&Found>,
    ) -> Result<bool, TargetError> {
        std::future::pending().await
    }

    async fn remove(&self, _directory: &str) -> Result<(), TargetError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_place_that_hangs_keeps_the_server_from_its_end() {
    let test = TestLog::create().await;
    let log = test.open().await;
    log_entries(&log, 0..3, at(1)).await;
    let target = Box::new(Stuck);
    let publisher = Publisher::to(log.clone(), target, "stuck".to_owned(), LAST);
    let upkeep = Upkeep::new(log.clone(), None, Some(publisher), Vec::new());
    let ended = upkeep.run(|| at(2), std::future::ready(()));
    tokio::time::timeout(LAST * 4, ended).await.unwrap();
    log.close().await;
}
