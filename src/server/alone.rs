//! A transparency log with nothing else in the process: the same routes behind the same door, and no
//! authority.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::get;

use super::client::Clients;
use super::connections::Connections;
use super::listen::{Listener, serve_all};
use super::{cors, ctlog, guard, health, observe, problem, request_id};
use crate::config::{Mounts, Visitors};
use crate::ctlog::Log;
use crate::telemetry::metrics;

/// A log that has everything it needs and no port yet.
#[derive(Debug)]
pub struct LogApp {
    log: Log,
    mounts: Mounts,
    connections: Arc<Connections>,
    /// Set once the server takes no more requests.
    is_closing: AtomicBool,
}

impl LogApp {
    /// Serves `log` where `mounts` says, and the earlier ones beside it.
    pub fn new(log: Log, mounts: Mounts, visitors: Visitors) -> Arc<Self> {
        let Visitors {
            connections,
            connections_per_address,
            trusted_proxies,
        } = visitors;
        let clients = Clients::new(trusted_proxies);
        Arc::new(Self {
            log,
            mounts,
            connections: Connections::new(connections, connections_per_address, clients),
            is_closing: AtomicBool::new(false),
        })
    }

    /// Every route of the server, for whoever brings a connection.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(health::healthz))
            .route("/livez", get(health::livez))
            .route("/readyz", get(readyz))
            .method_not_allowed_fallback(problem::method_not_allowed)
            .with_state(Arc::clone(self))
            .merge(ctlog::mount_all(Some(&self.log), &self.mounts))
            .fallback(guard::nowhere)
            .layer(from_fn(guard::guard))
            .layer(cors())
            .layer(from_fn(request_id::name_request))
            .layer(from_fn_with_state(
                ctlog::prefixes(&self.mounts),
                observe::measure,
            ))
    }

    /// The routes of the listener for metrics.
    pub fn metrics_router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/metrics", get(page))
            .method_not_allowed_fallback(problem::method_not_allowed)
            .fallback(problem::not_found)
            .with_state(Arc::clone(self))
    }

    fn checks(&self) -> [(&'static str, bool); 2] {
        [
            ("log", self.log.in_service()),
            ("open", !self.is_closing.load(Ordering::Relaxed)),
        ]
    }
}

/// Answers on `listeners` until `shutdown` ends; then takes no new requests and gives those under way
/// 30 seconds to end.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve_log(
    listeners: Vec<Listener>,
    app: &Arc<LogApp>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let closing = async {
        shutdown.await;
        app.is_closing.store(true, Ordering::Relaxed);
    };
    serve_all(listeners, &app.router(), &app.connections, closing).await
}

/// `GET /readyz`: the log takes entries. 503 otherwise, with the reason.
async fn readyz(State(app): State<Arc<LogApp>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    health::verdict(&app.checks(), query.as_deref(), None)
}

/// `GET /metrics`: what is counted of a log, and nothing of an authority.
async fn page(State(app): State<Arc<LogApp>>) -> impl IntoResponse {
    let page = metrics().render_log(&app.checks(), app.log.head().size);
    ([(CONTENT_TYPE, observe::TEXT)], page)
}
