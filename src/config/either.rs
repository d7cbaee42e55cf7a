//! A configuration file that has a log in it, whichever kind of server it is for.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::IgnoredAny;

use super::{Config, ConfigError, LogConfig, Logs, read_yaml};
use crate::database::Server;

/// An authority's configuration, or that of a log that runs alone.
#[derive(Debug)]
pub enum Either {
    /// `vouchsafe.yaml`
    Authority(Box<Config>),
    /// `log.yaml`
    Log(Box<LogConfig>),
}

impl Either {
    /// Reads a configuration file. Nothing it names is opened yet.
    ///
    /// # Errors
    /// [`ConfigError`] with file and line.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let (_, settings): (_, BTreeMap<String, IgnoredAny>) = read_yaml(file)?;
        // Any of them tells: one that is misspelt must not make another kind of file of it.
        let mut telling = OF_AN_AUTHORITY.iter();
        Ok(match telling.any(|name| settings.contains_key(*name)) {
            true => Self::Authority(Box::new(Config::read(file)?)),
            false => Self::Log(Box::new(LogConfig::read(file)?)),
        })
    }

    /// Its logs.
    pub fn logs(&self) -> Logs<'_> {
        match self {
            Self::Authority(config) => config.logs(),
            Self::Log(config) => config.logs(),
        }
    }

    /// The server that all it has is on, if it is on one.
    pub fn server(&self) -> Option<&Server> {
        self.logs().server
    }
}

/// Settings that stand in an authority's configuration and in no other.
const OF_AN_AUTHORITY: [&str; 4] = ["authority", "issuers", "ctlog", "ledger"];
