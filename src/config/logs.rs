//! The logs of a configuration: the one that takes entries, and those that took their last before it.

use std::path::{Path, PathBuf};

use der::pem::PemLabel as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::settings::{LogSettings, RetiredLogSettings, Secret};
use super::{ConfigError, OpenError, PublicUrl};
use crate::authority::file::{load_private_key_der, read_text};
use crate::ctlog::signer::{LogSigner, LogVerifier};
use crate::ctlog::{self, Chains, Database, Log, Reader, Records};
use crate::database::Server;
use crate::trust::TransparencyLog;

/// What a file says of its own logs, whichever kind of server it is for.
#[derive(Debug, Clone, Copy)]
pub struct Logs<'a> {
    /// The file, for errors.
    pub(super) source: &'a Path,
    pub(super) base: &'a Path,
    pub(super) public_url: &'a PublicUrl,
    /// The one that takes entries, unless certificates go to somebody else's.
    pub(super) log: Option<&'a LogSettings>,
    pub(super) retired: &'a [RetiredLogSettings],
    pub(super) server: Option<&'a Server>,
}

/// The logs that a server serves beside the one it writes to, and where all of them are mounted.
#[derive(Debug)]
pub struct Mounts {
    /// Below which path the log is that takes entries, if there is one.
    pub prefix: Option<String>,
    /// Whether it is read as RFC 6962 has it too.
    pub rfc6962_reads: bool,
    /// The earlier ones.
    pub retired: Vec<Retired>,
}

/// An earlier log, open for reading.
#[derive(Debug)]
pub struct Retired {
    /// Where it is mounted.
    pub prefix: String,
    /// The log.
    pub reader: Reader,
    /// When it took its last entry.
    pub until: OffsetDateTime,
    /// Whether it is read as RFC 6962 has it too.
    pub rfc6962_reads: bool,
    verifier: LogVerifier,
    trusted: TransparencyLog,
}

