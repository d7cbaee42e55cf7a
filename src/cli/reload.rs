//! Follows the issuers' file while the server runs.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::now;
use crate::config::{Occasion, Outcome, Reloader};

/// Looks at the file in every `interval`, if there is one, and at every `hangup`. It ends never, or
/// with a bug in the reader.
pub(super) async fn follow(mut reloader: Reloader, interval: Option<Duration>, mut hangup: Signal) {
    let mut pause = interval;
    loop {
        let occasion = tokio::select! {
            Some(()) = hangup.recv() => {
                tracing::info!("SIGHUP: reading the issuers again");
                Occasion::Demand
            }
            () = wait(pause) => Occasion::Interval,
        };
        // Disks can be slow, and a certificate in the file is parsed by libraries of others.
        let looked = spawn_blocking(move || {
            let outcome = reloader.look(occasion, now());
            (reloader, outcome)
        });
        let Ok((looked, outcome)) = looked.await else {
            tracing::error!(
                "reading the issuers' file ended in a panic; it is not followed any more"
            );
            return;
        };
        reloader = looked;
        pause = match outcome {
            Outcome::Settling => interval.map(|interval| interval.min(SETTLE)),
            Outcome::Unchanged | Outcome::Loaded | Outcome::Refused => interval,
        };
    }
}

async fn wait(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// How long a file must have stayed the same before it is believed to be whole.
const SETTLE: Duration = Duration::from_millis(250);
