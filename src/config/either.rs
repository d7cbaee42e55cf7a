//! A configuration file that has a log in it, whichever kind of server it is for.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Config, ConfigError, LogConfig, Logs, read_yaml};

/// An authority's configuration, or that of a log that runs alone.
#[derive(Debug)]
pub enum Either {
    /// `vouchsafe.yaml`
    Authority(Box<Config>),
    /// `log.yaml`
    Log(Box<LogConfig>),
}

#[derive(Deserialize)]
struct Kind {
    authority: Option<IgnoredAny>,
}

impl Either {
    /// Reads a configuration file. Nothing it names is opened yet.
    ///
    /// # Errors
    /// [`ConfigError`] with file and line.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let (_, Kind { authority }) = read_yaml(file)?;
        Ok(match authority {
            Some(_) => Self::Authority(Box::new(Config::read(file)?)),
            None => Self::Log(Box::new(LogConfig::read(file)?)),
        })
    }

    /// Its logs.
    pub fn logs(&self) -> Logs<'_> {
        match self {
            Self::Authority(config) => config.logs(),
            Self::Log(config) => config.logs(),
        }
    }
}
