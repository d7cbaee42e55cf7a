//! The JSON of both API versions, read as leniently as protobuf-JSON readers do and no more.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

use crate::possession::KeyRequest;

/// `dev.sigstore.fulcio.v2.CreateSigningCertificateRequest`. Both spellings of a name are one field;
/// unknown fields are ignored, `null` is the same as absent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct V2Request {
    #[serde(deserialize_with = "object_or_default")]
    credentials: Credentials,
    #[serde(alias = "public_key_request", deserialize_with = "object_or_none")]
    public_key_request: Option<PublicKeyRequest>,
    #[serde(alias = "certificate_signing_request")]
    certificate_signing_request: Option<Bytes>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Credentials {
    #[serde(alias = "oidc_identity_token", deserialize_with = "null_is_default")]
    oidc_identity_token: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PublicKeyRequest {
    #[serde(alias = "public_key", deserialize_with = "object_or_default")]
    public_key: PublicKey,
    #[serde(alias = "proof_of_possession", deserialize_with = "null_is_default")]
    proof_of_possession: Bytes,
}

/// The algorithm is what the key says it is; clients put anything in the field of that name.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PublicKey {
    #[serde(rename = "algorithm")]
    _algorithm: IgnoredAny,
    #[serde(deserialize_with = "null_is_default")]
    content: String,
}

/// `dev.sigstore.fulcio.v1beta.CreateSigningCertificateRequest`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct V1Request {
    #[serde(alias = "public_key", deserialize_with = "object_or_none")]
    public_key: Option<V1PublicKey>,
    #[serde(alias = "signed_email_address", deserialize_with = "null_is_default")]
    signed_email_address: Bytes,
    #[serde(
        alias = "certificate_signing_request",
        deserialize_with = "null_is_default"
    )]
    certificate_signing_request: Bytes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct V1PublicKey {
    #[serde(rename = "algorithm")]
    _algorithm: IgnoredAny,
    #[serde(deserialize_with = "null_is_default")]
    content: Bytes,
}

/// A body that is not the message it should be, said in a short sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl V2Request {
    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let request: Self = read(body)?;
        if request.public_key_request.is_some() && request.certificate_signing_request.is_some() {
            return Err(Malformed(
                "publicKeyRequest and certificateSigningRequest are one choice: only one of them may be set".to_owned(),
            ));
        }
        Ok(request)
    }

    /// The token in the body, empty if there is none, and the key.
    pub(super) fn into_parts(self) -> (String, KeyRequest) {
        let csr = self
            .certificate_signing_request
            .filter(|csr| !csr.0.is_empty());
        let key = match (csr, self.public_key_request.unwrap_or_default()) {
            (Some(csr), _) => KeyRequest::CertificateSigningRequest(csr.0),
            (None, key) => KeyRequest::PublicKey {
                key: key.public_key.content.into_bytes(),
                proof: key.proof_of_possession.0,
            },
        };
        (self.credentials.oidc_identity_token, key)
    }
}

impl V1Request {
    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        read(body)
    }

    /// The key, or `None` where the body has neither form of it.
    pub(super) fn into_key(self) -> Option<KeyRequest> {
        if !self.certificate_signing_request.0.is_empty() {
            return Some(KeyRequest::CertificateSigningRequest(
                self.certificate_signing_request.0,
            ));
        }
        let key = self.public_key?.content.0;
        Some(KeyRequest::PublicKey {
            key,
            proof: self.signed_email_address.0,
        })
    }
}

/// The first JSON value of the body; what follows it is ignored and an empty body is an empty
/// message.
fn read<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T, Malformed> {
    match serde_json::Deserializer::from_slice(body)
        .into_iter::<Object<T>>()
        .next()
    {
        None => Ok(T::default()),
        Some(Ok(Object(request))) => Ok(request),
        Some(Err(error)) => Err(Malformed(describe(&error))),
    }
}

