//! JSON read strictly, because two readers that disagree about one text are how identities are
//! forged: a member named twice is an error at every level, integers stay exact, and depth, counts
//! and lengths are bounded.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Any JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number written without fraction or exponent.
    Integer(i128),
    /// Any other number; nothing that would lose digits.
    Float(f64),
    Text(String),
    Array(Vec<Self>),
    Object(Object),
}

/// An object, its members in the order of the text, no two of one name.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Object(Vec<(String, Value)>);

/// How much one document may hold.
#[derive(Debug)]
pub(super) struct Limits {
    /// Objects and arrays inside each other.
    pub(super) depth: usize,
    /// Members of all objects together.
    pub(super) members: usize,
    /// Items of one array.
    pub(super) items: usize,
    /// Bytes of one text.
    pub(super) text: usize,
}

/// Why a text was not taken as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not an object.
    #[error("not a JSON object")]
    Syntax,
    /// One name twice in one object.
    #[error("a JSON object names one member twice")]
    Duplicate,
    /// Too deep, too many or too long.
    #[error("the JSON text is too deep, too large or has too many members")]
    Limit,
    /// A number that cannot be kept exactly.
    #[error("a JSON number is too large to be kept exactly")]
    Number,
}

impl Object {
    /// Reads one object that is the whole of `text`.
    pub(super) fn parse(text: &[u8], limits: &Limits) -> Result<Self, JsonError> {
        let mut fault = JsonError::Syntax;
        let mut members = limits.members;
        let seed = Reader {
            limits,
            depth: limits.depth,
            members: &mut members,
            fault: &mut fault,
        };
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let value = seed
            .deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value));
        match value {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(JsonError::Syntax),
            Err(_) => Err(fault),
        }
    }

    /// The member of exactly this name.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        let Self(members) = self;
        members
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// All members, in the order of the text.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        let Self(members) = self;
        members.iter().map(|(name, value)| (name.as_str(), value))
    }
}

struct Reader<'r> {
    limits: &'r Limits,
    depth: usize,
    members: &'r mut usize,
    fault: &'r mut JsonError,
}

impl Reader<'_> {
    fn refuse<T, E: serde::de::Error>(self, fault: JsonError) -> Result<T, E> {
        *self.fault = fault;
        Err(E::custom(fault))
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // Integers beyond 64 bits arrive here too, already rounded.
        if value.abs() >= EXACT_INTEGERS {
            return self.refuse(JsonError::Number);
        }
        Ok(Value::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        if value.len() > self.limits.text {
            return self.refuse(JsonError::Limit);
        }
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        if self.depth == 0 {
            return self.refuse(JsonError::Limit);
        }
        let mut items = Vec::new();
        loop {
            let reader = Reader {
                limits: self.limits,
                depth: self.depth - 1,
                members: self.members,
                fault: self.fault,
            };
            match access.next_element_seed(reader)? {
                None => return Ok(Value::Array(items)),
                Some(_) if items.len() == self.limits.items => {
                    return self.refuse(JsonError::Limit);
                }
                Some(item) => items.push(item),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        if self.depth == 0 {
            return self.refuse(JsonError::Limit);
        }
        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some(name) = access.next_key::<String>()? {
            if *self.members == 0 || name.len() > self.limits.text {
                return self.refuse(JsonError::Limit);
            }
            *self.members -= 1;
            if members.iter().any(|(member, _)| *member == name) {
                return self.refuse(JsonError::Duplicate);
            }
            let reader = Reader {
                limits: self.limits,
                depth: self.depth - 1,
                members: self.members,
                fault: self.fault,
            };
            members.push((name, access.next_value_seed(reader)?));
        }
        Ok(Value::Object(Object(members)))
    }
}

/// 2^53: up to here a whole number and its binary fraction are the same.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        depth: 4,
        members: 8,
        items: 3,
        text: 10,
    };

    fn parse(text: &str) -> Result<Object, JsonError> {
        Object::parse(text.as_bytes(), &LIMITS)
    }

    #[test]
    fn of_two_members_with_one_name_one_wins() {
        for text in [
            r#"{"iss":"a","iss":"b"}"#,
            r#"{"iss":"a","iss":"a"}"#,
            r#"{"iss":"a","\u0069ss":"b"}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"c":2,"b":3}]}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Duplicate), "{text}");
        }
        assert!(parse(r#"{"a":1,"A":2,"b":{"a":3}}"#).is_ok());
    }

    #[test]
    fn a_large_integer_loses_digits() {
        let object = Object::parse(
            br#"{"a":12345678901234567890,"b":9007199254740993,"c":-9223372036854775808}"#,
            &LIMITS,
        );
        let object = object.unwrap();
        let values: Vec<_> = object.members().map(|(_, value)| value.clone()).collect();
        assert_eq!(
            values,
            [
                Value::Integer(12_345_678_901_234_567_890),
                Value::Integer(9_007_199_254_740_993),
                Value::Integer(i64::MIN.into()),
            ]
        );
        for text in [
            r#"{"a":18446744073709551616}"#,
            r#"{"a":-9223372036854775809}"#,
            r#"{"a":1e16}"#,
            r#"{"a":9007199254740992.0}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Number), "{text}");
        }
        assert_eq!(parse(r#"{"a":1e400}"#), Err(JsonError::Syntax));
    }

    #[test]
    fn a_document_beyond_a_limit_is_read() {
        for text in [
            r#"{"a":[[[[1]]]]}"#,
            r#"{"a":[1,2,3,4]}"#,
            r#"{"a":"12345678901"}"#,
            r#"{"12345678901":1}"#,
            r#"{"a":1,"b":2,"c":{"d":1,"e":2,"f":3},"g":1,"h":1,"i":1}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Limit), "{text}");
        }
        assert!(parse(r#"{"a":[[[1]]],"b":[1,2,3],"c":"1234567890"}"#).is_ok());
    }

    #[test]
    fn something_else_than_one_object_is_read() {
        for text in [
            "",
            "null",
            "[]",
            "1",
            "{",
            "{}{}",
            "{} x",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
            "{\"a\":NaN}",
            "{\"a\":\"\n\"}",
        ] {
            assert_eq!(parse(text), Err(JsonError::Syntax), "{text:?}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}", &LIMITS).is_err());
    }

    proptest! {
        #[test]
        fn some_bytes_make_the_reader_panic_or_disagree(bytes in "[\\[\\]{}:,\"a0-9.eE\\-\\\\u ]{0,60}") {
            if let Ok(object) = Object::parse(bytes.as_bytes(), &LIMITS) {
                let other: serde_json::Value = serde_json::from_str(&bytes).unwrap();
                let names: Vec<&str> = object.members().map(|(name, _)| name).collect();
                prop_assert_eq!(names.len(), other.as_object().unwrap().len());
            }
        }
    }
}
