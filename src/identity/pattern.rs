//! Patterns of issuer URLs. A `*` stands for one or more of `-`, `_`, letters and digits; it never
//! reaches across a dot, a slash or anything else that has a meaning in a URL.

use super::domain;

/// A pattern, compiled once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// One or more bytes of [`is_wild`].
    Wild,
}

impl Pattern {
    /// Compiles a pattern whose URL, with every `*` replaced by a letter, was found good.
    ///
    /// # Errors
    /// A sentence about a `*` where none may stand.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.contains("**") {
            return Err("two `*` side by side mean no more than one".to_owned());
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        if scheme.contains('*') || port.contains('*') {
            return Err("a `*` cannot stand in the scheme or the port".to_owned());
        }
        // A letter in the place of each `*` makes the host one of those that match.
        let example = host.replace('*', "x").to_ascii_lowercase();
        let labels = domain::registrable(&example).map(|owner| owner.split('.').count());
        let mut owner = host.rsplit('.').take(labels.unwrap_or(usize::MAX));
        if owner.any(|label| label.contains('*')) {
            return Err(
                "a `*` cannot stand in the last labels of the host, those that are registered: whoever registers a domain would be an issuer"
                    .to_owned(),
            );
        }
        let tokens = text
            .bytes()
            .map(|byte| {
                if byte == b'*' {
                    Token::Wild
                } else {
                    Token::Byte(byte)
                }
            })
            .collect();
        Ok(Self {
            text: text.to_owned(),
            tokens,
        })
    }

    /// The pattern as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches all of `issuer`, byte for byte. Keeps the set of places it can be at, so
    /// that no text makes it try a place twice.
    pub(super) fn matches(&self, issuer: &str) -> bool {
        if issuer.len() > MAX_ISSUER {
            return false;
        }
        // A place is how many tokens are done; the wild one before it may still go on.
        let mut places = vec![0_usize];
        let mut next: Vec<usize> = Vec::new();
        for byte in issuer.bytes() {
            for &place in &places {
                let goes_on = |token: &Token| match token {
                    Token::Byte(fixed) => *fixed == byte,
                    Token::Wild => is_wild(byte),
                };
                let before = place.checked_sub(1).and_then(|at| self.tokens.get(at));
                if before == Some(&Token::Wild) && is_wild(byte) && next.last() != Some(&place) {
                    next.push(place);
                }
                if self.tokens.get(place).is_some_and(goes_on) {
                    next.push(place + 1);
                }
            }
            if next.is_empty() {
                return false;
            }
            std::mem::swap(&mut places, &mut next);
            next.clear();
        }
        places.contains(&self.tokens.len())
    }

    /// Whether some issuer would match both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        overlap(&self.tokens, &other.tokens)
    }
}

/// Whether some text matches both token lists. Walks both at once; a state is a place in each, and
/// whether the wild token just before that place may still go on.
fn overlap(one: &[Token], other: &[Token]) -> bool {
    let width = other.len() + 1;
    let state = |i: usize, j: usize, more: usize| (i * width + j) * 4 + more;
    let mut seen = vec![false; (one.len() + 1) * width * 4];
    // Bits of `more`: 1 for `one`, 2 for `other`.
    let mut open = vec![(0, 0, 0)];
    while let Some((i, j, more)) = open.pop() {
        if i == one.len() && j == other.len() {
            return true;
        }
        if std::mem::replace(&mut seen[state(i, j, more)], true) {
            continue;
        }
        // What each list can take next: the token at its place, or more of the wild one before it.
        let steps = |list: &[Token], place: usize, more: bool| {
            let next = list.get(place).map(|token| (*token, place + 1));
            let again = more.then_some((Token::Wild, place));
            [next, again]
        };
        for (left, i) in steps(one, i, more & 1 != 0).into_iter().flatten() {
            for (right, j) in steps(other, j, more & 2 != 0).into_iter().flatten() {
                let common = match (left, right) {
                    (Token::Wild, Token::Wild) => true,
                    (Token::Byte(left), Token::Byte(right)) => left == right,
                    (Token::Byte(byte), Token::Wild) | (Token::Wild, Token::Byte(byte)) => {
                        is_wild(byte)
                    }
                };
                if common {
                    let more =
                        usize::from(left == Token::Wild) | usize::from(right == Token::Wild) << 1;
                    open.push((i, j, more));
                }
            }
        }
    }
    false
}

