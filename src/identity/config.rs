//! The trusted issuers as an operator writes them: Fulcio's own format, in YAML or JSON.
//!
//! Everything that can be wrong is found here, with its line, before a port opens. Two keys of an
//! issuer are ours: `jwks-host` (the only host that may serve its keys) and `internal` (it may live
//! in a private network). Keys that nobody knows are ignored, as Fulcio does, and reported.

mod mapping;
mod rows;
mod url;

use super::ci::CiProvider;
use super::issuer::{Kind, Terms, Which};
use rows::{Document, Draft, DraftKind};
use serde::de::DeserializeSeed;
use std::collections::BTreeMap;
use std::fmt;

/// The trusted issuers, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) issuers: Vec<(Which, Terms)>,
    warnings: Vec<String>,
}

/// What a configuration may do that production must not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Issuers on this host, over plain HTTP.
    pub allow_http_loopback: bool,
}

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, counted from one, where it is known.
    pub line: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

impl Config {
    /// Reads a configuration from YAML or JSON text.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_text(text: &str, options: Options) -> Result<Self, ConfigError> {
        if text.len() > MAX_TEXT {
            let message = format!("a configuration of issuers has at most {MAX_TEXT} bytes");
            return Err(ConfigError::new(&message));
        }
        let document = read(text, options)?;
        let Document {
            fixed,
            patterns,
            providers,
            warnings,
        } = document;
        let providers: BTreeMap<String, CiProvider> = providers.into_iter().collect();
        let mut issuers: Vec<(Which, Terms)> = Vec::new();
        for (key, draft) in fixed.into_iter().chain(patterns) {
            let located = |message: String| ConfigError {
                line: line_of(text, &key),
                message: format!("{key}: {message}"),
            };
            let (which, terms) = complete(draft, &providers).map_err(located)?;
            if let Which::Matching(pattern) = &which {
                let rival = issuers.iter().find_map(|(other, _)| match other {
                    Which::Matching(other) if other.overlaps(pattern) => Some(other.as_str()),
                    Which::Matching(_) | Which::Fixed(_) => None,
                });
                if let Some(rival) = rival {
                    return Err(located(format!(
                        "some issuers match both this pattern and {rival}; which of them applies must not be a matter of luck"
                    )));
                }
            }
            issuers.push((which, terms));
        }
        if issuers.is_empty() {
            return Err(ConfigError::new("no issuer is configured"));
        }
        Ok(Self { issuers, warnings })
    }

    /// Sentences about what was ignored.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn complete(
    draft: Draft,
    providers: &BTreeMap<String, CiProvider>,
) -> Result<(Which, Terms), String> {
    let Draft {
        which,
        audience,
        kind,
        reach,
        keys_host,
        roots,
        told,
    } = draft;
    let kind = match kind {
        DraftKind::Email(email) => Kind::Email(email),
        DraftKind::CiProvider(name) => match providers.get(&name) {
            Some(provider) => Kind::CiProvider(provider.clone()),
            None => {
                return Err(format!(
                    "the ci-provider {name:?} is not among ci-issuer-metadata"
                ));
            }
        },
    };
    let terms = Terms {
        audience,
        kind,
        reach,
        keys_host,
        roots,
        told,
    };
    Ok((which, terms))
}

/// JSON where it is JSON, else YAML. Both readers drive the same code.
fn read(text: &str, options: Options) -> Result<Document, ConfigError> {
    if text.trim_start().starts_with('{') {
        let mut json = serde_json::Deserializer::from_str(text);
        let document = rows::document(options).deserialize(&mut json);
        match document.and_then(|document| json.end().map(|()| document)) {
            Ok(document) => return Ok(document),
            Err(error) if error.is_data() => {
                return Err(ConfigError::located(
                    Some(error.line()),
                    error.column(),
                    &error,
                ));
            }
            // Perhaps a flow mapping of YAML.
            Err(_) => {}
        }
    }
    let yaml = yaml_serde::Deserializer::from_str(text);
    rows::document(options).deserialize(yaml).map_err(|error| {
        let location = error.location();
        let (line, column) = location
            .map(|location| (location.line(), location.column()))
            .unzip();
        ConfigError::located(line, column.unwrap_or(0), &error)
    })
}

/// The line where a mapping has this key, for mistakes that show only when all has been read.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_key = |line: &str| {
        let line = line.trim_start().trim_start_matches(['"', '\'', '{', '?']);
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| {
            rest.trim_start_matches(['"', '\''])
                .trim_start()
                .starts_with(':')
        })
    };
    text.lines().position(is_key).map(|line| line + 1)
}

impl ConfigError {
    pub(super) fn new(message: &str) -> Self {
        Self {
            line: None,
            message: message.to_owned(),
        }
    }

    /// A reader's error, without the place that it appends itself.
    fn located(line: Option<usize>, column: usize, error: &dyn fmt::Display) -> Self {
        let text = error.to_string();
        let place = line.map(|line| format!(" at line {line} column {column}"));
        let message = place.and_then(|place| text.strip_suffix(&place).map(str::to_owned));
        Self {
            line,
            message: message.unwrap_or(text),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}: {}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

const MAX_TEXT: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
