//! Log entries as bytes: what a leaf hashes and an SCT signs, and what a data tile holds.
//!
//! All three are built around the same middle part, an entry's [body](EntryBody), so that no two of
//! them can disagree about what was logged:
//!
//! ```text
//! body              = u16 0 | u24 length, certificate                            (x509_entry)
//!                   | u16 1 | issuer_key_hash[32] | u24 length, TBSCertificate   (precert_entry)
//! TimestampedEntry  = u64 milliseconds | body | u16 length, CtExtensions
//! MerkleTreeLeaf    = 00 (v1) | 00 (timestamped_entry) | TimestampedEntry
//! TileLeaf          = TimestampedEntry | (precert_entry: u24 length, precertificate)
//!                   | u16 length, fingerprint[32] of each certificate of the chain
//! CtExtensions      = 00 (leaf_index) | u16 5 | u40 index
//! ```
//!
//! What an SCT signs (RFC 6962 section 3.2) is byte for byte the `MerkleTreeLeaf`: its
//! `signature_type` of `certificate_timestamp(0)` stands where the leaf has its `leaf_type`.

use super::merkle::{HASH_LENGTH, Hash, sha256};
use std::sync::Arc;

/// Why bytes cannot be logged, or are no logged entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// More than the log takes.
    #[error("the certificate has {0} bytes, more than the {MAX_CERTIFICATE} a log entry may have")]
    TooLarge(usize),
    /// More certificates above it than the log takes.
    #[error("the certificate has {0} certificates above it, more than {MAX_CHAIN}")]
    ChainTooLong(usize),
    /// Not the encoding above.
    #[error("the stored log entry is malformed")]
    Malformed,
}

/// What of an entry does not depend on when and where it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBody(Vec<u8>);

impl EntryBody {
    /// The body for a certificate with its final signature.
    pub fn x509(certificate_der: &[u8]) -> Result<Self, EntryError> {
        let mut body = Vec::with_capacity(certificate_der.len() + 5);
        body.extend_from_slice(&X509_ENTRY);
        push_u24_vector(&mut body, bounded_certificate(certificate_der)?);
        Ok(Self(body))
    }

    /// The body for a precertificate: its to-be-signed part without poison, and SHA-256 of the
    /// `SubjectPublicKeyInfo` of the certificate that will issue the final one.
    pub fn precertificate(issuer_key_hash: &Hash, tbs_der: &[u8]) -> Result<Self, EntryError> {
        let mut body = Vec::with_capacity(tbs_der.len() + 37);
        body.extend_from_slice(&PRECERT_ENTRY);
        body.extend_from_slice(issuer_key_hash);
        push_u24_vector(&mut body, bounded_certificate(tbs_der)?);
        Ok(Self(body))
    }

    /// The key that finds an entry again. Two entries share it only if their bodies are equal: it
    /// is the whole SHA-256, because with a shorter one a collision could be searched for and would
    /// hand out an SCT for another certificate.
    #[must_use]
    pub fn dedup_key(&self) -> Hash {
        sha256(&self.0)
    }

    /// The bytes of the `MerkleTreeLeaf`, which an SCT signs.
    #[must_use]
    pub fn merkle_tree_leaf(&self, timestamp_ms: u64, index: u64) -> Vec<u8> {
        let extensions = leaf_index_extension(index);
        self.merkle_tree_leaf_with(timestamp_ms, &extensions)
    }

    /// The same for an SCT whose extensions another log chose.
    #[must_use]
    pub fn merkle_tree_leaf_with(&self, timestamp_ms: u64, extensions: &[u8]) -> Vec<u8> {
        let mut leaf = Vec::with_capacity(self.0.len() + extensions.len() + 12);
        leaf.extend_from_slice(&[V1, TIMESTAMPED_ENTRY]);
        self.push_timestamped(&mut leaf, timestamp_ms, extensions);
        leaf
    }

    fn push_timestamped(&self, out: &mut Vec<u8>, timestamp_ms: u64, extensions: &[u8]) {
        out.extend_from_slice(&timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.0);
        push_u16_vector(out, extensions);
    }
}

/// An entry on its way into the log.
#[derive(Clone, Debug)]
pub struct Entry {
    body: EntryBody,
    /// The precertificate as it was submitted; none for a final certificate, which is its own body.
    precertificate: Option<Vec<u8>>,
    /// Fingerprints (SHA-256) of the certificates above it, issuer first, root included.
    chain: Arc<[Hash]>,
}

impl Entry {
    /// An entry for a certificate with its final signature, under the certificates of `chain`.
    pub fn x509(certificate_der: &[u8], chain: Arc<[Hash]>) -> Result<Self, EntryError> {
        let body = EntryBody::x509(certificate_der)?;
        Ok(Self {
            body,
            precertificate: None,
            chain: bounded_chain(chain)?,
        })
    }

    /// An entry for a precertificate, under the certificates of `chain`.
    pub fn precertificate(
        body: EntryBody,
        precertificate_der: &[u8],
        chain: Arc<[Hash]>,
    ) -> Result<Self, EntryError> {
        let precertificate = Some(bounded_certificate(precertificate_der)?.to_vec());
        Ok(Self {
            body,
            precertificate,
            chain: bounded_chain(chain)?,
        })
    }

