//! The configuration file `vouchsafe.yaml`: read whole, checked whole, and only then turned into
//! rooms that can be opened.

pub mod fresh;
pub mod rotate;

mod books;
mod either;
mod external;
mod logs;
mod open;
mod reload;
mod roots;
mod settings;
mod standalone;
mod surgery;
mod tls;
mod upkeep;

use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use either::Either;
pub use external::{CtLogSettings, CtLogs, DEFAULT_CTLOG_SECONDS};
pub use logs::{Logs, Mounts, Retired, public_key_file};
pub use open::{OpenError, Opened};
pub use reload::{Occasion, Outcome, Reloader};
pub use roots::RootsReloader;
pub use settings::{
    AuditSettings, AuthorityFiles, AuthorityMemory, AuthoritySettings, DEFAULT_AUDIT_SECONDS,
    DEFAULT_RELOAD_SECONDS, Development, LOG_PREFIX, LedgerSettings, Limits, LogSettings,
    RetiredAuthoritySettings, RetiredLogSettings, Secret, Services, Settings, SignatureLog,
    TimestampAuthority, Tls,
};
pub use standalone::{LogConfig, Visitors};
pub use tls::ServerCertificate;

use crate::authority::file::read_text;
use crate::database::Server;
use crate::issuance::{Rate, RateLimits};
use crate::ledger::Place;
use crate::telemetry::LogFormat;
use crate::telemetry::audit::Sink;

/// A configuration that was read and whose every part makes sense on its own.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from, or what is named in its place.
    source: PathBuf,
    /// The directory that relative paths start from: the one the file is in.
    base: PathBuf,
    settings: Settings,
    public_url: PublicUrl,
    server: Option<Server>,
}

/// What a server does with those who come: how much it takes on, from whom, and what it answers.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// At once.
    pub limits: Limits,
    /// In a second.
    pub rate_limits: RateLimits,
    /// Whose word counts about addresses.
    pub trusted_proxies: Vec<IpNet>,
}

/// What the listeners show.
#[derive(Debug, Clone)]
pub struct Certificates {
    main: Option<Arc<ServerCertificate>>,
    grpc: Option<Arc<ServerCertificate>>,
}

/// A file that cannot be used, where, and why.
#[derive(Debug)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<usize>,
    reason: String,
}