/// What is wrong and where. The library's own text can repeat the input, which may be a token.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Syntax => "is not JSON",
        serde_json::error::Category::Data => {
            "has a field of the wrong type, twice, or not in base64"
        }
        serde_json::error::Category::Io => "cannot be read",
    };
    format!(
        "the request body {what} (line {}, column {})",
        error.line(),
        error.column()
    )
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn object_or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(object_or_none(deserializer)?.unwrap_or_default())
}

fn object_or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(message)| message))
}

/// A message, which is a JSON object. A derived reader alone would take a list as well, and its
/// items for the fields in order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// `bytes` of protobuf-JSON: "Either standard or URL-safe base64 encoding with/without paddings are
/// accepted."
#[derive(Default)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                let engine = if text.contains(['-', '_']) {
                    URL_SAFE
                } else {
                    STANDARD
                };
                engine
                    .decode(text)
                    .map(Bytes)
                    .map_err(|_| E::custom("not base64"))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(body: &str) -> Result<(String, KeyRequest), Malformed> {
        V2Request::read(body.as_bytes()).map(V2Request::into_parts)
    }

    #[test]
    fn both_spellings_every_base64_and_any_algorithm_are_read_alike() {
        for body in [
            r#"{"credentials":{"oidcIdentityToken":"t"},"publicKeyRequest":{"publicKey":{"algorithm":"ECDSA","content":"k"},"proofOfPossession":"+/8="}}"#,
            r#"{"credentials":{"oidc_identity_token":"t"},"public_key_request":{"public_key":{"algorithm":"","content":"k"},"proof_of_possession":"-_8"}}"#,
            r#"{"credentials":{"oidcIdentityToken":"t"},"publicKeyRequest":{"publicKey":{"algorithm":2,"content":"k"},"proofOfPossession":"+/8"},"certificateSigningRequest":null,"new":[1]} trailing"#,
            r#"{"credentials":{"oidcIdentityToken":"t"},"publicKeyRequest":{"publicKey":{"algorithm":null,"content":"k"},"proofOfPossession":"-_8="}}"#,
        ] {
            let (token, key) = v2(body).unwrap();
            assert_eq!(token, "t");
            let KeyRequest::PublicKey { key, proof } = key else {
                panic!("{body}")
            };
            assert_eq!(
                (key.as_slice(), proof.as_slice()),
                (&b"k"[..], &[0xfb, 0xff][..]),
                "{body}"
            );
        }
    }

    #[test]
    fn an_empty_body_is_an_empty_message() {
        let (token, key) = v2("").unwrap();
        assert!(
            token.is_empty()
                && matches!(key, KeyRequest::PublicKey { key, proof } if key.is_empty() && proof.is_empty())
        );
        assert!(V1Request::read(b"").unwrap().into_key().is_none());
        assert!(V1Request::read(b"{}").unwrap().into_key().is_none());
    }

    #[test]
    fn two_keys_in_one_request_are_refused() {
        assert!(v2(r#"{"publicKeyRequest":{},"certificateSigningRequest":"AA=="}"#).is_err());
    }

    #[test]
    fn a_parse_error_never_repeats_the_token() {
        for body in [
            r#"{"credentials":{"oidcIdentityToken":["secret"]}}"#,
            r#"{"credentials":"secret"}"#,
            r#"{"certificateSigningRequest":"secret secret"}"#,
            r#"{"secret"#,
        ] {
            let Malformed(sentence) = v2(body).unwrap_err();
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }

    #[test]
    fn the_old_form_takes_a_request_or_a_key() {
        let key = V1Request::read(br#"{"publicKey":{"content":"AQI=","algorithm":"ecdsa"},"signedEmailAddress":"Aw==","certificateSigningRequest":null}"#);
        assert!(
            matches!(key.unwrap().into_key(), Some(KeyRequest::PublicKey { key, proof }) if key == [1, 2] && proof == [3])
        );
        let csr = V1Request::read(br#"{"certificateSigningRequest":"AQI="}"#);
        assert!(
            matches!(csr.unwrap().into_key(), Some(KeyRequest::CertificateSigningRequest(csr)) if csr == [1, 2])
        );
    }
}
