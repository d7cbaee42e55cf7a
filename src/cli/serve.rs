//! `vouchsafe serve`

use std::net::TcpListener;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::reload::follow;
use super::{Failure, now};
use crate::config::Config;
use crate::server::{self, App};
use crate::telemetry;

pub(super) async fn run(file: PathBuf) -> Result<(), Failure> {
    let config = Config::read(&file)?;
    telemetry::install(
        config.log_format(),
        std::env::var("RUST_LOG").ok().as_deref(),
    )?;
    // All signals are caught before anything is opened, so that none can end the process half-way.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;

    let stack = config.open(now()).await?;
    let log = stack.issuance.log.clone();
    let limits = config.limits();
    let issuance = stack.issuance.clone();
    let app = App::new(
        stack.issuance,
        stack.trust,
        limits.issuing_threads(),
        limits.issuing_queue,
    )?;
    let listener = TcpListener::bind(config.listen())
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen()))?;
    tracing::info!(listen = %listener.local_addr()?, public_url = config.public_url(), log = config.log_origin(), "serving");

    let following = tokio::spawn(follow(stack.reloader, config.reload_interval(), hangup));
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
    server::serve(listener, &app, shutdown).await?;
    following.abort();
    app.drain().await;
    issuance.close().await;
    match failed {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}
