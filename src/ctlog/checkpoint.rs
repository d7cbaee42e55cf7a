//! Checkpoints: signed tree heads in the signed-note format of tiled logs, both ways.
//!
//! ```text
//! <origin>
//! <size>
//! <base64 root>
//!
//! — <origin> <base64 of: key ID[4] | u64 milliseconds | 04 03 | u16 length, signature>
//! ```
//!
//! The signature is that of an RFC 6962 `SignedTreeHead`, so it covers time, size and root but not
//! the origin: a reader must compare the origin with the one it expects. A log that has a note key
//! adds a second line of the same name, an Ed25519 signature over the three lines of text
//! ([`super::note`]). Readers may find more lines, in any order, and pass over those they do not know.

use super::merkle::{HASH_LENGTH, Hash, MAX_SIZE, sha256};
use super::signer::{KeyError, LogSigner, LogVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A tree head, as it is to be signed or was found to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: its submission prefix without scheme and trailing slash.
    pub origin: String,
    /// Leaves in the tree.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed, in milliseconds since 1970; no entry of the tree is younger.
    pub timestamp_ms: u64,
}

/// Why a note is not a checkpoint of the log it should be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note with three lines of text.
    #[error("the checkpoint is not a signed note of origin, size and root hash")]
    Malformed,
    /// Another log's.
    #[error("the checkpoint names another origin")]
    Origin,
    /// No signature line carries the log's key ID.
    #[error("the checkpoint is not signed with the log's key")]
    Unsigned,
    /// A line carries the key ID, but its signature is wrong.
    #[error("the checkpoint's signature does not verify")]
    Signature,
}

impl Checkpoint {
    /// Signs the tree head as a note.
    pub fn sign(&self, signer: &LogSigner) -> Result<String, KeyError> {
        let signature = signer.sign(&self.tree_head())?;
        let length = u16::try_from(signature.len()).map_err(|_| KeyError::Signing)?;
        let mut line = Vec::with_capacity(signature.len() + 16);
        line.extend_from_slice(&key_id(&self.origin, &signer.verifier().log_id()));
        line.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        line.extend_from_slice(&SHA256_ECDSA);
        line.extend_from_slice(&length.to_be_bytes());
        line.extend_from_slice(&signature);
        let root = STANDARD.encode(self.root);
        let line = STANDARD.encode(line);
        let Self { origin, size, .. } = self;
        let text = format!("{origin}\n{size}\n{root}\n");
        let second = signer.note_key().map(|key| key.sign(origin, &text));
        let second = second.unwrap_or_default();
        Ok(format!("{text}\n{SIGNATURE_MARK}{origin} {line}\n{second}"))
    }

    /// Reads a note and checks that the log of `origin` and `verifier` signed it. Signatures of
    /// others (witnesses, or lines put there to be ignored) are passed over, in any order.
    pub fn verify(
        note: &str,
        origin: &str,
        verifier: &LogVerifier,
    ) -> Result<Self, CheckpointError> {
        if note.len() > MAX_NOTE {
            return Err(CheckpointError::Malformed);
        }
        let (text, signatures) = note.split_once("\n\n").ok_or(CheckpointError::Malformed)?;
        let mut lines = text.split('\n');
        let (Some(found), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Malformed);
        };
        if found != origin {
            return Err(CheckpointError::Origin);
        }
        let size = parse_size(size).ok_or(CheckpointError::Malformed)?;
        let root = decode_root(root).ok_or(CheckpointError::Malformed)?;

        let signatures = signatures
            .strip_suffix('\n')
            .ok_or(CheckpointError::Malformed)?;
        let expected_id = key_id(origin, &verifier.log_id());
        let mut outcome = Err(CheckpointError::Unsigned);
        for line in signatures.split('\n') {
            let (name, blob) = line
                .strip_prefix(SIGNATURE_MARK)
                .and_then(|line| line.split_once(' '))
                .ok_or(CheckpointError::Malformed)?;
            let blob = STANDARD
                .decode(blob)
                .map_err(|_| CheckpointError::Malformed)?;
            let Some((id, signature)) = blob.split_first_chunk::<4>() else {
                return Err(CheckpointError::Malformed);
            };
            // A line whose key ID collides is another key's; so a failure is not the end, and after
            // a success the other lines need only be lines.
            if name != origin || *id != expected_id || outcome.is_ok() {
                continue;
            }
            outcome = Err(CheckpointError::Signature);
            let Some((timestamp_ms, signature)) = split_signature(signature) else {
                continue;
            };
            let checkpoint = Self {
                origin: origin.to_owned(),
                size,
                root,
                timestamp_ms,
            };
            if verifier.verifies(&checkpoint.tree_head(), signature) {
                outcome = Ok(checkpoint);
            }
        }
        outcome
    }

    /// RFC 6962 section 3.5, what a tree head's signature covers:
    ///
    /// ```text
    /// 00 (v1) | 01 (tree_hash) | u64 milliseconds | u64 size | root[32]
    /// ```
    #[must_use]
    pub fn tree_head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(50);
        head.extend_from_slice(&[V1, TREE_HASH]);
        head.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        head.extend_from_slice(&self.size.to_be_bytes());
        head.extend_from_slice(&self.root);
        head
    }
}

