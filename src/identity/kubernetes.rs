//! Pods, by the service account they run as.

use super::claims::{ClaimError, Claims};
use super::json::Value;
use super::principal::{Principal, PrincipalError};
use crate::certificate::name::{SubjectAlternativeName, Uri};

/// How tokens of type `kubernetes` are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kubernetes {
    /// What stands before the namespace in a name. The usual one is the same for every cluster in the
    /// world, so that only the issuer tells them apart.
    pub(super) prefix: Uri,
}

impl Kubernetes {
    /// With a prefix of its own, or the usual one where `prefix` is empty.
    pub(super) fn new(prefix: &str) -> Result<Self, String> {
        let prefix = match prefix {
            "" => USUAL_PREFIX,
            own => own,
        };
        let wrong = |reason: &dyn std::fmt::Display| format!("name-prefix: {reason}");
        let uri = Uri::normalize(prefix).map_err(|error| wrong(&error))?;
        if uri.as_str() != prefix || prefix.ends_with('/') || prefix.contains(['?', '#']) {
            return Err(wrong(&"it is a plain URI without a slash at its end"));
        }
        Ok(Self { prefix: uri })
    }

    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        let namespace = member(claims, &["namespace"])?;
        let account = member(claims, &["serviceaccount", "name"])?;
        // Unchecked, a namespace `a/serviceaccounts/b` would speak for another account.
        if !is_label(namespace) {
            return Err(ClaimError::Value("kubernetes.io/namespace".to_owned()).into());
        }
        if account.len() > 253 || !account.split('.').all(is_label) {
            return Err(ClaimError::Value("kubernetes.io/serviceaccount/name".to_owned()).into());
        }
        if claims.subject() != format!("system:serviceaccount:{namespace}:{account}") {
            return Err(PrincipalError::Subject(
                "is not the service account that its other claims name",
            ));
        }
        let path = format!("namespaces/{namespace}/serviceaccounts/{account}");
        let name = SubjectAlternativeName::Uri(Uri::join(self.prefix.as_str(), &path)?);
        Principal::of_subject(name, issuer, claims)
    }
}

/// A text inside of the claim `kubernetes.io`.
fn member<'c>(claims: &'c Claims, names: &[&str]) -> Result<&'c str, ClaimError> {
    let path = || format!("{CLAIM}/{}", names.join("/"));
    let mut value = claims.claim(CLAIM);
    for name in names {
        value = match value {
            Some(Value::Object(object)) => object.member(name),
            Some(_) => return Err(ClaimError::Type(path())),
            None => None,
        };
    }
    match value {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text),
        Some(Value::Text(_)) | None => Err(ClaimError::Missing(path())),
        Some(_) => Err(ClaimError::Type(path())),
    }
}

/// RFC 1123 section 2.1, as Kubernetes takes it: lower case only.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

const CLAIM: &str = "kubernetes.io";
const USUAL_PREFIX: &str = "https://kubernetes.io";

#[cfg(test)]
mod tests {
    use super::super::tests::{checked, reason};
    use super::*;
    use serde_json::{Value as Json, json};

    fn principal(prefix: &str, claims: Json) -> Result<Principal, PrincipalError> {
        let kind = Kubernetes::new(prefix).unwrap();
        kind.principal("https://i.example", &checked(claims))
    }

    fn account(namespace: &str, name: &str) -> Json {
        json!({
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {
                "namespace": namespace, "serviceaccount": {"name": name, "uid": "1"},
                "pod": {"name": "p", "uid": "2"},
            },
        })
    }

    #[test]
    fn a_service_account_is_somebody_else() {
        let plain = principal("", account("foo", "baz")).unwrap();
        let url = "https://kubernetes.io/namespaces/foo/serviceaccounts/baz";
        assert_eq!(plain.name.to_string(), url);
        assert_eq!(plain.challenge, "system:serviceaccount:foo:baz");
        let own = principal("https://clusters.example/blue", account("foo", "b.a-z")).unwrap();
        let url = "https://clusters.example/blue/namespaces/foo/serviceaccounts/b.a-z";
        assert_eq!(own.name.to_string(), url);
    }

    #[test]
    fn a_namespace_or_an_account_is_injected() {
        for (namespace, name) in [
            ("foo/serviceaccounts/x", "baz"),
            ("foo", "baz/../x"),
            ("foo", ".."),
            ("..", "baz"),
            ("Foo", "baz"),
            ("foo", "-baz"),
            ("foo", "b:z"),
            ("f.oo", "baz"),
            ("foo%2f", "baz"),
            ("foo", "baz#x"),
            ("foo", "baz."),
            ("é", "baz"),
        ] {
            let said = reason(principal("", account(namespace, name)));
            assert!(said.contains("not allowed"), "{namespace} {name}: {said}");
        }
        for (namespace, name) in [("", "baz"), ("foo", "")] {
            let said = reason(principal("", account(namespace, name)));
            assert!(said.contains("no claim"), "{said}");
        }
        assert!(principal("", account(&"a".repeat(64), "b")).is_err());
        assert!(principal("", account("a", &"b.".repeat(127))).is_err());
    }

    #[test]
    fn a_subject_that_is_another_account_than_the_claims_say_is_believed() {
        for subject in [
            "system:serviceaccount:foo:other",
            "system:serviceaccount:foobaz",
            "x",
        ] {
            let mut claims = account("foo", "baz");
            claims["sub"] = json!(subject);
            let said = reason(principal("", claims));
            assert!(said.contains("service account"), "{said}");
        }
    }

    #[test]
    fn a_token_of_another_shape_is_read() {
        for (claim, says) in [
            (json!(null), "wrong type"),
            (json!("foo"), "wrong type"),
            (json!({}), "no claim \"kubernetes.io/namespace\""),
            (json!({"namespace": 1}), "wrong type"),
            (
                json!({"namespace": "foo"}),
                "no claim \"kubernetes.io/serviceaccount/name\"",
            ),
            (
                json!({"namespace": "foo", "serviceaccount": "baz"}),
                "wrong type",
            ),
            (
                json!({"namespace": "foo", "serviceaccount": {"name": ["baz"]}}),
                "wrong type",
            ),
        ] {
            let mut claims = account("foo", "baz");
            claims["kubernetes.io"] = claim;
            let said = reason(principal("", claims));
            assert!(said.contains(says), "{said}");
        }
        let said = reason(principal("", json!({})));
        assert!(said.contains("kubernetes.io/namespace"), "{said}");
    }

    #[test]
    fn a_prefix_that_ends_anywhere_is_configured() {
        for prefix in [
            "kubernetes",
            "https://a.example/",
            "https://a.example?",
            "HTTPS://a.example",
            "https://a b",
        ] {
            assert!(Kubernetes::new(prefix).is_err(), "{prefix}");
        }
    }
}
