//! What `vouchsafe.yaml` says, as it says it. [`Config`](super::Config) is what has been checked.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::external::{CtLogs, default_ctlog_seconds};
use crate::authority::file::Passphrase;
use crate::ctlog::Window;
use crate::ctlog::config::{default_queue, default_usages, read_time};
use crate::ctlog::{publisher, witness};
use crate::issuance::RateLimits;
use crate::telemetry::LogFormat;

/// Where the log is mounted unless somebody says otherwise.
pub const LOG_PREFIX: &str = "/log";

/// What the file says. Unknown fields are refused: a misspelt setting must not be a silent default.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The origin at which clients reach the server.
    pub public_url: String,
    /// Where to listen, for HTTP and gRPC.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where else to listen, for deployments that give gRPC a port of its own.
    pub grpc_listen: Option<SocketAddr>,
    /// Where metrics can be read.
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate of `listen`, and of `grpc-listen` unless that has its own.
    pub tls: Option<Tls>,
    /// The certificate of `grpc-listen`.
    pub grpc_tls: Option<Tls>,
    /// The issuers' file.
    pub issuers: PathBuf,
    /// How often the issuers' file is looked at, in seconds; 0 means on SIGHUP only. At most 3600.
    #[serde(default = "default_reload_seconds")]
    pub reload_seconds: u32,
    /// The values that an issuer's `environment` may have; every value, if this is not set.
    pub environments: Option<Vec<String>>,
    /// The certification authority.
    pub authority: AuthoritySettings,
    /// The issuing certificates that it replaced.
    #[serde(default)]
    pub retired_authorities: Vec<RetiredAuthoritySettings>,
    /// The PostgreSQL database of log and ledger; without it they are in the files named below.
    pub database: Option<String>,
    /// The password there, if one is asked for.
    pub database_password: Option<Secret>,
    /// The built-in transparency log. There is either this or `ctlog`.
    pub log: Option<LogSettings>,
    /// Those that took their last entry before it.
    #[serde(default)]
    pub retired_logs: Vec<RetiredLogSettings>,
    /// Somebody else's transparency logs, to which certificates go instead.
    pub ctlog: Option<CtLogs>,
    /// How long one certificate may take with all of them together, in seconds. 1 to 15.
    #[serde(default = "default_ctlog_seconds")]
    pub ctlog_seconds: u32,
    /// The ledger.
    #[serde(default)]
    pub ledger: LedgerSettings,
    /// The deployment's other services.
    #[serde(default)]
    pub services: Services,
    /// How much work is taken on at once.
    #[serde(default)]
    pub limits: Limits,
    /// How often anybody may ask.
    #[serde(default)]
    pub rate_limits: RateLimits,
    /// The networks of our own proxies, whose `X-Forwarded-For` is believed and whose connections are
    /// many clients'; loopback, unless something else is said.
    #[serde(default = "default_trusted_proxies")]
    pub trusted_proxies: Vec<IpNet>,
    /// Where decisions are recorded besides the ledger.
    pub audit: Option<AuditSettings>,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// What is only good for development.
    #[serde(default)]
    pub development: Development,
}

/// A certificate and its key for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tls {
    /// The file with the certificate's chain in PEM.
    pub certificate: PathBuf,
    /// The file with its private key in PEM.
    pub key: PathBuf,
}

/// Where the authority's chain and key come from. A file of settings can only name files.
#[derive(Debug, Deserialize)]
#[serde(from = "AuthorityFiles")]
pub enum AuthoritySettings {
    /// From files.
    Files(AuthorityFiles),
    /// From memory: it was made for this process and goes with it.
    Memory(AuthorityMemory),
}

/// The files of an authority.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuthorityFiles {
    /// The chain, the issuing certificate first.
    pub chain: PathBuf,
    /// The issuing certificate's key.
    pub key: PathBuf,
    /// What opens the key.
    pub passphrase: Option<Secret>,
}

/// An issuing certificate that has been replaced. What it signed is believed as before.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RetiredAuthoritySettings {
    /// Its chain, the issuing certificate first and the root last.
    pub chain: PathBuf,
    /// When it signed its last certificate: verifiers believe it so long.
    #[serde(deserialize_with = "read_time")]
    pub until: OffsetDateTime,
}

/// An authority that was just made.
pub struct AuthorityMemory {
    /// The chain, the issuing certificate first.
    pub chain_pem: String,
    /// The issuing certificate's key, PKCS#8.
    pub private_key_der: Zeroizing<Vec<u8>>,
}

