//! The claims of a verified token, for the issuers of the sample configuration.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use time::OffsetDateTime;
use time::macros::datetime;
use vouchsafe::identity::{Config, Options, fuzzing};

static ISSUERS: LazyLock<Config> = LazyLock::new(|| {
    let options = Options {
        allow_http_loopback: false,
    };
    Config::from_text(include_str!("../../config/issuers.yaml"), options).expect("the sample")
});

/// When the claims of the corpus are good.
const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

fuzz_target!(|data: &[u8]| {
    if let Some(principal) = fuzzing::claims(&ISSUERS, data, NOW) {
        // Within the leeway and a day's life.
        assert!(principal.expires > NOW - time::Duration::minutes(5));
        assert!(principal.expires < NOW + time::Duration::days(2));
        assert!(!principal.challenge.is_empty() && !principal.subject.is_empty());
        // The same claims are the same identity.
        assert_eq!(fuzzing::claims(&ISSUERS, data, NOW), Some(principal));
    }
});
