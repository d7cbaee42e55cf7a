//! Tokens and key sets. Nobody but the holder of a private key makes a token that verifies: the only
//! ones here are those of the corpus, whose keys are gone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe::identity::fuzzing;

const KEYS: &[u8] = include_bytes!("../../testdata/tokens/signed/keys.json");
const SIGNED: [&str; 9] = [
    include_str!("../../testdata/tokens/signed/ES256.jwt"),
    include_str!("../../testdata/tokens/signed/ES384.jwt"),
    include_str!("../../testdata/tokens/signed/EdDSA.jwt"),
    include_str!("../../testdata/tokens/signed/PS256.jwt"),
    include_str!("../../testdata/tokens/signed/PS384.jwt"),
    include_str!("../../testdata/tokens/signed/PS512.jwt"),
    include_str!("../../testdata/tokens/signed/RS256.jwt"),
    include_str!("../../testdata/tokens/signed/RS384.jwt"),
    include_str!("../../testdata/tokens/signed/RS512.jwt"),
];

fuzz_target!(|data: &[u8]| {
    let _keys = fuzzing::key_set(data);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Some(signed) = fuzzing::token(text, KEYS) {
        assert!(
            SIGNED
                .iter()
                .any(|token| token.starts_with(&format!("{signed}.")))
        );
    }
});
