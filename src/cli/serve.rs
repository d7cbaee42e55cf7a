//! `vouchsafe serve`

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use axum::Router;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fulcio::{self, Translated};
use super::reload::follow;
use super::signals::Signals;
use super::{Failure, now};
use crate::config::Config;
use crate::server::{self, App, Listener};
use crate::telemetry::{self, audit, traces};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file: Vouchsafe's own, vouchsafe.yaml if nothing else is said, or Fulcio's
    #[arg(long, short, env = "VOUCHSAFE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    own: fulcio::Own,
    #[command(flatten)]
    flags: fulcio::Flags,
    /// The program's name, for images that have it in their entry point already
    #[arg(hide = true, value_parser = program_name)]
    again: Vec<String>,
}

impl Arguments {
    /// Our own configuration, or Fulcio's in our terms.
    async fn configuration(self) -> Result<Translated, Failure> {
        let Self {
            config,
            own,
            flags,
            again: _,
        } = self;
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let variable = |wanted: &str| {
            let mut all = environment.iter();
            let found = all.find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let config = config.filter(|path| !path.as_os_str().is_empty());
        let config = config.or_else(|| variable("FULCIO_SERVE_CONFIG").map(PathBuf::from));
        let start = fulcio::Start::recognise(flags, own, &environment, config.as_deref())?;
        let Some(start) = start else {
            let file = config.unwrap_or_else(|| PathBuf::from("vouchsafe.yaml"));
            return Ok(Translated {
                config: Config::read(&file)?,
                warnings: Vec::new(),
            });
        };
        let state = variable("STATE_DIRECTORY");
        let entropy = super::init::entropy()?;
        start.prepare(state.as_deref(), &entropy, now()).await
    }
}

fn program_name(word: &str) -> Result<String, &'static str> {
    match fulcio::is_program_name(word) {
        true => Ok(word.to_owned()),
        false => Err("nothing but the program's name may stand here"),
    }
}

pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    server::bind(address).map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// Answers with metrics at an address of their own.
pub(super) fn watched(address: SocketAddr, router: Router) -> Result<JoinHandle<()>, Failure> {
    let listener = bind(address)?;
    tracing::info!(listen = %listener.local_addr()?, "metrics");
    Ok(tokio::spawn(async move {
        let served = server::serve_router(listener, router, std::future::pending());
        if let Err(error) = served.await {
            tracing::error!(%error, "metrics cannot be read any more");
        }
    }))
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Translated { config, warnings } = arguments.configuration().await?;
    telemetry::install(
        config.log_format(),
        std::env::var("RUST_LOG").ok().as_deref(),
    )?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (mut signals, hangup) = Signals::catch()?;

    if let Some(sink) = config.audit() {
        audit::install(&sink).map_err(|error| format!("the audit trail {sink}: {error}"))?;
    }
    let certificates = config.certificates(now())?;
    let stack = config.open(now()).await?;
    let log = stack.issuance.log.clone();
    let issuance = stack.issuance.clone();
    let app = App::new(
        stack.issuance,
        stack.trust,
        stack.mounts,
        config.behaviour(),
    )?;
    let listener = bind(config.listen())?;
    let address = listener.local_addr()?;
    let mut listeners = vec![Listener::new(listener, certificates.main())];
    if let Some(address) = config.grpc_listen() {
        let listener = bind(address)?;
        tracing::info!(listen = %listener.local_addr()?, "second listener");
        listeners.push(Listener::new(listener, certificates.grpc()));
    }

    let metrics = config
        .metrics_listen()
        .map(|address| watched(address, app.metrics_router()));
    let metrics = metrics.transpose()?;
    let tls = certificates.main().is_some();
    // All ports are bound: whoever waits for this line may ask at each of them.
    tracing::info!(listen = %address, tls, public_url = config.public_url(), log = config.log_names(), "serving");
    let interval = config.reload_interval();
    let comparing = stack
        .periodic
        .map(|periodic| tokio::spawn(periodic.run(now)));
    let mut reloader = stack.reloader;
    let mut roots = match log.built_in() {
        Some(log) => config.logs().roots_reloader(log)?,
        None => None,
    };
    let look = move |occasion| {
        let issuers = reloader.look(occasion, now());
        let roots = roots.iter_mut().map(|roots| roots.look(occasion));
        let shown = certificates.all();
        let shown = shown.map(|shown| shown.look(occasion, now()));
        [issuers].into_iter().chain(roots).chain(shown).collect()
    };
    let following = tokio::spawn(follow(look, interval, hangup));
    let (over, is_over) = oneshot::channel::<()>();
    let upkeep = stack
        .upkeep
        .map(|upkeep| tokio::spawn(upkeep.run(now, is_over)));
    let mut failed = None;
    let shutdown = async { failed = signals.stop(log.fatal()).await };
    server::serve(listeners, &app, shutdown).await?;
    following.abort();
    if let Some(comparing) = comparing {
        comparing.abort();
    }
    app.drain().await;
    drop(over);
    if let Some(upkeep) = upkeep
        && let Err(error) = upkeep.await
    {
        tracing::error!(%error, "what looks after the log has failed");
    }
    issuance.close().await;
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    let closed = tokio::task::spawn_blocking(|| {
        traces::close();
        audit::close()
    });
    if !closed.await.unwrap_or(false) {
        tracing::error!("the audit trail could not be written to its end");
    }
    match failed {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}
