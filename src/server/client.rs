//! Who is at the other end, as far as addresses tell.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;

use super::guard::{answer, is_grpc};
use super::problem::Problem;
use super::request_id::RequestId;
use super::{App, now};
use crate::issuance::{Limit, Limited};

/// Whose word counts about where a request comes from.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    proxies: Arc<[IpNet]>,
}

impl Clients {
    pub(super) fn new(proxies: Vec<IpNet>) -> Self {
        Self {
            proxies: proxies.into(),
        }
    }

    /// Whether it is one of our own proxies.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|proxy| proxy.contains(&address))
    }

    /// The address that a request comes from: the peer's, or what our own proxies say, of which the
    /// last one that is not itself a proxy counts. Nothing, where they do not say.
    fn address(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return Some(peer);
        }
        let values = headers.get_all("x-forwarded-for").iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or("?")).collect();
        let hops = values.iter().flat_map(|value| value.split(',')).rev();
        for hop in hops {
            // Before something that no proxy of ours would write stands whatever the client liked.
            let hop = read(hop.trim())?;
            if !self.trusts(hop) {
                return Some(hop);
            }
        }
        None
    }
}

/// An address, perhaps with a port.
fn read(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse().map(|hop: SocketAddr| hop.ip());
    let bare = hop.trim_matches(['[', ']']).parse();
    bare.or_else(|_| with_port()).ok()
}

/// What counts as one client: an address, or in IPv6 the network that is usually one household's.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

/// Turns a request away before anything of it is read, if its address has asked too often.
pub(super) async fn limit(
    State(app): State<Arc<App>>,
    id: RequestId,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.and_then(|ConnectInfo(peer)| {
        let clients = &app.doors.clients;
        clients.address(peer.ip(), request.headers())
    });
    let counted = address.zip(app.doors.addresses.as_ref());
    let admitted = counted.map_or(Ok(()), |(address, addresses)| {
        addresses.admit(network(address), now())
    });
    match admitted {
        Ok(()) => next.run(request).await,
        Err(retry_after) => {
            let limited = Limited {
                what: Limit::Address,
                retry_after,
            };
            let is_grpc = is_grpc(request.headers());
            answer(Problem::rate_limited(limited, &id), is_grpc)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> Option<String> {
        let proxies = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"];
        let proxies = proxies.map(|proxy| proxy.parse().unwrap());
        let clients = Clients::new(proxies.to_vec());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let address = clients.address(peer.parse().unwrap(), &headers);
        address.map(|address| address.to_string())
    }

    #[test]
    fn nobody_chooses_the_address_he_is_counted_under() {
        // A stranger's header is not looked at.
        assert_eq!(
            address("192.0.2.1", &["198.51.100.9"]).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(
            address("::ffff:192.0.2.1", &[]).as_deref(),
            Some("::ffff:192.0.2.1")
        );
        // A proxy's is read from its end.
        let all = &["203.0.113.9, 198.51.100.9, 10.1.1.1"][..];
        assert_eq!(address("127.0.0.1", all).as_deref(), Some("198.51.100.9"));
        let all = &["203.0.113.9", "198.51.100.9", "10.1.1.1"][..];
        assert_eq!(
            address("::ffff:127.0.0.1", all).as_deref(),
            Some("198.51.100.9")
        );
        let all = &["junk, 198.51.100.9:4711"][..];
        assert_eq!(address("127.0.0.1", all).as_deref(), Some("198.51.100.9"));
        let all = &["[2001:db8::7]:4711"][..];
        assert_eq!(address("::1", all).as_deref(), Some("2001:db8::7"));
        assert_eq!(address("127.0.0.1", &[]), None);
        assert_eq!(address("127.0.0.1", &["203.0.113.9, junk"]), None);
        assert_eq!(address("127.0.0.1", &["10.1.1.1"]), None);
    }

    #[test]
    fn one_household_is_one_client() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
