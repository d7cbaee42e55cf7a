//! An OpenID provider that gives anybody any identity. It exists for `vouchsafe dev` and
//! `vouchsafe demo`; nothing else can reach it.
//!
//! It is three issuers in one, each below its own path with its own discovery document, since an
//! issuer vouches for one kind of identity: `/github`, `/google` and `/email`.

mod claims;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use claims::AUDIENCE;

/// Whose tokens they are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A job of GitHub Actions.
    Github,
    /// A Google service account.
    Google,
    /// A developer who signed in with an e-mail address.
    Email,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Github, Self::Google, Self::Email];

    /// The path of its issuer.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Google => "google",
            Self::Email => "email",
        }
    }
}

/// The provider: one key, made when it starts and gone when it ends.
#[derive(Debug)]
pub struct Provider {
    base_url: String,
    key: SigningKey,
}

/// A provider or a token that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The library has no key for us.
    #[error("the demo provider's key cannot be made")]
    Key,
    /// The signature failed.
    #[error("the token cannot be signed")]
    Signing,
    /// Not a parameter of this issuer's tokens.
    #[error("{name:?} cannot be chosen here, only {open}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What can be asked for.
        open: String,
    },
    /// A parameter that is given more than once.
    #[error("{name} is given more than once")]
    Repeated {
        /// The parameter.
        name: &'static str,
    },
    /// A value that no real provider would put into a token.
    #[error("{name} must be {rule}")]
    Malformed {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The query is not `name=value&…`.
    #[error("the query cannot be read: write name=value, joined by &, in UTF-8")]
    Query,
    /// There is no issuer for such an identity.
    #[error("identity must be one of github, google, email")]
    Identity,
}

struct SigningKey {
    id: String,
    encoding: EncodingKey,
    modulus: String,
    exponent: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// Makes a provider that is reached at `base_url`, which has no slash at its end.
    ///
    /// # Errors
    /// [`ProviderError::Key`].
    pub fn new(base_url: &str) -> Result<Self, ProviderError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| ProviderError::Key)?;
        let pkcs8 = pair.as_der().map_err(|_| ProviderError::Key)?;
        // jsonwebtoken wants the PKCS#1 structure inside.
        let inner =
            pkcs8::PrivateKeyInfoRef::try_from(pkcs8.as_ref()).map_err(|_| ProviderError::Key)?;
        let public = pair.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = SigningKey {
            id: number(
                digest(&SHA256, public.as_ref())
                    .as_ref()
                    .get(..12)
                    .unwrap_or_default(),
            ),
            encoding: EncodingKey::from_rsa_der(inner.private_key.as_bytes()),
            modulus: number(public.modulus().big_endian_without_leading_zero()),
            exponent: number(public.exponent().big_endian_without_leading_zero()),
        };
        Ok(Self {
            base_url: base_url.to_owned(),
            key,
        })
    }

    /// The URL of one issuer, as it stands in its tokens.
    pub fn issuer(&self, shape: Shape) -> String {
        format!("{}/{}", self.base_url, shape.path())
    }

    /// Signs a token that is good for ten minutes from `now`. `chosen` replaces usual values;
    /// `token_id` makes it unlike any other.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn mint(
        &self,
        shape: Shape,
        audience: &str,
        chosen: &BTreeMap<String, String>,
        token_id: &str,
        now: OffsetDateTime,
    ) -> Result<String, ProviderError> {
        if !(AUDIENCE.holds)(audience) {
            return Err(AUDIENCE.malformed());
        }
        let mut claims = claims::claims(shape, chosen)?;
        if let Value::Object(claims) = &mut claims {
            let issued = now.unix_timestamp();
            claims.insert("iss".to_owned(), self.issuer(shape).into());
            claims.insert("aud".to_owned(), audience.into());
            claims.insert("iat".to_owned(), issued.into());
            claims.insert("nbf".to_owned(), issued.into());
            claims.insert("exp".to_owned(), (issued + LIFE.whole_seconds()).into());
            claims.insert("jti".to_owned(), token_id.into());
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.key.id.clone());
        jsonwebtoken::encode(&header, &claims, &self.key.encoding)
            .map_err(|_| ProviderError::Signing)
    }

    /// Signs a token as a query asks for it, now.
    fn mint_as_asked(&self, shape: Shape, pairs: Pairs) -> Result<String, ProviderError> {
        let known = || std::iter::once(&AUDIENCE).chain(claims::open(shape));
        let mut chosen = BTreeMap::new();
        for (name, value) in pairs {
            let claim = known().find(|claim| claim.name == name);
            let claim = claim.ok_or_else(|| claims::unknown(shape, &name))?;
            if chosen.insert(name, value).is_some() {
                return Err(ProviderError::Repeated { name: claim.name });
            }
        }
        let audience = chosen.remove(AUDIENCE.name);
        let audience = audience.as_deref().unwrap_or(AUDIENCE.usual);
        self.mint(
            shape,
            audience,
            &chosen,
            &super::random_name(),
            super::now(),
        )
    }

    /// The issuers' file for a certificate authority that trusts this provider.
    pub fn issuers_yaml(&self) -> String {
        let mut text = format!("# {NOTICE}\noidc-issuers:\n");
        for shape in Shape::ALL {
            let url = self.issuer(shape);
            let kind = match shape {
                Shape::Github => "ci-provider\n    ci-provider: github-actions",
                Shape::Google | Shape::Email => "email",
            };
            // Writing to a string cannot fail.
            let _written = write!(
                text,
                "  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: {kind}\n"
            );
        }
        let shipped = SHIPPED_ISSUERS
            .split_once("\nci-issuer-metadata:")
            .map_or("", |(_, metadata)| metadata);
        text + "ci-issuer-metadata:" + shipped
    }

    /// Its pages.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(welcome))
            .route("/token", get(token_of_any))
            .route("/{issuer}/.well-known/openid-configuration", get(discovery))
            .route("/{issuer}/keys", get(keys))
            .route("/{issuer}/token", get(token))
            .layer(axum::middleware::map_response(warned))
            .with_state(Arc::clone(self))
    }
}

