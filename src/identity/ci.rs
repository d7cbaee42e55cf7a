//! Workloads of CI providers, described by templates in the configuration instead of by code.

use super::claims::{ClaimError, Claims};
use super::json::Value as Json;
use super::principal::{Principal, PrincipalError};
use super::template::Template;
use crate::certificate::extensions::Extension;
use crate::certificate::name::{NameError, SubjectAlternativeName, Uri};
use std::collections::BTreeMap;

/// What one entry of `ci-issuer-metadata` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CiProvider {
    /// Values for templates where the token has no such claim.
    pub(super) defaults: BTreeMap<String, String>,
    /// What some claims must be, before any template is looked at.
    pub(super) rules: Vec<(String, ClaimRule)>,
    /// The certificate's name.
    pub(super) name: Value,
    /// Values of extensions. Those of a token that come out empty are left out.
    pub(super) extensions: Vec<(Extension, Value)>,
}

/// Where a value comes from and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) template: Template,
    /// It is a URI, and all behind its host is a path, whatever characters it has.
    pub(super) is_joined: bool,
}

/// What a claim must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClaimRule {
    /// A text with something in it.
    Text,
    /// A text. Where it is missing, null or empty the default stands for it.
    Optional,
    /// An integer other than zero.
    Number,
    /// One of these texts.
    OneOf(Vec<String>),
}

impl CiProvider {
    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        for (name, rule) in &self.rules {
            rule.check(name, claims)?;
        }
        // A claim wins over a default, even where it says less, unless a rule says that it is optional.
        let values = |name: &str| {
            let default = || self.defaults.get(name).map(|value| value.as_str().into());
            let is_optional = self
                .rules
                .iter()
                .any(|(ruled, rule)| ruled == name && *rule == ClaimRule::Optional);
            match claims.claim(name) {
                Some(Json::Null) if is_optional => default(),
                Some(Json::Text(text)) if is_optional && text.is_empty() => default(),
                Some(_) => claims.as_text(name),
                None => default(),
            }
        };
        let mut principal = {
            let name = self.name.template.render(&values);
            let name = name.map_err(PrincipalError::NameTemplate)?;
            let uri = if self.name.is_joined {
                join(&name)?
            } else {
                Uri::normalize(&name)?
            };
            Principal::of_subject(SubjectAlternativeName::Uri(uri), issuer, claims)?
        };
        for (extension, value) in &self.extensions {
            let extension = *extension;
            let text = value
                .template
                .render(&values)
                .map_err(|error| PrincipalError::Template { extension, error })?;
            let inserted = if value.is_joined {
                principal
                    .extensions
                    .insert(extension, join(&text)?.as_str())
            } else {
                principal.extensions.insert(extension, &text)
            };
            inserted.map_err(|error| PrincipalError::Value { extension, error })?;
        }
        Ok(principal)
    }
}

impl ClaimRule {
    fn check(&self, name: &str, claims: &Claims) -> Result<(), ClaimError> {
        let claim = claims.claim(name);
        let wrong_type = || Err(ClaimError::Type(name.to_owned()));
        match self {
            Self::Text => claims.text(name).map(drop),
            Self::Optional => match claim {
                None | Some(Json::Null | Json::Text(_)) => Ok(()),
                Some(_) => wrong_type(),
            },
            Self::Number => match claim {
                None => Err(ClaimError::Missing(name.to_owned())),
                Some(Json::Integer(0)) => Err(ClaimError::Value(name.to_owned())),
                Some(Json::Integer(_)) => Ok(()),
                Some(_) => wrong_type(),
            },
            Self::OneOf(texts) => {
                let text = claims.text(name)?;
                let is_one = texts.iter().any(|one| one == text);
                is_one
                    .then_some(())
                    .ok_or_else(|| ClaimError::Value(name.to_owned()))
            }
        }
    }
}

