//! People with a verified e-mail address.

use super::claims::{ClaimError, Claims};
use super::json::Value;
use super::principal::{Principal, PrincipalError};
use crate::certificate::extensions::Extensions;
use crate::certificate::name::{EmailAddress, SubjectAlternativeName};

/// How tokens of type `email` are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Email {
    /// The claim that names the issuer behind a federating one.
    pub(super) issuer_claim: Option<ClaimPath>,
    /// Believe addresses that the issuer has not verified.
    pub(super) skip_verification: bool,
}

/// A path such as `$.federated_claims.connector_id` to a claim inside of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimPath {
    text: String,
    names: Vec<String>,
}

impl Email {
    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        let address = claims.text("email")?;
        // Read even when it is not needed: a token with nonsense here is not to be believed at all.
        let verified = is_verified(claims)?;
        if !verified && !self.skip_verification {
            return Err(PrincipalError::Unverified);
        }
        let vouching = match &self.issuer_claim {
            Some(path) => path.read(claims)?,
            None => issuer,
        };
        let name = EmailAddress::parse(address)?;
        let extensions =
            Extensions::new(vouching, claims.subject()).map_err(PrincipalError::Origin)?;
        Ok(Principal {
            name: SubjectAlternativeName::Email(name),
            challenge: address.to_owned(),
            extensions,
            issuer: issuer.to_owned(),
            subject: claims.subject().to_owned(),
            expires: claims.expires(),
        })
    }
}

