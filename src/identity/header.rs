//! The protected header of a token: which algorithm, which key, and nothing that would change how
//! the rest is to be read.

use super::json::{JsonError, Limits, Object, Value};
use jsonwebtoken::Algorithm;

/// What a header may say.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    /// The name of the key; without one every suitable key is tried.
    pub(super) key_id: Option<String>,
}

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not the JSON it has to be.
    #[error("the token's header: {0}")]
    Json(#[from] JsonError),
    /// No algorithm, or one that nobody may sign identities with.
    #[error("the token's header names no algorithm that is accepted")]
    Algorithm,
    /// `kid` is not a short text.
    #[error("the token's header names its key by something else than a short text")]
    KeyId,
    /// A parameter after which the token means something else than it seems to.
    #[error("the token's header has the parameter {0}, which is not accepted")]
    Parameter(&'static str),
}

impl Header {
    pub(super) fn parse(text: &[u8]) -> Result<Self, HeaderError> {
        let object = Object::parse(text, &LIMITS)?;
        // RFC 7515, section 4.1.11: "If any of the listed extension Header Parameters are not
        // understood and supported by the recipient, then the JWS is invalid." None is supported.
        for forbidden in ["crit", "zip", "enc"] {
            if object.member(forbidden).is_some() {
                return Err(HeaderError::Parameter(forbidden));
            }
        }
        // RFC 7797: an unencoded payload needs `crit` too, but a forger need not care.
        if !matches!(object.member("b64"), None | Some(Value::Bool(true))) {
            return Err(HeaderError::Parameter("b64"));
        }
        // RFC 7519, section 5.2: `cty` of `JWT` announces a token inside the token.
        match object.member("cty") {
            None => {}
            Some(Value::Text(kind)) if !kind.to_ascii_lowercase().ends_with("jwt") => {}
            Some(_) => return Err(HeaderError::Parameter("cty")),
        }
        // `jwk`, `jku`, `x5u` and `x5c` would let the token bring its own key: never looked at.
        let algorithm = match object.member("alg") {
            Some(Value::Text(name)) => algorithm(name).ok_or(HeaderError::Algorithm)?,
            _ => return Err(HeaderError::Algorithm),
        };
        let key_id = match object.member("kid") {
            None => None,
            Some(Value::Text(kid)) if kid.is_empty() => None,
            Some(Value::Text(kid)) if kid.len() <= MAX_KEY_ID => Some(kid.clone()),
            Some(_) => return Err(HeaderError::KeyId),
        };
        Ok(Self { algorithm, key_id })
    }
}

/// The signature algorithms that are accepted at all. A shared secret is no identity, so `none` and
/// the HMAC family are not among them.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

const LIMITS: Limits = Limits {
    depth: 4,
    members: 32,
    items: 16,
    text: 4096,
};

/// Long enough for a certificate thumbprint in any notation.
const MAX_KEY_ID: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_changes_the_meaning_of_the_token_is_accepted() {
        for (text, parameter) in [
            (r#"{"alg":"RS256","crit":["exp"]}"#, "crit"),
            (r#"{"alg":"RS256","crit":[]}"#, "crit"),
            (r#"{"alg":"RS256","zip":"DEF"}"#, "zip"),
            (r#"{"alg":"RS256","enc":"A128GCM"}"#, "enc"),
            (r#"{"alg":"RS256","b64":false}"#, "b64"),
            (r#"{"alg":"RS256","b64":"true"}"#, "b64"),
            (r#"{"alg":"RS256","cty":"JWT"}"#, "cty"),
            (r#"{"alg":"RS256","cty":"application/jwt"}"#, "cty"),
            (r#"{"alg":"RS256","cty":1}"#, "cty"),
        ] {
            let error = Header::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, HeaderError::Parameter(parameter), "{text}");
        }
    }

    #[test]
    fn an_algorithm_outside_of_the_list_is_accepted() {
        for name in [
            "none", "None", "NONE", "", "HS256", "HS384", "HS512", "RSA1_5", "ES512", "ES256K",
            "rs256", "RS256 ", "Ed25519", "RS1",
        ] {
            let text = format!(r#"{{"alg":"{name}"}}"#);
            let error = Header::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, HeaderError::Algorithm, "{name}");
        }
        for text in [r#"{"kid":"a"}"#, r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#] {
            let error = Header::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, HeaderError::Algorithm, "{text}");
        }
    }

    #[test]
    fn a_duplicate_or_a_strange_key_name_is_accepted() {
        let twice = br#"{"alg":"RS256","kid":"a","kid":"b"}"#;
        assert_eq!(
            Header::parse(twice).unwrap_err(),
            HeaderError::Json(JsonError::Duplicate)
        );
        for kid in ["1", "null", "[]", "{}", &format!("\"{}\"", "k".repeat(513))] {
            let text = format!(r#"{{"alg":"RS256","kid":{kid}}}"#);
            assert_eq!(
                Header::parse(text.as_bytes()).unwrap_err(),
                HeaderError::KeyId
            );
        }
    }

    #[test]
    fn an_honest_header_is_refused() {
        let text =
            br#"{"alg":"ES256","typ":"JWT","kid":"k","x5t":"aa","jwk":{"kty":"oct"},"b64":true}"#;
        let header = Header::parse(text).unwrap();
        assert_eq!(header.algorithm, Algorithm::ES256);
        assert_eq!(header.key_id.as_deref(), Some("k"));
    }
}
