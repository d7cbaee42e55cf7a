//! What may differ between ledger and log, one sentence each.

use std::fmt;

/// One difference. A certificate is named by its serial number, an entry by its index, a row by its
/// number in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// An entry of ours without a row, as a crash between log and ledger leaves it.
    NeverRecorded {
        /// Of the entry.
        index: u64,
        /// Of the certificate.
        serial: [u8; 20],
    },
    /// Somebody has, and submitted, a certificate of ours that the ledger does not know.
    IssuedUnrecorded {
        /// Of the entry.
        index: u64,
        /// Of the certificate.
        serial: [u8; 20],
    },
    /// Rows were taken away.
    RowsMissing {
        /// The first missing number.
        first: i64,
        /// The last.
        last: i64,
    },
    /// A row holds what this program never writes.
    RowDamaged {
        /// Of the row.
        number: i64,
        /// Where in it.
        column: &'static str,
    },
    /// What stands in the row is no certificate of the kind that is issued here.
    NoCertificate {
        /// Of the row.
        number: i64,
        /// In the row.
        serial: [u8; 20],
    },
    /// A row says something else than the certificate in it.
    RowDiffers {
        /// Of the row.
        number: i64,
        /// In the row.
        serial: [u8; 20],
        /// Where in the row.
        column: &'static str,
    },
    /// The certificate's timestamp is of a log that is not configured.
    UnknownLog {
        /// Of the row.
        number: i64,
        /// In the row.
        serial: [u8; 20],
    },
    /// The certificate's timestamp is not the log's over this certificate.
    NotPromised {
        /// Of the row.
        number: i64,
        /// In the row.
        serial: [u8; 20],
    },
    /// The log has nothing where the row says.
    NoEntry {
        /// Of the row.
        number: i64,
        /// In the row.
        serial: [u8; 20],
        /// In the row.
        index: u64,
    },
    /// The log has another certificate where the row says.
    OtherEntry {
        /// Of the row.
        number: i64,
        /// In the row.
        serial: [u8; 20],
        /// In the row.
        index: u64,
    },
    /// An entry cannot be read; `vouchsafe log fsck` says more.
    EntryUnreadable {
        /// Of the entry.
        index: u64,
    },
}

impl Difference {
    /// Its name for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NeverRecorded { .. } => "never-recorded",
            Self::IssuedUnrecorded { .. } => "issued-unrecorded",
            Self::RowsMissing { .. } => "rows-missing",
            Self::RowDamaged { .. } => "row-damaged",
            Self::NoCertificate { .. } => "no-certificate",
            Self::RowDiffers { .. } => "row-differs",
            Self::UnknownLog { .. } => "unknown-log",
            Self::NotPromised { .. } => "not-promised",
            Self::NoEntry { .. } => "no-entry",
            Self::OtherEntry { .. } => "other-entry",
            Self::EntryUnreadable { .. } => "entry-unreadable",
        }
    }

    /// Whether it is what a crash leaves behind: legal, since nobody received the certificate.
    #[must_use]
    pub const fn is_innocent(&self) -> bool {
        matches!(self, Self::NeverRecorded { .. })
    }

    /// The row it is about.
    #[must_use]
    pub const fn row(&self) -> Option<i64> {
        match self {
            Self::RowsMissing { first: number, .. }
            | Self::RowDamaged { number, .. }
            | Self::NoCertificate { number, .. }
            | Self::RowDiffers { number, .. }
            | Self::UnknownLog { number, .. }
            | Self::NotPromised { number, .. }
            | Self::NoEntry { number, .. }
            | Self::OtherEntry { number, .. } => Some(*number),
            Self::NeverRecorded { .. }
            | Self::IssuedUnrecorded { .. }
            | Self::EntryUnreadable { .. } => None,
        }
    }

    /// The entry it is about.
    #[must_use]
    pub const fn index(&self) -> Option<u64> {
        match self {
            Self::NeverRecorded { index, .. }
            | Self::IssuedUnrecorded { index, .. }
            | Self::NoEntry { index, .. }
            | Self::OtherEntry { index, .. }
            | Self::EntryUnreadable { index } => Some(*index),
            Self::RowsMissing { .. }
            | Self::RowDamaged { .. }
            | Self::NoCertificate { .. }
            | Self::RowDiffers { .. }
            | Self::UnknownLog { .. }
            | Self::NotPromised { .. } => None,
        }
    }

    /// The certificate it is about.
    #[must_use]
    pub const fn serial(&self) -> Option<&[u8; 20]> {
        match self {
            Self::NeverRecorded { serial, .. }
            | Self::IssuedUnrecorded { serial, .. }
            | Self::NoCertificate { serial, .. }
            | Self::RowDiffers { serial, .. }
            | Self::UnknownLog { serial, .. }
            | Self::NotPromised { serial, .. }
            | Self::NoEntry { serial, .. }
            | Self::OtherEntry { serial, .. } => Some(serial),
            Self::RowsMissing { .. } | Self::RowDamaged { .. } | Self::EntryUnreadable { .. } => {
                None
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRecorded { index, serial } => write!(
                f,
                "entry {index} was logged and never recorded: certificate {}",
                Hex(serial)
            ),
            Self::IssuedUnrecorded { index, serial } => write!(
                f,
                "entry {index} is a certificate that somebody has and the ledger does not know: {}",
                Hex(serial)
            ),
            Self::RowsMissing { first, last } if first == last => {
                write!(f, "row {first} was taken away")
            }
            Self::RowsMissing { first, last } => {
                write!(f, "rows {first} to {last} were taken away")
            }
            Self::RowDamaged { number, column } => {
                write!(
                    f,
                    "row {number} is damaged: {column} is not what was written"
                )
            }
            Self::NoCertificate { number, serial } => write!(
                f,
                "row {number} has no certificate that can be read: {}",
                Hex(serial)
            ),
            Self::RowDiffers {
                number,
                serial,
                column,
            } => write!(
                f,
                "row {number} says in {column} something else than its certificate {}",
                Hex(serial)
            ),
            Self::UnknownLog { number, serial } => write!(
                f,
                "row {number} has a timestamp of a log that is not configured: certificate {}",
                Hex(serial)
            ),
            Self::NotPromised { number, serial } => write!(
                f,
                "row {number} has a timestamp that the log has not signed for this certificate: {}",
                Hex(serial)
            ),
            Self::NoEntry {
                number,
                serial,
                index,
            } => write!(
                f,
                "row {number} has no entry in the log, which ends before {index}: certificate {}",
                Hex(serial)
            ),
            Self::OtherEntry {
                number,
                serial,
                index,
            } => write!(
                f,
                "row {number} has another certificate than entry {index} of the log: {}",
                Hex(serial)
            ),
            Self::EntryUnreadable { index } => {
                write!(f, "entry {index} of the log cannot be read")
            }
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
