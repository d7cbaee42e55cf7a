//! Keys that are refused by name.

use std::{collections::HashSet, sync::LazyLock};

use super::{PossessionError, Weakness, key::CandidateKey};

/// The operator's list of keys never to certify, by the SHA-256 of their SubjectPublicKeyInfo.
///
/// Keys whose private halves are printed in standards are refused without being listed.
#[derive(Clone, Debug, Default)]
pub struct BlockedKeys(HashSet<[u8; 32]>);

impl BlockedKeys {
    /// Reads a list: one fingerprint a line, 64 hexadecimal digits; blank lines and lines that
    /// start with `#` count for nothing.
    ///
    /// # Errors
    ///
    /// The first line that is none of these.
    pub fn parse(text: &str) -> Result<Self, BlockedKeysError> {
        text.lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(line, text)| fingerprint(text).ok_or(BlockedKeysError { line }))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The number of keys on the list.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn check(&self, key: &CandidateKey) -> Result<(), PossessionError> {
        if PUBLISHED_KEYS.contains(&key.fingerprint) {
            return Err(PossessionError::KeyInsecure(Weakness::Published));
        }
        if self.0.contains(&key.fingerprint) {
            return Err(PossessionError::KeyInsecure(Weakness::Blocked));
        }
        Ok(())
    }
}

/// A line of a list that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of blocked keys is not 64 hexadecimal digits")]
pub struct BlockedKeysError {
    /// The line's number, from one.
    pub line: usize,
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut fingerprint = [0; 32];
    for (octet, digits) in fingerprint.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for &digit in digits {
            let digit = char::from(digit).to_digit(16)?;
            *octet = *octet << 4 | u8::try_from(digit).ok()?;
        }
    }
    Some(fingerprint)
}

static PUBLISHED_KEYS: LazyLock<HashSet<[u8; 32]>> =
    LazyLock::new(|| PUBLISHED.iter().copied().filter_map(fingerprint).collect());

/// Private keys that anyone can look up: the worked examples of standards, and the smallest scalar.
/// People do paste them.
const PUBLISHED: &[&str] = &[
    // RFC 6979 A.2.5
    "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4",
    // RFC 6979 A.2.6
    "2f95601fa82060b909bfc6b979dbd303d34d34e0afb27ea496beac362f242a4b",
    // RFC 6979 A.2.7
    "2fb6d46385242ea4ad431f7175e7014eb74a5fc60f65b50ca54cc23c5b08de38",
    // The generators of P-256, P-384 and P-521, whose private scalar is 1
    "5cd252fb0ce8932436faf8ccd1040981b89ee4ad6b9fe9e2a2b7e71aacb27cd3",
    "29f8fe74f38c49d49810cec736a26732a30bff2e64827b709a1c63340d4f7181",
    "dcaa139396632a8daba1ba49ceccce0c417786f014698a06221b083d77754bda",
    // RFC 8032 7.1, TEST 1, 2 and 3
    "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9",
    "deb2ded39dc26fce0e6085b6fc34bf6b5941913bbfe2ea614113cff9e004c170",
    "8d39ba50abe50f77b6bb8ae7b6927aff7ffbeba35ad2837c0e51e82bcbcc60d5",
];