fn is_wild(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// An issuer enters certificates, so it cannot be longer than a value there.
const MAX_ISSUER: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text).unwrap()
    }

    #[test]
    fn an_issuer_of_the_pattern_is_a_stranger() {
        for (text, issuer) in [
            (
                "https://oidc.eks.*.amazonaws.com/id/*",
                "https://oidc.eks.us-west-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
            ),
            (
                "https://container.googleapis.com/v1/projects/*/locations/*/clusters/*",
                "https://container.googleapis.com/v1/projects/some-project/locations/us-west1-b/clusters/tenant-cluster",
            ),
            ("https://a.example/*", "https://a.example/_"),
            ("https://a.example/x*y", "https://a.example/xyyy"),
            ("https://a.example/*-*", "https://a.example/---"),
            ("https://a.example/*/", "https://a.example/b/"),
        ] {
            assert!(pattern(text).matches(issuer), "{text} {issuer}");
        }
    }

    #[test]
    fn a_stranger_matches_the_pattern() {
        let text = "https://oidc.eks.*.amazonaws.com/id/*";
        let good = "https://oidc.eks.us-west-2.amazonaws.com/id/ABC";
        assert!(pattern(text).matches(good));
        for issuer in [
            "",
            "https://oidc.eks.us-west-2.amazonaws.com/id/",
            "https://oidc.eks..amazonaws.com/id/ABC",
            "https://oidc.eks.us-west-2.amazonaws.com/id/ABC/",
            "https://oidc.eks.us-west-2.amazonaws.com/id/ABC/D",
            "https://oidc.eks.us-west-2.amazonaws.com/id/A.C",
            "https://oidc.eks.a.b.amazonaws.com/id/ABC",
            "https://oidc.eks.evil.example/.amazonaws.com/id/ABC",
            "https://oidc.eks.x@evil.amazonaws.com/id/ABC",
            "https://oidc.eks.evil?.amazonaws.com/id/ABC",
            "https://oidc.eks.evil#.amazonaws.com/id/ABC",
            "https://oidc.eks.evil%2f.amazonaws.com/id/ABC",
            "https://oidc.eks.evil:443.amazonaws.com/id/ABC",
            "https://oidc.eks.évil.amazonaws.com/id/ABC",
            "https://oidc.eks.us-west-2.amazonaws.com/id/A\n",
            "https://oidc.eks.us-west-2.amazonaws.com/id/A B",
            "https://oidc.eks.us-west-2.amazonaws.com/id/A%41",
            "https://oidc.eks.us-west-2.amazonaws.com/id/ABC.evil.example",
            "xhttps://oidc.eks.us-west-2.amazonaws.com/id/ABC",
            "http://oidc.eks.us-west-2.amazonaws.com/id/ABC",
            "HTTPS://oidc.eks.us-west-2.amazonaws.com/id/ABC",
            "http://localhost:3000?https://oidc.eks.us-west-2.amazonaws.com/id/ABC",
        ] {
            assert!(!pattern(text).matches(issuer), "{issuer}");
        }
        let long = format!("https://a.example/{}", "a".repeat(5000));
        assert!(!pattern("https://a.example/*").matches(&long));
    }

    #[test]
    fn a_pattern_over_a_whole_registry_is_compiled() {
        for text in [
            "https://*",
            "https://*/x",
            "https://*.com/x",
            "https://a.*/x",
            "https://x*.example.com*/",
            "https://a.example*.com/x",
            "https://*.example/x",
            "https://a.b.*:443/x",
            "https://*.co.uk/x",
            "https://a*.co.uk/x",
            "https://*.github.io/x",
            "https://*.CO.UK/x",
            "https://a.example:*/x",
            "*://a.example/x",
            "https://a.example/**",
        ] {
            assert!(Pattern::compile(text).is_err(), "{text}");
        }
        for text in [
            "https://*.a.example/*",
            "https://*.example.co.uk/x",
            "https://*.me.github.io/x",
            "https://*.oic.prod-aks.azure.com/*/*/",
            "https://oidc.eks.*.amazonaws.com/id/*",
            "http://127.0.0.1:80/*",
            "https://localhost/*",
        ] {
            assert!(Pattern::compile(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn two_patterns_that_share_an_issuer_are_told_apart() {
        for (one, other, shared) in [
            ("https://a.example/*", "https://a.example/*", true),
            ("https://a.example/*", "https://a.example/b", true),
            ("https://a.example/b*", "https://a.example/*c", true),
            ("https://a.example/*", "https://a.example/*/", false),
            ("https://a.example/*", "https://a.example/*/*", false),
            ("https://a.example/b-*", "https://a.example/c*", false),
            ("https://*.a.example/x", "https://b.a.example/x", true),
            ("https://*.a.example/x", "https://b.c.a.example/x", false),
            ("https://a.example/*x*", "https://a.example/y*", true),
        ] {
            assert_eq!(
                pattern(one).overlaps(&pattern(other)),
                shared,
                "{one} {other}"
            );
            assert_eq!(
                pattern(other).overlaps(&pattern(one)),
                shared,
                "{other} {one}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_something_else_than_its_regular_expression(
            text in "[ab*/.-]{0,8}", issuer in "[ab/.\\-_]{0,10}",
        ) {
            let text = text.replace("**", "*").replace("**", "*");
            let Ok(pattern) = Pattern::compile(&format!("https://h.example/{text}")) else {
                return Ok(());
            };
            let issuer = format!("https://h.example/{issuer}");
            prop_assert_eq!(pattern.matches(&issuer), naive(pattern.as_str(), &issuer));
        }
    }

    /// The same rule, tried out in the slowest way.
    fn naive(pattern: &str, text: &str) -> bool {
        let Some(first) = pattern.chars().next() else {
            return text.is_empty();
        };
        if first != '*' {
            return text
                .strip_prefix(first)
                .is_some_and(|text| naive(&pattern[1..], text));
        }
        let wild = text.bytes().take_while(|byte| is_wild(*byte)).count();
        (1..=wild).any(|length| naive(&pattern[1..], &text[length..]))
    }
}
