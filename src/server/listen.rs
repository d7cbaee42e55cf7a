//! Ports: connections in, limits around them, and an orderly end.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Clients;
use super::connections::{Bounded, Connections};
use super::{App, grpc};
use crate::config::ServerCertificate;

/// A port that somebody bound, and the certificate it shows; plain text without one.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    certificate: Option<Arc<ServerCertificate>>,
}

impl Listener {
    /// HTTP/1.1, HTTP/2 and gRPC in TLS 1.2 and 1.3, or in plain text.
    pub const fn new(socket: TcpListener, certificate: Option<Arc<ServerCertificate>>) -> Self {
        Self {
            socket,
            certificate,
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::new(socket, None)
    }
}

/// Binds a port, with room for many who come at once: where a queue of the kernel is full, an honest
/// client's first packet is dropped and it tries again a second later. Within a tokio runtime.
///
/// # Errors
/// An address that cannot be bound.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Answers on `listeners` until `shutdown` ends; then takes no new requests and gives those under way
/// 30 seconds to end.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(
    listeners: Vec<Listener>,
    app: &Arc<App>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let told = grpc::report_first(app).await;
    let closing = async {
        tokio::select! {
            () = grpc::report(app, told) => (),
            () = shutdown => (),
        }
        app.close();
        grpc::report_end(app).await;
    };
    serve_all(listeners, &app.router(), &app.doors.connections, closing).await
}

/// The same for any routes: no new requests from the end of `closing` on.
pub(super) async fn serve_all(
    listeners: Vec<Listener>,
    router: &Router,
    connections: &Arc<Connections>,
    closing: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (stop, stopped) = watch::channel(());
    let mut serving = JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let until = async move {
            // Nobody sends anything: the sender's end is the end.
            while stopped.changed().await.is_ok() {}
        };
        let connections = Arc::clone(connections);
        serving.spawn(answer(listener, router.clone(), connections, until));
    }
    drop(stopped);
    tokio::select! {
        ended = serving.join_next() => return ended.map_or(Ok(()), |ended| ended?),
        () = closing => (),
    }
    drop(stop);
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}

/// The same for one port and any routes, which nobody but ourselves is meant to ask.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve_router(
    listener: impl Into<Listener>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let few = Connections::new(FEW_CONNECTIONS, FEW_CONNECTIONS, Clients::new(Vec::new()));
    answer(listener.into(), router, few, shutdown).await
}

async fn answer(
    listener: Listener,
    router: Router,
    connections: Arc<Connections>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let Listener {
        socket,
        certificate,
    } = listener;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(socket)?
        .first_request_timeout(HEADER_READ)
        .handle(handle.clone());
    limit(server.http_builder());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let plain = NoDelayAcceptor::new();
    match certificate {
        None => {
            let serving = server
                .acceptor(Bounded::new(plain, connections))
                .serve(service);
            until(shutdown, serving, &handle).await
        }
        Some(certificate) => {
            let config = RustlsConfig::from_config(Arc::new(tls(certificate)?));
            let acceptor = RustlsAcceptor::new(config).handshake_timeout(HEADER_READ);
            let acceptor = Bounded::new(acceptor.acceptor(plain), connections);
            let serving = server.acceptor(acceptor).serve(service);
            until(shutdown, serving, &handle).await
        }
    }
}

async fn until(
    shutdown: impl Future<Output = ()>,
    serving: impl Future<Output = std::io::Result<()>>,
    handle: &Handle<SocketAddr>,
) -> std::io::Result<()> {
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended,
        () = shutdown => {
            handle.graceful_shutdown(Some(DRAIN));
            serving.await
        }
    }
}

fn limit(builder: &mut Builder<TokioExecutor>) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
}

/// TLS 1.2 and 1.3 with the suites that rustls holds for safe, and both versions of HTTP.
fn tls(certificate: Arc<ServerCertificate>) -> std::io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Of a listener that only our own tools ask.
const FEW_CONNECTIONS: usize = 1024;
/// Connections that wait to be accepted; the kernel may allow fewer.
const BACKLOG: u32 = 4096;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 32 << 10;
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Requests at once over one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// Requests that were taken back and are still remembered; a connection with more is closed.
const MAX_RESETS: usize = 20;
const MAX_FRAME: u32 = 16 << 10;
/// What may be under way without having been read: a little more than the longest body.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Between two signs of life over HTTP/2, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a client may take for the handshake of TLS, until its first request, and over HTTP/1 to
/// send its headers, which is also the life of an idle connection.
const HEADER_READ: Duration = Duration::from_secs(5);
/// How long requests under way may take once the server was told to stop.
pub(super) const DRAIN: Duration = Duration::from_secs(30);
