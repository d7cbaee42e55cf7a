//! The trusted issuers as an operator writes them: Fulcio's own format, in YAML or JSON.
//!
//! Everything that can be wrong is found here, with its line, before a port opens. Some keys are ours,
//! of an issuer `jwks-host` (the only host that may serve its keys), `internal` (it may live in a
//! private network), `in-cluster` (it is the cluster we run in) and `name-prefix` (of a cluster's
//! names), of a provider `claims` and `joined`. Keys that nobody knows are ignored, as Fulcio does,
//! and reported.

mod kinds;
mod mapping;
mod providers;
mod rows;
mod url;

use super::ci::CiProvider;
use super::domain;
use super::issuer::{Kind, Terms, Which};
use super::outbound::Reach;
use super::pod::PodFiles;
use kinds::DraftKind;
use rows::{Document, Draft};
use serde::de::DeserializeSeed;
use std::collections::BTreeMap;
use std::fmt;

/// The trusted issuers, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) issuers: Vec<(Which, Terms)>,
    /// Those of a type that nobody knows: refused, also where a pattern of `issuers` matches.
    pub(super) refused: Vec<Which>,
    /// The environments that are served, or all.
    pub(super) environments: Option<Vec<String>>,
    pub(super) pod: PodFiles,
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
            mut warnings,
        } = document;
        let providers: BTreeMap<String, CiProvider> = providers.into_iter().collect();
        let knows_cluster = fixed
            .iter()
            .chain(&patterns)
            .any(|(_, draft)| match &draft.which {
                Which::Fixed(url) => url == CLUSTER,
                Which::Matching(pattern) => pattern.matches(CLUSTER),
            });
        let mut issuers: Vec<(Which, Terms)> = Vec::new();
        let mut refused = Vec::new();
        for (key, draft) in fixed.into_iter().chain(patterns) {
            let located = |message: String| ConfigError {
                line: line_of(text, &key),
                message: format!("{key}: {message}"),
            };
            let completed = complete(draft, &providers, knows_cluster).map_err(located)?;
            let (which, terms) = match completed {
                Completed::Issuer(which, terms) => (which, *terms),
                Completed::Unknown(which, name) => {
                    refused.push(which);
                    warnings.push(format!(
                        "{key}: the type {name:?} is not supported, so tokens of this issuer are refused"
                    ));
                    continue;
                }
            };
            warnings.extend(dangers(&which, &terms).map(|danger| format!("{key}: {danger}")));
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
        Ok(Self {
            issuers,
            refused,
            environments: None,
            pod: PodFiles::default(),
            warnings,
        })
    }

    /// Serves only issuers that are configured for one of these environments, or for none in
    /// particular; `None` serves all.
    #[must_use]
    pub fn only_environments(self, environments: Option<Vec<String>>) -> Self {
        Self {
            environments,
            ..self
        }
    }

    /// Finds the cluster's authority and the pod's token in these files.
    #[must_use]
    pub fn in_pod(self, pod: PodFiles) -> Self {
        Self { pod, ..self }
    }

    /// Sentences about what was ignored and what is dangerous.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

enum Completed {
    Issuer(Which, Box<Terms>),
    /// Of a type that nobody knows.
    Unknown(Which, String),
}

fn complete(
    draft: Draft,
    providers: &BTreeMap<String, CiProvider>,
    knows_cluster: bool,
) -> Result<Completed, String> {
    let Draft {
        which,
        audience,
        kind,
        reach,
        keys_host,
        roots,
        in_cluster,
        environment,
        told,
    } = draft;
    let kind = match kind {
        DraftKind::Ready(kind) => kind,
        DraftKind::Kubernetes(kubernetes) => Kind::Kubernetes(kubernetes),
        DraftKind::CiProvider(name) => match providers.get(&name) {
            Some(provider) => Kind::CiProvider(provider.clone()),
            None => {
                return Err(format!(
                    "the ci-provider {name:?} is not among ci-issuer-metadata"
                ));
            }
        },
        DraftKind::BuiltIn(name) => Kind::BuiltIn(name, built_in(name)?),
        DraftKind::Unknown(name) => return Ok(Completed::Unknown(which, name)),
    };
    let in_cluster = if let (Which::Fixed(url), Kind::Kubernetes(_)) = (&which, &kind) {
        in_cluster.unwrap_or_else(|| knows_cluster || is_cluster(url))
    } else {
        false
    };
    let terms = Terms {
        audience,
        kind,
        // A cluster's own addresses are private.
        reach: if in_cluster && reach == Reach::Public {
            Reach::Internal
        } else {
            reach
        },
        keys_host,
        roots,
        in_cluster,
        environment,
        told,
    };
    Ok(Completed::Issuer(which, Box::new(terms)))
}

/// One of the providers in `built-in.yaml`.
fn built_in(name: &str) -> Result<CiProvider, String> {
    let document = read(BUILT_IN, Options::default()).map_err(|error| error.message)?;
    let mut providers = document.providers.into_iter();
    providers
        .find(|(found, _)| found == name)
        .map(|(_, provider)| provider)
        .ok_or_else(|| format!("the type {name:?} has no templates"))
}

/// What an operator should know about an issuer that is trusted in a dangerous way.
fn dangers(which: &Which, terms: &Terms) -> impl Iterator<Item = &'static str> {
    let unverified = terms.kind.skips_email_verification();
    let stranger = match which {
        Which::Fixed(url) => terms.in_cluster && !is_cluster(url),
        Which::Matching(_) => false,
    };
    let unverified = unverified.then_some(
        "skip-email-verification is set: whoever can choose an e-mail address there gets certificates for it",
    );
    let stranger = stranger.then_some(
        "the service-account token of this pod is sent to this host; if it is not the cluster that we run in, set in-cluster: false",
    );
    unverified.into_iter().chain(stranger)
}

/// Whether a URL is the name that every cluster has for itself.
fn is_cluster(url: &str) -> bool {
    let (_, host) = domain::scheme_and_host(url);
    host == "kubernetes.default"
        || host == "kubernetes.default.svc"
        || host.starts_with("kubernetes.default.svc.")
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
        let mut error = ConfigError::located(line, column.unwrap_or(0), &error);
        // What is missing at the end the reader may miss on a line after it.
        let last = text.matches(LINE_BREAKS).count() + 1;
        error.line = error.line.map(|line| line.min(last));
        error
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

/// Where it is configured, the issuers of type `kubernetes` are asked as a pod of the cluster asks.
const CLUSTER: &str = "https://kubernetes.default.svc";

const BUILT_IN: &str = include_str!("config/built-in.yaml");

const MAX_TEXT: usize = 1024 * 1024;

/// The characters that YAML 1.1 breaks lines at.
const LINE_BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

#[cfg(test)]
mod tests;