/// The passphrase of a key.
#[derive(Deserialize)]
#[serde(from = "Passphrase")]
pub enum Secret {
    /// Where it is.
    At(Passphrase),
    /// What it is: from a command line or an environment, never from a file of settings.
    Given(Zeroizing<String>),
}

/// The transparency log's files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogSettings {
    /// Its database, where that is a file.
    #[serde(default = "default_log_database")]
    pub database: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What opens the key.
    pub passphrase: Option<Secret>,
    /// The key of the second signature on its checkpoints (Ed25519), opened by the same passphrase.
    pub note_key: Option<PathBuf>,
    /// The file that remembers its newest checkpoint, outside the database.
    pub high_water: Option<PathBuf>,
    /// After how many seconds without a new entry its checkpoint is signed again; 0 means never. At
    /// most 3600.
    #[serde(default = "default_refresh_seconds")]
    pub refresh_seconds: u32,
    /// Where it is published.
    pub publish: Option<publisher::Config>,
    /// Who cosigns its checkpoints; at most 16.
    #[serde(default)]
    pub witnesses: Vec<witness::Config>,
    /// Whether it is read as RFC 6962 has it too, beside its tiles.
    #[serde(default)]
    pub rfc6962_reads: bool,
    /// Below which path it is mounted. With the public host this is its name, for good.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// When a certificate must end to be logged here.
    #[serde(default)]
    pub window: Window,
    /// A file with the roots, in PEM, under which others may submit; the authority's own is always one.
    pub roots: Option<PathBuf>,
    /// The extended key usages of which a submitted certificate must have one.
    #[serde(default = "default_usages")]
    pub extended_key_usages: Vec<String>,
    /// Whether submitted certificates that have expired are turned away.
    #[serde(default)]
    pub reject_expired: bool,
    /// Entries that may wait to be logged.
    #[serde(default = "default_queue")]
    pub queue: usize,
}

impl LogSettings {
    /// A log of these files, and everything else as it is if nothing is said.
    pub fn new(database: PathBuf, key: PathBuf) -> Self {
        Self {
            database,
            key,
            passphrase: None,
            note_key: None,
            high_water: None,
            refresh_seconds: DEFAULT_REFRESH_SECONDS,
            publish: None,
            witnesses: Vec::new(),
            rfc6962_reads: false,
            prefix: default_prefix(),
            window: Window::default(),
            roots: None,
            extended_key_usages: default_usages(),
            reject_expired: false,
            queue: default_queue(),
        }
    }
}

/// A log that took its last entry and is still served.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RetiredLogSettings {
    /// Below which path it is mounted.
    pub prefix: String,
    /// Its database, where that is a file; otherwise it is where the newest log is.
    pub database: Option<PathBuf>,
    /// The file with its public key in PEM. Its private key has nothing left to do.
    pub public_key: PathBuf,
    /// When it took its last entry: verifiers believe it so long.
    #[serde(deserialize_with = "read_time")]
    pub until: OffsetDateTime,
    /// Whether it is read as RFC 6962 has it too.
    #[serde(default)]
    pub rfc6962_reads: bool,
}

/// The ledger's files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// Its database, where that is a file.
    pub database: PathBuf,
    /// How often it is compared with the log, in seconds; 0 means never.
    pub audit_seconds: u32,
}

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuditSettings {
    /// A file that records are appended to, or `stdout`.
    pub file: PathBuf,
}

/// Other services of this deployment, for the trust files that clients are given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Services {
    /// Who runs all this; clients show it.
    pub operator: String,
    /// The OpenID provider at which people sign in.
    pub openid_provider: Option<String>,
    /// A timestamp authority.
    pub timestamp_authority: Option<TimestampAuthority>,
    /// A signature transparency log.
    pub signature_log: Option<SignatureLog>,
}

/// A signature transparency log (Rekor).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignatureLog {
    /// Its address.
    pub url: String,
    /// 1 or 2: clients choose their protocol by it.
    pub major_version: u32,
    /// The file with its public key in PEM; with it the log is in the trusted root.
    pub public_key: Option<PathBuf>,
    /// The name in its checkpoints, where that is not the host of its address.
    pub origin: Option<String>,
}

/// A timestamp authority (RFC 3161).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TimestampAuthority {
    /// The full address of its endpoint.
    pub url: String,
    /// The file with its chain in PEM, the certificate that signs timestamps first and the root last;
    /// with it the authority is in the trusted root.
    pub chain: Option<PathBuf>,
}

/// What is only good for development.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Development {
    /// Trust issuers at `http://` addresses, if they are on loopback.
    pub allow_http_loopback_issuers: bool,
}