impl Config {
    /// Reads a configuration file. Nothing it names is opened yet.
    ///
    /// # Errors
    /// [`ConfigError`] with file and line.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let (text, settings) = read_yaml(file)?;
        let base = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        Self::checked(file, base, settings).map_err(|(setting, reason)| ConfigError {
            file: file.to_owned(),
            line: line_of(&text, setting),
            reason,
        })
    }

    /// The same from settings that stand in no file; `source` is named in their place. Relative
    /// paths start from the working directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_settings(source: &Path, settings: Settings) -> Result<Self, ConfigError> {
        Self::checked(source, PathBuf::new(), settings).map_err(|(_, reason)| ConfigError {
            file: source.to_owned(),
            line: None,
            reason,
        })
    }

    /// Or the setting that is wrong, and why.
    fn checked(
        source: &Path,
        base: PathBuf,
        settings: Settings,
    ) -> Result<Self, (&'static str, String)> {
        let public_url = PublicUrl::parse(&settings.public_url)
            .map_err(|reason| ("public-url", format!("public-url {reason}")))?;
        let Limits {
            issuing_threads,
            issuing_queue,
            connections,
            connections_per_address,
        } = settings.limits;
        let counts = [issuing_queue, connections, connections_per_address];
        if issuing_threads > 1024 || !counts.iter().all(|count| (1..=65_536).contains(count)) {
            let reason = "issuing-threads is at most 1024, the others are 1 to 65536".to_owned();
            return Err(("limits", reason));
        }
        let RateLimits {
            enabled: _,
            address,
            issuer,
            subject,
        } = settings.rate_limits;
        if ![address, issuer, subject].iter().all(Rate::is_sound) {
            let reason = "per-second is 1 to 100000 and burst 1 to 1000000".to_owned();
            return Err(("rate-limits", reason));
        }
        if settings.reload_seconds > 3600 {
            let reason = "reload-seconds is at most 3600".to_owned();
            return Err(("reload-seconds", reason));
        }
        match (&settings.log, &settings.ctlog) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                let reason = "a certificate goes into one log: leave out either log, the built-in one, or ctlog, somebody else's";
                return Err(("ctlog", reason.to_owned()));
            }
            (None, None) => {
                let reason = "every certificate goes into a log: say log for the built-in one, or ctlog for somebody else's";
                return Err(("log", reason.to_owned()));
            }
        }
        if !(1..=external::MAX_CTLOG_SECONDS).contains(&settings.ctlog_seconds) {
            let most = external::MAX_CTLOG_SECONDS;
            let reason = format!("ctlog-seconds is 1 to {most}");
            return Err(("ctlog-seconds", reason));
        }
        // Port 0 is a free one each time, so no two of them are the same.
        let taken = [
            ("grpc-listen", settings.grpc_listen),
            ("metrics-listen", settings.metrics_listen),
        ];
        let mut before = vec![settings.listen];
        for (setting, address) in taken {
            if let Some(address) = address {
                if address.port() != 0 && before.contains(&address) {
                    return Err((setting, format!("{setting} is {address}, which is taken")));
                }
                before.push(address);
            }
        }
        if settings.grpc_tls.is_some() && settings.grpc_listen.is_none() {
            let reason = "grpc-tls needs grpc-listen; the main listener's certificate is tls";
            return Err(("grpc-tls", reason.to_owned()));
        }
        if settings
            .log
            .as_ref()
            .is_some_and(|log| log.prefix.is_empty())
        {
            let reason = "prefix: beside an authority a log needs a path of its own, as /log";
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
            log: self.settings.log.as_ref(),
            retired: &self.settings.retired_logs,
            server: self.server.as_ref(),
        }
    }

    /// The server that log and ledger are on, if they are on one.
    pub const fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Whether it is one that only a developer may run.
    pub const fn is_development(&self) -> bool {
        self.settings.development.allow_http_loopback_issuers
    }

    /// Where to listen.
    pub const fn listen(&self) -> SocketAddr {
        self.settings.listen
    }

    /// Where else to listen, for gRPC alone.
    pub const fn grpc_listen(&self) -> Option<SocketAddr> {
        self.settings.grpc_listen
    }

    /// Where metrics can be read.
    pub const fn metrics_listen(&self) -> Option<SocketAddr> {
        self.settings.metrics_listen
    }

    /// Loads the certificates of the main listener and of the one for gRPC, which shows the main one's
    /// if it has none of its own. A listener without one speaks plain text.
    ///
    /// # Errors
    /// [`ConfigError`] with the file that is wrong.
    pub fn certificates(&self, now: OffsetDateTime) -> Result<Certificates, ConfigError> {
        let Settings { tls, grpc_tls, .. } = &self.settings;
        let load = |listener, files: &Tls| {
            ServerCertificate::load(listener, files.resolved(&self.base), now)
        };
        let main = tls
            .as_ref()
            .map(|files| load("listen", files))
            .transpose()?;
        let grpc = grpc_tls
            .as_ref()
            .map(|files| load("grpc-listen", files))
            .transpose()?;
        Ok(Certificates { main, grpc })
    }

    /// How often the issuers' file is looked at; never, where there is nothing.
    pub fn reload_interval(&self) -> Option<Duration> {
        let seconds = self.settings.reload_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// The values that an issuer's `environment` may have; every value, where there is nothing.
    pub fn environments(&self) -> Option<&[String]> {
        self.settings.environments.as_deref()
    }

    /// The origin at which clients reach the server, without a slash at its end.
    pub fn public_url(&self) -> &str {
        &self.public_url.0
    }

    /// Whether certificates go into the built-in log.
    pub const fn has_own_log(&self) -> bool {
        self.settings.log.is_some()
    }

    /// Where certificates go, for people.
    pub fn log_names(&self) -> String {
        let own = self.logs().config().ok().map(|own| own.origin);
        let external = self.ct_logs().iter().map(|log| log.url.clone());
        let names: Vec<String> = own.into_iter().chain(external).collect();
        names.join(", ")
    }

    /// Where the ledger is.
    pub fn ledger_database(&self) -> Place {
        match &self.server {
            Some(server) => Place::Postgres(server.clone()),
            None => Place::Sqlite(self.ledger_file()),
        }
    }

    /// Where the ledger is, or was, when it is in a file.
    pub fn ledger_file(&self) -> PathBuf {
        self.base.join(&self.settings.ledger.database)
    }

    /// The deployment's other services.
    pub const fn services(&self) -> &Services {
        &self.settings.services
    }

    /// What a server does with those who come.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour {
            limits: self.settings.limits,
            rate_limits: self.settings.rate_limits.clone(),
            trusted_proxies: self.settings.trusted_proxies.clone(),
        }
    }

    /// Where decisions are recorded, if anywhere.
    pub fn audit(&self) -> Option<Sink> {
        let AuditSettings { file } = self.settings.audit.as_ref()?;
        Some(match file.as_os_str() == "stdout" {
            true => Sink::Stdout,
            false => Sink::File(self.base.join(file)),
        })
    }

    /// Whether decisions can be recorded where they are to be. Nothing is written there.
    ///
    /// # Errors
    /// [`ConfigError`] with the file of the audit trail.
    pub fn check_audit(&self) -> Result<(), ConfigError> {
        let Some(Sink::File(file)) = self.audit() else {
            return Ok(());
        };
        let tried = match OpenOptions::new().read(true).append(true).open(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let above = file.parent().filter(|above| !above.as_os_str().is_empty());
                upkeep::owner_in(above.unwrap_or_else(|| Path::new("."))).map(drop)
            }
            opened => opened.map(drop),
        };
        tried.map_err(|error| logs::refused(&file, format!("the audit trail: {error}")))
    }

    /// How log lines look.
    pub const fn log_format(&self) -> LogFormat {
        self.settings.log_format
    }
}

