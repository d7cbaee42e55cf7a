//! The cluster that we run in, played by a provider over TLS that wants to know who asks; and the
//! environments that a server serves.

use super::*;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;

/// A cluster with its own authority. It answers one document a connection and keeps what was asked.
struct Cluster {
    url: String,
    authority: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Cluster {
    /// Its keys are at `keys_url`, or where it is itself.
    fn start(key: &TestKey, keys_url: Option<&str>) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let secret = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], secret.unwrap());
        let config = Arc::new(config.unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let discovery = json!({
            "issuer": url, "jwks_uri": keys_url.map_or_else(|| format!("{url}/keys"), str::to_owned),
            "id_token_signing_alg_values_supported": ["ES256"],
        })
        .to_string();
        let keys = json!({"keys": [key.jwk()]}).to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // Ends with the process.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(session, socket.unwrap());
                let mut request = vec![0; 16 * 1024];
                let Ok(read @ 1..) = stream.read(&mut request) else {
                    continue;
                };
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let credential = request
                    .lines()
                    .find_map(|line| line.strip_prefix("authorization: "))
                    .unwrap_or_default();
                seen.lock()
                    .unwrap()
                    .push((path.clone(), credential.to_owned()));
                let body = if path == "/keys" { &keys } else { &discovery };
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                drop(write!(stream, "{head} {}\r\n\r\n{body}", body.len()));
                stream.conn.send_close_notify();
                drop(stream.flush());
            }
        });
        Self {
            url,
            authority: pair.cert.pem(),
            asked,
        }
    }

    /// What was asked since the last time: path and credential.
    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// What a pod finds in its file system.
struct PodDirectory(tempfile::TempDir);

