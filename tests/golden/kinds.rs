//! A token of every type of issuer that the demo provider does not play, by a provider of our own, and
//! what its certificate has to say: every extension of the arc with its bytes.

use std::net::{Ipv4Addr, TcpListener};

use axum::Router;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use vouchsafe::certificate::name::{SubjectAlternativeName, Uri};
use vouchsafe::identity::{Config, Issuers, Options, Patience, Principal};
use vouchsafe::server::serve_router;

/// One type, one token and what it makes.
pub(super) struct Kind {
    /// The type, and where its issuer is below the provider.
    pub(super) name: &'static str,
    settings: &'static str,
    claims: Value,
    /// The name's kind and text.
    pub(super) subject: (&'static str, &'static str),
    /// What its holder signs.
    pub(super) challenge: &'static str,
    /// The last number of an extension and the bytes of its value, those of issuer and subject aside.
    pub(super) values: Vec<(u8, Vec<u8>)>,
}

/// An extension of the six oldest: the bare text.
fn raw(arc: u8, text: &str) -> (u8, Vec<u8>) {
    (arc, text.as_bytes().to_vec())
}

/// Any later one: a `UTF8String`, here always shorter than 128 octets.
pub(super) fn utf8(arc: u8, text: &str) -> (u8, Vec<u8>) {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 128);
    (arc, [&[0x0c, length][..], text.as_bytes()].concat())
}

pub(super) fn all() -> Vec<Kind> {
    let subject = |name, settings, subject, made| Kind {
        name,
        settings,
        claims: json!({"sub": subject}),
        subject: made,
        challenge: subject,
        values: Vec::new(),
    };
    let mut kinds = vec![
        subject(
            "spiffe",
            "spiffe-trust-domain: example.com",
            "spiffe://example.com/ns/tools/sa/build",
            ("uri", "spiffe://example.com/ns/tools/sa/build"),
        ),
        subject(
            "uri",
            "subject-domain: http://localhost",
            "http://localhost/users/1",
            ("uri", "http://localhost/users/1"),
        ),
        subject(
            "username",
            "subject-domain: localhost",
            "alice",
            ("username", "alice!localhost"),
        ),
        subject(
            "chainguard-identity",
            "",
            "0123/4567",
            (
                "uri",
                "https://issuer.example.com/chainguard-identity/0123/4567",
            ),
        ),
        subject(
            "kubernetes",
            "",
            "system:serviceaccount:tools:build",
            (
                "uri",
                "https://kubernetes.io/namespaces/tools/serviceaccounts/build",
            ),
        ),
    ];
    kinds[4].claims["kubernetes.io"] =
        json!({"namespace": "tools", "serviceaccount": {"name": "build", "uid": "1"}});
    kinds.extend([github(), gitlab(), buildkite(), codefresh()]);
    kinds
}

fn github() -> Kind {
    let signer = "https://github.com/acme/build/.github/workflows/release.yml@refs/heads/a%231";
    let config = "https://github.com/acme/app/.github/workflows/ci.yml@refs/heads/main";
    Kind {
        name: "github-workflow",
        settings: "",
        claims: json!({
            "sub": "repo:acme/app:ref:refs/heads/main",
            "job_workflow_ref": "acme/build/.github/workflows/release.yml@refs/heads/a#1",
            "job_workflow_sha": "1a", "event_name": "push", "sha": "2b", "workflow": "Größe & <test>",
            "repository": "acme/app", "ref": "refs/heads/main", "runner_environment": "github-hosted",
            "repository_id": "123", "repository_owner": "acme", "repository_owner_id": "45",
            "repository_visibility": "public", "run_id": "678", "run_attempt": "2",
            "workflow_ref": "acme/app/.github/workflows/ci.yml@refs/heads/main", "workflow_sha": "3c",
        }),
        subject: ("uri", signer),
        challenge: "repo:acme/app:ref:refs/heads/main",
        values: vec![
            raw(2, "push"),
            raw(3, "2b"),
            raw(4, "Größe & <test>"),
            raw(5, "acme/app"),
            raw(6, "refs/heads/main"),
            utf8(9, signer),
            utf8(10, "1a"),
            utf8(11, "github-hosted"),
            utf8(12, "https://github.com/acme/app"),
            utf8(13, "2b"),
            utf8(14, "refs/heads/main"),
            utf8(15, "123"),
            utf8(16, "https://github.com/acme"),
            utf8(17, "45"),
            utf8(18, config),
            utf8(19, "3c"),
            utf8(20, "push"),
            utf8(
                21,
                "https://github.com/acme/app/actions/runs/678/attempts/2",
            ),
            utf8(22, "public"),
        ],
    }
}