    /// What is hashed.
    #[must_use]
    pub fn body(&self) -> &EntryBody {
        &self.body
    }

    /// The entry as a data tile holds it.
    #[must_use]
    pub fn tile_leaf(&self, timestamp_ms: u64, index: u64) -> Vec<u8> {
        let chain = self.chain.as_flattened();
        let mut leaf = Vec::with_capacity(self.weight() + chain.len() + 32);
        self.body
            .push_timestamped(&mut leaf, timestamp_ms, &leaf_index_extension(index));
        if let Some(precertificate) = &self.precertificate {
            push_u24_vector(&mut leaf, precertificate);
        }
        push_u16_vector(&mut leaf, chain);
        leaf
    }

    /// Bytes this entry keeps while it waits.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.body.0.len() + self.precertificate.as_ref().map_or(0, Vec::len)
    }
}

/// A `TileLeaf`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileLeaf {
    /// When it was logged, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// What was hashed.
    pub body: EntryBody,
    /// Its zero-based place in the log, as its extensions tell.
    pub index: u64,
    /// The precertificate, where it is one.
    pub precertificate: Option<Vec<u8>>,
    /// Fingerprints of the certificates above it, issuer first.
    pub chain: Vec<Hash>,
}

impl TileLeaf {
    /// Reads the first entry of a data tile; returns it and the rest of the tile.
    pub fn read(tile: &[u8]) -> Result<(Self, &[u8]), EntryError> {
        Self::split(tile).ok_or(EntryError::Malformed)
    }

    /// The `MerkleTreeLeaf` of this entry.
    #[must_use]
    pub fn merkle_tree_leaf(&self) -> Vec<u8> {
        self.body.merkle_tree_leaf(self.timestamp_ms, self.index)
    }

    fn split(tile: &[u8]) -> Option<(Self, &[u8])> {
        let (timestamp, after_timestamp) = tile.split_first_chunk::<8>()?;
        let (kind, rest) = after_timestamp.split_first_chunk::<2>()?;
        let is_precertificate = match *kind {
            X509_ENTRY => false,
            PRECERT_ENTRY => true,
            [_, _] => return None,
        };
        let rest = if is_precertificate {
            rest.get(HASH_LENGTH..)?
        } else {
            rest
        };
        let (_, after_body) = read_u24_vector(rest)?;
        let body = after_timestamp.get(..after_timestamp.len() - after_body.len())?;
        let (extensions, rest) = read_u16_vector(after_body)?;
        let (precertificate, rest) = if is_precertificate {
            let (precertificate, rest) = read_u24_vector(rest)?;
            (Some(precertificate.to_vec()), rest)
        } else {
            (None, rest)
        };
        let (chain, rest) = read_u16_vector(rest)?;
        let (chain, []) = chain.as_chunks::<HASH_LENGTH>() else {
            return None;
        };
        let leaf = Self {
            timestamp_ms: u64::from_be_bytes(*timestamp),
            body: EntryBody(body.to_vec()),
            index: read_leaf_index(extensions)?,
            precertificate,
            chain: chain.to_vec(),
        };
        Some((leaf, rest))
    }
}

/// The `CtExtensions` that name an entry's place: type 0, length 5, index. An index above 2^40 - 1
/// does not fit; the sequencer stops before.
#[must_use]
pub fn leaf_index_extension(index: u64) -> [u8; 8] {
    let [_, _, _, a, b, c, d, e] = index.to_be_bytes();
    [LEAF_INDEX, 0, 5, a, b, c, d, e]
}

/// The index in `CtExtensions` that hold a `leaf_index` and nothing else.
#[must_use]
pub fn read_leaf_index(extensions: &[u8]) -> Option<u64> {
    let &[LEAF_INDEX, 0, 5, a, b, c, d, e] = extensions else {
        return None;
    };
    Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
}

fn bounded_certificate(der: &[u8]) -> Result<&[u8], EntryError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(EntryError::TooLarge(der.len()));
    }
    Ok(der)
}

fn bounded_chain(chain: Arc<[Hash]>) -> Result<Arc<[Hash]>, EntryError> {
    if chain.len() > MAX_CHAIN {
        return Err(EntryError::ChainTooLong(chain.len()));
    }
    Ok(chain)
}

/// `bytes` are a [`bounded_certificate`].
fn push_u24_vector(out: &mut Vec<u8>, bytes: &[u8]) {
    let [.., a, b, c] = bytes.len().to_be_bytes();
    out.extend_from_slice(&[a, b, c]);
    out.extend_from_slice(bytes);
}

