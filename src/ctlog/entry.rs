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
//! A precertificate is its to-be-signed part once more, with poison and signature. So that the store
//! need not keep both, a *packed* leaf leaves the body's `TBSCertificate` empty where it can be made
//! from the precertificate again, which is always but for precertificates of another issuer:
//!
//! ```text
//! packed leaf       = 00 | TileLeaf    or    01 | TileLeaf whose TBSCertificate has length 0
//! ```
//!
//! What an SCT signs (RFC 6962 section 3.2) is byte for byte the `MerkleTreeLeaf`: its
//! `signature_type` of `certificate_timestamp(0)` stands where the leaf has its `leaf_type`.

use super::merkle::{HASH_LENGTH, Hash, sha256};
use crate::certificate::precertificate::{POISON_OID, tbs_without};
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

    /// What was certified, or is to be.
    #[must_use]
    pub fn certified(&self) -> Option<Certified<'_>> {
        let (kind, rest) = self.0.split_first_chunk::<2>()?;
        match *kind {
            X509_ENTRY => Some(Certified::Certificate(read_u24_vector(rest)?.0)),
            PRECERT_ENTRY => {
                let (issuer_key_hash, rest) = rest.split_first_chunk::<HASH_LENGTH>()?;
                Some(Certified::Precertificate {
                    issuer_key_hash,
                    tbs: read_u24_vector(rest)?.0,
                })
            }
            [_, _] => None,
        }
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

    /// A precertificate's body with an empty `TBSCertificate`.
    fn without_tbs(&self) -> Vec<u8> {
        let mut body = self.0.clone();
        body.truncate(TBS - 3);
        body.extend_from_slice(&[0, 0, 0]);
        body
    }

    fn push_timestamped(&self, out: &mut Vec<u8>, timestamp_ms: u64, extensions: &[u8]) {
        push_timestamped(out, timestamp_ms, &self.0, extensions);
    }
}

/// What an entry's body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certified<'a> {
    /// A certificate with its final signature.
    Certificate(&'a [u8]),
    /// What an authority declared it would sign.
    Precertificate {
        /// SHA-256 of the issuing certificate's `SubjectPublicKeyInfo`.
        issuer_key_hash: &'a Hash,
        /// The `TBSCertificate` without the poison.
        tbs: &'a [u8],
    },
}

/// An entry on its way into the log.
#[derive(Clone, Debug)]
pub struct Entry {
    body: EntryBody,
    /// The precertificate as it was submitted; none for a final certificate, which is its own body.
    precertificate: Option<Vec<u8>>,
    /// Fingerprints (SHA-256) of the certificates above it, issuer first, root included.
    chain: Arc<[Hash]>,
    /// The body to store: whole, or without what the precertificate can give back.
    packed_body: PackedBody,
}

#[derive(Clone, Copy, Debug)]
enum PackedBody {
    Whole,
    WithoutTbs,
}

impl Entry {
    /// An entry for a certificate with its final signature, under the certificates of `chain`.
    pub fn x509(certificate_der: &[u8], chain: Arc<[Hash]>) -> Result<Self, EntryError> {
        let body = EntryBody::x509(certificate_der)?;
        Ok(Self {
            body,
            precertificate: None,
            chain: bounded_chain(chain)?,
            packed_body: PackedBody::Whole,
        })
    }

    /// An entry for a precertificate, under the certificates of `chain`.
    pub fn precertificate(
        body: EntryBody,
        precertificate_der: &[u8],
        chain: Arc<[Hash]>,
    ) -> Result<Self, EntryError> {
        let precertificate = Some(bounded_certificate(precertificate_der)?.to_vec());
        let restored = tbs_without(precertificate_der, POISON_OID).ok();
        let packed_body = match body.0.get(TBS..) {
            Some(tbs) if restored.is_some_and(|restored| restored == tbs) => PackedBody::WithoutTbs,
            Some(_) | None => PackedBody::Whole,
        };
        Ok(Self {
            body,
            precertificate,
            chain: bounded_chain(chain)?,
            packed_body,
        })
    }

    /// What is hashed.
    #[must_use]
    pub fn body(&self) -> &EntryBody {
        &self.body
    }

