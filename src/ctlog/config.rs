//! What is configured of the log, as it is written and as it is checked.

use super::checkpoint::is_origin;
use super::error::LogError;
use const_oid::ObjectIdentifier;
use std::path::PathBuf;

/// What an operator says about the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database file. A lock file of the same name with `.lock` at its end stands beside it.
    pub database: PathBuf,
    /// The log's name: its public address without scheme and without a slash at the end. It cannot
    /// change for as long as the log lives.
    pub origin: String,
    /// Extended key usages a submitted certificate must have one of, as `codeSigning` or as object
    /// identifiers with dots; `any` alone accepts all certificates. Code signing if left out. The
    /// authority's own certificates are not asked.
    #[serde(default = "default_usages")]
    pub extended_key_usages: Vec<String>,
    /// Entries that may wait to be logged; more are turned away at once. 4096 if left out.
    #[serde(default = "default_queue")]
    pub queue: usize,
}

impl Config {
    /// A log for code-signing certificates, with the usual queue.
    #[must_use]
    pub fn new(database: PathBuf, origin: String) -> Self {
        Self {
            database,
            origin,
            extended_key_usages: default_usages(),
            queue: default_queue(),
        }
    }
}

pub(super) fn checked_origin(config: &Config) -> Result<String, LogError> {
    if !is_origin(&config.origin) {
        return Err(LogError::Origin(config.origin.clone()));
    }
    Ok(config.origin.clone())
}

/// No usages at all stand for any.
pub(super) fn read_usages(usages: &[String]) -> Result<Vec<ObjectIdentifier>, LogError> {
    if usages == ["any"] {
        return Ok(Vec::new());
    }
    if usages.is_empty() {
        return Err(LogError::Usage(String::new()));
    }
    let read = |usage: &String| match usage.as_str() {
        CODE_SIGNING => Ok(ID_KP_CODE_SIGNING),
        dotted => ObjectIdentifier::new(dotted).map_err(|_| LogError::Usage(usage.clone())),
    };
    usages.iter().map(read).collect()
}

fn default_usages() -> Vec<String> {
    vec![CODE_SIGNING.to_owned()]
}

fn default_queue() -> usize {
    4096
}

const CODE_SIGNING: &str = "codeSigning";
const ID_KP_CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
