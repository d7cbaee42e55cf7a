//! How many connections there may be, in all and from one address. What is too much is closed before
//! a byte of it is read.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tower_layer::Layer as _;

use super::client::{Clients, network};

/// The connections of all listeners.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    most_of_one: usize,
    clients: Clients,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The place of one connection, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] Arc<Taken>);

#[derive(Debug)]
struct Taken {
    connections: Arc<Connections>,
    /// Nothing, where connections are not counted.
    network: Option<IpAddr>,
}

impl Connections {
    pub(super) fn new(most: usize, most_of_one: usize, clients: Clients) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            clients,
            open: Mutex::default(),
        })
    }

    /// A place for a connection from `peer`, if there is one. Proxies bring many clients.
    fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let network = (!self.clients.trusts(peer.ip())).then(|| network(peer.ip()));
        let mut open = self.lock();
        if open.all >= self.most {
            return None;
        }
        if let Some(network) = network {
            let of_one = open.by_network.entry(network).or_default();
            if *of_one >= self.most_of_one {
                return None;
            }
            *of_one += 1;
        }
        open.all += 1;
        drop(open);
        let connections = Arc::clone(self);
        Some(Place(Arc::new(Taken {
            connections,
            network,
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(network) = self.network
            && let Some(of_one) = open.by_network.get_mut(&network)
        {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                open.by_network.remove(&network);
            }
        }
    }
}

/// Lets `inner` accept what there is a place for. The place belongs to the connection's service and so
/// lives as long as the connection.
#[derive(Debug, Clone)]
pub(super) struct Bounded<A> {
    inner: A,
    connections: Arc<Connections>,
}

impl<A> Bounded<A> {
    pub(super) const fn new(inner: A, connections: Arc<Connections>) -> Self {
        Self { inner, connections }
    }
}

impl<A, S> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<TcpStream, AddExtension<S, Place>>,
    A::Future: Send + 'static,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(A::Stream, A::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().map(|peer| self.connections.take(peer));
        match place {
            Ok(Some(place)) => Box::pin(self.inner.accept(stream, Extension(place).layer(service))),
            Ok(None) => Box::pin(std::future::ready(Err(io::ErrorKind::QuotaExceeded.into()))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_network_and_come_back() {
        let clients = Clients::new(vec!["198.51.100.0/24".parse().unwrap()]);
        let connections = Connections::new(4, 2, clients);
        let take = |from| connections.take(peer(from));
        let first = take("2001:db8::1").unwrap();
        let second = take("2001:db8::2").unwrap();
        assert!(take("2001:db8::3").is_none(), "one network of 64 bits");
        let other = take("2001:db8:0:1::1").unwrap();
        drop(first.clone());
        assert!(take("2001:db8::3").is_none(), "a clone is not the place");
        drop(first);
        let third = take("2001:db8::3").unwrap();
        let proxy = take("198.51.100.7").unwrap();
        assert!(take("192.0.2.1").is_none(), "all places are taken");
        drop((second, third, other));
        let more: Vec<_> = (0..3).map(|_| take("198.51.100.7").unwrap()).collect();
        assert!(take("198.51.100.7").is_none());
        drop((more, proxy));
        assert_eq!(connections.lock().all, 0);
        assert!(connections.lock().by_network.is_empty());
    }
}
