//! A program and values into text.

use super::{Expression, Function, Node, Values};
use std::borrow::Cow;

/// Why a template gave no text for this token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Neither the token nor the configured defaults have this value.
    #[error(
        "the value {0:?} is neither among the token's claims nor among the configured defaults"
    )]
    Missing(String),
    /// Text compared with true or false.
    #[error("the template compares a text with a truth value")]
    Incompatible,
    /// The result could not enter a certificate anyway.
    #[error("the template's result is longer than {MAX_RESULT} bytes")]
    TooLong,
}

pub(super) fn write(
    nodes: &[Node],
    values: Values<'_, '_>,
    out: &mut String,
) -> Result<(), RenderError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value(expression) => match evaluate(expression, values)? {
                Outcome::Text(text) => out.push_str(&text),
                Outcome::Truth(truth) => out.push_str(if truth { "true" } else { "false" }),
            },
            Node::If {
                branches,
                otherwise,
            } => {
                let mut chosen = otherwise;
                for (condition, body) in branches {
                    if evaluate(condition, values)?.holds() {
                        chosen = body;
                        break;
                    }
                }
                write(chosen, values, out)?;
            }
        }
        if out.len() > MAX_RESULT {
            return Err(RenderError::TooLong);
        }
    }
    Ok(())
}

enum Outcome<'v> {
    Text(Cow<'v, str>),
    Truth(bool),
}

impl Outcome<'_> {
    fn holds(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Truth(truth) => *truth,
        }
    }

    fn equals(&self, other: &Self) -> Result<bool, RenderError> {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => Ok(one == other),
            (Self::Truth(one), Self::Truth(other)) => Ok(one == other),
            (Self::Text(_), Self::Truth(_)) | (Self::Truth(_), Self::Text(_)) => {
                Err(RenderError::Incompatible)
            }
        }
    }
}

fn evaluate<'e, 'v: 'e>(
    expression: &'e Expression,
    values: Values<'_, 'v>,
) -> Result<Outcome<'e>, RenderError> {
    match expression {
        Expression::Text(text) => Ok(Outcome::Text(Cow::Borrowed(text))),
        Expression::Field(name) => match values(name) {
            Some(value) => Ok(Outcome::Text(value)),
            None => Err(RenderError::Missing(name.as_ref().into())),
        },
        Expression::Index(name) => match evaluate(name, values)? {
            Outcome::Text(name) => Ok(Outcome::Text(values(&name).unwrap_or_default())),
            Outcome::Truth(_) => Err(RenderError::Incompatible),
        },
        Expression::Call(function, arguments) => call(*function, arguments, values),
    }
}

fn call<'e, 'v: 'e>(
    function: Function,
    arguments: &'e [Expression],
    values: Values<'_, 'v>,
) -> Result<Outcome<'e>, RenderError> {
    // The parser saw to it that there is a first argument, and a second one for `eq` and `ne`.
    let [first, rest @ ..] = arguments else {
        return Err(RenderError::Incompatible);
    };
    let mut first = evaluate(first, values)?;
    match function {
        Function::Not => Ok(Outcome::Truth(!first.holds())),
        Function::Eq | Function::Ne => {
            // All arguments are evaluated before any is compared, so that one missing among them is
            // an error wherever it stands.
            let rest: Vec<Outcome<'_>> = rest
                .iter()
                .map(|argument| evaluate(argument, values))
                .collect::<Result<_, _>>()?;
            for other in &rest {
                if first.equals(other)? {
                    return Ok(Outcome::Truth(function == Function::Eq));
                }
            }
            Ok(Outcome::Truth(function == Function::Ne))
        }
        Function::And | Function::Or => {
            for argument in rest {
                if first.holds() == (function == Function::Or) {
                    break;
                }
                first = evaluate(argument, values)?;
            }
            Ok(first)
        }
    }
}

/// Four times what may enter a certificate.
const MAX_RESULT: usize = 8192;
