//! Tokens into a program, refusing what is not supported while the configuration is read.

use super::lex::{self, Token};
use super::{Expression, Function, Node};

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template, byte {at}: {reason}")]
pub(in crate::identity) struct TemplateError {
    /// The offending byte, counted from one.
    pub(super) at: usize,
    /// What is wrong there.
    pub(super) reason: String,
}

impl TemplateError {
    pub(super) fn new(at: usize, reason: &str) -> Self {
        Self {
            at: at + 1,
            reason: reason.to_owned(),
        }
    }
}

pub(super) fn program(text: &str) -> Result<Vec<Node>, TemplateError> {
    let tokens = lex::tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        end: text.len(),
    };
    match parser.nodes(0)? {
        (nodes, Stop::EndOfText) => Ok(nodes),
        (_, Stop::End(at)) => Err(TemplateError::new(at, "`end` without an `if`")),
        (_, Stop::Else(at) | Stop::ElseIf(at)) => {
            Err(TemplateError::new(at, "`else` without an `if`"))
        }
    }
}

struct Parser<'p, 't> {
    tokens: &'p [(usize, Token<'t>)],
    next: usize,
    end: usize,
}

/// What ended a list of nodes. After [`Stop::ElseIf`] the condition is still to be read.
enum Stop {
    EndOfText,
    End(usize),
    Else(usize),
    ElseIf(usize),
}

/// One operand, before it is known what it is an operand of.
enum Operand {
    Expression(Expression),
    Values,
    Function(Callable),
}

enum Callable {
    Index,
    Function(Function),
}

impl<'p, 't> Parser<'p, 't> {
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Stop), TemplateError> {
        if depth > MAX_DEPTH {
            return Err(TemplateError::new(self.at(), "nested too deeply"));
        }
        let mut nodes = Vec::new();
        while let Some((at, token)) = self.take() {
            if let Token::Text(text) = token {
                nodes.push(Node::Text((*text).into()));
                continue;
            }
            self.skip_space();
            let keyword = match self.peek() {
                Some(Token::Word(word)) => *word,
                _ => "",
            };
            match keyword {
                "if" => {
                    self.next += 1;
                    nodes.push(self.conditional(at, depth)?);
                }
                "else" => {
                    self.next += 1;
                    self.skip_space();
                    if self.peek() == Some(&Token::Word("if")) {
                        self.next += 1;
                        return Ok((nodes, Stop::ElseIf(at)));
                    }
                    self.close()?;
                    return Ok((nodes, Stop::Else(at)));
                }
                "end" => {
                    self.next += 1;
                    self.close()?;
                    return Ok((nodes, Stop::End(at)));
                }
                "with" | "range" | "define" | "block" | "template" | "break" | "continue" => {
                    let reason = format!("`{keyword}` is not supported");
                    return Err(TemplateError::new(self.at(), &reason));
                }
                _ => {
                    nodes.push(Node::Value(self.command(depth)?));
                    self.close()?;
                }
            }
        }
        Ok((nodes, Stop::EndOfText))
    }

    fn conditional(&mut self, opened: usize, depth: usize) -> Result<Node, TemplateError> {
        let mut branches = Vec::new();
        loop {
            let condition = self.command(depth)?;
            self.close()?;
            let (body, stop) = self.nodes(depth + 1)?;
            branches.push((condition, body));
            let otherwise = match stop {
                Stop::ElseIf(_) => continue,
                Stop::End(_) => Vec::new(),
                Stop::Else(_) => match self.nodes(depth + 1)? {
                    (otherwise, Stop::End(_)) => otherwise,
                    (_, Stop::Else(at) | Stop::ElseIf(at)) => {
                        return Err(TemplateError::new(at, "a second `else`"));
                    }
                    (_, Stop::EndOfText) => {
                        return Err(TemplateError::new(opened, "`if` without an `end`"));
                    }
                },
                Stop::EndOfText => {
                    return Err(TemplateError::new(opened, "`if` without an `end`"));
                }
            };
            return Ok(Node::If {
                branches,
                otherwise,
            });
        }
    }

    /// Operands separated by space: a function with its arguments, or one value.
    fn command(&mut self, depth: usize) -> Result<Expression, TemplateError> {
        if depth > MAX_DEPTH {
            return Err(TemplateError::new(self.at(), "nested too deeply"));
        }
        self.skip_space();
        let at = self.at();
        let mut operands = Vec::new();
        while !matches!(
            self.peek(),
            Some(Token::Close | Token::RightParenthesis) | None
        ) {
            operands.push((self.at(), self.operand(depth)?));
            if !matches!(
                self.peek(),
                Some(Token::Space | Token::Close | Token::RightParenthesis)
            ) {
                return Err(TemplateError::new(
                    self.at(),
                    "a space is missing between two arguments",
                ));
            }
            self.skip_space();
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            None => Err(TemplateError::new(at, "a value is missing")),
            Some((_, Operand::Function(callable))) => call(at, callable, operands.collect()),
            Some((_, Operand::Values)) => Err(TemplateError::new(
                at,
                "`.` alone is only allowed after `index`",
            )),
            Some((_, Operand::Expression(value))) => match operands.next() {
                None => Ok(value),
                Some((at, _)) => Err(TemplateError::new(at, "only a function can have arguments")),
            },
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Operand, TemplateError> {
        let Some((at, token)) = self.take() else {
            return Err(TemplateError::new(self.end, "`{{` is not closed"));
        };
        let operand = match token {
            Token::Field(name) => Operand::Expression(Expression::Field((*name).into())),
            Token::Quoted(text) => Operand::Expression(Expression::Text(text.as_str().into())),
            Token::Dot => Operand::Values,
            Token::Word(word) => Operand::Function(function(at, word)?),
            Token::LeftParenthesis => {
                let value = self.command(depth + 1)?;
                match self.take() {
                    Some((_, Token::RightParenthesis)) => Operand::Expression(value),
                    _ => return Err(TemplateError::new(at, "`(` is not closed")),
                }
            }
            Token::RightParenthesis
            | Token::Space
            | Token::Text(_)
            | Token::Open
            | Token::Close => return Err(TemplateError::new(at, "a value is missing")),
        };
        match self.peek() {
            Some(Token::Field(_) | Token::Dot) => Err(TemplateError::new(
                self.at(),
                "a value has no members; claims are looked up by their whole name",
            )),
            _ => Ok(operand),
        }
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        self.skip_space();
        let at = self.at();
        match self.take() {
            Some((_, Token::Close)) => Ok(()),
            _ => Err(TemplateError::new(at, "`}}` was expected here")),
        }
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.next += 1;
        }
    }

    fn peek(&self) -> Option<&'p Token<'t>> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn take(&mut self) -> Option<(usize, &'p Token<'t>)> {
        let (at, token) = self.tokens.get(self.next)?;
        self.next += 1;
        Some((*at, token))
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }
}