/// `https://host/path`, where nothing in the path begins a query or a fragment.
fn join(text: &str) -> Result<Uri, NameError> {
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text.get(authority..).and_then(|rest| rest.find('/'));
    match path.map(|at| text.split_at(authority + at)) {
        Some((base, path)) => Uri::join(base, path.strip_prefix('/').unwrap_or(path)),
        None => Err(NameError::Uri("it has no path")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::unverified::SignedPayload;
    use super::*;
    use serde_json::{Value as Json, json};
    use time::OffsetDateTime;

    const ISSUER: &str = "https://ci.example";

    fn provider(name: &str, extensions: &[(Extension, &str)]) -> CiProvider {
        let template = |text: &str| Value {
            template: Template::parse(text).unwrap().unwrap(),
            is_joined: false,
        };
        CiProvider {
            defaults: [("url", "https://code.example"), ("environment", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            rules: Vec::new(),
            name: template(name),
            extensions: extensions
                .iter()
                .map(|(extension, text)| (*extension, template(text)))
                .collect(),
        }
    }

    fn principal(provider: &CiProvider, mut claims: Json) -> Result<Principal, PrincipalError> {
        for (name, value) in [
            ("iss", json!(ISSUER)),
            ("aud", json!("sigstore")),
            ("sub", json!("repo:o/r")),
            ("exp", json!(1_000)),
        ] {
            claims
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), value);
        }
        let now = OffsetDateTime::from_unix_timestamp(900).unwrap();
        let payload = SignedPayload::pretend(claims);
        let claims = Claims::check(payload, ISSUER, "sigstore", now).unwrap();
        provider.principal(ISSUER, &claims)
    }

    #[test]
    fn a_default_wins_over_a_claim() {
        let provider = provider("{{.url}}/{{.path}}", &[(Extension::BuildTrigger, "url")]);
        let plain = principal(&provider, json!({"path": "o/r"})).unwrap();
        assert_eq!(plain.name.to_string(), "https://code.example/o/r");
        assert_eq!(plain.challenge, "repo:o/r");
        let other = json!({"path": "o/r", "url": "https://other.example"});
        let other = principal(&provider, other).unwrap();
        assert_eq!(other.name.to_string(), "https://other.example/o/r");
        let trigger = other.extensions.value(Extension::BuildTrigger);
        assert_eq!(trigger, Some("https://other.example"));
    }

    #[test]
    fn an_empty_extension_is_written_or_markup_is_escaped() {
        let provider = provider(
            "{{.url}}",
            &[
                (Extension::DeploymentEnvironment, "environment"),
                (Extension::GithubWorkflowName, "{{.workflow}}"),
                (Extension::SourceRepositoryIdentifier, "id"),
            ],
        );
        let principal = principal(
            &provider,
            json!({"workflow": "<a&b>", "id": 9007199254740993_i64}),
        );
        let extensions = principal.unwrap().extensions;
        assert_eq!(extensions.value(Extension::DeploymentEnvironment), None);
        assert_eq!(
            extensions.value(Extension::GithubWorkflowName),
            Some("<a&b>")
        );
        assert_eq!(
            extensions.value(Extension::SourceRepositoryIdentifier),
            Some("9007199254740993")
        );
        assert_eq!(extensions.value(Extension::TokenSubject), Some("repo:o/r"));
    }

    #[test]
    fn a_missing_claim_becomes_an_empty_value() {
        let provider = provider("{{.url}}", &[(Extension::BuildSignerDigest, "sha")]);
        let error = principal(&provider, json!({})).unwrap_err();
        assert!(error.to_string().contains("build-signer-digest"), "{error}");
        assert!(error.to_string().contains("\"sha\""), "{error}");
    }

    #[test]
    fn a_hostile_claim_enters_a_certificate() {
        let provider = provider("{{.url}}/{{.path}}", &[(Extension::BuildTrigger, "event")]);
        for event in ["a\nb", "a\u{0}", "a\u{202e}b", "\u{2028}", "\u{7f}"] {
            let error = principal(&provider, json!({"path": "p", "event": event})).unwrap_err();
            assert!(
                matches!(error, PrincipalError::Value { .. }),
                "{event:?}: {error}"
            );
        }
        let long = "x".repeat(3000);
        assert!(principal(&provider, json!({"path": "p", "event": long})).is_err());
        for path in ["a\tb", "a\u{0}b", "100%", "%zz", "x#"] {
            let error = principal(&provider, json!({"path": path, "event": "e"})).unwrap_err();
            assert!(
                matches!(error, PrincipalError::Name(_)),
                "{path:?}: {error}"
            );
        }
        let relative = json!({"path": "p", "event": "e", "url": ""});
        assert!(matches!(
            principal(&provider, relative).unwrap_err(),
            PrincipalError::Name(_)
        ));
    }

    #[test]
    fn the_name_is_written_otherwise_than_for_years() {
        let provider = provider("{{.url}}/{{.path}}", &[]);
        for (path, written) in [
            ("a b.yml", "a%20b.yml"),
            ("é", "%C3%A9"),
            ("x@refs/heads/feat#1", "x@refs/heads/feat#1"),
            ("a/../b//c%2F%41", "a/../b//c%2F%41"),
            ("x?", "x?"),
        ] {
            let principal = principal(&provider, json!({"path": path})).unwrap();
            let expected = format!("https://code.example/{written}");
            assert_eq!(principal.name.to_string(), expected);
        }
    }
}
