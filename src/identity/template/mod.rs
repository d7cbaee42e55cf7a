//! The template language in which a configuration says how a CI provider's claims become
//! certificate values.
//!
//! It is the part of Go's `text/template` that such configurations use, with the same meaning byte
//! for byte, because a signer's identity is made of the result:
//!
//! | written | means |
//! |---|---|
//! | `sha` (no `{{` anywhere) | the value called `sha`; it must exist |
//! | `{{ .sha }}` | the same, inside other text |
//! | `{{ index . "a/b" }}` | the value called `a/b`, or nothing when there is none |
//! | `{{if p}}…{{else if p}}…{{else}}…{{end}}` | the first branch whose `p` is neither empty nor false |
//! | `eq a b…`, `ne a b`, `not a` | `true` or `false` |
//! | `and a…`, `or a…` | the first empty (full) argument, else the last; the rest is not looked at |
//! | `( … )`, `"…"`, `` `…` `` | grouping and text |
//! | `{{- `, ` -}}`, `{{/* … */}}` | cut the white space on that side; a comment |
//!
//! Everything else of Go's language (variables, pipes, loops, other functions, numbers) is refused
//! when the configuration is loaded, by name and position, never at the first request.

mod lex;
mod parse;
mod render;

use std::borrow::Cow;

pub(super) use parse::TemplateError;
pub use render::RenderError;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Source);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A text without `{{` is the name of one value.
    Lookup(Box<str>),
    Program(Vec<Node>),
}

/// One piece of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(Box<str>),
    Value(Expression),
    /// Branches in order, each with its condition, and what is written when none holds.
    If {
        branches: Vec<(Expression, Vec<Self>)>,
        otherwise: Vec<Self>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Text(Box<str>),
    Field(Box<str>),
    Index(Box<Self>),
    Call(Function, Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Eq,
    Ne,
    And,
    Or,
    Not,
}

impl Template {
    /// Reads a template. A blank text is none.
    ///
    /// # Errors
    /// What is wrong or not supported, and where.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError {
                at: 1,
                reason: format!("a template has at most {MAX_TEMPLATE} bytes"),
            });
        }
        if text.trim().is_empty() {
            return Ok(None);
        }
        let source = if text.contains("{{") {
            Source::Program(parse::program(text)?)
        } else {
            Source::Lookup(text.into())
        };
        Ok(Some(Self(source)))
    }

    /// Writes the template with values found by name.
    ///
    /// # Errors
    /// A value that must exist and does not, or a comparison that has no meaning. The error names
    /// values but never shows them.
    pub(super) fn render<'v>(&self, values: Values<'_, 'v>) -> Result<String, RenderError> {
        match &self.0 {
            Source::Lookup(name) => match values(name) {
                Some(value) => Ok(value.into_owned()),
                None => Err(RenderError::Missing(name.as_ref().into())),
            },
            Source::Program(nodes) => {
                let mut out = String::new();
                render::write(nodes, values, &mut out)?;
                Ok(out)
            }
        }
    }
}

/// Where a template finds its values: a name's value, if there is one.
pub(super) type Values<'f, 'v> = &'f dyn Fn(&str) -> Option<Cow<'v, str>>;

/// Longer than any sane template, and short enough that a parse costs nothing.
const MAX_TEMPLATE: usize = 4096;

#[cfg(test)]
mod tests;
