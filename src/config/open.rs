//! Opening what a configuration names: keys, chain, databases, and the files for verifiers.

use std::path::Path;
use std::sync::Arc;

use time::OffsetDateTime;

use super::logs::{Mounts, Retired, refused, secret};
use super::reload::{IssuersFile, Read, Reloader};
use super::settings::{AuthorityFiles, AuthoritySettings, RetiredAuthoritySettings, Services};
use super::{Config, ConfigError};
use crate::authority::file::{FileKey, read_text};
use crate::authority::key::CaKey;
use crate::authority::memory::MemoryKey;
use crate::authority::{Authority, AuthorityError};
use crate::ctlog::remote::{Logs, LogsError};
use crate::ctlog::signer::{LogSigner, LogVerifier};
use crate::ctlog::upkeep::{Upkeep, UpkeepError};
use crate::ctlog::{self, Destination, Log, LogError};
use crate::identity::{self, Issuers};
use crate::issuance::{Issuance, Quotas, TrustedIssuers};
use crate::ledger::{Ledger, LedgerError};
use crate::reconciliation::Periodic;
use crate::trust::{
    self, Service, SignatureLog, SigningConfig, TimestampAuthority, TransparencyLog, TrustError,
    TrustFiles, TrustedRoot,
};

impl Config {
    /// Reads and checks the issuers' file. Beside the issuers it gives what should be looked at: settings
    /// that nobody knows.
    ///
    /// # Errors
    /// [`ConfigError`] with the issuers' file and line.
    pub fn issuers(&self) -> Result<(Issuers, Vec<String>), ConfigError> {
        let source = self.issuers_file();
        let Read { config, .. } = source.read()?;
        let warnings = source.warnings(&config);
        Ok((source.open(config)?, warnings))
    }

    fn issuers_file(&self) -> IssuersFile {
        IssuersFile {
            path: self.base.join(&self.settings.issuers),
            options: identity::Options {
                allow_http_loopback: self.settings.development.allow_http_loopback_issuers,
            },
            environments: self.settings.environments.clone(),
        }
    }

