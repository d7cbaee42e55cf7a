//! Asking a provider: the one place from which this room opens connections.
//!
//! An address is judged where the connection is made, after the name was resolved, because a name
//! can be made to point anywhere. No redirect is followed: it would let the provider, or whoever
//! answers for it, choose whom we ask next. No proxy is used: it would make that judgement void.

use super::config::ConfigError;
use crate::telemetry::traces;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Which addresses an issuer may live at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Addresses of the public Internet.
    Public,
    /// Private networks too, for an issuer marked `internal`; never this host, never link-local,
    /// where clouds answer with credentials.
    Internal,
    /// This host only: development.
    Loopback,
}

/// How long a provider may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// For everything that one refresh of the keys needs.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            total: Duration::from_secs(5),
        }
    }
}

/// Why a provider's keys could not be had. Never the fault of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Guarded against: a name that points into our own network.
    #[error("the provider's host is at no address that may be asked")]
    Address,
    /// No connection, or it broke.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// Too slow.
    #[error("the provider did not answer in time")]
    Slow,
    /// Something else than 200, a redirect for example.
    #[error("the provider answered with status {0}")]
    Status(u16),
    /// More than any discovery document or key set needs.
    #[error("the provider's answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// A discovery document that cannot be used.
    #[error("the provider's discovery document {0}")]
    Discovery(&'static str),
    /// A key set that cannot be used.
    #[error(transparent)]
    Keys(#[from] super::jwks::KeySetError),
    /// It failed a moment ago and is not asked again so soon, or too many wait for its answer.
    #[error("the provider was asked a moment ago, and has not answered with a key set")]
    AskedBefore,
    /// Our own cluster's certificate authority.
    #[error("the cluster's certificate authority {0}")]
    Cluster(&'static str),
    /// Too many new issuers under one pattern at once.
    #[error("too many issuers of one pattern are new at the same time")]
    Crowded,
}

/// A client that reaches one kind of address and trusts one set of roots.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    client: reqwest::Client,
    reach: Reach,
    patience: Patience,
}

/// A credential for one host. It cannot be printed.
#[derive(Clone)]
pub(super) struct Bearer(reqwest::header::HeaderValue);

/// What was fetched.
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// `max-age` of `Cache-Control`; zero when the answer must not be stored.
    pub(super) max_age: Option<Duration>,
}

impl Reach {
    /// Whether this address may be asked.
    pub(super) fn admits(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Loopback => address.is_loopback(),
            Self::Public => is_public(address),
            Self::Internal => is_public(address) || is_private(address),
        }
    }

    /// Whether a URL's host may be asked, as far as the URL alone can tell: a name is judged when
    /// it is resolved.
    pub(super) fn admits_url(self, url: &Url) -> bool {
        let scheme = url.scheme() == "https" || (self == Self::Loopback && url.scheme() == "http");
        let host = url.host_str().unwrap_or_default();
        let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        scheme
            && !host.is_empty()
            && url.username().is_empty()
            && url.password().is_none()
            && address.map_or(true, |address| self.admits(address))
    }
}

impl Bearer {
    /// Nothing, if the text cannot be a token (RFC 6750 section 2.1).
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        if text.is_empty() || !text.iter().all(is_token) {
            return None;
        }
        let header = [b"Bearer ", text].concat();
        let mut header = reqwest::header::HeaderValue::from_bytes(&header).ok()?;
        header.set_sensitive(true);
        Some(Self(header))
    }
}

impl Outbound {
    /// A client that trusts the system's roots and, besides, these certificates (DER).
    pub(super) fn new(
        reach: Reach,
        roots: &[Vec<u8>],
        patience: Patience,
    ) -> Result<Self, ConfigError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ConfigError::new(
                "the process has installed no TLS provider",
            ));
        }
        let roots: Vec<reqwest::Certificate> = roots
            .iter()
            .map(|der| reqwest::Certificate::from_der(der))
            .collect::<Result<_, _>>()
            .map_err(|_| ConfigError::new("a CA certificate cannot be used"))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vouchsafe/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(patience.connect)
            .timeout(patience.total)
            .pool_max_idle_per_host(1)
            .dns_resolver(Guard(reach))
            .https_only(reach != Reach::Loopback);
        builder = match reach {
            // Development needs no system roots, and some containers have none.
            Reach::Loopback => builder.tls_certs_only(roots),
            Reach::Public | Reach::Internal => builder.tls_certs_merge(roots),
        };
        let client = builder
            .build()
            .map_err(|error| ConfigError::new(&format!("no TLS client can be made: {error}")))?;
        Ok(Self {
            client,
            reach,
            patience,
        })
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Fetches one document, never reading more of it than is allowed.
    pub(super) async fn fetch(
        &self,
        url: Url,
        bearer: Option<&Bearer>,
    ) -> Result<Answer, ProviderError> {
        if !self.reach.admits_url(&url) {
            return Err(ProviderError::Address);
        }
        let accept = (reqwest::header::ACCEPT, "application/json");
        let request = self.client.get(url).headers(traces::outgoing());
        let mut request = request.header(accept.0, accept.1);
        if let Some(Bearer(header)) = bearer {
            request = request.header(reqwest::header::AUTHORIZATION, header);
        }
        let mut response = request.send().await.map_err(|error| sort(&error))?;
        let peer = response.remote_addr();
        if peer.is_some_and(|peer| !self.reach.admits(peer.ip())) {
            return Err(ProviderError::Address);
        }
        if response.status() != reqwest::StatusCode::OK {
            return Err(ProviderError::Status(response.status().as_u16()));
        }
        let max_age = max_age(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| sort(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(ProviderError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { body, max_age })
    }
}

/// The resolver that hides forbidden addresses. Addresses written in a URL never come here; they
/// are judged with the URL.
#[derive(Debug)]
struct Guard(Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(reach) = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> =
                found.filter(|found| reach.admits(found.ip())).collect();
            if admitted.is_empty() {
                return Err(ProviderError::Address.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// The reason of a failed request, without its URL: the text goes to logs.
fn sort(error: &reqwest::Error) -> ProviderError {
    if error.is_timeout() {
        return ProviderError::Slow;
    }
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    let mut last = String::new();
    while let Some(inner) = cause {
        if let Some(ours) = inner.downcast_ref::<ProviderError>() {
            return ours.clone();
        }
        last = inner.to_string();
        cause = inner.source();
    }
    ProviderError::Unreachable(last)
}

fn max_age(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let value = headers.get(reqwest::header::CACHE_CONTROL)?.to_str().ok()?;
    let mut found = None;
    for directive in value
        .split(',')
        .map(|part| part.trim().to_ascii_lowercase())
    {
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            let seconds = seconds.trim_matches('"').parse().ok()?;
            found = Some(Duration::from_secs(seconds));
        }
    }
    found
}

/// The special-purpose registries of IANA, from the other side: what is left is public.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(a == 0
                || a == 127
                || a >= 224
                || is_private(IpAddr::V4(address))
                || address.is_link_local()
                || address.is_documentation()
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b & 0xfe) == 18))
        }
        IpAddr::V6(address) => match address.segments() {
            // NAT64 leads to an IPv4 address, which is what must be public.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public(IpAddr::V4(embedded(high, low))),
            [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
            [0x2002, ..] => false,
            [0x3fff, second, ..] => second >= 0x1000,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

/// Networks that are somebody's own.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private() || (a == 100 && (b & 0xc0) == 64)
        }
        IpAddr::V6(address) => match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_private(IpAddr::V4(embedded(high, low))),
            [first, ..] => first & 0xfe00 == 0xfc00,
        },
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// The certificates of a PEM text, in DER, and nothing if there is none or one of them is none.
pub(super) fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    let chain = x509_cert::Certificate::load_pem_chain(pem.as_bytes()).ok()?;
    let certificates: Result<Vec<Vec<u8>>, _> = chain.iter().map(der::Encode::to_der).collect();
    certificates.ok().filter(|found| !found.is_empty())
}

