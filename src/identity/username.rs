//! Accounts that are neither e-mail addresses nor URIs.

use super::claims::Claims;
use super::domain;
use super::principal::{Principal, PrincipalError};
use crate::certificate::name::{SubjectAlternativeName, Username};

/// How tokens of type `username` are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsernameSubject {
    /// What stands behind the user in every name, so that one issuer's `alice` is not another's.
    domain: String,
}

impl UsernameSubject {
    /// For the issuer at `issuer`, or at a pattern, whose accounts are those of `subject_domain`.
    pub(super) fn new(issuer: &str, subject_domain: &str) -> Result<Self, String> {
        if subject_domain.is_empty() {
            return Err("the type username needs a subject-domain".to_owned());
        }
        Username::new("user", subject_domain).map_err(|_| {
            "the subject-domain of the type username is a bare host, without scheme and port"
                .to_owned()
        })?;
        domain::same_registrant(domain::scheme_and_host(issuer).1, subject_domain)?;
        Ok(Self {
            domain: subject_domain.to_owned(),
        })
    }

    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        let name = Username::new(claims.subject(), &self.domain)?;
        Principal::of_subject(SubjectAlternativeName::Username(name), issuer, claims)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{of_subject, reason};
    use super::*;

    #[test]
    fn a_user_is_somebody_else() {
        let kind = UsernameSubject::new("https://accounts.example.com", "example.com").unwrap();
        let principal =
            |subject| kind.principal("https://accounts.example.com", &of_subject(subject));
        let alice = principal("alice").unwrap();
        assert_eq!(alice.name.to_string(), "alice!example.com");
        assert_eq!(alice.name.kind(), "username");
        assert_eq!(alice.challenge, "alice");
        for subject in [
            "alice!",
            "!",
            "al!ice",
            "alice@example.com",
            "a\u{0}b",
            "a\u{202e}b",
        ] {
            assert!(!reason(principal(subject)).is_empty(), "{subject}");
        }
    }

    #[test]
    fn an_issuer_names_accounts_of_a_strangers_domain() {
        for (issuer, domain) in [
            ("https://example.com", "example.com"),
            ("https://accounts.example.com", "users.example.com"),
            ("https://accounts.example.com", "example.com"),
            ("https://example.com", "users.example.com"),
        ] {
            assert!(
                UsernameSubject::new(issuer, domain).is_ok(),
                "{issuer} {domain}"
            );
        }
        for (issuer, domain) in [
            ("https://example.com", ""),
            ("https://example.com", "https://example.com"),
            ("https://example.com", "example.com/x"),
            ("https://example.com", "example.com:443"),
            ("https://example.com", "example.org"),
            ("https://a.co.uk", "b.co.uk"),
            ("https://example.com", "com"),
        ] {
            assert!(
                UsernameSubject::new(issuer, domain).is_err(),
                "{issuer} {domain}"
            );
        }
    }
}
