//! Subject alternative names, as typed and checked values. A leaf carries exactly one.

use std::fmt;

use super::der;
use super::text::{self, ValueError};

/// Who a certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectAlternativeName {
    /// An `rfc822Name`.
    Email(EmailAddress),
    /// A `uniformResourceIdentifier`.
    Uri(Uri),
    /// An `otherName` of the type 1.3.6.1.4.1.57264.1.7.
    Username(Username),
}

/// An e-mail address as RFC 5280 section 4.2.1.6 allows it in a certificate: `Local-part "@" Domain`
/// in ASCII, without the quoted form whose separators could be read as something else. Upper and
/// lower case are kept, since verifiers compare bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

/// An absolute URI with a host, in ASCII (RFC 3986 section 4.3 and RFC 5280 section 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri(String);

/// An account that is neither an e-mail address nor a URI: `user!domain`, of which only the first part
/// need not be ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

/// A text that cannot be somebody's name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It may not enter a certificate whatever its kind.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Not `local@domain.tld` in plain ASCII.
    #[error("the e-mail address is not of the form local@domain in ASCII: {0}")]
    Email(&'static str),
    /// Not an absolute URI that reads one way only.
    #[error("the URI cannot be a certificate's name: {0}")]
    Uri(&'static str),
    /// Not a user and a domain that read one way only.
    #[error("the username cannot be a certificate's name: {0}")]
    Username(&'static str),
}

impl SubjectAlternativeName {
    /// The kind in one word, as ledger and reports print it: `email`, `uri` or `username`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Uri(_) => "uri",
            Self::Username(_) => "username",
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Uri(uri) => uri.as_str(),
            Self::Username(username) => username.as_str(),
        }
    }

    /// `SubjectAltName ::= SEQUENCE OF GeneralName`, with this one name.
    pub(super) fn to_der(&self) -> Vec<u8> {
        let text = self.as_str().as_bytes();
        let name = match self {
            Self::Email(_) => der::tlv(der::implicit(1), &[text]),
            Self::Uri(_) => der::tlv(der::implicit(6), &[text]),
            // otherName [0] AnotherName ::= SEQUENCE {
            //     type-id OBJECT IDENTIFIER, value [0] EXPLICIT UTF8String }
            Self::Username(_) => {
                let type_id = der::tlv(der::OBJECT_IDENTIFIER, &[Username::TYPE]);
                let value = der::tlv(der::UTF8_STRING, &[text]);
                let value = der::tlv(der::explicit(0), &[&value]);
                der::tlv(der::explicit(0), &[&type_id, &value])
            }
        };
        der::tlv(der::SEQUENCE, &[&name])
    }
}

