//! Whether the log can go on, and the end of it.

use super::{Fatal, Log};
use std::sync::atomic::Ordering;
use time::OffsetDateTime;

impl Log {
    /// Whether it still takes entries.
    #[must_use]
    pub fn in_service(&self) -> bool {
        self.shared.fatal.borrow().is_none() && !self.shared.requests.is_closed()
    }

    /// Whether entries could be logged now: it is in service, and its database answers. Where the last
    /// commit failed, another one is tried.
    pub async fn is_healthy(&self, now: OffsetDateTime) -> bool {
        if !self.in_service() || self.shared.reader.newest_head().await.is_err() {
            return false;
        }
        let is_failing = self.shared.is_failing.load(Ordering::Relaxed);
        !is_failing || self.refresh(now).await.is_ok()
    }

    /// Waits until the log has stopped for good, which is while the process should run: never.
    pub async fn fatal(&self) -> Fatal {
        let mut fatal = self.shared.fatal.clone();
        tokio::select! {
            _ = fatal.wait_for(Option::is_some) => {}
            // The task lets go of its queue however it ends, and may not have said why.
            () = self.shared.requests.closed() => {}
        }
        let reason = self.shared.fatal.borrow().clone();
        reason.unwrap_or(Fatal::Stopped)
    }

    /// Ends the log: something was found out that it must not go on with.
    pub(super) fn condemn(&self, fatal: Fatal) {
        self.shared.fatal_sender.send_replace(Some(fatal));
    }
}
