//! A public key and a proof: the key's length in two octets, the key, and the rest is the proof.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe::possession::{KeyRequest, prove};

/// What the proofs of the corpus are over.
const CHALLENGE: &str = "artist@example.com";

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (key, proof) = rest.split_at(length);
    let request = |key: &[u8]| KeyRequest::PublicKey {
        key: key.to_vec(),
        proof: proof.to_vec(),
    };
    if let Ok(proven) = prove(&request(key), CHALLENGE) {
        // In the one form the key has here it is the same key.
        assert_eq!(prove(&request(proven.spki_der()), CHALLENGE), Ok(proven));
        let other = prove(&request(key), "somebody.else@example.com");
        assert!(other.is_err());
    }
});