/// The signature of the tree head in the log's own note, as RFC 6962 has it in answers: algorithms,
/// length, signature. It is the first line of a note this log made. Nothing is verified.
#[must_use]
pub fn tree_head_signature(note: &str) -> Option<Vec<u8>> {
    let line = note
        .lines()
        .find_map(|line| line.strip_prefix(SIGNATURE_MARK))?;
    let (_, blob) = line.rsplit_once(' ')?;
    let blob = STANDARD.decode(blob).ok()?;
    // After the key's identifier and the time.
    blob.get(4 + 8..).map(<[u8]>::to_vec)
}

/// The log's key, a `SubjectPublicKeyInfo`, as verifiers of notes take it: name, key ID, and the key
/// behind the number of its kind of signature.
#[must_use]
pub fn verifier_key(origin: &str, public_key_der: &[u8]) -> String {
    let id = key_id(origin, &sha256(public_key_der)).map(|byte| format!("{byte:02x}"));
    let key = STANDARD.encode([&[RFC6962_TREE_HEAD], public_key_der].concat());
    format!("{origin}+{}+{key}", id.concat())
}

/// The first four bytes of SHA-256(name | 0A | 05 | log ID): 05 is the note format's number for
/// RFC 6962 tree heads.
#[must_use]
pub fn key_id(origin: &str, log_id: &Hash) -> [u8; 4] {
    let mut input = Vec::with_capacity(origin.len() + 2 + HASH_LENGTH);
    input.extend_from_slice(origin.as_bytes());
    input.extend_from_slice(&[b'\n', RFC6962_TREE_HEAD]);
    input.extend_from_slice(log_id);
    let [a, b, c, d, ..] = sha256(&input);
    [a, b, c, d]
}

/// Whether a text can be a log's origin: it becomes a line of its own and a signature line's name.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '+';
    (1..=MAX_ORIGIN).contains(&text.len())
        && text.chars().all(is_plain)
        && !text.contains("://")
        && !text.ends_with('/')
}

fn parse_size(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = text.len() > 1 && text.starts_with('0');
    let size = if is_number && !has_leading_zero {
        text.parse().ok()?
    } else {
        return None;
    };
    (size <= MAX_SIZE).then_some(size)
}

