//! Whose domain a host belongs to, by the list of public suffixes: `a.example.co.uk` and
//! `b.example.co.uk` have one owner, `a.co.uk` and `b.co.uk` have two.

use std::net::IpAddr;

/// The part of a host that somebody has registered, and nothing where there is none: a public suffix
/// itself, a host of one label, an address.
pub(super) fn registrable(host: &str) -> Option<&str> {
    let bare = host.trim_matches(['[', ']']);
    if bare.parse::<IpAddr>().is_ok() || host.contains('[') {
        return None;
    }
    psl::domain_str(host)
}

/// Refuses two hosts that may have two owners.
pub(super) fn same_registrant(issuer: &str, subject: &str) -> Result<(), String> {
    let (issuer, subject) = (issuer.to_ascii_lowercase(), subject.to_ascii_lowercase());
    let shared = registrable(&issuer).is_some_and(|owner| registrable(&subject) == Some(owner));
    if issuer == subject || shared {
        return Ok(());
    }
    Err(format!(
        "the issuer's host {issuer} and the subject-domain's host {subject} are not below one registered domain: who owns the one need not own the other"
    ))
}

/// Scheme and host of an issuer's URL or pattern, whose form has been checked.
pub(super) fn scheme_and_host(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rfind(']') {
        Some(end) => authority.get(..=end),
        None => authority.split(':').next(),
    };
    (scheme, host.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_suffix_or_an_address_is_somebodys_domain() {
        for (host, owner) in [
            ("a.example.com", Some("example.com")),
            ("example.com", Some("example.com")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("me.github.io", Some("me.github.io")),
            ("a.corp.internal", Some("corp.internal")),
            ("co.uk", None),
            ("com", None),
            ("localhost", None),
            ("127.0.0.1", None),
            ("[::1]", None),
            ("", None),
        ] {
            assert_eq!(registrable(host), owner, "{host}");
        }
    }

    #[test]
    fn a_port_or_a_path_is_part_of_a_host() {
        for (url, parts) in [
            ("https://a.example:1/x:y", ("https", "a.example")),
            ("http://[::1]:99", ("http", "[::1]")),
            ("https://*.a.example/*", ("https", "*.a.example")),
        ] {
            assert_eq!(scheme_and_host(url), parts);
        }
    }
}
