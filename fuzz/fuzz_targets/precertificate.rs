//! Precertificates as strangers submit them: what a log cuts out of them and puts in.
#![no_main]

use der::asn1::Any;
use der::{Encode as _, Tag};
use libfuzzer_sys::fuzz_target;
use vouchsafe::certificate::precertificate::{
    FinalIssuer, POISON_OID, SpliceError, tbs_of_final, tbs_without,
};

/// `tbs` as the only element of a certificate.
fn certificate(tbs: &[u8]) -> Vec<u8> {
    Any::new(Tag::Sequence, tbs)
        .and_then(|all| all.to_der())
        .unwrap_or_default()
}

fuzz_target!(|data: &[u8]| {
    let cut = tbs_without(data, POISON_OID);
    if let Ok(tbs) = &cut {
        assert!(tbs.len() < data.len());
        // It was the only one, and what is left can be read again.
        let again = tbs_without(&certificate(tbs), POISON_OID);
        assert_eq!(again, Err(SpliceError::Count(0)));
    }
    let name = [0x30, 0x00];
    for key_identifier in [None, Some(&[0x30, 0x00][..])] {
        let issuer = FinalIssuer {
            name: &name,
            key_identifier,
        };
        if let Ok(tbs) = tbs_of_final(data, issuer) {
            assert!(cut.is_ok());
            let again = tbs_without(&certificate(&tbs), POISON_OID);
            assert_eq!(again, Err(SpliceError::Count(0)));
        }
    }
});
