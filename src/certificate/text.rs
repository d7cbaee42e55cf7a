//! What may stand in a certificate as text.

/// The largest value that enters a certificate, in octets of UTF-8.
pub(super) const MAX_VALUE: usize = 2048;

/// A text that must not enter a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Longer than any honest identity, and every verifier would have to carry it.
    #[error("the value has {length} bytes; at most {MAX_VALUE} may enter a certificate")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A character that prints as nothing, as a new line, or backwards, and so can make one identity
    /// look like another.
    #[error("the value contains the control or direction character U+{code:04X} at byte {at}")]
    Forbidden {
        /// The character's code point.
        code: u32,
        /// Where it stands, in bytes from the start.
        at: usize,
    },
    /// A certificate names its issuer always.
    #[error("the value is empty")]
    Empty,
}

/// Accepts `text` when it is within bounds and free of characters that could deceive a reader.
pub(super) fn check(text: &str) -> Result<(), ValueError> {
    if text.len() > MAX_VALUE {
        return Err(ValueError::TooLong { length: text.len() });
    }
    match text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        Some((at, c)) => Err(ValueError::Forbidden {
            code: u32::from(c),
            at,
        }),
        None => Ok(()),
    }
}

/// C0, DEL and C1 controls, the line and paragraph separators, and every bidirectional control
/// (Unicode Standard Annex 9, table 1 and the marks).
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{061c}' | '\u{200e}' | '\u{200f}'
        )
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_or_a_direction_mark_cannot_dress_one_identity_as_another() {
        for c in [
            '\0', '\n', '\r', '\t', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}',
            '\u{2066}', '\u{200f}',
        ] {
            let text = format!("ab{c}cd");
            assert_eq!(
                check(&text),
                Err(ValueError::Forbidden {
                    code: u32::from(c),
                    at: 2
                })
            );
        }
        assert_eq!(check("refs/heads/größe & <main>"), Ok(()));
    }

    #[test]
    fn the_bound_is_two_kibibytes_of_utf8() {
        assert_eq!(check(&"x".repeat(2048)), Ok(()));
        assert_eq!(
            check(&"x".repeat(2049)),
            Err(ValueError::TooLong { length: 2049 })
        );
        assert_eq!(
            check(&"é".repeat(1025)),
            Err(ValueError::TooLong { length: 2050 })
        );
    }
}
