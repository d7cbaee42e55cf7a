//! Where a command reads a log: from the configured database, from a directory, or over HTTP.

use std::path::PathBuf;

use crate::cli::{ConfigArgument, Failure};
use crate::client::http_client;
use crate::client::published::Published;
use crate::config::{Either, public_key_file};
use crate::ctlog::audit::{Audit, AuditError};
use crate::ctlog::files::{CHECKPOINT, Directory, Files, MAX_CHECKPOINT};
use crate::ctlog::merkle::Hash;
use crate::ctlog::signer::LogVerifier;
use crate::ctlog::{Config, LogError, Reader};

#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Read the log's files in this directory instead of the configured database
    #[arg(long, group = "elsewhere", requires = "public_key")]
    directory: Option<PathBuf>,
    /// Read the log at this address
    #[arg(long, group = "elsewhere", requires = "public_key")]
    url: Option<String>,
    /// The file with the log's public key in PEM
    #[arg(long, requires = "elsewhere")]
    public_key: Option<PathBuf>,
    /// The log's name, where it is not the address without the scheme
    #[arg(long, requires = "elsewhere")]
    origin: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgument,
}

/// A log that can be read, and whose it is.
pub(super) struct Log {
    files: Box<dyn Files>,
    /// Where it is, if that is a database.
    database: Option<Config>,
    pub(super) origin: String,
    pub(super) verifier: LogVerifier,
}

impl Source {
    /// Whether it is the database of the configuration.
    pub(super) const fn is_database(&self) -> bool {
        self.directory.is_none() && self.url.is_none()
    }

    pub(super) async fn open(&self) -> Result<Log, Failure> {
        let key = || {
            let file = self.public_key.as_deref().unwrap_or_else(|| "".as_ref());
            public_key_file(file)
        };
        let given = self.origin.clone();
        if let Some(url) = &self.url {
            let files = Published::new(http_client()?, url);
            let origin = given.unwrap_or_else(|| files.origin().to_owned());
            let files = Box::new(files);
            let verifier = key()?;
            return Ok(Log {
                files,
                database: None,
                origin,
                verifier,
            });
        }
        if let Some(directory) = &self.directory {
            let files = Directory(directory.clone());
            let origin = match given {
                Some(origin) => origin,
                // A directory has no name; the key says whose it is.
                None => first_line(&files).await?,
            };
            let files = Box::new(files);
            let verifier = key()?;
            return Ok(Log {
                files,
                database: None,
                origin,
                verifier,
            });
        }
        let config = Either::read(&self.config.config)?;
        let logs = config.logs();
        let verifier = logs.signer()?.verifier().clone();
        Log::stored(logs.config()?, verifier).await
    }

    /// The log of one of these IDs: the one given, or where that is a configuration any of its logs, the
    /// earlier ones included. Otherwise the names of those that there are.
    pub(super) async fn open_any(&self, ids: &[Hash]) -> Result<Result<Log, String>, Failure> {
        if !self.is_database() {
            let log = self.open().await?;
            let is_it = ids.contains(&log.verifier.log_id());
            return Ok(if is_it { Ok(log) } else { Err(log.origin) });
        }
        let config = Either::read(&self.config.config)?;
        let mut names = Vec::new();
        for (config, verifier) in config.logs().all()? {
            if ids.contains(&verifier.log_id()) {
                return Ok(Ok(Log::stored(config, verifier).await?));
            }
            names.push(config.origin);
        }
        Ok(Err(names.join(" or ")))
    }
}

impl Log {
    async fn stored(config: Config, verifier: LogVerifier) -> Result<Self, Failure> {
        let reader = Reader::open(&config, &verifier).await?;
        Ok(Self {
            files: Box::new(reader),
            origin: config.origin.clone(),
            database: Some(config),
            verifier,
        })
    }

    /// Makes it the log as it is now: a database is read as it was when it was opened.
    pub(super) async fn renew(&mut self) -> Result<(), LogError> {
        if let Some(config) = &self.database {
            self.files = Box::new(Reader::open(config, &self.verifier).await?);
        }
        Ok(())
    }

    /// The log as it is now, its head and edge checked.
    pub(super) async fn audit(&self) -> Result<Audit<'_>, AuditError> {
        Audit::open(&*self.files, &self.origin, &self.verifier).await
    }
}

async fn first_line(files: &Directory) -> Result<String, Failure> {
    let note = files.read(CHECKPOINT, MAX_CHECKPOINT).await?;
    let note = note.ok_or("there is no file \"checkpoint\" in the directory")?;
    let note = String::from_utf8_lossy(&note).into_owned();
    Ok(note.lines().next().unwrap_or_default().to_owned())
}