impl PodDirectory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn files(&self) -> PodFiles {
        let file = |name: &str| self.0.path().join(name);
        PodFiles {
            authorities: vec![file("mounted.crt"), file("ca.crt")],
            token: file("token"),
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn trusting(&self, text: &str) -> Issuers {
        let options = Options {
            allow_http_loopback: true,
        };
        let config = Config::from_text(text, options).unwrap();
        Issuers::new(config.in_pod(self.files()), Patience::default()).unwrap()
    }
}

fn kubernetes(url: &str, more: &str) -> String {
    email(url, more).replace("type: email", "type: kubernetes")
}

fn account_token(key: &TestKey, issuer: &str, second: i64) -> String {
    let mut claims = claims(issuer, second);
    claims["sub"] = json!("system:serviceaccount:foo:baz");
    claims["kubernetes.io"] = json!({"namespace": "foo", "serviceaccount": {"name": "baz"}});
    key.sign(&claims)
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn the_pods_token_is_not_sent_or_goes_stale() {
    let key = TestKey::new("k", 1);
    let cluster = Cluster::start(&key, None);
    let pod = PodDirectory::new();
    pod.write("ca.crt", &cluster.authority);
    pod.write("token", "first.token.x\n");
    let block = kubernetes(&cluster.url, "    in-cluster: true\n");
    let issuers = pod.trusting(&format!("oidc-issuers:\n{block}"));
    let token = account_token(&key, &cluster.url, 0);
    let principal = issuers.authenticate(&token, at(0)).await.unwrap();
    let name = "https://kubernetes.io/namespaces/foo/serviceaccounts/baz";
    assert_eq!(principal.name.to_string(), name);
    let both = |credential: &str| {
        [DISCOVERY, "/keys"].map(|path| (path.to_owned(), credential.to_owned()))
    };
    assert_eq!(cluster.asked(), both("Bearer first.token.x"));
    // The cluster gives the pod another token before the keys run out.
    pod.write("token", "second.token.y");
    let later = 2 * 3600;
    let token = account_token(&key, &cluster.url, later);
    assert!(issuers.authenticate(&token, at(later)).await.is_ok());
    assert_eq!(cluster.asked(), both("Bearer second.token.y"));
    // And then none, or nonsense: it is asked without.
    for (hours, text) in [(4, ""), (6, "not a\ntoken"), (8, "é")] {
        pod.write("token", text);
        let token = account_token(&key, &cluster.url, hours * 3600);
        assert!(issuers.authenticate(&token, at(hours * 3600)).await.is_ok());
        assert_eq!(cluster.asked(), both(""), "{text:?}");
    }
}

#[tokio::test]
async fn a_pod_without_its_files_trusts_everybody_or_nobody_for_ever() {
    let key = TestKey::new("k", 1);
    let cluster = Cluster::start(&key, None);
    let pod = PodDirectory::new();
    let block = kubernetes(&cluster.url, "    in-cluster: true\n");
    let issuers = pod.trusting(&format!("oidc-issuers:\n{block}"));
    let verdict = async |second: i64| {
        let token = account_token(&key, &cluster.url, second);
        issuers.authenticate(&token, at(second)).await
    };
    let unreadable = ProviderError::Cluster("cannot be read");
    assert_eq!(fault(verdict(0).await), unreadable);
    pod.write("ca.crt", "nonsense");
    let nonsense = ProviderError::Cluster("is not a certificate in PEM");
    assert_eq!(fault(verdict(20).await), nonsense);
    // Another authority.
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    pod.write("ca.crt", &other.cert.pem());
    assert!(matches!(
        fault(verdict(40).await),
        ProviderError::Unreachable(_)
    ));
    assert_eq!(cluster.asked(), []);
    // The right one, in the file that comes first.
    pod.write("mounted.crt", &cluster.authority);
    assert!(verdict(60).await.is_ok());
    assert_eq!(cluster.asked().len(), 2);
}

#[tokio::test]
async fn another_host_gets_the_pods_token() {
    let key = TestKey::new("k", 1);
    let elsewhere = Cluster::start(&key, None);
    let keys_url = format!("{}/keys", elsewhere.url);
    let cluster = Cluster::start(&key, Some(&keys_url));
    let pod = PodDirectory::new();
    pod.write(
        "ca.crt",
        &(cluster.authority.clone() + &elsewhere.authority),
    );
    pod.write("token", "secret");
    // The same host on another port: its keys are read, but it is not told who asks.
    let block = kubernetes(&cluster.url, "    in-cluster: true\n");
    let issuers = pod.trusting(&format!("oidc-issuers:\n{block}"));
    let token = account_token(&key, &cluster.url, 0);
    assert!(issuers.authenticate(&token, at(0)).await.is_ok());
    assert_eq!(
        cluster.asked(),
        [(DISCOVERY.into(), "Bearer secret".into())]
    );
    assert_eq!(elsewhere.asked(), [("/keys".into(), String::new())]);
    // Another host altogether is not asked at all.
    let keys_url = keys_url.replace("127.0.0.1", "localhost");
    let cluster = Cluster::start(&key, Some(&keys_url));
    pod.write("ca.crt", &cluster.authority);
    let block = kubernetes(&cluster.url, "    in-cluster: true\n");
    let issuers = pod.trusting(&format!("oidc-issuers:\n{block}"));
    let token = account_token(&key, &cluster.url, 0);
    let error = fault(issuers.authenticate(&token, at(0)).await);
    assert!(matches!(error, ProviderError::Discovery(_)), "{error}");
    assert_eq!(elsewhere.asked(), []);
}

#[tokio::test]
async fn an_issuer_outside_of_the_cluster_gets_the_pods_token() {
    let key = TestKey::new("k", 1);
    let cluster = Cluster::start(&key, None);
    let pod = PodDirectory::new();
    pod.write("ca.crt", &cluster.authority);
    pod.write("token", "secret");
    let roots: String = cluster
        .authority
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    let root = format!("    ca-cert: |\n{roots}");
    let plain = format!("oidc-issuers:\n{}", kubernetes(&cluster.url, &root));
    let meta = format!(
        "oidc-issuers:\n{}meta-issuers:\n  {}/*:\n    client-id: sigstore\n    type: kubernetes\n{root}",
        kubernetes("https://kubernetes.default.svc", ""),
        cluster.url
    );
    for (text, issuer) in [
        (plain, cluster.url.clone()),
        (meta, format!("{}/a", cluster.url)),
    ] {
        let issuers = pod.trusting(&text);
        let token = account_token(&key, &issuer, 0);
        // The document is about one of the two only, but both are asked.
        drop(issuers.authenticate(&token, at(0)).await);
        let asked = cluster.asked();
        assert!(!asked.is_empty(), "{issuer}");
        assert!(
            asked.iter().all(|(_, credential)| credential.is_empty()),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn an_issuer_of_another_environment_is_asked_or_believed() {
    let key = TestKey::new("k", 1);
    let (staging, production, plain) = (
        Provider::start(&[&key]).await,
        Provider::start(&[&key]).await,
        Provider::start(&[&key]).await,
    );
    let text = format!(
        "oidc-issuers:\n{}{}{}meta-issuers:\n  {}/org/*:\n    client-id: sigstore\n    type: email\n    environment: staging\n",
        email(&staging.url(), "    environment: staging\n"),
        email(&production.url(), "    environment: production\n"),
        email(&plain.url(), ""),
        staging.url(),
    );
    let staged = format!("{}/org/a", staging.url());
    for (environments, refused) in [
        (None, vec![]),
        (
            Some(vec!["production"]),
            vec![staging.url(), staged.clone()],
        ),
        (Some(vec!["production", "staging"]), vec![]),
        (
            Some(vec![]),
            vec![staging.url(), production.url(), staged.clone()],
        ),
    ] {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let options = Options {
            allow_http_loopback: true,
        };
        let names = environments.map(|names| names.into_iter().map(str::to_owned).collect());
        let config = Config::from_text(&text, options).unwrap();
        let config = config.only_environments(names);
        let issuers = Issuers::new(config, Patience::default()).unwrap();
        let asked = staging.asked("");
        for issuer in [staging.url(), production.url(), plain.url(), staged.clone()] {
            let token = key.sign(&claims(&issuer, 0));
            let result = issuers.authenticate(&token, at(0)).await;
            if refused.contains(&issuer) {
                assert_eq!(result.unwrap_err(), IdentityError::Environment, "{issuer}");
            } else {
                assert!(result.is_ok(), "{issuer}");
            }
        }
        let was_asked = staging.asked("") > asked;
        assert_eq!(was_asked, !refused.contains(&staging.url()));
    }
}
