//! The configuration file `vouchsafe.yaml`: read whole, checked whole, and only then turned into
//! rooms that can be opened.

pub mod fresh;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::authority::file::{FileKey, Passphrase, load_private_key_der, read_text};
use crate::authority::{Authority, AuthorityError};
use crate::ctlog::signer::{LogSigner, LogVerifier};
use crate::ctlog::{self, Chains, Log, LogError};
use crate::identity::{self, Issuers, Patience};
use crate::issuance::Issuance;
use crate::ledger::{Ledger, LedgerError};
use crate::telemetry::LogFormat;
use crate::trust::{
    self, Service, SigningConfig, TransparencyLog, TrustError, TrustFiles, TrustedRoot,
};

/// A configuration that was read and whose every part makes sense on its own.
#[derive(Debug)]
pub struct Config {
    /// The directory that relative paths start from: the one the file is in.
    base: PathBuf,
    settings: Settings,
    public_url: PublicUrl,
}

/// What the file says. Unknown fields are refused: a misspelt setting must not be a silent default.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    public_url: String,
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    issuers: PathBuf,
    authority: AuthoritySettings,
    log: LogSettings,
    ledger: LedgerSettings,
    #[serde(default)]
    services: Services,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    log_format: LogFormat,
    #[serde(default)]
    development: Development,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AuthoritySettings {
    chain: PathBuf,
    key: PathBuf,
    passphrase: Option<Passphrase>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LogSettings {
    database: PathBuf,
    key: PathBuf,
    passphrase: Option<Passphrase>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LedgerSettings {
    database: PathBuf,
}

/// Other services of this deployment, for the signing configuration that clients are given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Services {
    /// Who runs all this; clients show it.
    pub operator: String,
    /// The OpenID provider at which people sign in.
    pub openid_provider: Option<String>,
    /// The full address of a timestamp authority.
    pub timestamp_authority: Option<String>,
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
}

/// What is only good for development.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Development {
    /// Trust issuers at `http://` addresses, if they are on loopback.
    allow_http_loopback_issuers: bool,
}

