//! Workloads of CI providers, described by templates in the configuration instead of by code.

use super::claims::Claims;
use super::principal::{Principal, PrincipalError};
use super::template::Template;
use crate::certificate::extensions::{Extension, Extensions};
use crate::certificate::name::{SubjectAlternativeName, Uri};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What one entry of `ci-issuer-metadata` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CiProvider {
    /// Values for templates where the token has no such claim.
    pub(super) defaults: BTreeMap<String, String>,
    /// The certificate's name.
    pub(super) name: Template,
    /// Values of extensions. Those of a token that come out empty are left out.
    pub(super) extensions: Vec<(Extension, Template)>,
}

impl CiProvider {
    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        // A claim wins over a default, even where it says less.
        let values = |name: &str| {
            claims.as_text(name).or_else(|| {
                self.defaults
                    .get(name)
                    .map(|value| Cow::Borrowed(value.as_str()))
            })
        };
        let mut extensions =
            Extensions::new(issuer, claims.subject()).map_err(PrincipalError::Origin)?;
        for (extension, template) in &self.extensions {
            let extension = *extension;
            let value = template
                .render(&values)
                .map_err(|error| PrincipalError::Template { extension, error })?;
            extensions
                .insert(extension, &value)
                .map_err(|error| PrincipalError::Value { extension, error })?;
        }
        let name = self
            .name
            .render(&values)
            .map_err(PrincipalError::NameTemplate)?;
        Ok(Principal {
            name: SubjectAlternativeName::Uri(Uri::normalize(&name)?),
            challenge: claims.subject().to_owned(),
            extensions,
            issuer: issuer.to_owned(),
            subject: claims.subject().to_owned(),
            expires: claims.expires(),
        })
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
        let template = |text: &str| Template::parse(text).unwrap().unwrap();
        CiProvider {
            defaults: [("url", "https://code.example"), ("environment", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
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
