//! Workloads with a SPIFFE ID.

use super::claims::Claims;
use super::principal::{Principal, PrincipalError};
use crate::certificate::name::{SubjectAlternativeName, Uri};

/// How tokens of type `spiffe` are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spiffe {
    /// The only one whose workloads the issuer may name.
    pub(super) trust_domain: TrustDomain,
}

/// The authority of SPIFFE IDs: letters in lower case, digits, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustDomain(String);

impl Spiffe {
    pub(super) fn principal(
        &self,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Principal, PrincipalError> {
        let id = claims.subject();
        let (domain, path) = split(id).ok_or(PrincipalError::Subject("is not a SPIFFE ID"))?;
        // "SPIFFE implementations MUST support SPIFFE URIs up to 2048 bytes in length and MUST NOT
        // generate URIs of length greater than 2048 bytes." (SPIFFE-ID, section 2.3)
        if id.len() > MAX_ID || !path.split('/').skip(1).all(is_segment) {
            return Err(PrincipalError::Subject("is not a SPIFFE ID"));
        }
        if domain != self.trust_domain.0 {
            return Err(PrincipalError::Subject(
                "is of another SPIFFE trust domain than the issuer's",
            ));
        }
        let name = SubjectAlternativeName::Uri(Uri::normalize(id)?);
        Principal::of_subject(name, issuer, claims)
    }
}

impl TrustDomain {
    /// Reads it bare or as `spiffe://…`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix(SCHEME).unwrap_or(text);
        let bytes_are_right = bare.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte)
        });
        let fits = (1..=255).contains(&bare.len());
        if !fits || !bytes_are_right || Uri::normalize(&format!("{SCHEME}{bare}/x")).is_err() {
            return Err(format!(
                "the spiffe-trust-domain {text:?} is not a name of lower-case letters, digits, `.`, `-` and `_`"
            ));
        }
        Ok(Self(bare.to_owned()))
    }
}

/// Trust domain and path; the path is empty or begins with a slash.
fn split(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix(SCHEME)?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// "Path segments MUST NOT be empty, `.` or `..`" and have letters, digits, `.`, `-` and `_` only
/// (SPIFFE-ID, section 2.2). A slash at the end makes an empty one.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

const SCHEME: &str = "spiffe://";
const MAX_ID: usize = 2048;

#[cfg(test)]
mod tests {
    use super::super::tests::{of_subject, reason};
    use super::*;

    fn kind(domain: &str) -> Spiffe {
        Spiffe {
            trust_domain: TrustDomain::parse(domain).unwrap(),
        }
    }

    #[test]
    fn a_workload_of_the_trust_domain_is_a_stranger() {
        for domain in ["example.com", "spiffe://example.com"] {
            for id in [
                "spiffe://example.com/foo/bar",
                "spiffe://example.com/ns/a_b/sa/C.d-e",
                "spiffe://example.com",
            ] {
                let claims = of_subject(id);
                let principal = kind(domain)
                    .principal("https://i.example", &claims)
                    .unwrap();
                assert_eq!(principal.name.to_string(), id);
                assert_eq!(principal.name.kind(), "uri");
                assert_eq!(principal.challenge, id);
            }
        }
    }

    #[test]
    fn a_subject_outside_of_the_trust_domain_is_certified() {
        for id in [
            "spiffe://example.org/foo",
            "spiffe://example.com.evil.example/foo",
            "spiffe://sub.example.com/foo",
            "spiffe://EXAMPLE.com/foo",
            "SPIFFE://example.com/foo",
            "spiffe:/example.com/foo",
            "https://example.com/foo",
            "spiffe://example.com:443/foo",
            "spiffe://user@example.com/foo",
            "spiffe://example.com/foo/",
            "spiffe://example.com/",
            "spiffe://example.com//foo",
            "spiffe://example.com/foo/../bar",
            "spiffe://example.com/./foo",
            "spiffe://example.com/foo?x",
            "spiffe://example.com/foo#x",
            "spiffe://example.com?x",
            "spiffe://example.com/f%6fo",
            "spiffe://example.com/fo o",
            "spiffe://example.com/é",
            "spiffe:///foo",
            "example.com/foo",
        ] {
            let refused = kind("example.com").principal("https://i.example", &of_subject(id));
            assert!(
                reason(refused).starts_with("the token's subject is "),
                "{id}"
            );
        }
        let long = format!("spiffe://example.com/{}", "x".repeat(2028));
        let refused = kind("example.com").principal("https://i.example", &of_subject(&long));
        assert!(refused.is_err());
    }

    #[test]
    fn something_else_becomes_a_trust_domain() {
        for text in [
            "",
            "spiffe://",
            "Example.com",
            "example.com/x",
            "https://example.com",
            "a b",
            "é",
            "example.com:443",
            "a..b",
            "spiffe://spiffe://a",
        ] {
            assert!(TrustDomain::parse(text).is_err(), "{text:?}");
        }
        assert!(TrustDomain::parse(&"a".repeat(256)).is_err());
        assert!(TrustDomain::parse("td_1.example-2.org").is_ok());
    }
}
