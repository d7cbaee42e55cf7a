//! Takes another issuers' file into force while the server runs.
//!
//! The file's bytes are compared, not its times or its identity: so a file that was written in place,
//! one that was moved over it, and one that a link was turned to (as Kubernetes does) are all seen.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;

use super::ConfigError;
use crate::identity::{self, Issuers, Patience};
use crate::issuance::TrustedIssuers;

/// The issuers' file, and the issuers it keeps up to date. What it does blocks: it belongs on a
/// thread that may.
#[derive(Debug)]
pub struct Reloader {
    source: IssuersFile,
    issuers: Arc<TrustedIssuers>,
    looked: Looked,
}

/// What is remembered of a file between two looks at it.
#[derive(Debug)]
pub(super) struct Looked {
    /// Of what was last judged, good or bad; nothing, if it could not be read.
    judged: Option<Fingerprint>,
    /// Of what was last seen.
    seen: Option<Fingerprint>,
}

/// Why the file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It is time. A file that stayed the same is left alone, and one that is another with every
    /// look as well: somebody is still writing it.
    Interval,
    /// Somebody wants it read, whatever is in it.
    Demand,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is new.
    Unchanged,
    /// The file is another one; if it still is the same at the next look, it will be judged.
    Settling,
    /// The file is in force.
    Loaded,
    /// The file is wrong, and what was in force stays so.
    Refused,
}

/// Where the issuers are written, and how they may be.
#[derive(Debug, Clone)]
pub(super) struct IssuersFile {
    pub(super) path: PathBuf,
    pub(super) options: identity::Options,
    /// The environments that are served, or all.
    pub(super) environments: Option<Vec<String>>,
}

/// Issuers that were read and not yet taken into force.
pub(super) struct Read {
    pub(super) config: identity::Config,
    pub(super) fingerprint: Fingerprint,
}

pub(super) type Fingerprint = [u8; 32];

impl Reloader {
    pub(super) const fn new(
        source: IssuersFile,
        issuers: Arc<TrustedIssuers>,
        judged: Fingerprint,
    ) -> Self {
        Self {
            source,
            issuers,
            looked: Looked::judged(judged),
        }
    }

    /// Reads the file and takes it into force, if it is good. Says so in the log; says the same
    /// mistake once, unless somebody asked.
    pub fn look(&mut self, occasion: Occasion, now: OffsetDateTime) -> Outcome {
        let bytes = self.source.bytes();
        let found = bytes.as_ref().ok().map(|bytes| fingerprint(bytes));
        if let Some(outcome) = self.looked.look(found, occasion) {
            return outcome;
        }
        let current = self.issuers.current();
        let reloaded = bytes.and_then(|bytes| {
            let config = self.source.parse(bytes)?;
            let warnings = self.source.warnings(&config);
            let reloaded = current.reloaded(config, Patience::default());
            let issuers = reloaded.map_err(|error| self.source.refused(error))?;
            Ok((issuers, warnings))
        });
        match reloaded {
            Ok((issuers, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                let count = issuers.configured().count();
                let generation = self.issuers.replace(issuers, now);
                let file = self.source.path.display();
                tracing::info!(%file, generation, issuers = count, "issuers reloaded");
                Outcome::Loaded
            }
            Err(error) => self.refuse(&error, occasion, now),
        }
    }

    fn refuse(&self, error: &ConfigError, occasion: Occasion, now: OffsetDateTime) -> Outcome {
        let is_news = self.issuers.refuse(without_directory(error), now);
        if is_news || occasion == Occasion::Demand {
            let generation = self.issuers.reload_state().generation;
            tracing::error!(%error, generation, "issuers not reloaded: those in force stay");
        }
        Outcome::Refused
    }
}

impl Looked {
    /// This is in force.
    pub(super) const fn judged(fingerprint: Fingerprint) -> Self {
        Self {
            judged: Some(fingerprint),
            seen: Some(fingerprint),
        }
    }

    /// What comes of this look, unless what was found is to be judged now.
    pub(super) fn look(
        &mut self,
        found: Option<Fingerprint>,
        occasion: Occasion,
    ) -> Option<Outcome> {
        let before = std::mem::replace(&mut self.seen, found);
        if occasion == Occasion::Interval {
            if found == self.judged {
                return Some(Outcome::Unchanged);
            }
            if found != before {
                return Some(Outcome::Settling);
            }
        }
        self.judged = found;
        None
    }
}

impl IssuersFile {
    /// Reads and checks it.
    pub(super) fn read(&self) -> Result<Read, ConfigError> {
        let bytes = self.bytes()?;
        let fingerprint = fingerprint(&bytes);
        Ok(Read {
            config: self.parse(bytes)?,
            fingerprint,
        })
    }

    /// The first issuers of a process.
    pub(super) fn open(&self, config: identity::Config) -> Result<Issuers, ConfigError> {
        Issuers::new(config, Patience::default()).map_err(|error| self.refused(error))
    }

    /// What should be looked at, though nothing is wrong.
    pub(super) fn warnings(&self, config: &identity::Config) -> Vec<String> {
        let file = self.path.display();
        let warnings = config.warnings().iter();
        warnings
            .map(|warning| format!("{file}: {warning}"))
            .collect()
    }

    fn bytes(&self) -> Result<Vec<u8>, ConfigError> {
        let mut bytes = Vec::new();
        // One byte more than is good, so that the judge of sizes sees a file that is too large.
        let read =
            File::open(&self.path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.unusable(None, error.to_string())),
        }
    }

    fn parse(&self, bytes: Vec<u8>) -> Result<identity::Config, ConfigError> {
        let text = String::from_utf8(bytes)
            .map_err(|_| self.unusable(None, "it is not text in UTF-8".to_owned()))?;
        let config = identity::Config::from_text(&text, self.options)
            .map_err(|error| self.refused(error))?;
        Ok(config.only_environments(self.environments.clone()))
    }

    fn refused(&self, error: identity::ConfigError) -> ConfigError {
        self.unusable(error.line, error.message)
    }

    fn unusable(&self, line: Option<usize>, reason: String) -> ConfigError {
        ConfigError {
            file: self.path.clone(),
            line,
            reason,
        }
    }
}

pub(super) fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// For those who may ask the server but not read its disk.
fn without_directory(error: &ConfigError) -> String {
    let ConfigError { file, line, reason } = error;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match line {
        Some(line) => format!("{name}:{line}: {reason}"),
        None => format!("{name}: {reason}"),
    }
}

/// More than the reader of issuers takes.
const MAX_FILE: u64 = 2 << 20;

#[cfg(test)]
mod tests;
