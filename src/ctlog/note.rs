//! Signed notes (C2SP signed-note): the lines below a checkpoint's text, and the Ed25519 keys that
//! write and read them.
//!
//! ```text
//! line          = — <name> <base64 of: key ID[4] | signature>
//! key ID        = the first four bytes of SHA-256(name | 0A | kind | public key)
//! verifier key  = <name>+<key ID, 8 hexadecimal digits>+<base64 of: kind | public key>
//! ```
//!
//! A log signs its checkpoints as RFC 6962 has it (kind 05, [`super::checkpoint`]) and, where it has
//! a key for it, once more with Ed25519 (kind 01): witnesses know no other way. What witnesses
//! answer is a cosignature (kind 04), which also covers the time at which they saw the tree.

use super::merkle::sha256;
use super::signer::KeyError;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;

/// An Ed25519 key that signs notes beside the log's own. Has no `Debug` that could show it.
pub struct NoteKey {
    key: Ed25519KeyPair,
    public: [u8; PUBLIC],
}

impl NoteKey {
    /// Reads a PKCS#8 private key (DER, not encrypted).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let key = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Note)?;
        let public = key.public_key().as_ref().try_into();
        Ok(Self {
            public: public.map_err(|_| KeyError::Note)?,
            key,
        })
    }

    /// A new key, as PKCS#8.
    pub fn generate() -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
        let key = Ed25519KeyPair::generate().map_err(|_| KeyError::Note)?;
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError::Note)?;
        Ok(zeroize::Zeroizing::new(der.as_ref().to_vec()))
    }

    /// What those who check its signatures are told: a verifier key.
    #[must_use]
    pub fn verifier_key(&self, name: &str) -> String {
        verifier_key(name, NOTE, &self.public)
    }

    /// The signature line below `text`.
    #[must_use]
    pub fn sign(&self, name: &str, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes());
        let id = key_id(name, NOTE, &self.public);
        line(name, &[&id, signature.as_ref()].concat())
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteKey").finish_non_exhaustive()
    }
}

/// Who cosigns: the name and the public key of a witness.
#[derive(Clone)]
pub struct CosignatureKey {
    name: String,
    id: [u8; 4],
    key: ParsedPublicKey,
}

/// A text that is no verifier key of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a witness's public key is written as NAME+HASH+KEY, where KEY is the base64 of 04 and 32 bytes \
     and HASH fits the other two"
)]
pub struct VerifierKeyError;

impl CosignatureKey {
    /// Reads a verifier key. Its hash must be right, or it was copied wrongly.
    pub fn parse(text: &str) -> Result<Self, VerifierKeyError> {
        let (name, rest) = text.split_once('+').ok_or(VerifierKeyError)?;
        let (_, encoded) = rest.split_once('+').ok_or(VerifierKeyError)?;
        let decoded = STANDARD.decode(encoded).map_err(|_| VerifierKeyError)?;
        let Some((&COSIGNATURE, public)) = decoded.split_first() else {
            return Err(VerifierKeyError);
        };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name || public.len() != PUBLIC || verifier_key(name, COSIGNATURE, public) != text {
            return Err(VerifierKeyError);
        }
        Ok(Self {
            name: name.to_owned(),
            id: key_id(name, COSIGNATURE, public),
            key: ParsedPublicKey::new(&ED25519, public).map_err(|_| VerifierKeyError)?,
        })
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line among `lines` with which this witness vouches for `text` (C2SP tlog-cosignature,
    /// `cosignature/v1`), and the time it says, in seconds since 1970. Lines of others are passed
    /// over.
    #[must_use]
    pub fn find(&self, lines: &str, text: &str) -> Option<(String, u64)> {
        let cosigned = |candidate: &str| {
            let (name, blob) = split_line(candidate)?;
            let (id, rest) = blob.split_first_chunk::<4>()?;
            let (seconds, signature) = rest.split_first_chunk::<8>()?;
            let seconds = u64::from_be_bytes(*seconds);
            if name != self.name || *id != self.id {
                return None;
            }
            let message = format!("cosignature/v1\ntime {seconds}\n{text}");
            let verified = self.key.verify_sig(message.as_bytes(), signature);
            verified.ok().map(|()| (format!("{candidate}\n"), seconds))
        };
        lines.lines().take(MAX_LINES).find_map(cosigned)
    }
}

impl fmt::Debug for CosignatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CosignatureKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The first four bytes of SHA-256(name | 0A | kind | key).
#[must_use]
pub fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(&[name.as_bytes(), &[b'\n', kind], key].concat());
    [a, b, c, d]
}

/// A signature line, with its newline.
#[must_use]
pub fn line(name: &str, blob: &[u8]) -> String {
    format!("{MARK}{name} {}\n", STANDARD.encode(blob))
}

/// Name and blob of a signature line.
#[must_use]
pub fn split_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, blob) = line.strip_prefix(MARK)?.split_once(' ')?;
    Some((name, STANDARD.decode(blob).ok()?))
}

