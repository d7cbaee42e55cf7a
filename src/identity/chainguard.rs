//! Identities of Chainguard's own issuer, which may act for others.

use super::claims::{ClaimError, Claims};
use super::email::is_verified;
use super::json::Value;
use super::principal::{Principal, PrincipalError};
use crate::certificate::name::{SubjectAlternativeName, Uri};

/// The name is the issuer's URL and, below it, the subject. A person is asked to sign the e-mail
/// address, as people are everywhere, but it is no name: it must still be verified.
pub(super) fn principal(issuer: &str, claims: &Claims) -> Result<Principal, PrincipalError> {
    if let Some(actor) = claims.claim("act") {
        let Value::Object(actor) = actor else {
            return Err(ClaimError::Type("act".to_owned()).into());
        };
        if !actor
            .members()
            .all(|(_, value)| matches!(value, Value::Text(_)))
        {
            return Err(ClaimError::Type("act".to_owned()).into());
        }
    }
    match claims.claim("internal") {
        None => {}
        Some(Value::Object(internal)) => match internal.member("service-principal") {
            None | Some(Value::Text(_)) => {}
            Some(_) => return Err(ClaimError::Type("internal/service-principal".to_owned()).into()),
        },
        Some(_) => return Err(ClaimError::Type("internal".to_owned()).into()),
    }
    let email = match claims.claim("email") {
        None => None,
        Some(Value::Text(email)) if email.is_empty() => None,
        Some(_) => Some(claims.text("email")?),
    };
    if email.is_some() && !is_verified(claims)? {
        return Err(PrincipalError::Unverified);
    }
    let name = SubjectAlternativeName::Uri(Uri::join(issuer, claims.subject())?);
    let principal = Principal::of_subject(name, issuer, claims)?;
    Ok(match email {
        Some(email) => Principal {
            challenge: email.to_owned(),
            ..principal
        },
        None => principal,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checked, reason};
    use super::*;
    use serde_json::json;

    const ISSUER: &str = "https://issuer.enforce.dev";

    #[test]
    fn a_person_or_a_service_is_somebody_else() {
        for (claims, challenge) in [
            (json!({"sub": "abc/def"}), "abc/def"),
            (
                json!({"sub": "abc/def", "act": {"iss": "x", "sub": "y"},
                    "internal": {"service-principal": "SIGNER"}}),
                "abc/def",
            ),
            (
                json!({"sub": "abc/def", "email": "a@b.example", "email_verified": true}),
                "a@b.example",
            ),
            (json!({"sub": "abc/def", "email": ""}), "abc/def"),
        ] {
            let principal = principal(ISSUER, &checked(claims)).unwrap();
            assert_eq!(principal.name.to_string(), format!("{ISSUER}/abc/def"));
            assert_eq!(principal.challenge, challenge);
            assert_eq!(principal.subject, "abc/def");
        }
    }

    #[test]
    fn an_unverified_address_or_a_malformed_actor_is_believed() {
        let said = reason(principal(
            ISSUER,
            &checked(json!({"sub": "a", "email": "a@b.example"})),
        ));
        assert!(said.contains("verified"), "{said}");
        for claims in [
            json!({"sub": "a", "act": "x"}),
            json!({"sub": "a", "act": {"sub": 1}}),
            json!({"sub": "a", "act": null}),
            json!({"sub": "a", "internal": 1}),
            json!({"sub": "a", "internal": {"service-principal": ["x"]}}),
            json!({"sub": "a", "email": 1}),
            json!({"sub": "a", "email": "a@b.example", "email_verified": 1}),
        ] {
            let said = reason(principal(ISSUER, &checked(claims.clone())));
            assert!(said.contains("wrong type"), "{claims}: {said}");
        }
    }

    #[test]
    fn a_subject_that_cleans_to_another_is_certified() {
        for subject in [
            "..", "../x", "a/../b", "a//b", "/", "a/", "100%", "%2e%2e/x",
        ] {
            let said = reason(principal(ISSUER, &checked(json!({"sub": subject}))));
            assert!(said.contains("URI"), "{subject}: {said}");
        }
    }
}
