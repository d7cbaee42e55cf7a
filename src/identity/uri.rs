//! Subjects that are URIs below a domain that the issuer speaks for.

use super::claims::Claims;
use super::domain;
use super::principal::{Principal, PrincipalError};
use crate::certificate::name::{SubjectAlternativeName, Uri};

/// How tokens of type `uri` are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UriSubject {
    /// Scheme and host of every subject.
    domain: Uri,
}

impl UriSubject {
    /// For the issuer at `issuer`, or at a pattern, whose subjects are below `subject_domain`.
    pub(super) fn new(issuer: &str, subject_domain: &str) -> Result<Self, String> {
        if subject_domain.is_empty() {
            return Err("the type uri needs a subject-domain".to_owned());
        }
        let domain = Uri::normalize(subject_domain).map_err(|error| {
            format!("the subject-domain of the type uri has a scheme and a host: {error}")
        })?;
        let (scheme, host) = domain::scheme_and_host(issuer);
        if domain.scheme() != scheme {
            return Err("issuer and subject-domain must have the same scheme".to_owned());
        }
        domain::same_registrant(host, domain.host())?;
        Ok(Self { domain })
    }

    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        let subject = claims.subject();
        let uri = Uri::normalize(subject)?;
        // What is certified is what the issuer wrote, so it has to be the one way to write it.
        if uri.as_str() != subject || uri.has_dot_segments() {
            return Err(PrincipalError::Subject("is not a URI in its normal form"));
        }
        if uri.scheme() != self.domain.scheme() || uri.host() != self.domain.host() {
            return Err(PrincipalError::Subject(
                "has another scheme or host than the issuer's subject-domain",
            ));
        }
        Principal::of_subject(SubjectAlternativeName::Uri(uri), issuer, claims)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{of_subject, reason};
    use super::*;

    fn principal(subject: &str) -> Result<Principal, PrincipalError> {
        let kind = UriSubject::new("https://accounts.example.com", "https://example.com").unwrap();
        kind.principal("https://accounts.example.com", &of_subject(subject))
    }

    #[test]
    fn a_subject_of_the_domain_is_refused() {
        for subject in [
            "https://example.com/users/1",
            "https://example.com:99/x",
            "https://example.com",
            "https://example.com/a%20b?x=1",
        ] {
            let principal = principal(subject).unwrap();
            assert_eq!(principal.name.to_string(), subject);
            assert_eq!(principal.challenge, subject);
        }
    }

    #[test]
    fn a_subject_that_could_be_read_as_of_another_domain_is_certified() {
        for subject in [
            "user@example.com",
            "https://other.com/users/1",
            "http://example.com/users/1",
            "https://sub.example.com/x",
            "https://example.com.evil.example/x",
            "https://example.com@evil.example/x",
            "https://user@example.com/x",
            "https://exam\tple.com/x",
            " https://example.com/x",
            "https:example.com/x",
            "https:///example.com/x",
            "https://ex%61mple.com/x",
            "https://EXAMPLE.com/x",
            "HTTPS://example.com/x",
            "https://example.com\\@evil.example/",
            "https://example.com/a b",
            "https://example.com/../x",
            "https://example.com/%2e%2e/x",
            "https://example.com/x#",
            "/users/1",
            "//example.com/x",
            "example.com/x",
            "https://example.com/\u{202e}x",
        ] {
            let said = reason(principal(subject));
            assert!(!said.is_empty(), "{subject}");
        }
    }

    #[test]
    fn an_issuer_speaks_for_a_strangers_domain() {
        for (issuer, domain) in [
            ("https://example.com", "https://example.com"),
            ("https://accounts.example.com", "https://example.com"),
            (
                "https://accounts.example.com",
                "https://users.example.com/x",
            ),
            ("https://example.com", "https://users.example.com"),
            ("https://a.example.co.uk", "https://b.example.co.uk"),
            ("https://x.i.example.com:8443/y", "https://example.com"),
            ("https://local", "https://local"),
        ] {
            assert!(UriSubject::new(issuer, domain).is_ok(), "{issuer} {domain}");
        }
        for (issuer, domain, says) in [
            ("https://example.com", "", "needs a subject-domain"),
            ("https://example.com", "example.com", "has a scheme"),
            ("https://example.com", "/x", "has a scheme"),
            ("https://example.com", "http://example.com", "same scheme"),
            ("https://example.com", "https://example.org", "registered"),
            (
                "https://example.com",
                "https://notexample.com",
                "registered",
            ),
            ("https://a.co.uk", "https://b.co.uk", "registered"),
            ("https://a.github.io", "https://b.github.io", "registered"),
            ("https://com", "https://example.com", "registered"),
            ("https://local", "https://other", "registered"),
            ("https://127.0.0.1", "https://10.0.0.1", "registered"),
            ("https://1.2.0.1", "https://3.4.0.1", "registered"),
        ] {
            let error = UriSubject::new(issuer, domain).unwrap_err();
            assert!(error.contains(says), "{issuer} {domain}: {error}");
        }
    }
}
