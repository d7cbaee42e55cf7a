//! Templates and the values they are rendered with: the template, then names and values in turn, with
//! a zero octet between each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe::identity::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut parts = text.split('\0');
    let template = parts.next().unwrap_or_default();
    let mut values = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        values.push((name, value));
    }
    let rendered = fuzzing::template(template, &values);
    // Nothing can be repeated, so what comes out is bounded by what went in.
    let longest = values
        .iter()
        .map(|(_, value)| value.len())
        .max()
        .unwrap_or(0);
    if let Some(rendered) = rendered {
        assert!(rendered.len() <= template.len() * longest.max(8));
    }
});
