//! Keys that are refused by name.

use std::collections::HashSet;

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
        if PUBLISHED.contains(&key.fingerprint) {
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

const PUBLISHED: &[[u8; 32]] = &[];