impl fmt::Display for SubjectAlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl EmailAddress {
    /// Accepts an address of at most 254 bytes whose local part is a dot-atom of at most 64
    /// (RFC 5321 section 4.5.3.1) and whose domain has at least two labels.
    ///
    /// # Errors
    /// [`NameError`]: what is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        text::check(text)?;
        let (local, domain) = text
            .rsplit_once('@')
            .ok_or(NameError::Email("there is no @"))?;
        if !text.is_ascii() {
            return Err(NameError::Email("a character is not ASCII"));
        }
        if text.len() > 254 || local.len() > 64 {
            return Err(NameError::Email("it is too long"));
        }
        let is_atom = |atom: &str| {
            !atom.is_empty()
                && atom
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || ATOM_MARKS.contains(&b))
        };
        if !local.split('.').all(is_atom) {
            return Err(NameError::Email("the part before the @ is not a dot-atom"));
        }
        if !domain.contains('.') || !domain.split('.').all(is_host_label) {
            return Err(NameError::Email(
                "the part after the @ is not a domain name",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Uri {
    /// Reads `text` as Go's `net/url` does and writes it back as that does, since these bytes are
    /// what verifiers of this world compare: the scheme in lower case; in path and fragment every
    /// character that may not stand there percent-encoded, but a part that is well encoded kept as
    /// it is. (Square brackets in a path are kept too, though RFC 3986 section 3.3 does not list
    /// them.)
    ///
    /// Where that would let two different inputs become one name in a way an attacker could use, the
    /// input is refused instead: a lone `#` at the end, an encoded delimiter in a part that must be
    /// re-encoded, user information, a relative reference.
    ///
    /// # Errors
    /// [`NameError`]: what is wrong with it, in words.
    pub fn normalize(text: &str) -> Result<Self, NameError> {
        text::check(text)?;
        let (before, fragment) = match text.split_once('#') {
            Some((_, "")) => return Err(NameError::Uri("it ends in an empty fragment")),
            Some((before, fragment)) => (before, Some(fragment)),
            None => (text, None),
        };
        let (before, query) = match before.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (before, None),
        };
        let (scheme, rest) = before
            .split_once(':')
            .ok_or(NameError::Uri("it has no scheme"))?;
        if !is_scheme(scheme) {
            return Err(NameError::Uri("it has no scheme"));
        }
        let rest = rest
            .strip_prefix("//")
            .ok_or(NameError::Uri("it has no host"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_authority(authority)?;

        let mut uri = format!("{}://{authority}", scheme.to_ascii_lowercase());
        uri.push_str(&encode(path, Part::Path)?);
        if let Some(query) = query {
            if !query
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || QUERY_MARKS.contains(&b))
            {
                return Err(NameError::Uri(
                    "its query has a character that may not stand there unencoded",
                ));
            }
            unescape(query)?;
            uri.push('?');
            uri.push_str(query);
        }
        if let Some(fragment) = fragment {
            uri.push('#');
            uri.push_str(&encode(fragment, Part::Fragment)?);
        }
        text::check(&uri)?;
        Ok(Self(uri))
    }

    /// The URI of `path` below `base`: all of `path` is a path, so that a `?` or `#` in it is encoded
    /// and does not begin a query or a fragment.
    ///
    /// A path with an empty, `.` or `..` segment is refused: whoever cleans it would come to another
    /// name than whoever does not. One slash at the end of `base` is the one between the two.
    ///
    /// # Errors
    /// [`NameError`]: what is wrong with it, in words.
    pub fn join(base: &str, path: &str) -> Result<Self, NameError> {
        text::check(path)?;
        let base = Self::normalize(base.strip_suffix('/').unwrap_or(base))?;
        if base.0.contains(['?', '#']) {
            return Err(NameError::Uri("its base has a query or a fragment"));
        }
        if path.split('/').any(is_collapsible) {
            return Err(NameError::Uri("its path has an empty, `.` or `..` segment"));
        }
        let joined = format!("{}/{}", base.0, encode(path, Part::Path)?);
        text::check(&joined)?;
        Ok(Self(joined))
    }

    /// Whether its path has a segment that stands for another one, `.` or `..`, spelled out or encoded.
    pub fn has_dot_segments(&self) -> bool {
        let path = self.0.split(['?', '#']).next().unwrap_or_default();
        path.split('/')
            .skip(3)
            .any(|segment| !segment.is_empty() && is_collapsible(segment))
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The host, without the port.
    pub fn host(&self) -> &str {
        let after = self.0.split("://").nth(1).unwrap_or_default();
        after.split(['/', '?', '#', ':']).next().unwrap_or_default()
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Username {
    /// The type of the `otherName`, 1.3.6.1.4.1.57264.1.7, as content octets.
    pub const TYPE: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x07];

    /// `user!domain`. The user is not empty and has no `!`, which would move the border, and no `@`,
    /// which would make it look like an e-mail address; the domain is a plain host name.
    ///
    /// # Errors
    /// [`NameError`]: what is wrong with it, in words.
    pub fn new(user: &str, domain: &str) -> Result<Self, NameError> {
        if user.is_empty() {
            return Err(NameError::Username("the user is empty"));
        }
        if user.contains(['!', '@']) {
            return Err(NameError::Username("the user contains `!` or `@`"));
        }
        if domain.len() > 253 || !domain.split('.').all(is_host_label) {
            return Err(NameError::Username("the domain is not a plain host name"));
        }
        let name = format!("{user}!{domain}");
        text::check(&name)?;
        Ok(Self(name))
    }

    /// The user and the domain, joined by `!`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Fragment,
}

impl Part {
    /// Whether a byte is left alone when the part is encoded anew.
    fn writes_bare(self, byte: u8) -> bool {
        let marks: &[u8] = match self {
            Self::Path => b"-_.~$&+,/:;=@",
            Self::Fragment => b"-_.~$&+,/:;=?@!()*",
        };
        byte.is_ascii_alphanumeric() || marks.contains(&byte)
    }

    /// Whether a byte may stand in a part that came encoded.
    fn reads_bare(self, byte: u8) -> bool {
        self.writes_bare(byte) || b"!'()*[]%".contains(&byte)
    }
}

/// The part as it came if it is well encoded; otherwise decoded and encoded again.
fn encode(part: &str, kind: Part) -> Result<String, NameError> {
    let decoded = unescape(part)?;
    if part.bytes().all(|byte| kind.reads_bare(byte)) {
        return Ok(part.to_owned());
    }
    let escaped = part.bytes().filter(|byte| *byte == b'%').count();
    let mut out = String::with_capacity(decoded.len() + 16);
    for byte in &decoded {
        if kind.writes_bare(*byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // An escape that was there before and is not there now has become a bare character.
    let kept = decoded
        .iter()
        .filter(|byte| !kind.writes_bare(**byte))
        .count();
    let new = part
        .bytes()
        .filter(|byte| *byte != b'%' && !kind.writes_bare(*byte))
        .count();
    if kept != escaped + new {
        return Err(NameError::Uri(
            "it mixes percent-encoded and unencoded special characters",
        ));
    }
    Ok(out)
}

/// Decodes every `%XX` (RFC 3986 section 2.1).
fn unescape(part: &str) -> Result<Vec<u8>, NameError> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            #[expect(clippy::cast_possible_truncation, reason = "two hexadecimal digits")]
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => {
                return Err(NameError::Uri(
                    "a percent sign is not followed by two hexadecimal digits",
                ));
            }
        }
    }
    Ok(out)
}

/// Whether a segment of a path disappears when the path is cleaned, or does so once it is decoded.
fn is_collapsible(segment: &str) -> bool {
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    matches!(plain.as_str(), "" | "." | "..")
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// `host [":" port]`, the host a name of plain labels. No user information: a reader would take what
/// stands before the `@` for the host.
fn check_authority(authority: &str) -> Result<(), NameError> {
    let host = match authority.split_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() && port.len() <= 5 =>
        {
            host
        }
        Some(_) => return Err(NameError::Uri("its port is not a number")),
        None => authority,
    };
    if host.is_empty() {
        return Err(NameError::Uri("it has no host"));
    }
    if host.len() > 253 || !host.split('.').all(is_host_label) {
        return Err(NameError::Uri("its host is not a plain domain name"));
    }
    Ok(())
}

/// Letters, digits, hyphens and underscores, at most 63 of them, no hyphen at either end.
fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What RFC 5322 section 3.2.3 allows in an atom beside letters and digits.
const ATOM_MARKS: &[u8] = b"!#$%&'*+-/=?^_`{|}~";

/// What RFC 3986 section 3.4 allows in a query beside letters and digits.
const QUERY_MARKS: &[u8] = b"-._~!$&'()*+,;=:@/?%";

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<String, NameError> {
        Uri::normalize(text).map(|uri| uri.0)
    }

    #[test]
    fn a_uri_has_the_bytes_every_verifier_already_compares() {
        for (given, written) in [
            ("https://h.example/a b.yml", "https://h.example/a%20b.yml"),
            ("https://h.example/é", "https://h.example/%C3%A9"),
            ("https://h.example/x#1", "https://h.example/x#1"),
            ("https://h.example/x#é x", "https://h.example/x#%C3%A9%20x"),
            ("https://h.example/x?", "https://h.example/x?"),
            ("HTTPS://GitHub.COM/x", "https://GitHub.COM/x"),
            ("https://h.example/a/../b//c", "https://h.example/a/../b//c"),
            ("https://h.example/%2F%41", "https://h.example/%2F%41"),
            (
                "https://h.example/\\|^\"<>{}`",
                "https://h.example/%5C%7C%5E%22%3C%3E%7B%7D%60",
            ),
            ("https://h.example/a[1]", "https://h.example/a[1]"),
            ("https://h.example/a (1)", "https://h.example/a%20%281%29"),
            ("https://h.example/(1)", "https://h.example/(1)"),
            ("https://h.example/a b%20c", "https://h.example/a%20b%20c"),
            ("https://h.example/q?x=1&y", "https://h.example/q?x=1&y"),
            ("https://h.example:8443/x", "https://h.example:8443/x"),
            ("spiffe://td_1.example/ns/a", "spiffe://td_1.example/ns/a"),
            ("https://h.example", "https://h.example"),
        ] {
            assert_eq!(uri(given).as_deref(), Ok(written), "{given}");
        }
    }

    #[test]
    fn what_could_be_taken_for_another_name_is_refused() {
        for given in [
            "",
            "foo bar",
            "/no/scheme",
            "//host/p",
            "mailto:a@b.example",
            "https:",
            "https:///x",
            "https:/x",
            "https://h.example/x#", // would become the name without the number sign
            "https://h.example/a b%2Fc", // would become a/b/c
            "https://h.example/100%",
            "https://h.example/%zz",
            "https://h.example/?%zz",
            "https://h.example:bad/x",
            "https://h.example:/x",
            "https://h.example:123456/x",
            "https://ho st/x",
            "https://é.example/x",
            "https://h.example/\u{1}",
            "https://h.example/?é",
            "https://user@h.example/x",
            "https://h..example/x",
            "https://h.example./x",
            "https://[::1]/x",
            "https://ex%61mple.com/",
            "https://exam\tple.com/",
            " https://h.example/",
            "1https://h.example/",
            "https://h.example/?a b",
        ] {
            assert!(uri(given).is_err(), "{given:?} became {:?}", uri(given));
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing_more() {
        proptest::proptest!(|(path in "[ -~é]{0,40}")| {
            if let Ok(once) = uri(&format!("https://h.example/{path}")) {
                proptest::prop_assert_eq!(uri(&once), Ok(once.clone()));
                proptest::prop_assert!(once.is_ascii());
            }
        });
    }

    #[test]
    fn addresses_keep_their_case_and_odd_ones_are_refused() {
        for good in [
            "a@b.example",
            "First.Last+tag@Sub.Example.COM",
            "builder@p.iam.gserviceaccount.com",
        ] {
            assert_eq!(EmailAddress::parse(good).unwrap().as_str(), good);
        }
        let long = format!("{}@b.example", "x".repeat(65));
        for bad in [
            "",
            "a",
            "@b.example",
            "a@",
            "a@b",
            "a@@b.example",
            "a b@c.example",
            "a@b..example",
            "a@-b.example",
            ".a@b.example",
            "a.@b.example",
            "\"a b\"@c.example",
            "é@b.example",
            "a@é.example",
            "a@b.example\n",
            "a,b@c.example",
            "<a@b.example>",
            &long,
        ] {
            assert!(EmailAddress::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_kind_stands_under_its_own_tag() {
        let email = SubjectAlternativeName::Email(EmailAddress::parse("a@b.cd").unwrap());
        assert_eq!(email.to_der(), b"\x30\x08\x81\x06a@b.cd");
        let uri = SubjectAlternativeName::Uri(Uri::normalize("a://b").unwrap());
        assert_eq!(uri.to_der(), b"\x30\x07\x86\x05a://b");
        let name = SubjectAlternativeName::Username(Username::new("a", "b.c").unwrap());
        assert_eq!(
            name.to_der(),
            b"\x30\x17\xa0\x15\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x07\xa0\x07\x0c\x05a!b.c"
        );
    }

    #[test]
    fn a_path_that_somebody_cleans_becomes_another_name() {
        let base = "https://h.example";
        for (path, written) in [
            ("o/r/x.yml@refs/heads/main", "o/r/x.yml@refs/heads/main"),
            ("x@refs/heads/feat#1", "x@refs/heads/feat%231"),
            ("x@q?x", "x@q%3Fx"),
            ("a b/é", "a%20b/%C3%A9"),
            ("a%2Fb", "a%2Fb"),
            ("a:b;c@d", "a:b;c@d"),
        ] {
            for base in [base, "https://h.example/"] {
                let joined = Uri::join(base, path).unwrap();
                assert_eq!(joined.as_str(), format!("https://h.example/{written}"));
            }
        }
        for path in [
            "",
            "/",
            "o//r",
            "/o",
            "o/",
            "o/r/../../x",
            "./x",
            "o/.",
            "o/%2e%2E/x",
            "o/.%2e",
            "x@refs/heads/100%",
            "%zz",
            "a\u{202e}b",
            "a b%2Fc",
        ] {
            let joined = Uri::join(base, path);
            assert!(joined.is_err(), "{path:?} became {joined:?}");
        }
        for base in [
            "",
            "/x",
            "h.example",
            "https://h.example/?",
            "https://h.example#x",
        ] {
            assert!(Uri::join(base, "x").is_err(), "{base}");
        }
        let below = Uri::join("https://h.example:99/a/b", "c").unwrap();
        assert_eq!(below.as_str(), "https://h.example:99/a/b/c");
        assert_eq!((below.scheme(), below.host()), ("https", "h.example"));
    }

    #[test]
    fn a_username_can_be_taken_for_another_one() {
        let name = Username::new("alice", "example.com").unwrap();
        assert_eq!(name.as_str(), "alice!example.com");
        assert_eq!(Username::new("zoë/1", "a").unwrap().as_str(), "zoë/1!a");
        for (user, domain) in [
            ("", "example.com"),
            ("a!b", "example.com"),
            ("alice!", "example.com"),
            ("alice@example.com", "example.com"),
            ("alice", ""),
            ("alice", "https://example.com"),
            ("alice", "example.com!x"),
            ("alice", "exämple.com"),
            ("al\u{202e}ice", "example.com"),
            ("alice\n", "example.com"),
        ] {
            assert!(Username::new(user, domain).is_err(), "{user:?} {domain:?}");
        }
    }
}