    /// The entry as the store keeps it.
    #[must_use]
    pub fn packed(&self, timestamp_ms: u64, index: u64) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.weight() + self.chain.len() * HASH_LENGTH + 32);
        let without_tbs;
        let body = match self.packed_body {
            PackedBody::Whole => {
                packed.push(WHOLE);
                self.body.0.as_slice()
            }
            PackedBody::WithoutTbs => {
                packed.push(WITHOUT_TBS);
                without_tbs = self.body.without_tbs();
                without_tbs.as_slice()
            }
        };
        push_timestamped(
            &mut packed,
            timestamp_ms,
            body,
            &leaf_index_extension(index),
        );
        push_tail(&mut packed, self.precertificate.as_deref(), &self.chain);
        packed
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

    /// Reads a packed leaf and nothing after it.
    pub fn unpack(packed: &[u8]) -> Result<Self, EntryError> {
        let Some((&form, leaf)) = packed.split_first() else {
            return Err(EntryError::Malformed);
        };
        let (mut leaf, []) = Self::read(leaf)? else {
            return Err(EntryError::Malformed);
        };
        match (form, &leaf.precertificate) {
            (WHOLE, _) => Ok(leaf),
            (WITHOUT_TBS, Some(precertificate)) if leaf.body.0.len() == TBS => {
                let tbs = tbs_without(precertificate, POISON_OID);
                let tbs = tbs.map_err(|_| EntryError::Malformed)?;
                leaf.body.0.truncate(TBS - 3);
                push_u24_vector(&mut leaf.body.0, bounded_certificate(&tbs)?);
                Ok(leaf)
            }
            (_, _) => Err(EntryError::Malformed),
        }
    }

    /// Appends the entry to a data tile.
    pub fn push_to(&self, tile: &mut Vec<u8>) {
        let extensions = leaf_index_extension(self.index);
        self.body
            .push_timestamped(tile, self.timestamp_ms, &extensions);
        push_tail(tile, self.precertificate.as_deref(), &self.chain);
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

/// What `CtExtensions` of any log say of the entry's place, where they say it; nothing at all, if they are
/// not as C2SP static-ct-api has them: `type | u16 length | data`, each type once, and a `leaf_index`
/// of five octets.
#[must_use]
pub fn read_extensions(extensions: &[u8]) -> Option<Option<u64>> {
    let mut seen = [false; 256];
    let mut index = None;
    let mut rest = extensions;
    while let Some((&kind, after)) = rest.split_first() {
        let (data, after) = read_u16_vector(after)?;
        if std::mem::replace(seen.get_mut(usize::from(kind))?, true) {
            return None;
        }
        if kind == LEAF_INDEX {
            let &[a, b, c, d, e] = data else {
                return None;
            };
            index = Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]));
        }
        rest = after;
    }
    Some(index)
}

fn push_timestamped(out: &mut Vec<u8>, timestamp_ms: u64, body: &[u8], extensions: &[u8]) {
    out.extend_from_slice(&timestamp_ms.to_be_bytes());
    out.extend_from_slice(body);
    push_u16_vector(out, extensions);
}

/// What a `TileLeaf` has after its `TimestampedEntry`.
fn push_tail(out: &mut Vec<u8>, precertificate: Option<&[u8]>, chain: &[Hash]) {
    if let Some(precertificate) = precertificate {
        push_u24_vector(out, precertificate);
    }
    push_u16_vector(out, chain.as_flattened());
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
pub(super) fn push_u24_vector(out: &mut Vec<u8>, bytes: &[u8]) {
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
/// Where the `TBSCertificate` begins in a precertificate's body: after type, hash and length.
const TBS: usize = 2 + HASH_LENGTH + 3;
const WHOLE: u8 = 0;
const WITHOUT_TBS: u8 = 1;

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

    /// By way of the store's form, as a data tile gets it.
    fn tile_leaf(entry: &Entry, timestamp_ms: u64, index: u64) -> Vec<u8> {
        let mut tile = Vec::new();
        let leaf = TileLeaf::unpack(&entry.packed(timestamp_ms, index)).unwrap();
        leaf.push_to(&mut tile);
        tile
    }

    #[test]
    fn a_precertificate_is_stored_once_and_comes_back_whole() {
        let authority = crate::ctlog::testing::TestAuthority::new();
        let der = authority.leaf(vec![crate::ctlog::testing::poison()]);
        let tbs = tbs_without(&der, POISON_OID).unwrap();
        let body = EntryBody::precertificate(&[1; 32], &tbs).unwrap();
        let entry = Entry::precertificate(body.clone(), &der, Arc::new([[2; 32]])).unwrap();
        let packed = entry.packed(5, 6);
        assert!(packed.len() < der.len() + 128, "stored twice");
        let leaf = TileLeaf::unpack(&packed).unwrap();
        assert_eq!((&leaf.body, leaf.index, leaf.timestamp_ms), (&body, 6, 5));
        assert_eq!(leaf.precertificate.as_ref(), Some(&der));
        // Another body than the precertificate's own is kept as it is.
        let other = EntryBody::precertificate(&[1; 32], &tbs[1..]).unwrap();
        let entry = Entry::precertificate(other.clone(), &der, Arc::new([])).unwrap();
        assert_eq!(TileLeaf::unpack(&entry.packed(5, 6)).unwrap().body, other);
        for cut in 0..packed.len() {
            assert!(TileLeaf::unpack(&packed[..cut]).is_err(), "cut at {cut}");
        }
        let mut form = packed.clone();
        form[0] = 2;
        assert!(TileLeaf::unpack(&form).is_err());
        assert!(TileLeaf::unpack(&[packed.as_slice(), &[0]].concat()).is_err());
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
        assert_eq!(tile_leaf(&entry, 0x1a1_e7f3_c07b, 258), bytes(&tile));
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
        assert_eq!(tile_leaf(&entry, 1, (1 << 40) - 1), bytes(&tile));
    }

    #[test]
    fn a_tile_reads_back_and_no_cut_of_it_does() {
        let chain: Arc<[Hash]> = Arc::new([[3; 32]]);
        let body = EntryBody::precertificate(&[1; 32], &[7; 300]).unwrap();
        let first = Entry::precertificate(body, &[9; 400], chain.clone()).unwrap();
        let second = Entry::x509(&[8; 20], chain).unwrap();
        let mut tile = tile_leaf(&first, 1000, 6);
        let boundary = tile.len();
        tile.extend(tile_leaf(&second, 1001, 7));
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
