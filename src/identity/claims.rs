//! The claims of a verified token, strictly typed: a claim of the wrong type is an error, never the
//! same as none.

use super::json::{Object, Value};
use super::unverified::SignedPayload;
use std::borrow::Cow;
use std::fmt::Write as _;
use time::{Duration, OffsetDateTime};

/// The claims of a token that its issuer signed, for us, for now.
#[derive(Debug)]
pub(super) struct Claims {
    claims: Object,
    subject: String,
    expires: OffsetDateTime,
}

/// Why the claims of a token that its issuer did sign were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// A claim that must be there is not.
    #[error("the token has no claim {0:?}")]
    Missing(String),
    /// A claim of the wrong type.
    #[error("the token's claim {0:?} has the wrong type")]
    Type(String),
    /// A claim with another value than those it may have.
    #[error("the token's claim {0:?} has a value that is not allowed here")]
    Value(String),
    /// `iss` is not the issuer whose key signed.
    #[error("the token's `iss` is not the issuer whose keys were asked")]
    Issuer,
    /// Meant for somebody else.
    #[error("the token's `aud` does not contain the expected audience {expected:?}")]
    Audience {
        /// What it must contain.
        expected: String,
    },
    /// Its time is over.
    #[error("the token expired {seconds} s ago")]
    Expired {
        /// How long ago.
        seconds: i64,
    },
    /// `nbf` lies ahead.
    #[error("the token is not valid before {seconds} s from now")]
    NotYetValid {
        /// How far ahead.
        seconds: i64,
    },
    /// `iat` lies ahead.
    #[error("the token was issued {seconds} s in the future")]
    IssuedInFuture {
        /// How far ahead.
        seconds: i64,
    },
    /// A token that could be stolen and used for days.
    #[error("the token's lifetime is longer than {} hours", MAX_LIFETIME.whole_hours())]
    Lifetime,
}

impl Claims {
    /// The claims, if they are for `audience`, by `issuer`, and in time.
    pub(super) fn check(
        payload: SignedPayload,
        issuer: &str,
        audience: &str,
        now: OffsetDateTime,
    ) -> Result<Self, ClaimError> {
        let claims = payload.into_object();
        if !matches!(claims.member("iss"), Some(Value::Text(text)) if text == issuer) {
            return Err(ClaimError::Issuer);
        }
        let for_us = match claims.member("aud") {
            Some(Value::Text(one)) => one == audience,
            Some(Value::Array(several)) => {
                let mut found = false;
                for one in several {
                    let Value::Text(one) = one else {
                        return Err(ClaimError::Type("aud".to_owned()));
                    };
                    found |= one == audience;
                }
                found
            }
            Some(_) => return Err(ClaimError::Type("aud".to_owned())),
            None => return Err(ClaimError::Missing("aud".to_owned())),
        };
        if !for_us {
            return Err(ClaimError::Audience {
                expected: audience.to_owned(),
            });
        }
        let Some(expires) = moment(&claims, "exp")? else {
            return Err(ClaimError::Missing("exp".to_owned()));
        };
        if now >= expires + EXPIRY_LEEWAY {
            let seconds = (now - expires).whole_seconds();
            return Err(ClaimError::Expired { seconds });
        }
        if let Some(from) = moment(&claims, "nbf")?
            && from > now + SKEW
        {
            let seconds = (from - now).whole_seconds();
            return Err(ClaimError::NotYetValid { seconds });
        }
        let issued = moment(&claims, "iat")?;
        if let Some(issued) = issued
            && issued > now + SKEW
        {
            let seconds = (issued - now).whole_seconds();
            return Err(ClaimError::IssuedInFuture { seconds });
        }
        // Without `iat` the life that is left is what can be limited.
        if expires - issued.unwrap_or(now) > MAX_LIFETIME {
            return Err(ClaimError::Lifetime);
        }
        let subject = match claims.member("sub") {
            Some(Value::Text(subject)) if !subject.is_empty() => subject.clone(),
            Some(Value::Text(_)) | None => return Err(ClaimError::Missing("sub".to_owned())),
            Some(_) => return Err(ClaimError::Type("sub".to_owned())),
        };
        Ok(Self {
            claims,
            subject,
            expires,
        })
    }