/// What of a note is signed: everything before the blank line, with its last newline.
#[must_use]
pub fn signed_text(note: &str) -> Option<&str> {
    note.get(..note.find("\n\n")? + 1)
}

fn verifier_key(name: &str, kind: u8, public: &[u8]) -> String {
    let id = u32::from_be_bytes(key_id(name, kind, public));
    let key = STANDARD.encode([&[kind], public].concat());
    format!("{name}+{id:08x}+{key}")
}

/// The kinds of signatures, by the note format's numbers.
const NOTE: u8 = 1;
const COSIGNATURE: u8 = 4;
/// Bytes of an Ed25519 public key.
const PUBLIC: usize = 32;
/// Lines that are looked at in an answer.
const MAX_LINES: usize = 16;
const MARK: &str = "\u{2014} ";

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};

    #[test]
    fn another_implementation_accepts_the_line_and_the_verifier_key() {
        let der = NoteKey::generate().unwrap();
        let key = NoteKey::from_pkcs8(&der).unwrap();
        // RFC 8410: the seed is the last of a PKCS#8 key without its public half.
        let seed: &[u8; 32] = der.last_chunk().unwrap();
        let oracle = SigningKey::from_bytes(seed).verifying_key();
        let text = "ca.example/log\n7\nAAAA\n";
        let line = key.sign("ca.example/log", text);
        let blob = line.strip_prefix("— ca.example/log ").unwrap();
        let blob = STANDARD.decode(blob.strip_suffix('\n').unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&blob[4..]).unwrap();
        oracle.verify(text.as_bytes(), &signature).unwrap();

        use sha2::Digest as _;
        let hashed = [&b"ca.example/log\n\x01"[..], oracle.as_bytes()].concat();
        let id = sha2::Sha256::digest(hashed);
        assert_eq!(blob[..4], id[..4]);
        let hex: String = id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let encoded = STANDARD.encode([&[1], &oracle.as_bytes()[..]].concat());
        assert_eq!(
            key.verifier_key("ca.example/log"),
            format!("ca.example/log+{hex}+{encoded}")
        );
    }

    fn witness(seed: u8) -> (SigningKey, String) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let text = verifier_key("w.example", COSIGNATURE, key.verifying_key().as_bytes());
        (key, text)
    }

    fn cosign(key: &SigningKey, time: u64, text: &str) -> String {
        let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let id = key_id("w.example", COSIGNATURE, key.verifying_key().as_bytes());
        line(
            "w.example",
            &[&id[..], &time.to_be_bytes(), &signature.to_bytes()].concat(),
        )
    }

    #[test]
    fn a_cosignature_counts_for_its_text_its_time_and_its_witness_only() {
        let (key, text) = witness(1);
        let verifier = CosignatureKey::parse(&text).unwrap();
        let good = cosign(&key, 1_795_000_000, "text\n");
        let found = Some((good.clone(), 1_795_000_000));
        assert_eq!(verifier.find(&good, "text\n"), found);
        let among_others = format!("— x AAAA\nnoise\n{good}");
        assert_eq!(verifier.find(&among_others, "text\n"), found);
        assert_eq!(verifier.find(&good, "another text\n"), None);
        let (other, _) = witness(2);
        assert_eq!(verifier.find(&cosign(&other, 1, "text\n"), "text\n"), None);
        let blob = split_line(good.trim_end()).unwrap().1;
        for position in 0..blob.len() {
            let mut changed = blob.clone();
            changed[position] ^= 1;
            let changed = line("w.example", &changed);
            assert_eq!(verifier.find(&changed, "text\n"), None, "byte {position}");
        }
        for cut in 0..blob.len() {
            assert_eq!(
                verifier.find(&line("w.example", &blob[..cut]), "text\n"),
                None
            );
        }
    }

    #[test]
    fn a_verifier_key_that_was_copied_wrongly_is_refused() {
        let (key, text) = witness(1);
        assert!(CosignatureKey::parse(&text).is_ok());
        let as_note_key = verifier_key("w.example", NOTE, key.verifying_key().as_bytes());
        for wrong in [
            text.replace("w.example", "v.example"),
            text.replacen('+', "", 1),
            text[..text.len() - 1].to_owned(),
            as_note_key,
            String::new(),
        ] {
            assert!(CosignatureKey::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
