//! The configuration file of a log that runs alone, `log.yaml`: a listener, and the same `log` block that
//! an authority's configuration has.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use time::OffsetDateTime;

use super::settings::{
    DEFAULT_RELOAD_SECONDS, Limits, LogSettings, RetiredLogSettings, Secret,
    default_trusted_proxies,
};
use super::{ConfigError, Logs, PublicUrl, ServerCertificate, Tls, line_of, logs, read_yaml};
use crate::database::Server;
use crate::telemetry::LogFormat;

/// What the file says. Unknown fields are refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LogServerSettings {
    /// The origin at which clients reach the server.
    public_url: String,
    /// Where to listen.
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    /// Where metrics can be read.
    metrics_listen: Option<SocketAddr>,
    /// The certificate of `listen`.
    tls: Option<Tls>,
    /// How often the certificate and the roots are looked at, in seconds; 0 means on SIGHUP only.
    #[serde(default = "default_reload_seconds")]
    reload_seconds: u32,
    /// The PostgreSQL database it is in; without it, it is in a file.
    database: Option<String>,
    /// The password there.
    database_password: Option<Secret>,
    /// The log that takes entries.
    log: LogSettings,
    /// Those that took their last before it.
    #[serde(default)]
    retired_logs: Vec<RetiredLogSettings>,
    /// How many may come at once.
    #[serde(default)]
    limits: Connections,
    /// The networks of our own proxies.
    #[serde(default = "default_trusted_proxies")]
    trusted_proxies: Vec<IpNet>,
    /// How log lines look.
    #[serde(default)]
    log_format: LogFormat,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Connections {
    connections: usize,
    connections_per_address: usize,
}

impl Default for Connections {
    fn default() -> Self {
        let Limits {
            connections,
            connections_per_address,
            ..
        } = Limits::default();
        Self {
            connections,
            connections_per_address,
        }
    }
}

/// A configuration of a log that runs alone, read and checked.
#[derive(Debug)]
pub struct LogConfig {
    source: PathBuf,
    base: PathBuf,
    settings: LogServerSettings,
    public_url: PublicUrl,
    server: Option<Server>,
}

/// Who may come, and how many at once.
#[derive(Debug, Clone)]
pub struct Visitors {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Whose word counts about addresses.
    pub trusted_proxies: Vec<IpNet>,
}

impl LogConfig {
    /// Reads a configuration file. Nothing it names is opened yet.
    ///
    /// # Errors
    /// [`ConfigError`] with file and line.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let (text, settings): (_, LogServerSettings) = read_yaml(file)?;
        let base = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        Self::checked(file, base, settings).map_err(|(setting, reason)| ConfigError {
            file: file.to_owned(),
            line: line_of(&text, setting),
            reason,
        })
    }

    fn checked(
        source: &Path,
        base: PathBuf,
        settings: LogServerSettings,
    ) -> Result<Self, (&'static str, String)> {
        let public_url = PublicUrl::parse(&settings.public_url)
            .map_err(|reason| ("public-url", format!("public-url {reason}")))?;
        let Connections {
            connections,
            connections_per_address,
        } = settings.limits;
        let is_count = |count| (1..=65_536).contains(&count);
        if !is_count(connections) || !is_count(connections_per_address) {
            let reason = "connections and connections-per-address are 1 to 65536";
            return Err(("limits", reason.to_owned()));
        }
        if settings.reload_seconds > 3600 {
            let reason = "reload-seconds is at most 3600".to_owned();
            return Err(("reload-seconds", reason));
        }
        let is_taken = settings.metrics_listen == Some(settings.listen);
        if is_taken && settings.listen.port() != 0 {
            let reason = format!("metrics-listen is {}, which is taken", settings.listen);
            return Err(("metrics-listen", reason));
        }
        if settings.log.roots.is_none() {
            let reason = "roots: a log that runs alone needs a file with the roots it accepts";
            return Err(("log", reason.to_owned()));
        }
        let server = logs::server(
            &base,
            settings.database.as_deref(),
            settings.database_password.as_ref(),
        )?;
        let config = Self {
            source: source.to_owned(),
            base,
            settings,
            public_url,
            server,
        };
        config.logs().check()?;
        Ok(config)
    }

    /// Its logs.
    pub fn logs(&self) -> Logs<'_> {
        Logs {
            source: &self.source,
            base: &self.base,
            public_url: &self.public_url,
            log: Some(&self.settings.log),
            retired: &self.settings.retired_logs,
            server: self.server.as_ref(),
        }
    }

    /// Where to listen.
    pub const fn listen(&self) -> SocketAddr {
        self.settings.listen
    }

    /// Where metrics can be read.
    pub const fn metrics_listen(&self) -> Option<SocketAddr> {
        self.settings.metrics_listen
    }

    /// Loads the listener's certificate. Without one it speaks plain text.
    ///
    /// # Errors
    /// [`ConfigError`] with the file that is wrong.
    pub fn certificate(
        &self,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<ServerCertificate>>, ConfigError> {
        let Some(tls) = &self.settings.tls else {
            return Ok(None);
        };
        ServerCertificate::load("listen", tls.resolved(&self.base), now).map(Some)
    }

    /// How often the certificate and the roots are looked at.
    pub fn reload_interval(&self) -> Option<Duration> {
        let seconds = self.settings.reload_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Who may come, and how many at once.
    pub fn visitors(&self) -> Visitors {
        Visitors {
            connections: self.settings.limits.connections,
            connections_per_address: self.settings.limits.connections_per_address,
            trusted_proxies: self.settings.trusted_proxies.clone(),
        }
    }

    /// How log lines look.
    pub const fn log_format(&self) -> LogFormat {
        self.settings.log_format
    }
}

const fn default_listen() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6962)
}

const fn default_reload_seconds() -> u32 {
    DEFAULT_RELOAD_SECONDS
}