fn function(at: usize, word: &str) -> Result<Callable, TemplateError> {
    Ok(match word {
        "index" => Callable::Index,
        "eq" => Callable::Function(Function::Eq),
        "ne" => Callable::Function(Function::Ne),
        "and" => Callable::Function(Function::And),
        "or" => Callable::Function(Function::Or),
        "not" => Callable::Function(Function::Not),
        "true" | "false" | "nil" => {
            let reason = format!("the constant `{word}` is not supported");
            return Err(TemplateError::new(at, &reason));
        }
        _ => {
            let reason = format!(
                "the function `{word}` is not supported; there are index, eq, ne, and, or, not"
            );
            return Err(TemplateError::new(at, &reason));
        }
    })
}

fn call(
    at: usize,
    callable: Callable,
    operands: Vec<(usize, Operand)>,
) -> Result<Expression, TemplateError> {
    let mut operands = operands.into_iter();
    let function = match callable {
        Callable::Index => {
            if !matches!(operands.next(), Some((_, Operand::Values))) {
                return Err(TemplateError::new(
                    at,
                    "`index` looks only into `.`: write `index . \"name\"`",
                ));
            }
            None
        }
        Callable::Function(function) => Some(function),
    };
    let mut arguments = Vec::new();
    for (at, operand) in operands {
        match operand {
            Operand::Expression(value) => arguments.push(value),
            Operand::Values => {
                return Err(TemplateError::new(
                    at,
                    "`.` alone is only allowed after `index`",
                ));
            }
            Operand::Function(_) => {
                return Err(TemplateError::new(
                    at,
                    "a function among arguments needs parentheses",
                ));
            }
        }
    }
    let (fewest, most) = match function {
        None | Some(Function::Not) => (1, 1),
        Some(Function::Ne) => (2, 2),
        Some(Function::Eq) => (2, usize::MAX),
        Some(Function::And | Function::Or) => (1, usize::MAX),
    };
    if !(fewest..=most).contains(&arguments.len()) {
        return Err(TemplateError::new(at, "wrong number of arguments"));
    }
    match function {
        Some(function) => Ok(Expression::Call(function, arguments)),
        None => match arguments.pop() {
            Some(Expression::Call(Function::Eq | Function::Ne | Function::Not, _)) | None => Err(
                TemplateError::new(at, "the name after `index .` must be text"),
            ),
            Some(name) => Ok(Expression::Index(Box::new(name))),
        },
    }
}

/// Deeper than any template a person would write, shallow enough for any stack.
const MAX_DEPTH: usize = 16;
