//! Follows the files that may change while the server runs: the issuers, the listeners' certificates, the
//! roots of the log.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::{Occasion, Outcome};
use crate::telemetry::audit;

/// Looks at the files by `look` in every `interval`, if there is one, and at every `hangup`. It ends
/// never, or with a bug in a reader.
pub(super) async fn follow(
    mut look: impl FnMut(Occasion) -> Vec<Outcome> + Send + 'static,
    interval: Option<Duration>,
    mut hangup: Signal,
) {
    let mut pause = interval;
    loop {
        let occasion = tokio::select! {
            Some(()) = hangup.recv() => {
                tracing::info!("SIGHUP: reading the files again that may change");
                audit::reopen();
                Occasion::Demand
            }
            () = wait(pause) => Occasion::Interval,
        };
        // Disks can be slow, and a certificate in the file is parsed by libraries of others.
        let looked = spawn_blocking(move || {
            let outcomes = look(occasion);
            (look, outcomes.contains(&Outcome::Settling))
        });
        let Ok((again, is_settling)) = looked.await else {
            tracing::error!(
                "reading a file again ended in a panic; they are not followed any more"
            );
            return;
        };
        look = again;
        pause = match is_settling {
            true => interval.map(|interval| interval.min(SETTLE)),
            false => interval,
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