fn decode_root(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn split_signature(blob: &[u8]) -> Option<(u64, &[u8])> {
    let (timestamp, rest) = blob.split_first_chunk::<8>()?;
    let rest = rest.strip_prefix(&SHA256_ECDSA)?;
    let (length, signature) = rest.split_first_chunk::<2>()?;
    let is_whole = usize::from(u16::from_be_bytes(*length)) == signature.len();
    is_whole.then_some((u64::from_be_bytes(*timestamp), signature))
}

const SIGNATURE_MARK: &str = "\u{2014} ";
const SHA256_ECDSA: [u8; 2] = [4, 3];
const V1: u8 = 0;
const TREE_HASH: u8 = 1;
const RFC6962_TREE_HEAD: u8 = 5;
const MAX_ORIGIN: usize = 255;
/// Bytes of a note.
pub const MAX_NOTE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctlog::testing::signer;
    use p256::ecdsa::signature::Verifier as _;
    use p256::pkcs8::DecodePublicKey as _;
    use sha2::Digest as _;

    fn sample() -> Checkpoint {
        Checkpoint {
            origin: "ca.example/log".to_owned(),
            size: 1_234_567,
            root: [0x5a; HASH_LENGTH],
            timestamp_ms: 1_795_000_000_123,
        }
    }

    #[test]
    fn another_implementation_accepts_key_id_and_signature() {
        let signer = signer(1);
        let note = sample().sign(&signer).unwrap();
        let (text, line) = note.split_once("\n\n").unwrap();
        let root = "Wlpa".repeat(10) + "Wlo=";
        assert_eq!(text, format!("ca.example/log\n1234567\n{root}"));
        let blob = line
            .strip_prefix("— ca.example/log ")
            .unwrap()
            .strip_suffix('\n')
            .unwrap();
        let blob = STANDARD.decode(blob).unwrap();

        let spki = signer.verifier().public_key_der();
        let log_id = sha2::Sha256::digest(spki);
        let id = sha2::Sha256::digest([b"ca.example/log\n\x05", log_id.as_slice()].concat());
        assert_eq!(blob[..4], id[..4]);
        let mut signed = vec![0, 1];
        signed.extend(1_795_000_000_123_u64.to_be_bytes());
        signed.extend(1_234_567_u64.to_be_bytes());
        signed.extend([0x5a; 32]);
        assert_eq!(blob[4..12], 1_795_000_000_123_u64.to_be_bytes());
        assert_eq!(blob[12..14], [4, 3]);
        assert_eq!(
            usize::from(u16::from_be_bytes([blob[14], blob[15]])),
            blob.len() - 16
        );
        let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
        key.verify(
            &signed,
            &p256::ecdsa::Signature::from_der(&blob[16..]).unwrap(),
        )
        .unwrap();
    }

    #[test]
    fn a_checkpoint_is_read_among_other_signatures_in_any_order() {
        let log = signer(1);
        let other = sample().sign(&signer(2)).unwrap();
        let note = sample().sign(&log).unwrap();
        let verify = |note: &str| Checkpoint::verify(note, "ca.example/log", log.verifier());
        assert_eq!(verify(&note), Ok(sample()));
        let line = other.split_once("\n\n").unwrap().1;
        assert_eq!(verify(&format!("{note}{line}")), Ok(sample()));
        let (text, own_line) = note.split_once("\n\n").unwrap();
        let witness = "— witness.example AAAAAAAA\n";
        assert_eq!(
            verify(&format!("{text}\n\n{witness}{line}{own_line}")),
            Ok(sample())
        );
        assert_eq!(verify(&other), Err(CheckpointError::Unsigned));
    }

    #[test]
    fn a_second_signature_changes_nothing_for_readers_that_do_not_know_it() {
        use crate::ctlog::note::NoteKey;
        let key = || NoteKey::from_pkcs8(&NoteKey::generate().unwrap()).unwrap();
        let log = signer(1).with_note_key(key());
        let note = sample().sign(&log).unwrap();
        let (text, lines) = note.split_once("\n\n").unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        let [first, second] = lines[..] else {
            panic!("{note}")
        };
        let verify = |note: &str| Checkpoint::verify(note, "ca.example/log", log.verifier());
        assert_eq!(verify(&note), Ok(sample()));
        assert_eq!(
            verify(&format!("{text}\n\n{second}\n{first}\n")),
            Ok(sample())
        );
        let alone = verify(&format!("{text}\n\n{second}\n"));
        assert_eq!(alone, Err(CheckpointError::Unsigned));
        assert!(tree_head_signature(&note).unwrap().starts_with(&[4, 3]));
    }

    #[test]
    fn a_changed_checkpoint_is_refused() {
        let log = signer(1);
        let note = sample().sign(&log).unwrap();
        let verify = |note: &str| Checkpoint::verify(note, "ca.example/log", log.verifier());
        assert_eq!(
            verify(&note.replace("1234567", "1234568")),
            Err(CheckpointError::Signature)
        );
        assert_eq!(
            verify(&note.replacen("Wlpa", "Wlpb", 1)),
            Err(CheckpointError::Signature)
        );
        assert_eq!(
            Checkpoint::verify(&note, "ca.example/other", log.verifier()),
            Err(CheckpointError::Origin)
        );
        for malformed in [
            note.replace("1234567", "01234567"),
            note.replace("1234567", "+1234567"),
            note.replace("1234567", ""),
            note.replace("1234567", "1099511627777"),
            note.replacen("Wlpa", "", 1),
            note.replacen("\n\n", "\nextension\n\n", 1),
            note.replacen("\n\n", "\n", 1),
            note.trim_end().to_owned(),
            format!("{note}\n"),
            note.replace('—', "-"),
            String::new(),
            format!("{note}{}", "— witness.example AAAAAAAA\n".repeat(4000)),
        ] {
            assert_eq!(
                verify(&malformed),
                Err(CheckpointError::Malformed),
                "{malformed}"
            );
        }
    }

    #[test]
    fn an_origin_that_would_break_the_note_is_none() {
        assert!(is_origin("ca.example/log") && is_origin("localhost:5555"));
        let long = "a".repeat(256);
        for text in [
            "",
            "a b",
            "a\nb",
            "a+b",
            "https://ca.example",
            "ca.example/",
            "é",
            &long,
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
