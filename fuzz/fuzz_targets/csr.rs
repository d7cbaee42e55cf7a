//! Certificate signing requests: as PEM, or as the DER that is put into PEM here.
#![no_main]

use der::pem::{LineEnding, encode_string};
use libfuzzer_sys::fuzz_target;
use vouchsafe::possession::{KeyRequest, prove};

fuzz_target!(|data: &[u8]| {
    let wrapped = encode_string("CERTIFICATE REQUEST", LineEnding::LF, data).unwrap_or_default();
    for pem in [data.to_vec(), wrapped.into_bytes()] {
        let request = KeyRequest::CertificateSigningRequest(pem);
        if let Ok(proven) = prove(&request, "") {
            assert_eq!(prove(&request, "anything"), Ok(proven));
        }
    }
});