/// Whether the issuer says that the address is its holder's. Some issuers write the truth value as
/// text; nothing else is taken for one.
pub(super) fn is_verified(claims: &Claims) -> Result<bool, ClaimError> {
    match claims.claim("email_verified") {
        None | Some(Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(Value::Text(text)) if text == "true" || text == "True" => Ok(true),
        Some(Value::Text(text)) if text == "false" || text == "False" => Ok(false),
        Some(_) => Err(ClaimError::Type("email_verified".into())),
    }
}

impl ClaimPath {
    /// Reads `$.a.b`. Of JSONPath only member names are understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text
            .strip_prefix("$.")
            .map(|names| names.split('.').map(str::to_owned).collect())
            .unwrap_or_default();
        let plain = |name: &String| {
            let mut bytes = name.bytes();
            !name.is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        if names.is_empty() || !names.iter().all(plain) {
            return Err(format!(
                "the issuer-claim {text:?} is not of the form `$.name.name`"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            names,
        })
    }

    fn read<'c>(&self, claims: &'c Claims) -> Result<&'c str, ClaimError> {
        let [first, rest @ ..] = self.names.as_slice() else {
            return Err(ClaimError::Missing(self.text.clone()));
        };
        let mut value = claims.claim(first);
        for name in rest {
            value = match value {
                Some(Value::Object(object)) => object.member(name),
                Some(_) => return Err(ClaimError::Type(self.text.clone())),
                None => None,
            };
        }
        match value {
            Some(Value::Text(text)) if !text.is_empty() => Ok(text),
            Some(Value::Text(_)) | None => Err(ClaimError::Missing(self.text.clone())),
            Some(_) => Err(ClaimError::Type(self.text.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::unverified::SignedPayload;
    use super::*;
    use serde_json::{Value as Json, json};
    use time::OffsetDateTime;

    const ISSUER: &str = "https://issuer.example";

    fn principal(kind: &Email, mut more: Json) -> Result<Principal, PrincipalError> {
        let claims = more.as_object_mut().unwrap();
        for (name, value) in [
            ("iss", json!(ISSUER)),
            ("aud", json!("sigstore")),
            ("sub", json!("subject")),
            ("exp", json!(1_000)),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let payload = SignedPayload::pretend(more);
        let now = OffsetDateTime::from_unix_timestamp(900).unwrap();
        kind.principal(
            ISSUER,
            &Claims::check(payload, ISSUER, "sigstore", now).unwrap(),
        )
    }

    fn kind(skip_verification: bool) -> Email {
        Email {
            issuer_claim: None,
            skip_verification,
        }
    }

    #[test]
    fn an_unverified_address_is_believed() {
        for (claim, verified) in [
            (Some(json!(true)), true),
            (Some(json!("true")), true),
            (Some(json!("True")), true),
            (Some(json!(false)), false),
            (Some(json!("false")), false),
            (Some(json!("False")), false),
            (None, false),
        ] {
            let mut claims = json!({"email": "Alice@example.com"});
            if let Some(claim) = &claim {
                claims["email_verified"] = claim.clone();
            }
            let strict = principal(&kind(false), claims.clone());
            match strict {
                Ok(principal) => {
                    assert!(verified, "{claim:?}");
                    assert_eq!(principal.name.to_string(), "Alice@example.com");
                    assert_eq!(principal.challenge, "Alice@example.com");
                    assert_eq!(principal.issuer, ISSUER);
                }
                Err(error) => {
                    assert!(!verified, "{claim:?}");
                    assert_eq!(error, PrincipalError::Unverified);
                }
            }
            assert!(principal(&kind(true), claims).is_ok(), "{claim:?}");
        }
    }

    #[test]
    fn nonsense_in_email_verified_counts_as_false_or_true() {
        for claim in [
            json!(null),
            json!(1),
            json!(0),
            json!("TRUE"),
            json!("yes"),
            json!(""),
            json!([true]),
            json!({"true": true}),
        ] {
            for skip in [false, true] {
                let claims = json!({"email": "alice@example.com", "email_verified": claim});
                let error = principal(&kind(skip), claims).unwrap_err();
                assert_eq!(
                    error,
                    PrincipalError::Claim(ClaimError::Type("email_verified".into())),
                    "{claim}"
                );
            }
        }
    }

    #[test]
    fn something_that_is_no_address_becomes_a_name() {
        for address in [json!(null), json!(1), json!(["a@example.com"])] {
            let error = principal(&kind(true), json!({"email": address})).unwrap_err();
            let expected = ClaimError::Type("email".into());
            assert_eq!(error, PrincipalError::Claim(expected), "{address}");
        }
        for claims in [
            json!({}),
            json!({"email": ""}),
            json!({"Email": "a@example.com"}),
        ] {
            let error = principal(&kind(true), claims).unwrap_err();
            let expected = ClaimError::Missing("email".into());
            assert_eq!(error, PrincipalError::Claim(expected));
        }
        for address in [
            "alice",
            "alice@",
            "@example.com",
            "a@b@c.example",
            "a\n@example.com",
        ] {
            let error = principal(&kind(true), json!({"email": address})).unwrap_err();
            assert!(
                matches!(error, PrincipalError::Name(_)),
                "{address}: {error}"
            );
        }
    }

    #[test]
    fn the_federating_issuer_hides_the_real_one() {
        use crate::certificate::extensions::Extension;
        let kind = Email {
            issuer_claim: Some(ClaimPath::parse("$.federated_claims.connector_id").unwrap()),
            skip_verification: true,
        };
        let claims = json!({
            "email": "a@example.com",
            "federated_claims": {"connector_id": "https://accounts.example", "x": 1},
        });
        let principal_of = principal(&kind, claims).unwrap();
        let issuer = principal_of.extensions.value(Extension::IssuerV2);
        assert_eq!(issuer, Some("https://accounts.example"));
        assert_eq!(principal_of.issuer, ISSUER);
        for (federated, missing) in [
            (json!({"federated_claims": {}}), true),
            (json!({"federated_claims": {"connector_id": ""}}), true),
            (json!({}), true),
            (json!({"federated_claims": {"connector_id": 1}}), false),
            (json!({"federated_claims": "x"}), false),
            (json!({"federated_claims": null}), false),
        ] {
            let mut claims = federated.clone();
            claims["email"] = json!("a@example.com");
            let path = "$.federated_claims.connector_id".to_owned();
            let expected = if missing {
                ClaimError::Missing(path)
            } else {
                ClaimError::Type(path)
            };
            let error = principal(&kind, claims).unwrap_err();
            assert_eq!(error, PrincipalError::Claim(expected), "{federated}");
        }
    }

    #[test]
    fn a_path_that_is_not_understood_is_taken() {
        for text in [
            "", "$", "$.", "a", "a.b", "$.a.", "$..a", "$.a[0]", "$['a']", "$.*", "$.a b",
        ] {
            assert!(ClaimPath::parse(text).is_err(), "{text}");
        }
        assert!(ClaimPath::parse("$.other_issuer").is_ok());
    }
}