/// `bytes` are an SCT's extensions or a [`bounded_chain`].
fn push_u16_vector(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

fn read_u24_vector(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[a, b, c], rest) = input.split_first_chunk::<3>()?;
    let length = u32::from_be_bytes([0, a, b, c]);
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn read_u16_vector(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Bytes a certificate, precertificate or to-be-signed part may have. RFC 6962 allows 2^24 - 1; no
/// code-signing certificate comes near either.
pub const MAX_CERTIFICATE: usize = 0xffff;

/// Certificates that may stand above an entry, the root included.
pub const MAX_CHAIN: usize = 8;

const V1: u8 = 0;
const TIMESTAMPED_ENTRY: u8 = 0;
const X509_ENTRY: [u8; 2] = [0, 0];
const PRECERT_ENTRY: [u8; 2] = [0, 1];
const LEAF_INDEX: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.as_chunks::<2>().0;
        pairs
            .iter()
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn a_certificates_leaf_and_tile_entry_are_the_bytes_worked_out_by_hand() {
        let body = EntryBody::x509(b"\xde\xad\xbe\xef").unwrap();
        let leaf = bytes("00 00 000001a1e7f3c07b 0000 000004 deadbeef 0008 00 0005 0000000102");
        assert_eq!(body.merkle_tree_leaf(0x1a1_e7f3_c07b, 258), leaf);
        let chain: Arc<[Hash]> = Arc::new([[0xaa; 32], [0xbb; 32]]);
        let entry = Entry::x509(b"\xde\xad\xbe\xef", chain).unwrap();
        let tile = format!(
            "000001a1e7f3c07b 0000 000004 deadbeef 0008 00 0005 0000000102 0040 {} {}",
            "aa".repeat(32),
            "bb".repeat(32)
        );
        assert_eq!(entry.tile_leaf(0x1a1_e7f3_c07b, 258), bytes(&tile));
    }

    #[test]
    fn a_precertificates_leaf_and_tile_entry_are_the_bytes_worked_out_by_hand() {
        let body = EntryBody::precertificate(&[0x11; 32], b"\x30\x00").unwrap();
        let hash = "11".repeat(32);
        let leaf =
            format!("00 00 0000000000000001 0001 {hash} 000002 3000 0008 00 0005 ffffffffff");
        assert_eq!(body.merkle_tree_leaf(1, (1 << 40) - 1), bytes(&leaf));
        let entry = Entry::precertificate(body, b"\x30\x03\x02\x01\x05", Arc::new([])).unwrap();
        let tile = format!(
            "0000000000000001 0001 {hash} 000002 3000 0008 00 0005 ffffffffff 000005 3003020105 0000"
        );
        assert_eq!(entry.tile_leaf(1, (1 << 40) - 1), bytes(&tile));
    }

    #[test]
    fn a_tile_reads_back_and_no_cut_of_it_does() {
        let chain: Arc<[Hash]> = Arc::new([[3; 32]]);
        let body = EntryBody::precertificate(&[1; 32], &[7; 300]).unwrap();
        let first = Entry::precertificate(body, &[9; 400], chain.clone()).unwrap();
        let second = Entry::x509(&[8; 20], chain).unwrap();
        let mut tile = first.tile_leaf(1000, 6);
        let boundary = tile.len();
        tile.extend(second.tile_leaf(1001, 7));
        let (read, rest) = TileLeaf::read(&tile).unwrap();
        assert_eq!(
            (read.index, read.timestamp_ms, &read.body),
            (6, 1000, &first.body)
        );
        assert_eq!(read.precertificate, first.precertificate);
        assert_eq!(
            read.merkle_tree_leaf(),
            first.body.merkle_tree_leaf(1000, 6)
        );
        assert_eq!(rest.len(), tile.len() - boundary);
        let (read, rest) = TileLeaf::read(rest).unwrap();
        assert_eq!((read.index, read.precertificate, rest.len()), (7, None, 0));
        for cut in 0..boundary {
            assert_eq!(
                TileLeaf::read(&tile[..cut]),
                Err(EntryError::Malformed),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn an_oversized_certificate_is_refused() {
        let large = vec![0; MAX_CERTIFICATE + 1];
        assert_eq!(EntryBody::x509(&large), Err(EntryError::TooLarge(65_536)));
        assert_eq!(
            EntryBody::precertificate(&[0; 32], &large),
            Err(EntryError::TooLarge(65_536))
        );
        assert!(EntryBody::x509(&large[1..]).is_ok());
        let body = EntryBody::x509(b"").unwrap();
        let refused = Entry::precertificate(body.clone(), &large, Arc::new([])).unwrap_err();
        assert_eq!(refused, EntryError::TooLarge(65_536));
        let chain = Arc::new([[0; 32]; MAX_CHAIN + 1]);
        let refused = Entry::precertificate(body, b"", chain).unwrap_err();
        assert_eq!(refused, EntryError::ChainTooLong(MAX_CHAIN + 1));
    }

    #[test]
    fn only_a_lone_leaf_index_is_an_index() {
        assert_eq!(
            read_leaf_index(&leaf_index_extension(0xff_ffff_ffff)),
            Some(0xff_ffff_ffff)
        );
        for other in [
            &[][..],
            &[1, 0, 5, 0, 0, 0, 0, 0],
            &[0, 0, 4, 0, 0, 0, 0],
            &[0, 0, 5, 0, 0, 0, 0, 0, 0],
            &[0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(read_leaf_index(other), None);
        }
    }
}
