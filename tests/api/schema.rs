//! As much of JSON Schema (2020-12) as our own documents use. What it does not know it refuses, so that
//! no rule of theirs is passed over.

use serde_json::Value;

/// Checks `value` against `schema`, whose references lead into `document`.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let rules = schema.as_object().ok_or("a schema is an object")?;
    let wrong = |rule: &str| Err(format!("{value} against {rule} of {schema}"));
    for (rule, content) in rules {
        match rule.as_str() {
            "$ref" => {
                let at = content.as_str().and_then(|at| at.strip_prefix('#'));
                let target = at.and_then(|at| document.pointer(at));
                check(document, target.ok_or("a reference to nothing")?, value)?;
            }
            "type" => {
                let is_good = match content.as_str().unwrap_or_default() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => return Err(format!("an unknown type: {other}")),
                };
                if !is_good {
                    return wrong(rule);
                }
            }
            "enum" if !content.as_array().is_some_and(|all| all.contains(value)) => {
                return wrong(rule);
            }
            "const" if content != value => return wrong(rule),
            "required" => {
                for name in content.as_array().into_iter().flatten() {
                    if value.get(name.as_str().unwrap_or_default()).is_none() {
                        return wrong(rule);
                    }
                }
            }
            "properties" => {
                for (name, schema) in content.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(name) {
                        check(document, schema, value)?;
                    }
                }
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                let mut names = value.as_object().into_iter().flatten();
                if content == false && names.any(|(name, _)| known.get(name).is_none()) {
                    return wrong(rule);
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(document, content, item)?;
                }
            }
            "oneOf" => {
                let all = content.as_array().into_iter().flatten();
                let fitting = all.filter(|one| check(document, one, value).is_ok());
                if fitting.count() != 1 {
                    return wrong(rule);
                }
            }
            "maxLength" => {
                let length = value.as_str().map_or(0, |text| text.chars().count());
                if content
                    .as_u64()
                    .is_none_or(|most| u64::try_from(length).unwrap() > most)
                {
                    return wrong(rule);
                }
            }
            "pattern" => {
                let pattern = content.as_str().unwrap_or_default();
                let length = pattern
                    .strip_prefix("^[0-9a-f]{")
                    .and_then(|rest| rest.strip_suffix("}$")?.parse::<usize>().ok())
                    .ok_or_else(|| format!("an unknown pattern: {pattern}"))?;
                let text = value.as_str().unwrap_or_default();
                let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if text.len() != length || !text.bytes().all(is_hex) {
                    return wrong(rule);
                }
            }
            "enum" | "const" | "description" | "title" | "format" | "contentEncoding"
            | "$schema" | "$id" | "$defs" => (),
            unknown => return Err(format!("an unknown rule: {unknown}")),
        }
    }
    Ok(())
}
