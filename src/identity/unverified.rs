//! A token nobody has vouched for yet. Its bounds are checked before anything is decoded, and the
//! only claim that can be read from it is its issuer, to learn whose keys to ask.

use super::header::{Header, HeaderError};
use super::json::{JsonError, Limits, Object, Value};
use super::jwks::{KeySet, SignatureError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A token of the right form. It cannot be printed.
pub(super) struct UnverifiedToken<'t> {
    header: Header,
    issuer: String,
    payload: Object,
    /// Header and payload as they were signed, with the dot between them.
    signed: &'t str,
    signature: &'t str,
    signature_length: usize,
}

/// The payload of a token whose signature one of the issuer's keys has proved.
#[derive(Debug)]
pub(super) struct SignedPayload(Object);

/// Why a text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// Beyond what is decoded at all.
    #[error("the token is longer than {MAX_TOKEN} bytes, or its header longer than {MAX_HEADER}")]
    TooLong,
    /// Not three parts; encrypted tokens have five.
    #[error("the token does not have exactly three parts, none of them empty")]
    Parts,
    /// Padding, white space, foreign characters or left-over bits.
    #[error("a part of the token is not canonical base64url")]
    Encoding,
    /// The first part.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The second part.
    #[error("the token's payload: {0}")]
    Payload(#[from] JsonError),
    /// Nobody claims to have issued it.
    #[error("the token's `iss` is not a text")]
    Issuer,
}

impl<'t> UnverifiedToken<'t> {
    pub(super) fn read(unverified_token: &'t str) -> Result<Self, MalformedToken> {
        if unverified_token.len() > MAX_TOKEN {
            return Err(MalformedToken::TooLong);
        }
        let mut parts = unverified_token.splitn(4, '.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MalformedToken::Parts);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(MalformedToken::Parts);
        }
        if header.len() > MAX_HEADER {
            return Err(MalformedToken::TooLong);
        }
        let signed = &unverified_token[..header.len() + 1 + payload.len()];
        let header = Header::parse(&decode(header)?)?;
        let signature_length = decode(signature)?.len();
        let payload = Object::parse(&decode(payload)?, &PAYLOAD)?;
        let issuer = match payload.member("iss") {
            Some(Value::Text(issuer)) => issuer.clone(),
            _ => return Err(MalformedToken::Issuer),
        };
        Ok(Self {
            header,
            issuer,
            payload,
            signed,
            signature,
            signature_length,
        })
    }

    /// Who it says has issued it: good for looking up keys, for nothing else.
    pub(super) fn unverified_issuer(&self) -> &str {
        &self.issuer
    }

    /// Its payload, if one of these keys has signed it. To be called again, with newer keys, only
    /// after it has failed.
    pub(super) fn verify(&mut self, keys: &KeySet) -> Result<SignedPayload, SignatureError> {
        keys.verify(
            self.header.key_id.as_deref(),
            self.header.algorithm,
            self.signed.as_bytes(),
            self.signature,
            self.signature_length,
        )?;
        Ok(SignedPayload(std::mem::take(&mut self.payload)))
    }
}

impl SignedPayload {
    pub(super) fn into_object(self) -> Object {
        self.0
    }

    /// Claims that nobody signed, and the issuer they name.
    #[cfg(fuzzing)]
    pub(super) fn pretend_read(payload: &[u8]) -> Option<(String, Self)> {
        let payload = Object::parse(payload, &PAYLOAD).ok()?;
        let Some(Value::Text(issuer)) = payload.member("iss") else {
            return None;
        };
        Some((issuer.clone(), Self(payload)))
    }

    #[cfg(test)]
    pub(super) fn pretend(payload: serde_json::Value) -> Self {
        Self(Object::parse(payload.to_string().as_bytes(), &PAYLOAD).unwrap())
    }
}