    /// `sub`, never empty.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// `exp`.
    pub(super) fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    /// One claim, whatever its type.
    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.member(name)
    }

    /// A claim that must be a text with something in it.
    pub(super) fn text(&self, name: &str) -> Result<&str, ClaimError> {
        match self.claim(name) {
            Some(Value::Text(text)) if !text.is_empty() => Ok(text),
            Some(Value::Text(_)) | None => Err(ClaimError::Missing(name.to_owned())),
            Some(_) => Err(ClaimError::Type(name.to_owned())),
        }
    }

    /// One claim as a template sees it.
    pub(super) fn as_text(&self, name: &str) -> Option<Cow<'_, str>> {
        Some(match self.claim(name)? {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Integer(number) => Cow::Owned(number.to_string()),
            Value::Float(number) => Cow::Owned(number.to_string()),
            nested @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                let mut out = String::new();
                write_nested(&mut out, nested);
                Cow::Owned(out)
            }
        })
    }
}

/// RFC 7519, section 2: a NumericDate is the number of seconds since the epoch, and "non-integer
/// values can be represented".
fn moment(claims: &Object, name: &str) -> Result<Option<OffsetDateTime>, ClaimError> {
    let seconds = match claims.member(name) {
        None => return Ok(None),
        Some(Value::Integer(seconds)) => i64::try_from(*seconds).ok(),
        Some(Value::Float(seconds)) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "below 2^53, or it would not be here"
            )]
            Some(seconds.floor() as i64)
        }
        Some(_) => None,
    };
    seconds
        .filter(|seconds| (0..=LAST_SECOND).contains(seconds))
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map(Some)
        .ok_or_else(|| ClaimError::Type(name.to_owned()))
}

/// A value as Go's `%v` writes what its JSON reader made of it, because certificates have been
/// issued with exactly that text.
fn write_nested(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Text(text) => out.push_str(text),
        Value::Integer(number) => write_number(out, *number),
        Value::Float(number) => write_float(out, *number),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                write_nested(out, item);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut members: Vec<_> = object.members().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push_str("map[");
            for (place, (name, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                out.push_str(name);
                out.push(':');
                write_nested(out, value);
            }
            out.push(']');
        }
    }
}

/// Go holds every JSON number as a binary fraction. Where that would lose digits they are kept.
fn write_number(out: &mut String, number: i128) {
    if number.unsigned_abs() > EXACT {
        push_display(out, &number);
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
    write_float(out, number as f64);
}

/// The shortest digits that give the number back, with an exponent of at least two digits from a
/// million up and from a hundred-thousandth down.
fn write_float(out: &mut String, number: f64) {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if EXPONENTS_WRITTEN_OUT.contains(&exponent) {
        push_display(out, &number);
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    out.push_str(digits);
    push_display(out, &format_args!("e{sign}{:02}", exponent.abs()));
}

fn push_display(out: &mut String, value: &dyn std::fmt::Display) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "writing to a String cannot fail"
    )]
    let _ = write!(out, "{value}");
}

/// No leeway: an expired token has had its life, and a clock that runs behind is ours to mend.
const EXPIRY_LEEWAY: Duration = Duration::ZERO;

/// How far the issuer's clock may run ahead of ours.
const SKEW: Duration = Duration::seconds(60);

const MAX_LIFETIME: Duration = Duration::hours(24);

/// The end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// 2^53.
const EXACT: u128 = 1 << 53;

/// The powers of ten that Go writes without an exponent.
const EXPONENTS_WRITTEN_OUT: std::ops::Range<i32> = -4..6;

#[cfg(test)]
mod tests;
