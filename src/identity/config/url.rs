//! What an issuer's URL may be: only a text that the URL parser takes as it stands. The parser
//! forgives much (`127.1`, tabs, back slashes, escapes in a host), and what it forgives could make
//! the host that is asked another one than the host that is read.

use super::Options;
use crate::identity::outbound::{Reach, is_loopback_host};

/// Checks the URL of an issuer, or a pattern of such URLs, and tells where it may live.
pub(super) fn check(
    text: &str,
    pattern: bool,
    internal: bool,
    options: Options,
) -> Result<Reach, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("an issuer's URL has at most {MAX_LENGTH} bytes"));
    }
    let strange = |byte: u8| !byte.is_ascii_graphic() || b"\\\"<>^`{|}?#@".contains(&byte);
    if let Some(strange) = text.bytes().find(|byte| strange(*byte)) {
        let strange = char::from(strange);
        return Err(format!("an issuer's URL cannot contain {strange:?}"));
    }
    if text.contains('*') && !pattern {
        return Err("a `*` has no meaning in oidc-issuers; patterns belong to meta-issuers".into());
    }
    // A letter in the place of each `*` makes a pattern one of its issuers.
    let example = text.replace('*', "x");
    let Some((scheme, rest)) = example.split_once("://") else {
        return Err("an issuer's URL begins with https://".to_owned());
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let url = reqwest::Url::parse(&example).map_err(|error| format!("not a URL: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    let port = authority.get(host.len()..).unwrap_or_default();
    let as_it_stands = url.path() == path
        && authority
            .get(..host.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(host))
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number));
    if host.is_empty() || !as_it_stands {
        return Err("not a plain URL: its host or path could be read in two ways".to_owned());
    }
    if is_loopback_host(host) {
        if !options.allow_http_loopback {
            return Err("an issuer on this host is for development only".to_owned());
        }
        return match scheme {
            "https" | "http" => Ok(Reach::Loopback),
            _ => Err("an issuer's URL begins with https://".to_owned()),
        };
    }
    if scheme != "https" {
        return Err("an issuer's URL begins with https://".to_owned());
    }
    let reach = if internal {
        Reach::Internal
    } else {
        Reach::Public
    };
    if !reach.admits_url(&url) {
        return Err("an issuer at a private address needs `internal: true`".to_owned());
    }
    Ok(reach)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An issuer enters certificates, so it cannot be longer than a value there.
const MAX_LENGTH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Reach, String> {
        super::check(text, false, false, Options::default())
    }

    #[test]
    fn a_url_that_can_be_read_in_two_ways_is_configured() {
        for text in [
            "",
            "issuer.example",
            "https:issuer.example",
            "https:///issuer.example",
            "https://",
            "https://issuer.example\\x",
            "https://user@issuer.example",
            "https://issuer.example?x",
            "https://issuer.example#x",
            "https://issuer.example/a b",
            "https://iss\tuer.example",
            " https://issuer.example",
            "https://ex%61mple.com",
            "https://issuer.example/a/../b",
            "https://issuer.example/./b",
            "https://exämple.com",
            "https://issuer.example:x",
            "https://issuer.example:",
            "https://issuer.example:99999",
            "HTTPS://issuer.example",
            "ftp://issuer.example",
            "http://issuer.example",
            "https://127.1",
            "https://0x8.8.8.8",
            "https://2130706433",
            "https://issuer.example/*",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_honest_url_is_refused() {
        for text in [
            "https://issuer.example",
            "https://issuer.example/",
            "https://issuer.example/auth/realms/a_b",
            "https://issuer.example/a%20b",
            "https://issuer.example:8443/x",
            "https://issuer.example:443",
            "https://8.8.8.8/x",
        ] {
            assert_eq!(check(text), Ok(Reach::Public), "{text}");
        }
        let pattern = super::check("https://*.a.example/*/", true, false, Options::default());
        assert_eq!(pattern, Ok(Reach::Public));
    }

    #[test]
    fn an_issuer_inside_our_own_network_is_configured_by_accident() {
        for text in [
            "https://10.0.0.1",
            "https://[fd00::1]/x",
            "https://192.168.1.1:8443",
        ] {
            assert!(check(text).unwrap_err().contains("internal"), "{text}");
            let internal = super::check(text, false, true, Options::default());
            assert_eq!(internal, Ok(Reach::Internal), "{text}");
        }
        let link_local = super::check("https://169.254.169.254", false, true, Options::default());
        assert!(link_local.is_err());
        let options = Options {
            allow_http_loopback: true,
        };
        for text in [
            "http://127.0.0.1:1",
            "http://localhost:1/x",
            "http://[::1]:1",
            "https://127.0.0.1",
        ] {
            assert!(check(text).unwrap_err().contains("development"), "{text}");
            assert_eq!(
                super::check(text, false, false, options),
                Ok(Reach::Loopback),
                "{text}"
            );
        }
        assert!(super::check("http://issuer.example", false, false, options).is_err());
        assert!(super::check("http://127.0.0.1.example.com", false, false, options).is_err());
    }
}