/// How much work is taken on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Threads that issue; 0 means one for each processor. At most 1024.
    pub issuing_threads: usize,
    /// Requests that may wait for them before the next is answered with 503. 1 to 65536.
    pub issuing_queue: usize,
    /// Connections to all listeners together. 1 to 65536.
    pub connections: usize,
    /// Connections from one address, or from one network of 64 bits in IPv6. 1 to 65536.
    pub connections_per_address: usize,
}

impl Limits {
    /// The number of threads meant by the setting.
    pub fn issuing_threads(&self) -> usize {
        match self.issuing_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            issuing_threads: 0,
            issuing_queue: 256,
            connections: 4096,
            connections_per_address: 64,
        }
    }
}

impl Tls {
    pub(super) fn resolved(&self, base: &Path) -> Self {
        let Self { certificate, key } = self;
        Self {
            certificate: base.join(certificate),
            key: base.join(key),
        }
    }
}

impl From<AuthorityFiles> for AuthoritySettings {
    fn from(files: AuthorityFiles) -> Self {
        Self::Files(files)
    }
}

impl fmt::Debug for AuthorityMemory {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityMemory")
            .field("chain_pem", &self.chain_pem)
            .finish_non_exhaustive()
    }
}

impl From<Passphrase> for Secret {
    fn from(place: Passphrase) -> Self {
        Self::At(place)
    }
}

impl fmt::Debug for Secret {
    /// Without the passphrase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(place) => f.debug_tuple("At").field(place).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}

fn default_prefix() -> String {
    LOG_PREFIX.to_owned()
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            database: PathBuf::from("ledger.sqlite"),
            audit_seconds: DEFAULT_AUDIT_SECONDS,
        }
    }
}

fn default_log_database() -> PathBuf {
    PathBuf::from("log/log.sqlite")
}

const fn default_listen() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5555)
}

/// Loopback, from where only this host can ask.
pub(super) fn default_trusted_proxies() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    vec![IpNet::V4(v4), IpNet::V6(v6)]
}

const fn default_reload_seconds() -> u32 {
    DEFAULT_RELOAD_SECONDS
}

/// How often ledger and log are compared unless somebody says otherwise.
pub const DEFAULT_AUDIT_SECONDS: u32 = 3600;

const fn default_refresh_seconds() -> u32 {
    DEFAULT_REFRESH_SECONDS
}

/// After how many quiet seconds the log signs again unless somebody says otherwise.
const DEFAULT_REFRESH_SECONDS: u32 = 30;

/// How often the issuers' file is looked at unless somebody says otherwise.
pub const DEFAULT_RELOAD_SECONDS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the first table of `docs/limits.md`: setting and default.
    #[test]
    fn the_limits_are_those_that_are_documented_and_those_of_the_sample() {
        let text = std::fs::read_to_string("docs/limits.md").unwrap();
        let documented: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split_once("` | "))
            .map(|(setting, rest)| (setting, rest.split(" | ").next().unwrap_or_default()))
            .collect();
        let Limits {
            issuing_threads,
            issuing_queue,
            connections,
            connections_per_address,
        } = Limits::default();
        let RateLimits {
            enabled,
            address,
            issuer,
            subject,
        } = RateLimits::default();
        let rate = |rate: crate::issuance::Rate| {
            format!("{} a second, {} at once", rate.per_second, rate.burst)
        };
        let proxies: Vec<_> = default_trusted_proxies()
            .iter()
            .map(IpNet::to_string)
            .collect();
        let coded = [
            (
                "limits.issuing-threads",
                format!("{issuing_threads} (one a processor)"),
            ),
            ("limits.issuing-queue", issuing_queue.to_string()),
            ("limits.connections", connections.to_string()),
            (
                "limits.connections-per-address",
                connections_per_address.to_string(),
            ),
            ("rate-limits.enabled", enabled.to_string()),
            ("rate-limits.address", rate(address)),
            ("rate-limits.issuer", rate(issuer)),
            ("rate-limits.subject", rate(subject)),
            ("trusted-proxies", proxies.join(", ")),
        ];
        let coded: Vec<(&str, &str)> = coded
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        assert_eq!(documented, coded);

        let sample = std::fs::read_to_string("config/vouchsafe.yaml").unwrap();
        let sample: Settings = yaml_serde::from_str(&sample).unwrap();
        assert_eq!(sample.limits, Limits::default());
        assert_eq!(sample.rate_limits, RateLimits::default());
        assert_eq!(sample.trusted_proxies, default_trusted_proxies());
    }
}