impl ConfigError {
    /// The file and, where one line is to blame, its number counted from 1.
    pub fn place(&self) -> (&Path, Option<usize>) {
        (&self.file, self.line)
    }
}

impl Certificates {
    /// The main listener's.
    pub fn main(&self) -> Option<Arc<ServerCertificate>> {
        self.main.clone()
    }

    /// That of the listener for gRPC.
    pub fn grpc(&self) -> Option<Arc<ServerCertificate>> {
        self.grpc.clone().or_else(|| self.main())
    }

    /// Each of them once.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ServerCertificate>> {
        self.main.iter().chain(&self.grpc)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.reason),
            None => write!(f, "{}: {}", self.file.display(), self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

/// `http://` or `https://`, a host, perhaps a port, and nothing more: some clients drop a path and
/// others double a trailing slash.
#[derive(Debug)]
struct PublicUrl(String);

impl PublicUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or("must begin with https:// or http://")?;
        let is_plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b);
        if host.is_empty() || !host.bytes().all(is_plain) {
            return Err(
                "must be an origin: a host in lower case and perhaps a port, without path or slash at the end",
            );
        }
        Ok(Self(text.to_owned()))
    }

    fn as_str(&self) -> &str {
        &self.0
    }

    fn host(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, host)| host)
    }
}

/// The text of a file of settings, and what it says.
fn read_yaml<T: serde::de::DeserializeOwned>(
    file: &Path,
) -> Result<(Zeroizing<String>, T), ConfigError> {
    let refused = |line, reason: String| ConfigError {
        file: file.to_owned(),
        line,
        reason,
    };
    let text = read_text(file).map_err(|error| refused(None, error.to_string()))?;
    let settings = yaml_serde::from_str(&text).map_err(|error| {
        refused(
            error.location().map(|at| at.line()),
            without_location(&error),
        )
    })?;
    Ok((text, settings))
}

/// The library's message without the position at its end, which is told beside the file's name.
fn without_location(error: &yaml_serde::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or_else(|| text.clone(), |(message, _)| message.to_owned())
}

/// The line on which a top-level key stands.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_key = |line: &str| {
        line.strip_prefix(key)
            .is_some_and(|rest| rest.starts_with(':'))
    };
    text.lines().position(is_key).map(|at| at + 1)
}