impl Logs<'_> {
    /// What is wrong with them on their own: the setting, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let mut taken: Vec<&str> = Vec::new();
        let prefixes = self
            .retired
            .iter()
            .map(|retired| ("retired-logs", &retired.prefix));
        let own = self.log.iter().map(|log| ("log", &log.prefix));
        for (setting, prefix) in own.chain(prefixes) {
            check_prefix(prefix).map_err(|reason| (setting, reason))?;
            if taken.contains(&prefix.as_str()) {
                return Err((
                    setting,
                    format!("prefix: {prefix} is another log's already"),
                ));
            }
            taken.push(prefix);
        }
        if self.log.is_some_and(|log| !log.window.is_possible()) {
            return Err(("log", "window: it ends before it starts".to_owned()));
        }
        self.check_upkeep().map_err(|reason| ("log", reason))
    }

    /// The address of the log that takes entries, for submission and for reading.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none.
    pub fn url(&self) -> Result<String, ConfigError> {
        Ok(self.url_at(&self.own()?.prefix))
    }

    /// What it is opened with, its name (C2SP static-ct-api) included: its address without the scheme.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none.
    pub fn config(&self) -> Result<ctlog::Config, ConfigError> {
        let LogSettings {
            prefix,
            extended_key_usages,
            queue,
            window,
            reject_expired,
            high_water,
            ..
        } = self.own()?;
        Ok(ctlog::Config {
            extended_key_usages: extended_key_usages.clone(),
            queue: *queue,
            window: *window,
            reject_expired: *reject_expired,
            high_water: high_water.as_ref().map(|file| self.base.join(file)),
            ..ctlog::Config::new(self.place(None)?, self.origin_at(prefix))
        })
    }

    /// Opens its key.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's file.
    pub fn signer(&self) -> Result<LogSigner, ConfigError> {
        let LogSettings {
            key, passphrase, ..
        } = self.own()?;
        let der = self.private_key(key, passphrase.as_ref())?;
        let signer = LogSigner::from_private_key(&der)
            .map_err(|error| refused(&self.base.join(key), error.to_string()))?;
        self.with_note_key(signer)
    }

    /// Its key, decrypted: PKCS#8 or SEC1.
    ///
    /// # Errors
    /// [`ConfigError`] with the key's file.
    pub fn private_key(
        &self,
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let secret = secret(self.base, key, passphrase)?;
        let file = self.base.join(key);
        load_private_key_der(&file, secret.as_ref().map(|secret| secret.as_str()))
            .map_err(|error| refused(&file, error.to_string()))
    }

    /// Opens the log that takes entries. `issuer` is the chain of the authority it is the log of.
    ///
    /// # Errors
    /// [`OpenError`]: what cannot be opened, and why.
    pub async fn open(&self, issuer: Vec<Vec<u8>>, now: OffsetDateTime) -> Result<Log, OpenError> {
        let chains = Chains {
            issuer,
            roots: self.roots()?,
        };
        Ok(Log::open(&self.config()?, self.signer()?, &chains, now).await?)
    }

    /// Opens the earlier ones, and says where all of them are.
    ///
    /// # Errors
    /// [`OpenError`]: what cannot be opened, and why.
    pub async fn mounts(&self) -> Result<Mounts, OpenError> {
        let mut retired = Vec::with_capacity(self.retired.len());
        for settings in self.retired {
            retired.push(self.open_retired(settings).await?);
        }
        Ok(Mounts {
            prefix: self.log.map(|log| log.prefix.clone()),
            rfc6962_reads: self.log.is_some_and(|log| log.rfc6962_reads),
            retired,
        })
    }

    /// All of them to be read, each with its key: the one that takes entries, and the earlier ones.
    ///
    /// # Errors
    /// [`ConfigError`] with the file of a key.
    pub fn all(&self) -> Result<Vec<(ctlog::Config, LogVerifier)>, ConfigError> {
        let mut all = Vec::with_capacity(1 + self.retired.len());
        if self.log.is_some() {
            all.push((self.config()?, self.signer()?.verifier().clone()));
        }
        for retired in self.retired {
            all.push(self.retired(retired)?);
        }
        Ok(all)
    }

    fn retired(
        &self,
        settings: &RetiredLogSettings,
    ) -> Result<(ctlog::Config, LogVerifier), ConfigError> {
        let place = self.place(settings.database.as_deref())?;
        let config = ctlog::Config::new(place, self.origin_at(&settings.prefix));
        Ok((
            config,
            public_key_file(&self.base.join(&settings.public_key))?,
        ))
    }

    async fn open_retired(&self, settings: &RetiredLogSettings) -> Result<Retired, OpenError> {
        let RetiredLogSettings {
            prefix,
            database: _,
            public_key: _,
            until,
            rfc6962_reads,
        } = settings;
        let (config, verifier) = self.retired(settings)?;
        let reader = Reader::open(&config, &verifier).await?;
        let created = Log::created(&config, &verifier.log_id()).await?;
        // Between the end that was written down and the restart that made it true it took entries.
        let last = i128::from(reader.head().timestamp_ms) * 1_000_000;
        let last = OffsetDateTime::from_unix_timestamp_nanos(last).unwrap_or(*until);
        let until = last.max(*until);
        let key = verifier.public_key_der();
        let trusted = TransparencyLog::new(&self.url_at(prefix), key, created);
        Ok(Retired {
            prefix: prefix.clone(),
            reader,
            until,
            rfc6962_reads: *rfc6962_reads,
            trusted: trusted.and_then(|log| log.retired(until))?,
            verifier,
        })
    }

    /// Where a log is: in its own file, on the server, or in the file of the newest.
    fn place(&self, own: Option<&Path>) -> Result<Database, ConfigError> {
        Ok(match (own, self.server) {
            (Some(file), _) => Database::Sqlite(self.base.join(file)),
            (None, Some(server)) => Database::Postgres(server.clone()),
            (None, None) => Database::Sqlite(self.file()?),
        })
    }

    /// Where the log is, or was, when it is in a file.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none.
    pub fn file(&self) -> Result<PathBuf, ConfigError> {
        Ok(self.base.join(&self.own()?.database))
    }

    pub(super) fn own(&self) -> Result<&LogSettings, ConfigError> {
        let none = "there is no log of its own here: certificates go to those of ctlog";
        self.log
            .ok_or_else(|| refused(self.source, none.to_owned()))
    }

    pub(super) fn origin_at(&self, prefix: &str) -> String {
        format!("{}{prefix}", self.public_url.host())
    }

    fn url_at(&self, prefix: &str) -> String {
        format!("{}{prefix}", self.public_url.as_str())
    }
}

