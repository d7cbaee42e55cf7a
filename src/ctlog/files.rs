//! A log as whoever publishes it lays it out (C2SP static-ct-api): `checkpoint`, `tile/…` and `issuer/…`
//! below one place. The same bytes come out of a database, of a directory, and over HTTP.

use std::io::Read as _;
use std::path::PathBuf;

use super::entry::{MAX_CERTIFICATE, MAX_CHAIN};
use super::merkle::{HASH_LENGTH, Hash, TILE_WIDTH};
use super::reads::Reader;
use super::tile::TilePath;

/// Where a log's files are.
#[async_trait::async_trait]
pub trait Files: Send + Sync {
    /// The file of this name, or nothing where there is none. A file of more than `limit` bytes is an
    /// error; what is read need not be kept in memory beyond that.
    async fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, FilesError>;
}

/// A file that cannot be read, though it may be there.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot be read: {reason}")]
pub struct FilesError {
    /// The file.
    pub name: String,
    /// Why not.
    pub reason: String,
}

impl FilesError {
    /// Of the file `name`.
    pub fn new(name: &str, reason: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// A directory with a log's files, as a publisher leaves it.
#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

#[async_trait::async_trait]
impl Files for Directory {
    async fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, FilesError> {
        let file = match std::fs::File::open(self.0.join(name)) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(FilesError::new(name, error)),
        };
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        file.take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| FilesError::new(name, error))?;
        if bytes.len() > limit {
            return Err(FilesError::new(
                name,
                format!("it has more than {limit} bytes"),
            ));
        }
        Ok(Some(bytes))
    }
}

#[async_trait::async_trait]
impl Files for Reader {
    async fn read(&self, name: &str, _: usize) -> Result<Option<Vec<u8>>, FilesError> {
        if name == CHECKPOINT {
            let checkpoint = self.checkpoint().await;
            return match checkpoint {
                Ok(checkpoint) => Ok(Some(checkpoint.into_bytes())),
                Err(error) => Err(FilesError::new(name, error)),
            };
        }
        let found = match (TilePath::parse(name), name.strip_prefix(ISSUER)) {
            (Some(TilePath::Hashes { level, n, width }), _) => self.tile(level, n, width).await,
            (Some(TilePath::Data { n, width }), _) => self.data_tile(n, width).await,
            (None, Some(fingerprint)) => match read_fingerprint(fingerprint) {
                Some(fingerprint) => self.issuer(&fingerprint).await,
                None => Ok(None),
            },
            (None, None) => Ok(None),
        };
        found.map_err(|error| FilesError::new(name, error))
    }
}

/// The name of a certificate's file.
#[must_use]
pub fn issuer_name(fingerprint: &Hash) -> String {
    let hex = fingerprint.iter().map(|byte| format!("{byte:02x}"));
    hex.fold(ISSUER.to_owned(), |name, digits| name + &digits)
}

/// A SHA-256 in hexadecimal, in lower case: each certificate has one name.
#[must_use]
pub fn read_fingerprint(text: &str) -> Option<Hash> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * HASH_LENGTH || !text.bytes().all(is_digit) {
        return None;
    }
    let mut hash = [0; HASH_LENGTH];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Nothing of that name: the name itself may lead through a file.
fn is_absence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    [NotFound, NotADirectory].contains(&error.kind())
}

/// The file of the signed tree head.
pub const CHECKPOINT: &str = "checkpoint";
const ISSUER: &str = "issuer/";

/// Bytes a checkpoint may have.
pub const MAX_CHECKPOINT: usize = 64 * 1024;
/// Bytes of a full tile of hashes.
pub const HASH_TILE: usize = TILE_WIDTH * HASH_LENGTH;
/// Bytes that a full tile of entries may have: a precertificate twice, the certificates above it by their
/// fingerprints, and some for what is around them.
pub const MAX_DATA_TILE: usize = TILE_WIDTH * (2 * MAX_CERTIFICATE + MAX_CHAIN * HASH_LENGTH + 64);
