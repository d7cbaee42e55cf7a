//! An issuer's key set: read once when it is fetched, so that a request only looks up and verifies.

use super::header::algorithm;
use super::json::{JsonError, Limits, Object, Value};
use crate::possession::is_roca;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};

/// The keys that one issuer signs tokens with, and the algorithms it says it uses.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    algorithms: Vec<Algorithm>,
}

/// Why a key set was refused as a whole. A single key that is of no use to us is left out instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not one key that could verify a token: taken for a fault, not for a withdrawal of all keys.
    #[error("the key set has no key that can be used")]
    NoneUsable,
    /// Not the JSON it has to be.
    #[error("the key set: {0}")]
    Json(#[from] JsonError),
    /// No list of keys.
    #[error("the key set has no list `keys`")]
    Form,
    /// More keys than any rotation needs.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooMany,
    /// One name for two keys: which of them a token means would be a matter of luck.
    #[error("the key set has two signing keys of one name")]
    Duplicate,
}

/// Why no key of the set has verified a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// An algorithm that the issuer does not use.
    #[error("the token is signed with {0:?}, which its issuer does not use")]
    Algorithm(Algorithm),
    /// No key of that name and for that algorithm.
    #[error("the issuer has no key for this token")]
    Key,
    /// The signature is not by the key it names.
    #[error("the token's signature is wrong")]
    Signature,
}

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    kind: KeyKind,
    /// The only algorithm it may be used with, where the set says so.
    only: Option<Algorithm>,
    decoding: DecodingKey,
}

/// What a key is fixes what it can verify; the token cannot choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeySet {
    /// Reads a key set (RFC 7517, section 5) of an issuer that uses these `algorithms`.
    pub(super) fn parse(text: &[u8], algorithms: Vec<Algorithm>) -> Result<Self, KeySetError> {
        let object = Object::parse(text, &LIMITS)?;
        let Some(Value::Array(members)) = object.member("keys") else {
            return Err(KeySetError::Form);
        };
        if members.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys: Vec<Key> = Vec::with_capacity(members.len());
        for member in members {
            let Value::Object(member) = member else {
                return Err(KeySetError::Form);
            };
            let Some(key) = Key::read(member) else {
                continue;
            };
            if key.id.is_some() && keys.iter().any(|other| other.id == key.id) {
                return Err(KeySetError::Duplicate);
            }
            keys.push(key);
        }
        Ok(Self { keys, algorithms })
    }

    /// How many of its keys are of use.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of the keys made this signature. A key is chosen by its name; a token that names
    /// none is tried with every key that fits.
    pub(super) fn verify(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &str,
        signature_length: usize,
    ) -> Result<(), SignatureError> {
        if !self.algorithms.contains(&algorithm) {
            return Err(SignatureError::Algorithm(algorithm));
        }
        let mut outcome = SignatureError::Key;
        for key in &self.keys {
            if key_id.is_some_and(|id| key.id.as_deref() != Some(id)) || !key.fits(algorithm) {
                continue;
            }
            outcome = SignatureError::Signature;
            let right_length =
                key.kind.signature_length() == Some(signature_length) || key.kind == KeyKind::Rsa;
            if right_length
                && jsonwebtoken::crypto::verify(signature, signed, &key.decoding, algorithm)
                    .unwrap_or(false)
            {
                return Ok(());
            }
        }
        Err(outcome)
    }
}

impl Key {
    /// One key of the set, or nothing if it is not a public key that verifies signatures we accept.
    fn read(member: &Object) -> Option<Self> {
        let text = |name: &str| match member.member(name) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        // RFC 7517, sections 4.2 and 4.3: what the key is intended for.
        if member.member("use").is_some() && text("use") != Some("sig") {
            return None;
        }
        match member.member("key_ops") {
            None => {}
            Some(Value::Array(ops)) if ops.contains(&Value::Text("verify".to_owned())) => {}
            Some(_) => return None,
        }
        // A private key that everybody can read proves nothing.
        if member.member("d").is_some() {
            return None;
        }
        let only = match member.member("alg") {
            None => None,
            Some(Value::Text(name)) => Some(algorithm(name)?),
            Some(_) => return None,
        };
        let id = match member.member("kid") {
            None => None,
            Some(Value::Text(id)) => Some(id.as_str().into()),
            Some(_) => return None,
        };
        let (kind, decoding) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (KeyKind::Rsa, rsa(&bytes("n")?, &bytes("e")?)?),
            ("EC", Some("P-256")) => (KeyKind::P256, point(32, &bytes("x")?, &bytes("y")?)?),
            ("EC", Some("P-384")) => (KeyKind::P384, point(48, &bytes("x")?, &bytes("y")?)?),
            ("OKP", Some("Ed25519")) => {
                let key = bytes("x").filter(|key| key.len() == 32)?;
                (KeyKind::Ed25519, DecodingKey::from_ed_der(&key))
            }
            _ => return None,
        };
        let key = Self {
            id,
            kind,
            only,
            decoding,
        };
        // An algorithm that the kind of key cannot do.
        key.only.is_none_or(|only| key.fits(only)).then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let by_kind: &[Algorithm] = match self.kind {
            KeyKind::Rsa => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            KeyKind::P256 => &[Algorithm::ES256],
            KeyKind::P384 => &[Algorithm::ES384],
            KeyKind::Ed25519 => &[Algorithm::EdDSA],
        };
        by_kind.contains(&algorithm) && self.only.is_none_or(|only| only == algorithm)
    }
}

impl KeyKind {
    /// RFC 7518, section 3.4 and RFC 8032: the two halves side by side. An RSA signature is as long
    /// as its modulus, which the verification checks.
    fn signature_length(self) -> Option<usize> {
        match self {
            Self::Rsa => None,
            Self::P256 | Self::Ed25519 => Some(64),
            Self::P384 => Some(96),
        }
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<DecodingKey> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &modulus[zeros..];
    let odd = exponent.last()? & 1 == 1 && exponent != [1];
    let sound = (256..=1024).contains(&modulus.len()) && exponent.len() <= 4 && odd;
    // Whoever has such a key's public half can have the private one.
    (sound && !is_roca(modulus)).then(|| DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// The uncompressed point, if it lies on the curve whose coordinates have `size` bytes.
fn point(size: usize, x: &[u8], y: &[u8]) -> Option<DecodingKey> {
    if x.len() != size || y.len() != size {
        return None;
    }
    let point = [&[4], x, y].concat();
    let curve = if size == 32 {
        &ECDSA_P256_SHA256_FIXED
    } else {
        &ECDSA_P384_SHA384_FIXED
    };
    ParsedPublicKey::new(curve, &point).ok()?;
    Some(DecodingKey::from_ec_der(&point))
}

const MAX_KEYS: usize = 64;

/// Certificates may stand beside the keys, so texts are longer here than in a token.
const LIMITS: Limits = Limits {
    depth: 5,
    members: 2048,
    items: MAX_KEYS + 1,
    text: 32 * 1024,
};

#[cfg(test)]
mod tests;