/// How much work is taken on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Threads that issue; 0 means one for each processor. At most 1024.
    pub issuing_threads: usize,
    /// Requests that may wait for them before the next is answered with 503. 1 to 65536.
    pub issuing_queue: usize,
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
        }
    }
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
        let refused = |line, reason: String| ConfigError {
            file: file.to_owned(),
            line,
            reason,
        };
        let text = read_text(file).map_err(|error| refused(None, error.to_string()))?;
        let settings: Settings = yaml_serde::from_str(&text).map_err(|error| {
            refused(
                error.location().map(|at| at.line()),
                without_location(&error),
            )
        })?;
        let public_url = PublicUrl::parse(&settings.public_url).map_err(|reason| {
            refused(line_of(&text, "public-url"), format!("public-url {reason}"))
        })?;
        let Limits {
            issuing_threads,
            issuing_queue,
        } = settings.limits;
        if issuing_threads > 1024 || !(1..=65_536).contains(&issuing_queue) {
            let reason = "issuing-threads is at most 1024 and issuing-queue 1 to 65536".to_owned();
            return Err(refused(line_of(&text, "limits"), reason));
        }
        let base = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        Ok(Self {
            base,
            settings,
            public_url,
        })
    }

    /// Whether it is one that only a developer may run.
    pub const fn is_development(&self) -> bool {
        self.settings.development.allow_http_loopback_issuers
    }

    /// Where to listen.
    pub const fn listen(&self) -> SocketAddr {
        self.settings.listen
    }

    /// The origin at which clients reach the server, without a slash at its end.
    pub fn public_url(&self) -> &str {
        &self.public_url.0
    }

    /// The transparency log's name (C2SP static-ct-api): its address without the scheme.
    pub fn log_origin(&self) -> String {
        let host = self
            .public_url
            .0
            .split_once("://")
            .map_or("", |(_, host)| host);
        format!("{host}{LOG_PREFIX}")
    }

    /// The log's address, for submission and for reading.
    pub fn log_url(&self) -> String {
        format!("{}{LOG_PREFIX}", self.public_url.0)
    }

    /// Where the ledger's database is.
    pub fn ledger_database(&self) -> PathBuf {
        self.base.join(&self.settings.ledger.database)
    }

    /// The deployment's other services.
    pub const fn services(&self) -> &Services {
        &self.settings.services
    }

    /// How much work is taken on at once.
    pub const fn limits(&self) -> Limits {
        self.settings.limits
    }

    /// How log lines look.
    pub const fn log_format(&self) -> LogFormat {
        self.settings.log_format
    }

    /// Reads and checks the issuers' file. Beside the issuers it gives what should be looked at: settings
    /// that nobody knows.
    ///
    /// # Errors
    /// [`ConfigError`] with the issuers' file and line.
    pub fn issuers(&self) -> Result<(Issuers, Vec<String>), ConfigError> {
        let options = identity::Options {
            allow_http_loopback: self.settings.development.allow_http_loopback_issuers,
        };
        let file = self.base.join(&self.settings.issuers);
        let refused = |line, reason: String| ConfigError {
            file: file.clone(),
            line,
            reason,
        };
        let text =
            std::fs::read_to_string(&file).map_err(|error| refused(None, error.to_string()))?;
        let config = identity::Config::from_text(&text, options)
            .map_err(|error| refused(error.line, error.message))?;
        let warnings: Vec<String> = config
            .warnings()
            .iter()
            .map(|warning| format!("{}: {warning}", file.display()))
            .collect();
        let issuers = Issuers::new(config, Patience::default())
            .map_err(|error| refused(error.line, error.message))?;
        Ok((issuers, warnings))
    }

    /// The authority's chain as PEM. It is public; no key is opened.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn chain_pem(&self) -> Result<String, ConfigError> {
        let file = self.base.join(&self.settings.authority.chain);
        let text = read_text(&file).map_err(|error| ConfigError {
            file,
            line: None,
            reason: error.to_string(),
        })?;
        Ok(text.to_string())
    }

    /// Opens the authority: its key, its chain, every rule they must keep at `now`, and a signature
    /// to prove it.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's or the chain's file.
    pub async fn authority(&self, now: OffsetDateTime) -> Result<Authority, ConfigError> {
        let AuthoritySettings {
            chain,
            key,
            passphrase,
        } = &self.settings.authority;
        let refused = |file: &Path, reason: &dyn fmt::Display| ConfigError {
            file: self.base.join(file),
            line: None,
            reason: reason.to_string(),
        };
        let chain_pem = self.chain_pem()?;
        let secret = self.secret(key, passphrase.as_ref())?;
        let path = self.base.join(key);
        let loaded = FileKey::load(&path, secret.as_ref().map(|secret| secret.as_str()))
            .map_err(|error| refused(key, &error))?;
        Authority::new(Box::new(loaded), &chain_pem, now)
            .await
            .map_err(|error| match &error {
                AuthorityError::Chain(_)
                | AuthorityError::SelfTest
                | AuthorityError::Correspondence(_) => refused(chain, &error),
                AuthorityError::Key(_) => refused(key, &error),
            })
    }

    /// Opens the log's key.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's file.
    pub fn log_signer(&self) -> Result<LogSigner, ConfigError> {
        let LogSettings {
            database: _,
            key,
            passphrase,
        } = &self.settings.log;
        let file = self.base.join(key);
        let refused = |reason: String| ConfigError {
            file: file.clone(),
            line: None,
            reason,
        };
        let secret = self.secret(key, passphrase.as_ref())?;
        let der = load_private_key_der(&file, secret.as_ref().map(|secret| secret.as_str()))
            .map_err(|error| refused(error.to_string()))?;
        LogSigner::from_pkcs8(&der).map_err(|error| refused(error.to_string()))
    }

    /// What the log is opened with.
    pub fn log_config(&self) -> ctlog::Config {
        ctlog::Config::new(
            self.base.join(&self.settings.log.database),
            self.log_origin(),
        )
    }

    /// Opens every room of the craft, in the order that finds a mistake soonest, the databases last.
    ///
    /// # Errors
    /// [`OpenError`]: what cannot be opened, and why.
    pub async fn open(&self, now: OffsetDateTime) -> Result<Opened, OpenError> {
        let (issuers, warnings) = self.issuers()?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let authority = self.authority(now).await?;
        let signer = self.log_signer()?;
        let verifier = signer.verifier().clone();
        let chains = Chains {
            issuer: authority.chain().der().to_vec(),
            roots: Vec::new(),
        };
        let log = Log::open(&self.log_config(), signer, &chains, now).await?;
        let ledger = Ledger::open(&self.ledger_database()).await?;
        let trust = self.trust_files(&authority, &verifier).await?;
        let issuance = Issuance {
            issuers: Arc::new(issuers),
            authority: Arc::new(authority),
            log,
            ledger: Arc::new(ledger),
        };
        Ok(Opened { issuance, trust })
    }

    /// Writes the files that verifiers and signers need.
    ///
    /// # Errors
    /// [`OpenError`]: the log does not say since when it is, or an address cannot be used by clients.
    pub async fn trust_files(
        &self,
        authority: &Authority,
        log: &LogVerifier,
    ) -> Result<TrustFiles, OpenError> {
        let url = self.public_url();
        let log_begins = Log::created(&self.log_config()).await?;
        let chain = trust::Authority::new(url, authority.chain().der().to_vec())?;
        let (since, _) = authority.chain().validity();
        let log = TransparencyLog::new(&self.log_url(), log.public_key_der(), log_begins)?;
        let Services {
            operator,
            openid_provider,
            timestamp_authority,
            signature_log,
        } = self.services();
        let service = |url: &str, major_api_version| Service {
            url: url.to_owned(),
            major_api_version,
            operator: operator.clone(),
            valid_from: since,
        };
        let root = TrustedRoot {
            authorities: vec![chain],
            logs: vec![log],
        };
        let signing = SigningConfig {
            certificate_authorities: vec![service(url, 1)],
            openid_providers: openid_provider.iter().map(|url| service(url, 1)).collect(),
            signature_logs: signature_log
                .iter()
                .map(|log| service(&log.url, log.major_version))
                .collect(),
            timestamp_authorities: timestamp_authority
                .iter()
                .map(|url| service(url, 1))
                .collect(),
        };
        Ok(TrustFiles::new(&root, &signing)?)
    }

    fn secret(
        &self,
        key: &Path,
        passphrase: Option<&Passphrase>,
    ) -> Result<Option<Zeroizing<String>>, ConfigError> {
        let read = passphrase
            .map(|passphrase| passphrase.read(&self.base))
            .transpose();
        read.map_err(|error| ConfigError {
            file: self.base.join(key),
            line: None,
            reason: error.to_string(),
        })
    }
}

/// A deployment with every room open.
#[derive(Debug)]
pub struct Opened {
    /// Ready to issue.
    pub issuance: Issuance,
    /// What verifiers and signers are told.
    pub trust: TrustFiles,
}

/// A deployment that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be opened.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The ledger cannot be opened.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The trust files cannot be written.
    #[error("the trust files: {0}")]
    Trust(#[from] TrustError),
}

impl ConfigError {
    /// The file and, where one line is to blame, its number counted from 1.
    pub fn place(&self) -> (&Path, Option<usize>) {
        (&self.file, self.line)
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

const fn default_listen() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5555)
}

/// Where the built-in log is mounted.
pub const LOG_PREFIX: &str = "/log";
