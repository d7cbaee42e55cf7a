//! Signed certificate timestamps (RFC 6962 section 3.2 and 3.3), both ways.

use super::der;
use super::extensions::push_extension;

/// A log's signed promise that a certificate is in it. Logs of this world sign with ECDSA and
/// SHA-256; nothing else is read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sct {
    /// SHA-256 of the log's `SubjectPublicKeyInfo`.
    pub log_id: [u8; 32],
    /// When the log took the certificate in, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// `CtExtensions`, without their length; a tiled log tells the leaf's index here.
    pub extensions: Vec<u8>,
    /// The signature, a DER `ECDSA-Sig-Value`.
    pub signature: Vec<u8>,
}

/// A timestamp or a list of them that is not as RFC 6962 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SctError {
    /// Too short, too long, or a length that does not fit.
    #[error("the signed certificate timestamp is malformed")]
    Malformed,
    /// Only version 1 exists.
    #[error("the signed certificate timestamp has version {0}, not 0 (v1)")]
    Version(u8),
    /// Hash 4 is SHA-256 and signature 3 is ECDSA (RFC 5246 section 7.4.1.4.1).
    #[error(
        "the signed certificate timestamp is signed with hash {hash} and signature {signature}, not SHA-256 and ECDSA"
    )]
    Algorithm {
        /// The `HashAlgorithm` number.
        hash: u8,
        /// The `SignatureAlgorithm` number.
        signature: u8,
    },
}

impl Sct {
    /// The bytes of one timestamp:
    ///
    /// ```text
    /// 00 | log_id[32] | u64 timestamp_ms | u16 extensions | digitally-signed
    /// ```
    pub fn to_tls(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.extensions.len() + self.signature.len());
        out.push(V1);
        out.extend_from_slice(&self.log_id);
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        push_vector16(&mut out, &self.extensions);
        out.extend_from_slice(&self.digitally_signed());
        out
    }

    /// The signature as TLS writes it: `hash | signature | u16 length | signature bytes`.
    pub fn digitally_signed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.signature.len());
        out.extend_from_slice(&[SHA256, ECDSA]);
        push_vector16(&mut out, &self.signature);
        out
    }

    /// Reads one timestamp and nothing after it.
    ///
    /// # Errors
    /// [`SctError`]: anything but a version 1 timestamp signed with ECDSA and SHA-256.
    pub fn from_tls(bytes: &[u8]) -> Result<Self, SctError> {
        let (&version, rest) = bytes.split_first().ok_or(SctError::Malformed)?;
        if version != V1 {
            return Err(SctError::Version(version));
        }
        let (log_id, rest) = rest.split_first_chunk::<32>().ok_or(SctError::Malformed)?;
        let (timestamp, rest) = rest.split_first_chunk::<8>().ok_or(SctError::Malformed)?;
        let (extensions, rest) = read_vector16(rest).ok_or(SctError::Malformed)?;
        let (&[hash, signature_algorithm], rest) =
            rest.split_first_chunk().ok_or(SctError::Malformed)?;
        if (hash, signature_algorithm) != (SHA256, ECDSA) {
            return Err(SctError::Algorithm {
                hash,
                signature: signature_algorithm,
            });
        }
        let (signature, rest) = read_vector16(rest).ok_or(SctError::Malformed)?;
        if !rest.is_empty() {
            return Err(SctError::Malformed);
        }
        Ok(Self {
            log_id: *log_id,
            timestamp_ms: u64::from_be_bytes(*timestamp),
            extensions: extensions.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// Appends the extension of a certificate that carries a list of exactly this timestamp.
    ///
    /// ```text
    /// OCTET STRING { OCTET STRING { u16 list { u16 sct } } }     (RFC 6962 section 3.3)
    /// ```
    pub(super) fn push_list_extension(&self, out: &mut Vec<u8>) {
        let mut one = Vec::with_capacity(160);
        push_vector16(&mut one, &self.to_tls());
        let mut list = Vec::with_capacity(160);
        push_vector16(&mut list, &one);
        let header = der::header(der::OCTET_STRING, list.len());
        push_extension(out, SCT_LIST_OID, &[&header, &list]);
    }
}

/// The timestamps in an SCT list extension's value, in order.
///
/// # Errors
/// [`SctError`] for a list that is malformed anywhere, an empty one included.
pub fn read_list(extension_value: &[u8]) -> Result<Vec<Sct>, SctError> {
    let (inner, after) =
        der::expect(extension_value, der::OCTET_STRING).ok_or(SctError::Malformed)?;
    let (mut list, rest) = read_vector16(inner.value).ok_or(SctError::Malformed)?;
    if !after.is_empty() || !rest.is_empty() || list.is_empty() {
        return Err(SctError::Malformed);
    }
    let mut timestamps = Vec::new();
    while !list.is_empty() {
        let (one, after) = read_vector16(list).ok_or(SctError::Malformed)?;
        timestamps.push(Sct::from_tls(one)?);
        list = after;
    }
    Ok(timestamps)
}

fn push_vector16(out: &mut Vec<u8>, bytes: &[u8]) {
    // Every caller's bytes are far below 64 KiB: a signature, eight octets of extensions, or a list
    // of one; what is longer is cut and then cannot verify.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}

fn read_vector16(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// 1.3.6.1.4.1.11129.2.4.2, as content octets: the list of timestamps in a final certificate.
pub const SCT_LIST_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];

const V1: u8 = 0;
const SHA256: u8 = 4;
const ECDSA: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sct {
        Sct {
            log_id: [0xab; 32],
            timestamp_ms: 1_795_000_000_123,
            extensions: vec![0, 0, 5, 0, 0, 0, 0, 7],
            signature: vec![0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01],
        }
    }

    #[test]
    fn a_timestamp_survives_the_journey_with_its_milliseconds() {
        let sct = sample();
        assert_eq!(Sct::from_tls(&sct.to_tls()), Ok(sct.clone()));
        let mut extension = Vec::new();
        sct.push_list_extension(&mut extension);
        let (sequence, _) = der::expect(&extension, der::SEQUENCE).unwrap();
        let (oid, rest) = der::expect(sequence.value, der::OBJECT_IDENTIFIER).unwrap();
        assert_eq!(oid.value, SCT_LIST_OID);
        let (value, _) = der::expect(rest, der::OCTET_STRING).unwrap();
        assert_eq!(read_list(value.value), Ok(vec![sct]));
    }

    #[test]
    fn other_versions_algorithms_and_lengths_are_refused() {
        let good = sample().to_tls();
        let mut other = good.clone();
        other[0] = 1;
        assert_eq!(Sct::from_tls(&other), Err(SctError::Version(1)));
        let mut rsa = good.clone();
        rsa[52] = 1;
        assert_eq!(
            Sct::from_tls(&rsa),
            Err(SctError::Algorithm {
                hash: 4,
                signature: 1
            })
        );
        for cut in 0..good.len() {
            assert!(Sct::from_tls(&good[..cut]).is_err(), "{cut}");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert_eq!(Sct::from_tls(&longer), Err(SctError::Malformed));
        assert_eq!(read_list(&[4, 2, 0, 0]), Err(SctError::Malformed));
    }
}
