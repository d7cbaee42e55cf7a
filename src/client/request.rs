//! A fresh key, the proof that it is ours, and the question for a certificate.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use der::pem::{self, LineEnding};
use serde::{Deserialize, Serialize};

use super::chain::{ChainError, UnverifiedChain};
use super::{BodyError, body};

/// A P-256 key that lives for one signature or a few, and never in a file.
pub struct EphemeralKey {
    key: EcdsaKeyPair,
    public_key_der: Vec<u8>,
}

/// A certificate that was not given.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No challenge can be read from the token.
    #[error("the identity token cannot be read: {0}")]
    Token(&'static str),
    /// The cryptographic library failed.
    #[error("no key could be made or used")]
    Key,
    /// The authority's address.
    #[error("{0:?} is not the address of a certificate authority")]
    Address(String),
    /// Nobody there, or not for long enough.
    #[error("the certificate authority cannot be reached: {0}")]
    Unreachable(reqwest::Error),
    /// The authority's own words, cleaned of control characters.
    #[error("the certificate authority refused ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why, as the authority says it.
        message: String,
    },
    /// A reply that is too long or broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A reply that is not what the interface promises.
    #[error("the certificate authority's reply is not JSON with a certificate")]
    Reply,
    /// The authority answered with a certificate that no log has promised to list.
    #[error("the certificate carries no promise of a transparency log inside")]
    NotLogged,
    /// The certificates in the reply.
    #[error("the certificate authority's reply holds no chain: {0}")]
    Chain(#[from] ChainError),
}

impl EphemeralKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`RequestError::Key`].
    pub fn generate() -> Result<Self, RequestError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| RequestError::Key)?;
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| RequestError::Key)?;
        let public_key_der = der.as_ref().to_vec();
        Ok(Self {
            key,
            public_key_der,
        })
    }

    /// The public half, a DER `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// An ECDSA signature in DER over SHA-256 of `message`.
    ///
    /// # Errors
    /// [`RequestError::Key`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RequestError> {
        let digest = digest::digest(&digest::SHA256, message);
        let signature = self
            .key
            .sign_digest(&digest)
            .map_err(|_| RequestError::Key)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl core::fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EphemeralKey").finish_non_exhaustive()
    }
}

/// Asks the authority at the origin `authority` for a certificate over `key` in the name that
/// `token` proves. The answer has been read, not checked: that is [`super::verify`]'s.
///
/// # Errors
/// [`RequestError`]; none of them carries the token.
pub async fn request_certificate(
    http: &reqwest::Client,
    authority: &str,
    token: &str,
    key: &EphemeralKey,
) -> Result<UnverifiedChain, RequestError> {
    let url = reqwest::Url::parse(authority)
        .and_then(|origin| origin.join(SIGNING_CERTIFICATE))
        .map_err(|_| RequestError::Address(authority.to_owned()))?;
    let public_key = pem::encode_string("PUBLIC KEY", LineEnding::LF, key.public_key_der())
        .map_err(|_| RequestError::Key)?;
    let request = Request {
        credentials: Credentials {
            oidc_identity_token: token,
        },
        public_key_request: PublicKeyRequest {
            public_key: PublicKey {
                algorithm: "ECDSA",
                content: public_key,
            },
            proof_of_possession: STANDARD.encode(key.sign(challenge(token)?.as_bytes())?),
        },
    };
    let request = serde_json::to_vec(&request).map_err(|_| RequestError::Key)?;
    let response = http
        .post(url)
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(request)
        .send()
        .await
        .map_err(RequestError::Unreachable)?;
    let status = response.status();
    let body = body(response, MAX_REPLY).await?;
    if !status.is_success() {
        return Err(RequestError::Refused {
            status: status.as_u16(),
            message: refusal(&body),
        });
    }
    read_reply(&body)
}

/// What the holder of the key must sign: the token's e-mail address if it is a verified one, else its
/// subject. Read without checking the token, as the authority will.
///
/// # Errors
/// [`RequestError::Token`].
pub fn challenge(token: &str) -> Result<String, RequestError> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(RequestError::Token(
            "it is not three parts with dots between",
        ));
    };
    let claims = URL_SAFE_NO_PAD
        .decode(claims)
        .map_err(|_| RequestError::Token("its claims are not in base64"))?;
    let claims: UnverifiedClaims = serde_json::from_slice(&claims)
        .map_err(|_| RequestError::Token("its claims are not a JSON object with a subject"))?;
    let verified = match claims.email_verified {
        Some(EmailVerified::Plain(verified)) => verified,
        // Some providers quote the boolean.
        Some(EmailVerified::Quoted(verified)) => verified == "true",
        None => false,
    };
    claims
        .email
        .filter(|email| verified && !email.is_empty())
        .or(claims.sub)
        .filter(|challenge| !challenge.is_empty())
        .ok_or(RequestError::Token(
            "it has neither a verified e-mail address nor a subject",
        ))
}

fn read_reply(body: &[u8]) -> Result<UnverifiedChain, RequestError> {
    let reply: Reply = serde_json::from_slice(body).map_err(|_| RequestError::Reply)?;
    let Some(embedded) = reply.signed_certificate_embedded_sct else {
        return Err(RequestError::NotLogged);
    };
    let certificates = embedded.chain.certificates.iter().map(String::as_str);
    Ok(UnverifiedChain::from_pems(certificates)?)
}

/// The `message` of the error, or a word for its absence. It comes from somebody else and goes to a
/// terminal.
fn refusal(body: &[u8]) -> String {
    let message = serde_json::from_slice::<Status>(body).map(|status| status.message);
    let message = message.unwrap_or_default();
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE)
        .collect();
    if message.is_empty() {
        return "no reason given".to_owned();
    }
    message
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    credentials: Credentials<'a>,
    public_key_request: PublicKeyRequest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials<'a> {
    oidc_identity_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyRequest {
    public_key: PublicKey,
    proof_of_possession: String,
}

#[derive(Serialize)]
struct PublicKey {
    algorithm: &'static str,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    signed_certificate_embedded_sct: Option<EmbeddedSct>,
}

#[derive(Deserialize)]
struct EmbeddedSct {
    chain: ReplyChain,
}

#[derive(Deserialize)]
struct ReplyChain {
    certificates: Vec<String>,
}

#[derive(Deserialize)]
struct Status {
    message: String,
}

/// Only what the challenge is made of.
#[derive(Deserialize)]
struct UnverifiedClaims {
    email: Option<String>,
    email_verified: Option<EmailVerified>,
    sub: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EmailVerified {
    Plain(bool),
    Quoted(String),
}

const SIGNING_CERTIFICATE: &str = "/api/v2/signingCert";
/// Four certificates of the largest kind, in PEM.
const MAX_REPLY: usize = 256 * 1024;
const MAX_MESSAGE: usize = 1000;

#[cfg(test)]
mod tests;
