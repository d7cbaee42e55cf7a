//! A template's text cut into tokens, exactly where Go's lexer cuts.

use super::parse::TemplateError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// Text outside of actions, already trimmed by its neighbours.
    Text(&'t str),
    /// `{{`, with or without a trim marker.
    Open,
    /// `}}`, with or without a trim marker.
    Close,
    Space,
    LeftParenthesis,
    RightParenthesis,
    /// `.` alone: the whole set of values.
    Dot,
    /// `.name`, without the dot.
    Field(&'t str),
    /// A bare word: keyword, function or constant.
    Word(&'t str),
    /// A text literal, unquoted.
    Quoted(String),
}

/// Tokens with the byte at which each begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, TemplateError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let Some(open) = text[at..].find("{{").map(|found| at + found) else {
            push_text(&mut tokens, at, &text[at..]);
            return Ok(tokens);
        };
        let before = &text[at..open];
        let mut inside = open + 2;
        if trims_left(&text[inside..]) {
            push_text(&mut tokens, at, before.trim_end_matches(SPACES));
            inside += 2;
        } else {
            push_text(&mut tokens, at, before);
        }
        let (after, trims) = if text[inside..].starts_with("/*") {
            comment(text, inside)?
        } else {
            tokens.push((open, Token::Open));
            action(text, open, inside, &mut tokens)?
        };
        at = after;
        if trims {
            at = text.len() - text[at..].trim_start_matches(SPACES).len();
        }
    }
}

fn push_text<'t>(tokens: &mut Vec<(usize, Token<'t>)>, at: usize, text: &'t str) {
    if !text.is_empty() {
        tokens.push((at, Token::Text(text)));
    }
}

/// The end of a comment that begins at `from`, and whether it trims what follows.
fn comment(text: &str, from: usize) -> Result<(usize, bool), TemplateError> {
    let Some(length) = text[from..].find("*/") else {
        return Err(TemplateError::new(from, "a comment is not closed"));
    };
    let end = from + length + 2;
    match closing(&text[end..]) {
        Some((length, trims)) => Ok((end + length, trims)),
        None => Err(TemplateError::new(
            end,
            "a comment must be alone in its braces",
        )),
    }
}

/// Reads the tokens of one action up to its `}}`; returns where it ends and whether it trims.
fn action<'t>(
    text: &'t str,
    open: usize,
    from: usize,
    tokens: &mut Vec<(usize, Token<'t>)>,
) -> Result<(usize, bool), TemplateError> {
    let mut at = from;
    loop {
        let rest = &text[at..];
        if let Some((length, trims)) = closing(rest) {
            tokens.push((at, Token::Close));
            return Ok((at + length, trims));
        }
        let Some(first) = rest.chars().next() else {
            return Err(TemplateError::new(open, "`{{` is not closed"));
        };
        let (length, token) = match first {
            ' ' | '\t' | '\r' | '\n' => {
                // One at a time, because the last one may belong to ` -}}`.
                if matches!(tokens.last(), Some((_, Token::Space))) {
                    at += 1;
                    continue;
                }
                (1, Token::Space)
            }
            '(' => (1, Token::LeftParenthesis),
            ')' => (1, Token::RightParenthesis),
            '"' => interpreted(rest, at)?,
            '`' => raw(rest, at)?,
            '.' => match word(&rest[1..]) {
                "" => (1, Token::Dot),
                name if name.starts_with(|c: char| c.is_ascii_digit()) => {
                    return Err(TemplateError::new(at, "numbers are not supported"));
                }
                name => (1 + name.len(), Token::Field(name)),
            },
            'a'..='z' | 'A'..='Z' | '_' => {
                let name = word(rest);
                (name.len(), Token::Word(name))
            }
            other => return Err(TemplateError::new(at, &unsupported(other))),
        };
        let ends_a_name = matches!(token, Token::Dot | Token::Field(_) | Token::Word(_));
        tokens.push((at, token));
        at += length;
        if ends_a_name && !ends_name(&text[at..]) {
            let next = text[at..].chars().next().unwrap_or_default();
            return Err(TemplateError::new(
                at,
                &format!("the character {next:?} cannot follow a name; use `index . \"…\"`"),
            ));
        }
    }
}

/// The length of `}}` or ` -}}` at the start of `rest`, and whether it trims.
fn closing(rest: &str) -> Option<(usize, bool)> {
    if rest.starts_with("}}") {
        return Some((2, false));
    }
    rest.strip_prefix(SPACES)?
        .starts_with("-}}")
        .then_some((4, true))
}

fn trims_left(rest: &str) -> bool {
    rest.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(SPACES))
}

fn word(rest: &str) -> &str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &rest[..end.unwrap_or(rest.len())]
}

fn ends_name(rest: &str) -> bool {
    rest.is_empty()
        || rest.starts_with("}}")
        || rest.starts_with([' ', '\t', '\r', '\n', '.', ',', '|', ':', '(', ')'])
}

fn unsupported(first: char) -> String {
    match first {
        '$' => "variables are not supported".to_owned(),
        '|' => "pipes are not supported; write the call with its arguments".to_owned(),
        '\'' => "character constants are not supported".to_owned(),
        '0'..='9' | '+' | '-' => "numbers are not supported".to_owned(),
        other => format!("the character {other:?} has no meaning here"),
    }
}

/// A text between back quotes stands for itself, without its carriage returns.
fn raw(rest: &str, at: usize) -> Result<(usize, Token<'_>), TemplateError> {
    match rest[1..].find('`') {
        Some(length) => Ok((
            length + 2,
            Token::Quoted(rest[1..=length].replace('\r', "")),
        )),
        None => Err(TemplateError::new(at, "a text is not closed")),
    }
}

/// A text between double quotes, with Go's escapes. Escapes that name single bytes beyond ASCII
/// are refused: they could only make text that is not UTF-8.
fn interpreted(rest: &str, at: usize) -> Result<(usize, Token<'_>), TemplateError> {
    let mut out = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Ok((place + 1, Token::Quoted(out))),
            '\n' => break,
            '\\' => {
                let Some((_, escape)) = characters.next() else {
                    break;
                };
                let (digits, radix) = match escape {
                    'a' => (None, '\x07'),
                    'b' => (None, '\x08'),
                    'f' => (None, '\x0c'),
                    'n' => (None, '\n'),
                    'r' => (None, '\r'),
                    't' => (None, '\t'),
                    'v' => (None, '\x0b'),
                    '\\' | '"' => (None, escape),
                    'x' => (Some((2, 16, 0x7f)), ' '),
                    'u' => (Some((4, 16, u32::MAX)), ' '),
                    'U' => (Some((8, 16, u32::MAX)), ' '),
                    '0'..='7' => (Some((2, 8, 0x7f)), escape),
                    _ => return Err(TemplateError::new(at + place, "an unknown escape")),
                };
                let Some((count, base, most)) = digits else {
                    out.push(radix);
                    continue;
                };
                let mut code = radix.to_digit(base).unwrap_or(0);
                for _ in 0..count {
                    let digit = characters.next().and_then(|(_, c)| c.to_digit(base));
                    let value = digit.and_then(|digit| code.checked_mul(base)?.checked_add(digit));
                    let Some(value) = value else {
                        return Err(TemplateError::new(at + place, "an unfinished escape"));
                    };
                    code = value;
                }
                match char::from_u32(code).filter(|_| code <= most) {
                    Some(character) => out.push(character),
                    None => return Err(TemplateError::new(at + place, "not a character")),
                }
            }
            other => out.push(other),
        }
    }
    Err(TemplateError::new(at, "a text is not closed"))
}

/// What Go's templates call space.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];