fn gitlab() -> Kind {
    let config = "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/tags/v1";
    Kind {
        name: "gitlab-pipeline",
        settings: "",
        claims: json!({
            "sub": "project_path:acme/app:ref_type:tag:ref:v1", "project_path": "acme/app",
            "pipeline_source": "push", "pipeline_id": "3", "job_id": "9", "ref": "v1", "ref_type": "tag",
            "ci_config_ref_uri": "gitlab.com/acme/app//.gitlab-ci.yml@refs/tags/v1",
            "namespace_path": "acme", "namespace_id": "8", "project_id": "7", "sha": "2b",
            "runner_environment": "gitlab-hosted", "runner_id": 12, "ci_config_sha": "1a",
            "project_visibility": "private",
        }),
        subject: ("uri", config),
        challenge: "project_path:acme/app:ref_type:tag:ref:v1",
        values: vec![
            utf8(9, config),
            utf8(10, "1a"),
            utf8(11, "gitlab-hosted"),
            utf8(12, "https://gitlab.com/acme/app"),
            utf8(13, "2b"),
            utf8(14, "refs/tags/v1"),
            utf8(15, "7"),
            utf8(16, "https://gitlab.com/acme"),
            utf8(17, "8"),
            utf8(18, config),
            utf8(19, "1a"),
            utf8(20, "push"),
            utf8(21, "https://gitlab.com/acme/app/-/jobs/9"),
            utf8(22, "private"),
        ],
    }
}

fn buildkite() -> Kind {
    Kind {
        name: "buildkite-job",
        settings: "",
        claims: json!({
            "sub": "organization:acme-inc:pipeline:example", "organization_slug": "acme-inc",
            "pipeline_slug": "example",
        }),
        subject: ("uri", "https://buildkite.com/acme-inc/example"),
        challenge: "organization:acme-inc:pipeline:example",
        values: Vec::new(),
    }
}

fn codefresh() -> Kind {
    Kind {
        name: "codefresh-workflow",
        settings: "",
        claims: json!({
            "sub": "account:a1:pipeline:p2", "account_id": "a1", "account_name": "acme",
            "pipeline_id": "p2", "pipeline_name": "tools/build", "workflow_id": "w3",
            "scm_repo_url": "https://code.example/acme/app", "scm_ref": "main",
            "runner_environment": "hybrid",
        }),
        subject: ("uri", "https://g.codefresh.io/acme/tools/build:a1/p2"),
        challenge: "account:a1:pipeline:p2",
        values: vec![
            utf8(9, "https://g.codefresh.io/build/w3"),
            utf8(11, "hybrid"),
            utf8(12, "https://code.example/acme/app"),
            utf8(14, "main"),
            utf8(18, "https://g.codefresh.io/api/pipelines/p2"),
            utf8(21, "https://g.codefresh.io/build/w3"),
        ],
    }
}

/// Every kind with the principal that its token proves.
pub(super) async fn principals() -> Vec<(Kind, Principal)> {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let base = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let serving = tokio::spawn(serve_router(
        listener,
        provider(base.clone()),
        std::future::pending(),
    ));
    let kinds = all();
    let mut text = "oidc-issuers:\n".to_owned();
    for Kind { name, settings, .. } in &kinds {
        let url = format!("{base}/{name}");
        text += &format!(
            "  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: {name}\n    {settings}\n"
        );
    }
    let options = Options {
        allow_http_loopback: true,
    };
    let config = Config::from_text(&text, options).unwrap();
    let issuers = Issuers::new(config, Patience::default()).unwrap();
    let mut found = Vec::new();
    for kind in kinds {
        let mut claims = kind.claims.clone();
        claims["iss"] = json!(format!("{base}/{}", kind.name));
        claims["aud"] = json!("sigstore");
        claims["exp"] = json!(super::NOW.unix_timestamp() + 300);
        let mut principal = issuers
            .authenticate(&token(&claims), super::NOW)
            .await
            .unwrap();
        // The port is another one each time.
        if let Some(rest) = principal.name.as_str().strip_prefix(&format!("{base}/")) {
            let fixed = format!("https://issuer.example.com/{rest}");
            principal.name = SubjectAlternativeName::Uri(Uri::normalize(&fixed).unwrap());
        }
        found.push((kind, principal));
    }
    serving.abort();
    found
}

fn provider(base: String) -> Router {
    let point = key().verifying_key().to_sec1_point(false);
    let half = |range| URL_SAFE_NO_PAD.encode(&point.as_bytes()[range]);
    let keys = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k",
        "x": half(1..33), "y": half(33..65),
    }]});
    Router::new().fallback(async move |request: Request| {
        let issuer = request
            .uri()
            .path()
            .strip_suffix("/.well-known/openid-configuration");
        match issuer {
            Some(path) => json!({
                "issuer": format!("{base}{path}"), "jwks_uri": format!("{base}/keys"),
                "id_token_signing_alg_values_supported": ["ES256"],
            })
            .to_string(),
            None => keys.to_string(),
        }
    })
}

fn token(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "ES256", "kid": "k"})),
        part(claims)
    );
    let signature: Signature = key().sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[0x66; 32]).unwrap()
}
