//! An OpenID provider that gives anybody any identity. It exists for `vouchsafe dev` and
//! `vouchsafe demo`; nothing else can reach it.
//!
//! It is three issuers in one, each below its own path with its own discovery document, since an
//! issuer vouches for one kind of identity: `/github`, `/google` and `/email`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

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

    /// The claims a caller may choose, and their usual values.
    const fn open_claims(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Github => &[
                ("repository", "example-org/example-repo"),
                ("ref", "refs/heads/main"),
                ("event_name", "push"),
            ],
            Self::Google => &[
                ("email", "builder@example-project.iam.gserviceaccount.com"),
                ("sub", "100000000000000000001"),
            ],
            Self::Email => &[("email", "developer@example.com"), ("sub", "developer-1")],
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
    /// A claim that may not be chosen, or not so.
    #[error(
        "{0} cannot be chosen, or not like this: up to 200 letters, digits and marks of -_.@/:+"
    )]
    Claim(String),
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
        let mut open: BTreeMap<&str, &str> = shape.open_claims().iter().copied().collect();
        for (name, value) in chosen {
            let slot = open.get_mut(name.as_str()).filter(|_| is_tame(value));
            *slot.ok_or_else(|| ProviderError::Claim(name.clone()))? = value;
        }
        if !is_tame(audience) {
            return Err(ProviderError::Claim("audience".to_owned()));
        }
        let open = |name: &str| open.get(name).copied().unwrap_or_default();
        let mut claims = match shape {
            Shape::Github => github(open("repository"), open("ref"), open("event_name")),
            Shape::Google => json!({
                "sub": open("sub"), "azp": open("sub"), "email": open("email"), "email_verified": true,
            }),
            Shape::Email => {
                json!({"sub": open("sub"), "email": open("email"), "email_verified": true})
            }
        };
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

    /// The issuers' file for a certificate authority that trusts this provider.
    pub fn issuers_yaml(&self) -> String {
        let mut text = String::from(
            "# FOR DEVELOPMENT ONLY: this provider gives anybody any identity.\noidc-issuers:\n",
        );
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
            .route("/{issuer}/.well-known/openid-configuration", get(discovery))
            .route("/{issuer}/keys", get(keys))
            .route("/{issuer}/token", get(token))
            .with_state(Arc::clone(self))
    }
}

async fn welcome(State(provider): State<Arc<Provider>>) -> String {
    let mut page =
        String::from("FOR DEVELOPMENT ONLY: this provider gives anybody any identity.\n\n");
    for shape in Shape::ALL {
        let claims: Vec<&str> = shape.open_claims().iter().map(|(name, _)| *name).collect();
        let _written = writeln!(
            page,
            "{}/token   choose: audience, {}",
            provider.issuer(shape),
            claims.join(", ")
        );
    }
    page
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
    Json(json!({"keys": [key]})).into_response()
}

/// `GET /{issuer}/token?audience=…&email=…`: a token as plain text.
async fn token(
    State(provider): State<Arc<Provider>>,
    Path(issuer): Path<String>,
    Query(mut chosen): Query<BTreeMap<String, String>>,
) -> Response {
    let Some(shape) = shape_of(&issuer) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let audience = chosen
        .remove("audience")
        .unwrap_or_else(|| "sigstore".to_owned());
    let (now, token_id) = (super::now(), super::random_name());
    match provider.mint(shape, &audience, &chosen, &token_id, now) {
        Ok(token) => token.into_response(),
        Err(error @ ProviderError::Claim(_)) => {
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
        Err(error @ (ProviderError::Key | ProviderError::Signing)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

fn shape_of(path: &str) -> Option<Shape> {
    Shape::ALL.into_iter().find(|shape| shape.path() == path)
}

/// The claims of a job of GitHub Actions in an invented repository.
fn github(repository: &str, git_ref: &str, event: &str) -> Value {
    let (owner, _) = repository.split_once('/').unwrap_or((repository, ""));
    let workflow = format!("{repository}/.github/workflows/release.yml@{git_ref}");
    let commit = "1f2d3c4b5a69788796a5b4c3d2e1f00112233445";
    json!({
        "sub": format!("repo:{repository}:ref:{git_ref}"),
        "ref": git_ref, "ref_type": "branch", "ref_protected": "true", "sha": commit,
        "repository": repository, "repository_id": "700000001",
        "repository_owner": owner, "repository_owner_id": "700000002", "repository_visibility": "public",
        "actor": "example-person", "actor_id": "700000003",
        "workflow": "Release", "workflow_ref": workflow, "workflow_sha": commit,
        "job_workflow_ref": workflow, "job_workflow_sha": commit,
        "event_name": event, "base_ref": "", "head_ref": "",
        "run_id": "9000000001", "run_number": "42", "run_attempt": "1",
        "runner_environment": "github-hosted", "check_run_id": "9000000002",
    })
}

fn is_tame(value: &str) -> bool {
    (1..=200).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@/:+".contains(&b))
}

/// How long a token is good.
const LIFE: Duration = Duration::minutes(10);

/// The shipped file, for its templates.
const SHIPPED_ISSUERS: &str = include_str!("../../config/issuers.yaml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Config, Issuers, Options, Patience};
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

    fn chosen(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn only_the_open_claims_can_be_chosen_and_only_tamely() {
        let provider = Provider::new("http://127.0.0.1:1").unwrap();
        for (shape, name, value) in [
            (Shape::Email, "iss", "x"),
            (Shape::Email, "repository", "x"),
            (Shape::Github, "sha", "x"),
            (Shape::Email, "email", ""),
            (Shape::Email, "email", "a b@example.com"),
            (Shape::Email, "email", "a\"b@example.com"),
        ] {
            let minted = provider.mint(shape, "sigstore", &chosen(name, value), "1", NOW);
            assert!(
                matches!(minted, Err(ProviderError::Claim(_))),
                "{name}={value}"
            );
        }
        assert!(
            provider
                .mint(Shape::Email, "a b", &BTreeMap::new(), "1", NOW)
                .is_err()
        );
    }

    #[tokio::test]
    async fn every_shape_is_believed_by_an_authority_that_trusts_the_provider() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider =
            Arc::new(Provider::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap());
        let router = provider.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = Config::from_text(
            &provider.issuers_yaml(),
            Options {
                allow_http_loopback: true,
            },
        )
        .unwrap();
        let issuers = Issuers::new(config, Patience::default()).unwrap();
        for (shape, name) in [
            (
                Shape::Github,
                "https://github.com/example-org/example-repo/.github/workflows/release.yml@refs/heads/main",
            ),
            (
                Shape::Google,
                "builder@example-project.iam.gserviceaccount.com",
            ),
            (Shape::Email, "developer@example.com"),
        ] {
            let token = provider
                .mint(shape, "sigstore", &BTreeMap::new(), "1", NOW)
                .unwrap();
            let principal = issuers.authenticate(&token, NOW).await.unwrap();
            assert_eq!(principal.name.as_str(), name);
        }
    }
}
