//! What is counted of the log's copies and witnesses. Nothing is shown where there are none.

use super::page::{count, plain};
use crate::telemetry::exposition::{Cells, Counter, Exposition};
use crate::telemetry::families as f;
use std::sync::atomic::{AtomicBool, Ordering};

/// The published copy of the log.
#[derive(Debug, Default)]
pub struct Publishing {
    is_there: AtomicBool,
    size: Counter,
    succeeded: Counter,
    failures: Counter,
    stopped: Counter,
}

/// Witnesses, by their names; they stand in the configuration.
#[derive(Debug)]
pub struct Witnesses(Cells<String, Witness>);

#[derive(Debug, Default)]
struct Witness {
    size: Counter,
    cosigned: Counter,
    failures: Counter,
}

impl Publishing {
    /// What is published is the tree of `size` entries, at `now` in seconds since 1970.
    pub fn succeeded(&self, size: u64, now: i64) {
        self.is_there.store(true, Ordering::Relaxed);
        self.size.set(size);
        self.succeeded.set(u64::try_from(now).unwrap_or(0));
    }

    /// An attempt failed.
    pub fn failed(&self) {
        self.is_there.store(true, Ordering::Relaxed);
        self.failures.increment();
    }

    /// There will be no more.
    pub fn stopped(&self) {
        self.is_there.store(true, Ordering::Relaxed);
        self.stopped.set(1);
    }

    pub(super) fn render(&self, page: &mut Exposition) {
        let Self {
            is_there,
            size,
            succeeded,
            failures,
            stopped,
        } = self;
        let is_there = is_there.load(Ordering::Relaxed);
        let shown = |counter| is_there.then(|| plain(count(counter)));
        page.family(&f::LOG_PUBLISHED_SIZE, shown(size));
        // Before the first time there is none.
        let succeeded = shown(succeeded).filter(|(_, at)| *at > 0.0);
        page.family(&f::LOG_PUBLISHED, succeeded);
        page.family(&f::LOG_PUBLISH_FAILURES, shown(failures));
        page.family(&f::LOG_PUBLISH_STOPPED, shown(stopped));
    }
}

impl Witnesses {
    pub(super) fn new() -> Self {
        Self(Cells::new())
    }

    /// A witness cosigned the tree of `size` entries, at `now` in seconds since 1970.
    pub fn cosigned(&self, name: &str, size: u64, now: i64) {
        if let Some(witness) = self.0.of(&name.to_owned(), Witness::default) {
            witness.size.set(size);
            witness.cosigned.set(u64::try_from(now).unwrap_or(0));
        }
    }

    /// A witness did not.
    pub fn failed(&self, name: &str) {
        if let Some(witness) = self.0.of(&name.to_owned(), Witness::default) {
            witness.failures.increment();
        }
    }

    pub(super) fn render(&self, page: &mut Exposition) {
        let all = self.0.all();
        let of = |counter: fn(&Witness) -> &Counter| {
            let all = all.iter();
            all.map(move |(name, witness)| (vec![name.as_str()], count(counter(witness))))
        };
        page.family(&f::LOG_WITNESSED_SIZE, of(|witness| &witness.size));
        let cosigned = of(|witness| &witness.cosigned).filter(|(_, at)| *at > 0.0);
        page.family(&f::LOG_WITNESSED, cosigned);
        page.family(&f::LOG_WITNESS_FAILURES, of(|witness| &witness.failures));
    }
}
