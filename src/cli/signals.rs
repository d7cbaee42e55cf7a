//! The signals that a server listens to. They are caught before anything is opened, so that none can end
//! the process half-way.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::ctlog::Fatal;

/// Those that ask for an orderly end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them, and beside them the one that asks to read files again.
    pub(super) fn catch() -> io::Result<(Self, Signal)> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok((signals, signal(SignalKind::hangup())?))
    }

    /// Waits for one of them, or until the log cannot go on: then it says why.
    pub(super) async fn stop(&mut self, fatal: impl Future<Output = Fatal>) -> Option<Fatal> {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: finishing what is under way"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: finishing what is under way"),
            reason = fatal => {
                tracing::error!(%reason, "the log cannot go on; only a restart finds out what was written");
                return Some(reason);
            }
        }
        None
    }
}
