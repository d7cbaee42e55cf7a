//! The roots that a log accepts, in a file that may change while the log runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::logs::{refused, some_certificates};
use super::reload::{Fingerprint, Looked, Occasion, Outcome, fingerprint};
use super::{ConfigError, Logs};
use crate::ctlog::Log;

impl Logs<'_> {
    /// The certificates to which what others submit may lead, as far as the file names any.
    ///
    /// # Errors
    /// [`ConfigError`] with the file of roots.
    pub fn roots(&self) -> Result<Vec<Vec<u8>>, ConfigError> {
        match self.roots_file()? {
            Some(file) => parse(&file, &read(&file)?),
            None => Ok(Vec::new()),
        }
    }

    /// What follows the file of roots for a log that was opened, if it has one.
    ///
    /// # Errors
    /// [`ConfigError`]: there is no log here.
    pub fn roots_reloader(&self, log: &Log) -> Result<Option<RootsReloader>, ConfigError> {
        let reloader = |file| RootsReloader {
            file,
            log: log.clone(),
            // Nothing that a file could have: it may have changed since the log was opened.
            looked: Looked::judged(Fingerprint::default()),
        };
        Ok(self.roots_file()?.map(reloader))
    }

    fn roots_file(&self) -> Result<Option<PathBuf>, ConfigError> {
        let file = self.own()?.roots.as_ref();
        Ok(file.map(|file| self.base.join(file)))
    }
}

/// Follows a file of roots, as a [`Reloader`](super::Reloader) does the issuers'.
#[derive(Debug)]
pub struct RootsReloader {
    file: PathBuf,
    log: Log,
    looked: Looked,
}

impl RootsReloader {
    /// Reads the file and has the log accept what is in it, if it is good. Says so in the program's log;
    /// says the same mistake once, unless somebody asked. It blocks.
    pub fn look(&mut self, occasion: Occasion) -> Outcome {
        let read = read(&self.file);
        let found = read.as_ref().ok().map(|bytes| fingerprint(bytes));
        if let Some(outcome) = self.looked.look(found, occasion) {
            return outcome;
        }
        let replaced = read.and_then(|bytes| {
            let roots = parse(&self.file, &bytes)?;
            let replaced = self.log.replace_roots(&roots);
            let is_new = replaced.map_err(|error| refused(&self.file, error.to_string()))?;
            Ok((is_new, roots.len()))
        });
        match replaced {
            Ok((false, _)) if occasion == Occasion::Interval => Outcome::Unchanged,
            Ok((_, roots)) => {
                tracing::info!(file = %self.file.display(), roots, "roots reloaded");
                Outcome::Loaded
            }
            Err(error) => {
                tracing::error!(%error, "roots not reloaded: those in force stay");
                Outcome::Refused
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(file).map_err(|error| refused(file, error.to_string()))
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<Vec<u8>>, ConfigError> {
    let text = str::from_utf8(bytes).map_err(|error| refused(file, error.to_string()))?;
    some_certificates(file, text)
}
