//! `vouchsafe log serve`

use tokio::signal::unix::{SignalKind, signal};

use super::LogConfigArgument;
use crate::cli::reload::follow;
use crate::cli::serve::{bind, watched};
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
    // All signals are caught before anything is opened, so that none can end the process half-way.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;

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
    let upkeep = tokio::spawn(upkeep.run(now));
    let mut failed = None;
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing what is under way"),
            _ = interrupt.recv() => tracing::info!("SIGINT: finishing what is under way"),
            reason = log.fatal() => {
                tracing::error!(%reason, "the log cannot go on; only a restart finds out what was written");
                failed = Some(reason);
            }
        }
    };
    server::serve_log(listeners, &app, shutdown).await?;
    following.abort();
    // Before the log closes: whatever is under way may be cut off anywhere.
    upkeep.abort();
    log.close().await;
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    match failed {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}
