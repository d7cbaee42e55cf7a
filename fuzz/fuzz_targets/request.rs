//! Bodies of both interfaces over HTTP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe::possession::prove;
use vouchsafe::server::fuzzing;

fuzz_target!(|data: &[u8]| {
    match fuzzing::v2(data) {
        Ok((token, key)) => {
            assert!(token.len() <= data.len());
            let _verdict = prove(&key, "artist@example.com");
        }
        Err(reason) => short(&reason),
    }
    match fuzzing::v1(data) {
        Ok(key) => {
            let _verdict = key.map(|key| prove(&key, "artist@example.com"));
        }
        Err(reason) => short(&reason),
    }
});

/// A reason goes to the caller and to the log, so it holds nothing of the body.
fn short(reason: &str) {
    assert!(!reason.is_empty() && reason.len() <= 200, "{reason}");
}
