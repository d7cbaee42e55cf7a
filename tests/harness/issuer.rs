//! An OpenID provider on loopback, as far as a certificate authority needs one: discovery, one RSA
//! key, and tokens. It is not the one the program brings along, so that the two do not err alike.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use time::OffsetDateTime;

/// A provider that answers until the program ends.
pub(crate) struct Issuer {
    url: String,
    key: KeyPair,
    random: SystemRandom,
    /// How often its keys were fetched.
    fetched: Arc<AtomicUsize>,
}

impl Issuer {
    /// Makes a key and serves it on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let url = format!(
            "http://{}",
            listener
                .local_addr()
                .expect("a bound listener has an address")
        );
        let key = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let public = key.public_key();
        let encode = |integer: &[u8]| URL_SAFE_NO_PAD.encode(integer);
        let jwks = json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
        }]});
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let fetched = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetched);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that hangs up loses its own answer only.
                answer(stream, &discovery.to_string(), &jwks.to_string(), &counted).ok();
            }
        });
        Self {
            url,
            key,
            fetched,
            random: SystemRandom::new(),
        }
    }

    /// How often its keys were fetched.
    pub(crate) fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }

    /// The issuers' file that trusts this provider and no other.
    pub(crate) fn issuers_yaml(&self) -> String {
        let url = &self.url;
        format!(
            "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: {AUDIENCE}\n    type: email\n"
        )
    }

    /// A token for a verified email address.
    pub(crate) fn token(&self, email: &str, id: u64, now: OffsetDateTime) -> String {
        self.token_by(KEY_ID, email, id, now)
    }

    /// The same under any name of a key.
    pub(crate) fn token_by(&self, key: &str, email: &str, id: u64, now: OffsetDateTime) -> String {
        let seconds = now.unix_timestamp();
        let header = json!({"alg": "RS256", "kid": key, "typ": "JWT"});
        let claims = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": format!("subject-{id}"), "jti": format!("{id:016x}"),
            "email": email, "email_verified": true,
            "iat": seconds, "nbf": seconds, "exp": seconds + 900,
        });
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// RS256 over a message.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let encoding = &RSA_PKCS1_SHA256;
        self.key
            .sign(encoding, &self.random, message, &mut signature)
            .expect("a signature");
        signature
    }

    /// The public key as PKCS#1.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }
}

fn answer(
    mut stream: TcpStream,
    discovery: &str,
    jwks: &str,
    fetched: &AtomicUsize,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..length]);
    }
    let body = if request.starts_with(b"GET /keys ") {
        fetched.fetch_add(1, Ordering::SeqCst);
        jwks
    } else {
        discovery
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

const KEY_ID: &str = "load";
const AUDIENCE: &str = "sigstore";
