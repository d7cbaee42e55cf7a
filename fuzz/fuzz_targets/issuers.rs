//! The issuers' file, which may be replaced while the server runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe::identity::{Config, Options};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let strict = Options {
        allow_http_loopback: false,
    };
    let lenient = Options {
        allow_http_loopback: true,
    };
    let read = Config::from_text(text, strict);
    if let Err(error) = &read {
        // Every character that some version of YAML breaks lines at.
        let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
        let lines = text.matches(breaks).count() + 1;
        assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
    }
    // What is good without plain HTTP is as good with it.
    if let Ok(read) = read {
        assert_eq!(Config::from_text(text, lenient).ok(), Some(read));
    }
});