/// RFC 7515, section 2: base64url "with all trailing '=' characters omitted … and without the
/// inclusion of any line breaks, whitespace, or other additional characters". Bits left over at the
/// end must be zero, so that no two texts are the same token.
fn decode(part: &str) -> Result<Vec<u8>, MalformedToken> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| MalformedToken::Encoding)
}

const PAYLOAD: Limits = Limits {
    depth: 16,
    members: 256,
    // Entra ID lists up to 200 groups of a person.
    items: 256,
    text: 8192,
};

const MAX_TOKEN: usize = 16 * 1024;
const MAX_HEADER: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.{}", encode(header), encode(payload), encode("sig"))
    }

    const HEADER: &str = r#"{"alg":"RS256"}"#;
    const CLAIMS: &str = r#"{"iss":"https://issuer.example"}"#;

    fn refusal(token: &str) -> MalformedToken {
        UnverifiedToken::read(token).err().unwrap()
    }

    #[test]
    fn a_token_with_the_wrong_number_of_parts_is_decoded() {
        let good = token(HEADER, CLAIMS);
        assert!(UnverifiedToken::read(&good).is_ok());
        for text in [
            "".to_owned(),
            "a".to_owned(),
            "a.b".to_owned(),
            "..".to_owned(),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.x.y"),
            good.rsplit_once('.').unwrap().0.to_owned() + ".",
            ".".repeat(16_000),
        ] {
            assert_eq!(refusal(&text), MalformedToken::Parts, "{text:.60}");
        }
    }

    #[test]
    fn an_oversized_token_or_header_is_decoded() {
        assert_eq!(refusal(&".".repeat(1_000_000)), MalformedToken::TooLong);
        let long_header = format!(r#"{{"alg":"RS256","x":"{}"}}"#, "x".repeat(3072));
        assert_eq!(
            refusal(&token(&long_header, CLAIMS)),
            MalformedToken::TooLong
        );
    }

    #[test]
    fn two_texts_are_the_same_token() {
        let good = token(HEADER, r#"{"iss":"https://issuer.example","a":1}"#);
        for text in [
            good.replacen('.', "=.", 1),
            format!(" {good}"),
            format!("{good}\n"),
            good.replacen('.', "\n.", 1),
            // "sig" ends on a whole byte; the same bytes with left-over bits:
            format!("{}.{}.c2l", encode(HEADER), encode(CLAIMS)),
            format!("{}.{}.c2ln+w", encode(HEADER), encode(CLAIMS)),
        ] {
            assert_eq!(refusal(&text), MalformedToken::Encoding, "{text}");
        }
    }

    #[test]
    fn a_payload_that_two_readers_could_read_differently_is_read() {
        let twice = r#"{"iss":"https://a.example","iss":"https://b.example"}"#;
        assert_eq!(
            refusal(&token(HEADER, twice)),
            MalformedToken::Payload(JsonError::Duplicate)
        );
        let deep = format!(r#"{{"iss":"a","x":{}{}}}"#, "[".repeat(16), "]".repeat(16));
        assert_eq!(
            refusal(&token(HEADER, &deep)),
            MalformedToken::Payload(JsonError::Limit)
        );
        for issuer in [
            "{}",
            r#"{"iss":1}"#,
            r#"{"iss":null}"#,
            r#"{"iss":["a"]}"#,
            r#"{"Iss":"a"}"#,
        ] {
            assert_eq!(
                refusal(&token(HEADER, issuer)),
                MalformedToken::Issuer,
                "{issuer}"
            );
        }
    }

    proptest! {
        #[test]
        fn some_bytes_make_the_reader_panic(text in "\\PC{0,200}") {
            drop(UnverifiedToken::read(&text));
        }

        #[test]
        fn some_header_or_payload_makes_the_reader_panic(header in "[\\[\\]{}:,\"a-z0-9]{0,40}", payload in "\\PC{0,80}") {
            drop(UnverifiedToken::read(&token(&header, &payload)));
        }
    }
}