/// Whether a host of a URL is this host, by its spelling alone.
pub(super) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    host == "localhost"
        || bare
            .parse()
            .is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || bare
            .parse()
            .is_ok_and(|address: Ipv6Addr| address.is_loopback())
}

const MAX_BODY: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_our_own_network_is_asked() {
        for (address, internal) in [
            ("0.0.0.0", false),
            ("10.0.0.1", true),
            ("100.64.0.1", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.1.1", true),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:10.0.0.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::a00:1", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::1", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
            ("fc00::1", true),
            ("fd12:3456::1", true),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(!Reach::Public.admits(address), "{address} is not public");
            assert_eq!(Reach::Internal.admits(address), internal, "{address}");
        }
    }

    #[test]
    fn a_public_address_is_not_asked() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(Reach::Public.admits(address), "{address}");
            assert!(Reach::Internal.admits(address), "{address}");
            assert!(!Reach::Loopback.admits(address), "{address}");
        }
        assert!(Reach::Loopback.admits("127.0.0.1".parse().unwrap()));
        assert!(Reach::Loopback.admits("::1".parse().unwrap()));
    }

    #[test]
    fn a_url_to_a_forbidden_place_is_fetched() {
        for url in [
            "http://issuer.example/",
            "https://user@issuer.example/",
            "https://user:password@issuer.example/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "ftp://issuer.example/",
            "file:///etc/passwd",
            "data:application/json,{}",
        ] {
            let url: Url = url.parse().unwrap();
            assert!(!Reach::Public.admits_url(&url), "{url}");
        }
        assert!(Reach::Public.admits_url(&"https://issuer.example/x".parse().unwrap()));
        assert!(!Reach::Internal.admits_url(&"http://10.0.0.1/x".parse().unwrap()));
        assert!(Reach::Internal.admits_url(&"https://10.0.0.1/x".parse().unwrap()));
        assert!(Reach::Loopback.admits_url(&"http://127.0.0.1:1/x".parse().unwrap()));
        assert!(!Reach::Loopback.admits_url(&"http://10.0.0.1/x".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_name_that_points_into_our_own_network_is_asked() {
        let name = || "localhost".parse().unwrap();
        for reach in [Reach::Public, Reach::Internal] {
            let refused = Guard(reach).resolve(name()).await.err().unwrap();
            let refused = refused.downcast_ref::<ProviderError>();
            assert_eq!(refused, Some(&ProviderError::Address));
        }
        let mut found = Guard(Reach::Loopback).resolve(name()).await.unwrap();
        assert!(found.all(|found| found.ip().is_loopback()));
        // And the client does use the guard, and says so.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let outbound = Outbound::new(Reach::Public, &[], Patience::default()).unwrap();
        let url = "https://localhost:9/".parse().unwrap();
        let error = outbound.fetch(url, None).await.err().unwrap();
        assert_eq!(error, ProviderError::Address);
    }

    #[test]
    fn a_cache_directive_is_misread() {
        for (value, seconds) in [
            ("max-age=300", Some(300)),
            ("public, max-age=\"60\", must-revalidate", Some(60)),
            ("Public, Max-Age=7", Some(7)),
            ("no-store", Some(0)),
            ("max-age=300, no-cache", Some(0)),
            ("max-age=-1", None),
            ("max-age=x", None),
            ("public", None),
            ("s-maxage=9", None),
        ] {
            let mut headers = reqwest::header::HeaderMap::new();
            headers.insert("cache-control", value.parse().unwrap());
            assert_eq!(
                max_age(&headers),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