    /// The authority's chain as PEM. It is public; no key is opened.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn chain_pem(&self) -> Result<String, ConfigError> {
        let chain = match &self.settings.authority {
            AuthoritySettings::Files(files) => &files.chain,
            AuthoritySettings::Memory(memory) => return Ok(memory.chain_pem.clone()),
        };
        let file = self.base.join(chain);
        let text = read_text(&file).map_err(|error| ConfigError {
            file,
            line: None,
            reason: error.to_string(),
        })?;
        Ok(text.to_string())
    }

    /// The issuing certificates that were replaced.
    pub(super) fn retired_chains(&self) -> Result<Vec<RetiredChain>, ConfigError> {
        let read = |settings: &RetiredAuthoritySettings| {
            Ok(RetiredChain {
                der: self.pem_certificates(&settings.chain)?,
                until: settings.until,
            })
        };
        self.settings.retired_authorities.iter().map(read).collect()
    }

    /// Opens the authority: its key, its chain, every rule they must keep at `now`, and a signature
    /// to prove it.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's or the chain's file.
    pub async fn authority(&self, now: OffsetDateTime) -> Result<Authority, ConfigError> {
        let chain_pem = self.chain_pem()?;
        let (loaded, chain, key) = match &self.settings.authority {
            AuthoritySettings::Files(files) => {
                let AuthorityFiles {
                    chain,
                    key,
                    passphrase,
                } = files;
                let secret = secret(&self.base, key, passphrase.as_ref())?;
                let path = self.base.join(key);
                let secret = secret.as_ref().map(|secret| secret.as_str());
                let loaded: Result<Box<dyn CaKey>, _> = match FileKey::load(&path, secret) {
                    Ok(loaded) => Ok(Box::new(loaded)),
                    Err(error) => Err(error.to_string()),
                };
                (loaded, chain.as_path(), key.as_path())
            }
            AuthoritySettings::Memory(memory) => {
                let loaded: Result<Box<dyn CaKey>, _> =
                    match MemoryKey::from_der(&memory.private_key_der) {
                        Ok(loaded) => Ok(Box::new(loaded)),
                        Err(reason) => Err(reason.to_owned()),
                    };
                (loaded, Path::new(IN_MEMORY), Path::new(IN_MEMORY))
            }
        };
        let refused = |file: &Path, reason| refused(&self.base.join(file), reason);
        let loaded = loaded.map_err(|reason| refused(key, reason))?;
        Authority::new(loaded, &chain_pem, now)
            .await
            .map_err(|error| match &error {
                AuthorityError::Chain(_)
                | AuthorityError::SelfTest
                | AuthorityError::Correspondence(_) => refused(chain, error.to_string()),
                AuthorityError::Key(_) => refused(key, error.to_string()),
            })
    }

    /// Opens the log's key.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's file.
    pub fn log_signer(&self) -> Result<LogSigner, ConfigError> {
        self.logs().signer()
    }

    /// What the built-in log is opened with.
    ///
    /// # Errors
    /// [`ConfigError`]: certificates go into somebody else's.
    pub fn log_config(&self) -> Result<ctlog::Config, ConfigError> {
        self.logs().config()
    }

    /// The public half of the built-in log's key; nothing, where certificates go into somebody else's.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's file.
    pub fn log_verifier(&self) -> Result<Option<LogVerifier>, ConfigError> {
        match self.has_own_log() {
            true => Ok(Some(self.log_signer()?.verifier().clone())),
            false => Ok(None),
        }
    }

    /// Opens every room of the craft, in the order that finds a mistake soonest, the databases last.
    ///
    /// # Errors
    /// [`OpenError`]: what cannot be opened, and why.
    pub async fn open(&self, now: OffsetDateTime) -> Result<Opened, OpenError> {
        let source = self.issuers_file();
        let Read {
            config,
            fingerprint,
        } = source.read()?;
        for warning in source.warnings(&config) {
            tracing::warn!("{warning}");
        }
        let issuers = Arc::new(TrustedIssuers::new(source.open(config)?, now));
        let authority = self.authority(now).await?;
        let chain = authority.chain().der().to_vec();
        let (mut upkeep, mut verifier) = (None, None);
        let log = match self.has_own_log() {
            true => {
                let log = self.logs().open(chain, now).await?;
                verifier = Some(log.records().verifier().clone());
                upkeep = Some(self.logs().upkeep(&log, now).await?);
                Destination::BuiltIn(log)
            }
            false => {
                let (logs, deadline) = (self.external_logs()?, self.ctlog_deadline());
                Destination::External(Logs::open(logs, &chain, deadline, now).await?)
            }
        };
        let mounts = self.logs().mounts().await?;
        let ledger = Ledger::open(self.ledger_database()).await?;
        let chain = authority.chain().der();
        let trust = self
            .trust_files_with(chain, verifier.as_ref(), &mounts.retired)
            .await?;
        let periodic = self.periodic(&authority, &log, &ledger, &mounts.retired)?;
        let reloader = Reloader::new(source, Arc::clone(&issuers), fingerprint);
        let issuance = Issuance {
            issuers,
            quotas: Quotas::new(&self.settings.rate_limits).map(Arc::new),
            authority: Arc::new(authority),
            log,
            ledger: Arc::new(ledger),
        };
        Ok(Opened {
            issuance,
            trust,
            mounts,
            reloader,
            periodic,
            upkeep,
        })
    }

    /// Writes the files that verifiers and signers need. `own` is the built-in log's key, if that is
    /// where certificates go.
    ///
    /// # Errors
    /// [`OpenError`]: the log does not say since when it is, or an address cannot be used by clients.
    pub async fn trust_files(
        &self,
        authority: &Authority,
        own: Option<&LogVerifier>,
    ) -> Result<TrustFiles, OpenError> {
        let mounts = self.logs().mounts().await?;
        let chain = authority.chain().der();
        self.trust_files_with(chain, own, &mounts.retired).await
    }

    async fn trust_files_with(
        &self,
        chain: &[Vec<u8>],
        own: Option<&LogVerifier>,
        retired: &[Retired],
    ) -> Result<TrustFiles, OpenError> {
        let url = self.public_url();
        let mut authorities = vec![trust::Authority::new(url, chain.to_vec())?];
        for RetiredChain { der, until } in self.retired_chains()? {
            authorities.push(trust::Authority::new(url, der)?.retired(until)?);
        }
        let begins = authorities.iter().map(trust::Authority::valid_from);
        let since = begins.min().unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let retired = retired.iter().map(|log| log.trusted().clone());
        let (logs, begins) = match own {
            Some(key) => {
                let begins = Log::created(&self.log_config()?, &key.log_id()).await?;
                let log = TransparencyLog::new(&self.logs().url()?, key.public_key_der(), begins)?;
                // Nothing that this authority certified was signed earlier.
                (vec![log], since.min(begins))
            }
            None => (self.trusted_external_logs(since)?, since),
        };
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
            authorities,
            logs: logs.into_iter().chain(retired).collect(),
            signature_logs: self.known_signature_log(begins)?,
            timestamp_authorities: self.known_timestamp_authority()?,
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
                .map(|authority| service(&authority.url, 1))
                .collect(),
        };
        Ok(TrustFiles::new(&root, &signing)?)
    }

    /// Somebody else's logs. None of them has promised anything about a certificate of this authority
    /// before the authority's own beginning, `since`.
    fn trusted_external_logs(
        &self,
        since: OffsetDateTime,
    ) -> Result<Vec<TransparencyLog>, OpenError> {
        let keys = self.external_logs()?;
        let settings = self.ct_logs().iter();
        let logs = keys.iter().zip(settings).map(|(log, settings)| {
            let from = settings.valid_from.unwrap_or(since);
            let trusted = TransparencyLog::new(&log.url, &log.public_key_der, from)?;
            match settings.valid_until {
                Some(until) => Ok(trusted.retired(until)?),
                None => Ok(trusted),
            }
        });
        logs.collect()
    }

    /// The signature log, if the configuration names its key.
    fn known_signature_log(
        &self,
        valid_from: OffsetDateTime,
    ) -> Result<Vec<SignatureLog>, ConfigError> {
        let Some(log) = &self.services().signature_log else {
            return Ok(Vec::new());
        };
        let Some(file) = &log.public_key else {
            return Ok(Vec::new());
        };
        let origin = log.origin.as_deref();
        self.read_trusted(file, |pem| {
            SignatureLog::new(&log.url, log.major_version, pem, origin, valid_from)
        })
    }

    /// The timestamp authority, if the configuration names its chain.
    fn known_timestamp_authority(&self) -> Result<Vec<TimestampAuthority>, ConfigError> {
        let Some(authority) = &self.services().timestamp_authority else {
            return Ok(Vec::new());
        };
        let Some(file) = &authority.chain else {
            return Ok(Vec::new());
        };
        self.read_trusted(file, |pem| TimestampAuthority::new(&authority.url, pem))
    }

    fn read_trusted<T>(
        &self,
        file: &Path,
        read: impl FnOnce(&str) -> Result<T, TrustError>,
    ) -> Result<Vec<T>, ConfigError> {
        let file = self.base.join(file);
        let pem = read_text(&file).map_err(|error| refused(&file, error.to_string()))?;
        let read = read(&pem).map_err(|error| refused(&file, error.to_string()))?;
        Ok(vec![read])
    }
}