async fn welcome(State(provider): State<Arc<Provider>>) -> String {
    let mut page = format!(
        "{NOTICE}\n\ncurl '{}/token?identity=github'\n\n",
        provider.base_url
    );
    for shape in Shape::ALL {
        // Writing to a string cannot fail.
        let _written = writeln!(
            page,
            "{}/token   choose: {}",
            provider.issuer(shape),
            claims::choices(shape)
        );
    }
    page
}

/// Says on every answer, whatever it is, what it is good for.
async fn warned(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("x-notice", HeaderValue::from_static(NOTICE));
    response
}

async fn discovery(State(provider): State<Arc<Provider>>, Path(issuer): Path<String>) -> Response {
    let Some(shape) = shape_of(&issuer) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let issuer = provider.issuer(shape);
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "notice": NOTICE,
    }))
    .into_response()
}

async fn keys(State(provider): State<Arc<Provider>>, Path(issuer): Path<String>) -> Response {
    if shape_of(&issuer).is_none() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let SigningKey {
        id,
        encoding: _,
        modulus,
        exponent,
    } = &provider.key;
    let key =
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": modulus, "e": exponent});
    Json(json!({"keys": [key], "notice": NOTICE})).into_response()
}

/// `GET /{issuer}/token?audience=…&email=…`: a token as plain text.
async fn token(
    State(provider): State<Arc<Provider>>,
    Path(issuer): Path<String>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Response {
    let Some(shape) = shape_of(&issuer) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    answer(query.map_err(|_| ProviderError::Query).and_then(|pairs| {
        let Query(pairs) = pairs;
        provider.mint_as_asked(shape, pairs)
    }))
}

/// `GET /token?identity=github&…`: the same, with the issuer's name in the query.
async fn token_of_any(
    State(provider): State<Arc<Provider>>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Response {
    answer(query.map_err(|_| ProviderError::Query).and_then(|pairs| {
        let Query(mut pairs) = pairs;
        let named = pairs.iter().position(|(name, _)| name == "identity");
        let (_, identity) = pairs.remove(named.ok_or(ProviderError::Identity)?);
        let shape = shape_of(&identity).ok_or(ProviderError::Identity)?;
        provider.mint_as_asked(shape, pairs)
    }))
}

/// In the order of the query, so that a name that comes twice is seen.
type Pairs = Vec<(String, String)>;

fn answer(minted: Result<String, ProviderError>) -> Response {
    let error = match minted {
        Ok(token) => return token.into_response(),
        Err(error) => error,
    };
    let status = match error {
        ProviderError::Unknown { .. }
        | ProviderError::Repeated { .. }
        | ProviderError::Malformed { .. }
        | ProviderError::Query
        | ProviderError::Identity => StatusCode::BAD_REQUEST,
        ProviderError::Key | ProviderError::Signing => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n{NOTICE}\n")).into_response()
}

fn shape_of(path: &str) -> Option<Shape> {
    Shape::ALL.into_iter().find(|shape| shape.path() == path)
}

/// What every page says. ASCII, since it is a header as well.
const NOTICE: &str = "FOR DEVELOPMENT ONLY: this provider gives anybody any identity.";

/// How long a token is good.
const LIFE: Duration = Duration::minutes(10);

/// The shipped file, for its templates.
const SHIPPED_ISSUERS: &str = include_str!("../../config/issuers.yaml");

#[cfg(test)]
mod tests;
