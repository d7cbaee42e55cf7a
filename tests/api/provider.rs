//! An OpenID provider that signs whatever it is told to, true or not, with a P-256 key of its own.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// Serves discovery and keys below `/email`, `/other` and `/github`; a port beside it is held
/// closed, for an issuer that is down.
pub(crate) struct Provider {
    url: String,
    down: String,
    key: SigningKey,
    /// Of all that was asked: whose trace it belongs to.
    traceparents: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
    /// Bound and never listening: nobody else can take the port, nobody answers on it.
    _closed: TcpSocket,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let down = format!("http://{}", closed.local_addr().unwrap());
        let key = SigningKey::from_slice(&[0x51; 32]).unwrap();
        let traceparents = Arc::default();
        let router = Router::new()
            .route("/{issuer}/.well-known/openid-configuration", get(discovery))
            .route("/{issuer}/keys", get(keys))
            .with_state((url.clone(), jwk(&key)))
            .layer(from_fn_with_state(Arc::clone(&traceparents), remember));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            down,
            key,
            traceparents,
            serving,
            _closed: closed,
        }
    }

    /// The traces that it was asked for.
    pub(crate) fn traceparents(&self) -> Vec<String> {
        self.traceparents.lock().unwrap().clone()
    }

    /// Nobody can fetch anything from now on.
    pub(crate) async fn stop_serving(&mut self) {
        self.serving.abort();
        // It was cancelled, which is what it says.
        (&mut self.serving).await.ok();
    }

    /// The issuer of people.
    pub(crate) fn email(&self) -> String {
        format!("{}/email", self.url)
    }

    /// Another issuer of people, with another audience.
    pub(crate) fn other(&self) -> String {
        format!("{}/other", self.url)
    }

    /// The issuer of jobs.
    pub(crate) fn github(&self) -> String {
        format!("{}/github", self.url)
    }

    /// An issuer that is trusted and down.
    pub(crate) fn down(&self) -> &str {
        &self.down
    }

    /// The issuers' file: four issuers, a pattern, and the templates that are shipped.
    pub(crate) fn issuers_yaml(&self) -> String {
        let (email, other, github, down) = (self.email(), self.other(), self.github(), self.down());
        let (_, templates) = SHIPPED.split_once("\nci-issuer-metadata:").unwrap();
        format!(
            "oidc-issuers:
  {email}: {{issuer-url: '{email}', client-id: sigstore, type: email}}
  {other}: {{issuer-url: '{other}', client-id: other-audience, type: email}}
  {github}: {{issuer-url: '{github}', client-id: sigstore, type: ci-provider, ci-provider: github-actions}}
  {down}: {{issuer-url: '{down}', client-id: sigstore, type: email}}
meta-issuers:
  https://oidc.*.example.com/id: {{client-id: sigstore, type: ci-provider, ci-provider: github-actions}}
ci-issuer-metadata:{templates}"
        )
    }

    /// A person's claims, good for ten minutes.
    pub(crate) fn person(&self, email: &str) -> Value {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        json!({
            "iss": self.email(), "aud": "sigstore", "sub": format!("sub-of-{email}"),
            "email": email, "email_verified": true,
            "iat": now, "nbf": now, "exp": now + 600,
        })
    }

    /// A job's claims.
    pub(crate) fn job(&self) -> Value {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let workflow = "example-org/example-repo/.github/workflows/release.yml@refs/heads/main";
        json!({
            "iss": self.github(), "aud": "sigstore", "sub": JOB,
            "ref": "refs/heads/main", "sha": COMMIT, "repository": "example-org/example-repo",
            "repository_id": "700000001", "repository_owner": "example-org",
            "repository_owner_id": "700000002", "repository_visibility": "public",
            "workflow": "Release", "workflow_ref": workflow, "workflow_sha": COMMIT,
            "job_workflow_ref": workflow, "job_workflow_sha": COMMIT, "event_name": "push",
            "run_id": "9000000001", "run_attempt": "1", "runner_environment": "github-hosted",
            "iat": now, "nbf": now, "exp": now + 600,
        })
    }

    /// A good token for a person.
    pub(crate) fn token(&self, email: &str) -> String {
        self.sign(&self.person(email))
    }

    /// ES256 over any claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_under(
            &json!({"alg": "ES256", "kid": "test", "typ": "JWT"}),
            claims,
        )
    }

    /// The same under any header.
    pub(crate) fn sign_under(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// `claims` with some of them replaced; `null` takes one away.
pub(crate) fn with(mut claims: Value, changes: Value) -> Value {
    let (Value::Object(all), Value::Object(changes)) = (&mut claims, changes) else {
        panic!("claims are objects");
    };
    for (name, value) in changes {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}

async fn remember(
    State(traceparents): State<Arc<Mutex<Vec<String>>>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(header) = request.headers().get("traceparent") {
        let header = header.to_str().unwrap().to_owned();
        traceparents.lock().unwrap().push(header);
    }
    next.run(request).await
}

async fn discovery(
    State((url, _)): State<(String, Value)>,
    Path(issuer): Path<String>,
) -> Json<Value> {
    let issuer = format!("{url}/{issuer}");
    Json(json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn keys(State((_, jwk)): State<(String, Value)>) -> Json<Value> {
    Json(json!({"keys": [jwk]}))
}

fn jwk(key: &SigningKey) -> Value {
    let point = key.verifying_key().to_sec1_point(false);
    let encode = |coordinate: &[u8]| URL_SAFE_NO_PAD.encode(coordinate);
    json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "test",
        "x": encode(&point.as_bytes()[1..33]), "y": encode(&point.as_bytes()[33..]),
    })
}

/// The subject of [`Provider::job`].
pub(crate) const JOB: &str = "repo:example-org/example-repo:ref:refs/heads/main";
pub(crate) const COMMIT: &str = "1f2d3c4b5a69788796a5b4c3d2e1f00112233445";
const SHIPPED: &str = include_str!("../../config/issuers.yaml");
