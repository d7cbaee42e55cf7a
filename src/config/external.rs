//! Somebody else's transparency logs, as `ctlog:` names them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::logs::{public_key_file, refused, some_certificates};
use super::{Config, ConfigError};
use crate::authority::file::read_text;
use crate::ctlog::remote::ExternalLog;

/// One log, or several in the order of preference.
#[derive(Debug)]
pub struct CtLogs(pub Vec<CtLogSettings>);

/// Somebody else's log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CtLogSettings {
    /// Its submission prefix: what stands before `/ct/v1`.
    pub url: String,
    /// The file with its public key in PEM.
    pub public_key: PathBuf,
    /// The name it is asked by, where that is not the one in its address.
    pub origin: Option<String>,
    /// The file with the CA certificates in PEM that a connection to it is checked by.
    pub ca_certificates: Option<PathBuf>,
    /// Since when verifiers believe it; since the authority's own beginning, if nothing is said.
    #[serde(default, deserialize_with = "moment")]
    pub valid_from: Option<OffsetDateTime>,
    /// Until when: it stays in the trusted root, and from then on nothing is sent to it.
    #[serde(default, deserialize_with = "moment")]
    pub valid_until: Option<OffsetDateTime>,
}

impl<'de> Deserialize<'de> for CtLogs {
    /// Told apart by shape and not by trial, so that a mistake is told with its own words and line.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = CtLogs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a log (url, public-key, …) or a list of logs")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CtLogs, A::Error> {
                let one = CtLogSettings::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CtLogs(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CtLogs, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(CtLogs)
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = OffsetDateTime::parse(&text, &Rfc3339);
    let read = read.map_err(|_| de::Error::custom("a time is written as 2026-01-01T00:00:00Z"))?;
    Ok(Some(read))
}

impl Config {
    /// Somebody else's logs with everything read that is named; none, where certificates go into the
    /// built-in log. Nobody is asked yet.
    ///
    /// # Errors
    /// [`ConfigError`] with the file of a key or of certificates.
    pub fn external_logs(&self) -> Result<Vec<ExternalLog>, ConfigError> {
        self.ct_logs()
            .iter()
            .map(|log| self.external_log(log))
            .collect()
    }

    /// How long one certificate may take with all of them together.
    pub fn ctlog_deadline(&self) -> Duration {
        Duration::from_secs(self.settings.ctlog_seconds.into())
    }

    pub(super) fn ct_logs(&self) -> &[CtLogSettings] {
        self.settings
            .ctlog
            .as_ref()
            .map_or(&[], |CtLogs(logs)| logs)
    }

    fn external_log(&self, log: &CtLogSettings) -> Result<ExternalLog, ConfigError> {
        let CtLogSettings {
            url,
            public_key,
            origin,
            ca_certificates,
            valid_from: _,
            valid_until,
        } = log;
        let key = public_key_file(&self.base.join(public_key))?;
        let ca_certificates = ca_certificates
            .as_ref()
            .map(|file| self.pem_certificates(file));
        Ok(ExternalLog {
            url: url.trim_end_matches('/').to_owned(),
            public_key_der: key.public_key_der().to_vec(),
            origin: origin.clone().filter(|origin| !origin.is_empty()),
            ca_certificates: ca_certificates.transpose()?,
            valid_until: *valid_until,
        })
    }

    /// The certificates of a file, of which there must be one.
    pub(super) fn pem_certificates(&self, file: &Path) -> Result<Vec<Vec<u8>>, ConfigError> {
        let file = self.base.join(file);
        let text = read_text(&file).map_err(|error| refused(&file, error.to_string()))?;
        some_certificates(&file, &text)
    }
}

pub(super) const fn default_ctlog_seconds() -> u32 {
    DEFAULT_CTLOG_SECONDS
}

/// How long a certificate may take with somebody else's logs unless somebody says otherwise.
pub const DEFAULT_CTLOG_SECONDS: u32 = 10;
/// Below the twenty seconds after which every request is given up.
pub(super) const MAX_CTLOG_SECONDS: u32 = 15;
