//! A certificate as a client receives it, taken apart without the program's help.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::Value;

use super::der;

/// A leaf, what its timestamp promises, and the leaf that the log must therefore hold.
pub(crate) struct Received {
    /// The serial number, 20 bytes, zeros in front.
    pub(crate) serial: [u8; 20],
    /// The certificate, DER.
    pub(crate) certificate: Vec<u8>,
    /// Its to-be-signed part without the list of timestamps.
    pub(crate) tbs: Vec<u8>,
    /// The issuing certificate, DER.
    pub(crate) issuer: Vec<u8>,
    /// The one timestamp.
    pub(crate) sct: Sct,
}

/// A signed certificate timestamp, RFC 6962 section 3.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sct {
    pub(crate) log_id: [u8; 32],
    pub(crate) timestamp_ms: u64,
    pub(crate) extensions: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Received {
    /// Reads the answer of `POST /api/v2/signingCert`.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let chain = answer
            .pointer("/signedCertificateEmbeddedSct/chain/certificates")?
            .as_array()?;
        let mut chain = chain.iter().map(|pem| pem_to_der(pem.as_str()?));
        let certificate = chain.next()??;
        let issuer = chain.next()??;
        let (tbs, value) = der::without_extension(&certificate, &SCT_LIST)?;
        let (list, []) = der::first(&value)? else {
            return None;
        };
        Some(Self {
            serial: serial(&certificate)?,
            tbs,
            issuer,
            sct: Sct::only_one_of(list.content)?,
            certificate,
        })
    }

    /// Where the log says the entry is.
    pub(crate) fn index(&self) -> Option<u64> {
        self.sct.index()
    }

    /// The `MerkleTreeLeaf` that must stand there; the timestamp's signature is over the same bytes.
    pub(crate) fn merkle_tree_leaf(&self) -> Option<Vec<u8>> {
        self.sct
            .merkle_tree_leaf(&der::key_hash(&self.issuer)?, &self.tbs)
    }

    /// Whether the timestamp is the log's.
    pub(crate) fn is_promised_by(&self, log_key: &VerifyingKey) -> bool {
        self.merkle_tree_leaf()
            .is_some_and(|leaf| self.sct.is_signed_by(log_key, &leaf))
    }
}

impl Sct {
    /// Where the log says the entry is.
    pub(crate) fn index(&self) -> Option<u64> {
        let &[0, 0, 5, a, b, c, d, e] = &*self.extensions else {
            return None;
        };
        Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }

    /// The leaf of a precertificate with this timestamp.
    pub(crate) fn merkle_tree_leaf(
        &self,
        issuer_key_hash: &[u8; 32],
        tbs: &[u8],
    ) -> Option<Vec<u8>> {
        let mut leaf = vec![0, 0];
        leaf.extend(self.timestamp_ms.to_be_bytes());
        leaf.extend([0, 1]);
        leaf.extend(issuer_key_hash);
        leaf.extend(&u32::try_from(tbs.len()).ok()?.to_be_bytes()[1..]);
        leaf.extend(tbs);
        leaf.extend(u16::try_from(self.extensions.len()).ok()?.to_be_bytes());
        leaf.extend(&self.extensions);
        Some(leaf)
    }

    /// Whether a log has signed this timestamp over `leaf`.
    pub(crate) fn is_signed_by(&self, log_key: &VerifyingKey, leaf: &[u8]) -> bool {
        Signature::from_der(&self.signature)
            .is_ok_and(|signature| log_key.verify(leaf, &signature).is_ok())
    }

    fn only_one_of(list: &[u8]) -> Option<Self> {
        let (list, []) = vector(list)? else {
            return None;
        };
        let (sct, []) = vector(list)? else {
            return None;
        };
        let (&[0], rest) = sct.split_first_chunk::<1>()? else {
            return None;
        };
        let (log_id, rest) = rest.split_first_chunk::<32>()?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let (extensions, rest) = vector(rest)?;
        let (&[4, 3], rest) = rest.split_first_chunk::<2>()? else {
            return None;
        };
        let (signature, []) = vector(rest)? else {
            return None;
        };
        Some(Self {
            log_id: *log_id,
            timestamp_ms: u64::from_be_bytes(*timestamp),
            extensions: extensions.to_vec(),
            signature: signature.to_vec(),
        })
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// A vector behind two bytes of length, and the rest.
pub(crate) fn vector(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn serial(certificate: &[u8]) -> Option<[u8; 20]> {
    let (certificate, _) = der::first(certificate)?;
    let (tbs, _) = der::first(certificate.content)?;
    let integer = der::all(tbs.content)?.get(1)?.content;
    let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
    let mut serial = [0; 20];
    serial
        .get_mut(20_usize.checked_sub(digits.len())?..)?
        .copy_from_slice(digits);
    Some(serial)
}

fn pem_to_der(pem: &str) -> Option<Vec<u8>> {
    let base64: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    STANDARD.decode(base64).ok()
}

/// 1.3.6.1.4.1.11129.2.4.2
pub(crate) const SCT_LIST: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];
/// 1.3.6.1.4.1.11129.2.4.3
pub(crate) const POISON: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03];