/// The chain of an issuing certificate that was replaced.
pub(super) struct RetiredChain {
    /// The issuing certificate first, the root last; never empty.
    pub(super) der: Vec<Vec<u8>>,
    until: OffsetDateTime,
}

/// A deployment with every room open.
#[derive(Debug)]
pub struct Opened {
    /// Ready to issue.
    pub issuance: Issuance,
    /// What verifiers and signers are told.
    pub trust: TrustFiles,
    /// Where its logs are served, the earlier ones open for reading.
    pub mounts: Mounts,
    /// Follows the issuers' file, whenever it is told to look.
    pub reloader: Reloader,
    /// Compares ledger and log, if that is asked for.
    pub periodic: Option<Periodic>,
    /// What the built-in log needs beside issuance.
    pub upkeep: Option<Upkeep>,
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
    /// Somebody else's logs cannot be used.
    #[error("ctlog: {0}")]
    ExternalLogs(#[from] LogsError),
    /// The log must not be opened, or its publisher or a witness is not set up.
    #[error("the log: {0}")]
    Upkeep(#[from] UpkeepError),
    /// The ledger cannot be opened.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The trust files cannot be written.
    #[error("the trust files: {0}")]
    Trust(#[from] TrustError),
}

/// What an error names where there is no file.
const IN_MEMORY: &str = "the authority in memory";
