//! `vouchsafe log serve`

use tokio::sync::oneshot;

use super::LogConfigArgument;
use crate::cli::reload::follow;
use crate::cli::serve::{bind, watched};
use crate::cli::signals::Signals;
use crate::cli::{Failure, now};
use crate::config::LogConfig;
use crate::server::{self, Listener, LogApp};
use crate::telemetry;

pub(super) async fn run(arguments: LogConfigArgument) -> Result<(), Failure> {
    let config = LogConfig::read(&arguments.config)?;
    telemetry::install(
        config.log_format(),
        std::env::var("RUST_LOG").ok().as_deref(),
    )?;
    let (mut signals, hangup) = Signals::catch()?;

    let certificate = config.certificate(now())?;
    let logs = config.logs();
    let mounts = logs.mounts().await?;
    let log = logs.open(Vec::new(), now()).await?;
    let upkeep = logs.upkeep(&log, now()).await?;
    let app = LogApp::new(log.clone(), mounts, config.visitors());
    let listener = bind(config.listen())?;
    let address = listener.local_addr()?;
    let listeners = vec![Listener::new(listener, certificate.clone())];
    let metrics = config
        .metrics_listen()
        .map(|address| watched(address, app.metrics_router()));
    let metrics = metrics.transpose()?;
    // All ports are bound: whoever waits for this line may ask at each of them.
    tracing::info!(listen = %address, tls = certificate.is_some(), log = logs.config()?.origin, "serving the log");
    let shown = certificate.clone();
    let mut roots = logs.roots_reloader(&log)?;
    let look = move |occasion| {
        let roots = roots.iter_mut().map(|roots| roots.look(occasion));
        let shown = shown.iter().map(|shown| shown.look(occasion, now()));
        roots.chain(shown).collect()
    };
    let following = tokio::spawn(follow(look, config.reload_interval(), hangup));
    let (over, is_over) = oneshot::channel::<()>();
    let upkeep = tokio::spawn(upkeep.run(now, is_over));
    let mut failed = None;
    let shutdown = async { failed = signals.stop(log.fatal()).await };
    server::serve_log(listeners, &app, shutdown).await?;
    following.abort();
    drop(over);
    if let Err(error) = upkeep.await {
        tracing::error!(%error, "what looks after the log has failed");
    }
    log.close().await;
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    match failed {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}