impl Retired {
    /// The log as verifiers are told of it.
    pub const fn trusted(&self) -> &TransparencyLog {
        &self.trusted
    }

    /// Its entries for an auditor.
    pub(super) fn records(&self) -> Records {
        self.reader.records(self.verifier.clone())
    }
}

/// The database server that a file names.
pub(super) fn server(
    base: &Path,
    address: Option<&str>,
    password: Option<&Secret>,
) -> Result<Option<Server>, (&'static str, String)> {
    let Some(address) = address else {
        return match password {
            Some(_) => Err((
                "database-password",
                "database-password needs database".to_owned(),
            )),
            None => Ok(None),
        };
    };
    let password = secret(base, Path::new(""), password).map_err(|error| {
        (
            "database-password",
            format!("database-password: {}", error.reason),
        )
    })?;
    let password = password.as_ref().map(|password| password.as_str());
    let server = Server::new(address, base, password);
    server
        .map(Some)
        .map_err(|error| ("database", error.to_string()))
}

/// Reads a log's public key from a PEM file.
///
/// # Errors
/// [`ConfigError`] with the file.
pub fn public_key_file(file: &Path) -> Result<LogVerifier, ConfigError> {
    let text = read_text(file).map_err(|error| refused(file, error.to_string()))?;
    let (label, der) = der::pem::decode_vec(text.trim().as_bytes())
        .map_err(|_| refused(file, "it is not one PEM block".to_owned()))?;
    if label != spki::SubjectPublicKeyInfoOwned::PEM_LABEL {
        return Err(refused(
            file,
            "the PEM block is not a PUBLIC KEY".to_owned(),
        ));
    }
    LogVerifier::from_public_key_der(&der).map_err(|error| refused(file, error.to_string()))
}

/// The certificates of a PEM file, one after the other, with whatever stands between them.
pub(super) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, &'static str> {
    let read = CertificateDer::pem_slice_iter(text.as_bytes());
    let read = read.map(|certificate| certificate.map(|der| der.to_vec()));
    read.collect::<Result<_, _>>()
        .map_err(|_| "a certificate in it is not PEM")
}

/// The same where there must be one.
pub(super) fn some_certificates(file: &Path, text: &str) -> Result<Vec<Vec<u8>>, ConfigError> {
    let found = certificates(text).map_err(|reason| refused(file, reason.to_owned()))?;
    match found.is_empty() {
        true => Err(refused(file, "there is no certificate in it".to_owned())),
        false => Ok(found),
    }
}

/// What opens a private key.
pub(super) fn secret(
    base: &Path,
    key: &Path,
    passphrase: Option<&Secret>,
) -> Result<Option<Zeroizing<String>>, ConfigError> {
    match passphrase {
        Some(Secret::At(place)) => match place.read(base) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) => Err(refused(&base.join(key), error.to_string())),
        },
        Some(Secret::Given(secret)) => Ok(Some(secret.clone())),
        None => Ok(None),
    }
}

/// Whether a log may be mounted there, or why not.
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    if is_prefix(prefix) {
        return Ok(());
    }
    Err(format!(
        "prefix: {prefix:?} is not one like /log: segments of lower-case letters, digits, dots and dashes, each behind a slash, none of them named as a log's own files or the server's"
    ))
}

/// Empty, or segments that no route of a server or of a log has: the logs of one server must not be in
/// each other's way.
fn is_prefix(text: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        !segment.is_empty()
            && segment.bytes().all(is_plain)
            && !segment.starts_with('.')
            && !RESERVED.contains(&segment)
    };
    text.is_empty()
        || text.len() <= MAX_PREFIX
            && text
                .strip_prefix('/')
                .is_some_and(|rest| rest.split('/').all(is_segment))
}

pub(super) fn refused(file: &Path, reason: String) -> ConfigError {
    ConfigError {
        file: PathBuf::from(file),
        line: None,
        reason,
    }
}

const RESERVED: [&str; 11] = [
    "api",
    "checkpoint",
    "ct",
    "healthz",
    "issuer",
    "livez",
    "metrics",
    "openapi.json",
    "readyz",
    "tile",
    "trust",
];
const MAX_PREFIX: usize = 100;
