//! A real OpenID provider on a port of this host, which counts who asks and misbehaves on demand.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What it answers and what it was asked.
pub(super) struct Provider {
    address: SocketAddr,
    state: Arc<ProviderState>,
    serving: tokio::task::JoinHandle<()>,
}

struct ProviderState {
    behaviour: Mutex<Behaviour>,
    /// A permit for each request that may be answered; plenty unless it is told to hang.
    gate: Semaphore,
}

#[derive(Default)]
struct Behaviour {
    discovery: Option<Json>,
    keys: String,
    cache_control: Option<String>,
    status: Option<(StatusCode, String)>,
    asked: Vec<String>,
}

/// A signing key with a name, made from one number.
pub(super) struct TestKey {
    pub(super) id: &'static str,
    key: SigningKey,
}

impl TestKey {
    pub(super) fn new(id: &'static str, seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        Self { id, key }
    }

    pub(super) fn jwk(&self) -> Json {
        let point = self.key.verifying_key().to_sec1_point(false);
        let encode = |half: &[u8]| URL_SAFE_NO_PAD.encode(half);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": encode(&point.as_bytes()[1..33]), "y": encode(&point.as_bytes()[33..]),
        })
    }

    /// A token signed by this key, under this header.
    pub(super) fn sign_with(&self, header: &Json, claims: &Json) -> String {
        let encode = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    pub(super) fn sign(&self, claims: &Json) -> String {
        self.sign_with(&json!({"alg": "ES256", "kid": self.id}), claims)
    }
}

impl Provider {
    pub(super) async fn start(keys: &[&TestKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(ProviderState {
            behaviour: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS >> 1),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        let provider = Self {
            address,
            state,
            serving,
        };
        provider.publish(keys);
        provider
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn publish(&self, keys: &[&TestKey]) {
        let keys: Vec<Json> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_text(json!({"keys": keys}).to_string());
    }

    pub(super) fn publish_text(&self, keys: String) {
        self.with(|behaviour| behaviour.keys = keys);
    }

    pub(super) fn discovery(&self, document: Json) {
        self.with(|behaviour| behaviour.discovery = Some(document));
    }

    pub(super) fn cache_control(&self, value: &str) {
        self.with(|behaviour| behaviour.cache_control = Some(value.to_owned()));
    }

    /// Answers everything with this status and `Location`.
    pub(super) fn fail(&self, status: StatusCode, location: &str) {
        self.with(|behaviour| behaviour.status = Some((status, location.to_owned())));
    }

    pub(super) fn recover(&self) {
        self.with(|behaviour| behaviour.status = None);
    }

    /// Accepts connections and requests, and answers none until [`Self::go_on`].
    pub(super) fn hang(&self) {
        self.state.gate.forget_permits(usize::MAX);
    }

    pub(super) fn go_on(&self) {
        self.state.gate.add_permits(Semaphore::MAX_PERMITS >> 1);
    }

    /// Whether it is not hanging.
    pub(super) fn answers(&self) -> bool {
        self.state.gate.available_permits() > 0
    }

    /// Stops listening and drops every connection.
    pub(super) async fn die(self) {
        self.serving.abort();
        drop(self.serving.await);
    }

    /// How often a path ending like this was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.with(|behaviour| {
            behaviour
                .asked
                .iter()
                .filter(|asked| asked.ends_with(path))
                .count()
        })
    }

    /// How often its keys were asked for.
    pub(super) fn fetches(&self) -> usize {
        self.asked("/keys")
    }

    fn with<T>(&self, act: impl FnOnce(&mut Behaviour) -> T) -> T {
        act(&mut self.state.behaviour.lock().unwrap())
    }
}

async fn answer(State(state): State<Arc<ProviderState>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    state.behaviour.lock().unwrap().asked.push(path.clone());
    drop(state.gate.acquire().await.unwrap());
    let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
    let behaviour = state.behaviour.lock().unwrap();
    if let Some((status, location)) = &behaviour.status {
        return (*status, [(header::LOCATION, location.clone())]).into_response();
    }
    if let Some(base) = path.strip_suffix("/.well-known/openid-configuration") {
        let issuer = format!("http://{host}{base}");
        let document = behaviour.discovery.clone().unwrap_or_else(|| {
            json!({
                "issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            })
        });
        return document.to_string().into_response();
    }
    let control = behaviour.cache_control.clone().unwrap_or_default();
    ([(header::CACHE_CONTROL, control)], behaviour.keys.clone()).into_response()
}
