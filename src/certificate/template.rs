//! The to-be-signed bytes of a leaf, written once. Precertificate, log entry and final certificate
//! are the same bytes with another last extension, or none.

use time::OffsetDateTime;

use super::der;
use super::profile::SerialNumber;

/// A leaf that nobody has signed yet. Only a [`Profile`](super::profile::Profile) makes one, and the
/// authority's first signature consumes it.
#[derive(Debug)]
pub struct Template {
    /// All fields before the extensions.
    head: Vec<u8>,
    /// The extensions, one after another, without the two wrappers around them.
    extensions: Vec<u8>,
    serial: SerialNumber,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Template {
    pub(super) const fn new(
        head: Vec<u8>,
        extensions: Vec<u8>,
        serial: SerialNumber,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Self {
        Self {
            head,
            extensions,
            serial,
            not_before,
            not_after,
        }
    }

    /// Its serial number.
    pub const fn serial(&self) -> SerialNumber {
        self.serial
    }

    /// Start of its validity, in whole seconds.
    pub const fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// End of its validity, in whole seconds.
    pub const fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The `TBSCertificate` with `last` after all other extensions.
    ///
    /// ```text
    /// SEQUENCE { head, [3] { SEQUENCE { extensions, last } } }
    /// ```
    pub(super) fn to_be_signed(&self, last: &[u8]) -> Vec<u8> {
        let list = self.extensions.len() + last.len();
        let sequence = der::header(der::SEQUENCE, list);
        let wrapper = der::header(der::explicit(3), sequence.len() + list);
        der::tlv(
            der::SEQUENCE,
            &[&self.head, &wrapper, &sequence, &self.extensions, last],
        )
    }
}
