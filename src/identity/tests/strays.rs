//! Attempts to send us astray, and to fill us up.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_redirect_is_followed() {
    let key = TestKey::new("k", 1);
    for status in [301, 302, 303, 307, 308] {
        let provider = Provider::start(&[&key]).await;
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = format!("http://{}/", elsewhere.local_addr().unwrap());
        provider.fail(StatusCode::from_u16(status).unwrap(), &location);
        let issuers = trusting(&[&provider]);
        let token = key.sign(&claims(&provider.url(), 0));
        let result = issuers.authenticate(&token, at(0)).await;
        assert_eq!(fault(result), ProviderError::Status(status));
        // Nobody stands at the other door.
        let nobody = tokio::time::timeout(Duration::from_millis(20), elsewhere.accept()).await;
        assert!(nobody.is_err());
        assert_eq!(provider.asked(""), 1);
    }
}

#[tokio::test]
async fn a_discovery_document_sends_us_astray() {
    let key = TestKey::new("k", 1);
    for (issuer, keys_url, expected) in [
        ("SELF/", "SELF/keys", "is about another issuer"),
        (
            "https://other.example",
            "SELF/keys",
            "is about another issuer",
        ),
        ("SELF", "", "names a key set without an address"),
        ("SELF", "/keys", "names a key set without an address"),
        ("SELF", "http://10.0.0.1/keys", ELSEWHERE),
        ("SELF", "http://169.254.169.254/latest", ELSEWHERE),
        ("SELF", "http://8.8.8.8/keys", ELSEWHERE),
        ("SELF", "file:///etc/passwd", ELSEWHERE),
        ("SELF", "http://user:password@127.0.0.1/", ELSEWHERE),
    ] {
        let provider = Provider::start(&[&key]).await;
        let own = |text: &str| text.replace("SELF", &provider.url());
        provider.discovery(json!({"issuer": own(issuer), "jwks_uri": own(keys_url)}));
        let token = key.sign(&claims(&provider.url(), 0));
        let result = trusting(&[&provider]).authenticate(&token, at(0)).await;
        assert_eq!(
            fault(result),
            ProviderError::Discovery(expected),
            "{issuer} {keys_url}"
        );
        assert_eq!(provider.fetches(), 0);
    }
    for document in [json!({}), json!({"issuer": 1}), json!([])] {
        let provider = Provider::start(&[&key]).await;
        provider.discovery(document);
        let token = key.sign(&claims(&provider.url(), 0));
        let result = trusting(&[&provider]).authenticate(&token, at(0)).await;
        assert!(matches!(fault(result), ProviderError::Discovery(_)));
    }
}

#[tokio::test]
async fn keys_come_from_another_host_than_the_configured_one() {
    let key = TestKey::new("k", 1);
    for (host, good) in [
        ("127.0.0.1", true),
        ("localhost", false),
        ("keys.example", false),
    ] {
        let provider = Provider::start(&[&key]).await;
        let block = email(&provider.url(), &format!("    jwks-host: {host}\n"));
        // A host of development is only good in development; so is its keys' host.
        let issuers = configured(&format!("oidc-issuers:\n{block}"));
        let token = key.sign(&claims(&provider.url(), 0));
        let result = issuers.authenticate(&token, at(0)).await;
        assert_eq!(result.is_ok(), good, "{host}: {result:?}");
        assert_eq!(provider.fetches(), usize::from(good));
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_to_the_end() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys_url = format!("http://{}/keys", listener.local_addr().unwrap());
    provider.discovery(json!({"issuer": provider.url(), "jwks_uri": keys_url}));
    let endless = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = socket.read(&mut request).await.unwrap();
        assert!(read > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut written = 0;
        while socket.write_all(&[b' '; 16 * 1024]).await.is_ok() {
            written += 16 * 1024;
        }
        written
    });
    let token = key.sign(&claims(&provider.url(), 0));
    let result = trusting(&[&provider]).authenticate(&token, at(0)).await;
    assert_eq!(fault(result), ProviderError::TooLarge);
    let written = endless.await.unwrap();
    assert!(written < 16 * 1024 * 1024, "{written} bytes were taken");
}

#[tokio::test]
async fn an_issuer_of_a_pattern_is_unknown_or_pushes_out_a_fixed_one() {
    let (key, theirs) = (TestKey::new("k", 1), TestKey::new("k", 2));
    let provider = Provider::start(&[&key]).await;
    let fixed = Provider::start(&[&theirs]).await;
    let pattern = format!("{}/org/*", provider.url());
    let text = format!(
        "oidc-issuers:\n{}meta-issuers:\n  {pattern}:\n    client-id: sigstore\n    type: email\n",
        email(&fixed.url(), "")
    );
    let issuers = configured(&text);
    let token = theirs.sign(&claims(&fixed.url(), 0));
    assert!(issuers.authenticate(&token, at(0)).await.is_ok());
    let url = |org: &str| format!("{}/org/{org}", provider.url());
    for second in 0..3 {
        for org in ["a", "b-c_D"] {
            let token = key.sign(&claims(&url(org), second));
            let principal = issuers.authenticate(&token, at(second)).await.unwrap();
            assert_eq!(principal.issuer, url(org));
        }
    }
    assert_eq!(provider.fetches(), 2);
    for stranger in [
        url(""),
        url("a/b"),
        url("a.b"),
        url("a%2fb"),
        url("a?x"),
        provider.url(),
    ] {
        let token = key.sign(&claims(&stranger, 0));
        let error = issuers.authenticate(&token, at(0)).await.unwrap_err();
        assert_eq!(error, IdentityError::UnknownIssuer, "{stranger}");
    }
    // A flood of invented issuers, none of which exists.
    provider.fail(StatusCode::NOT_FOUND, "");
    let asked = provider.asked("");
    let mut crowded = 0;
    for number in 0..200 {
        let token = key.sign(&claims(&url(&format!("flood{number}")), 3));
        let fault = fault(issuers.authenticate(&token, at(3)).await);
        if fault == ProviderError::Crowded {
            crowded += 1;
        } else {
            assert_eq!(fault, ProviderError::Status(404));
        }
    }
    assert_eq!(crowded, 200 - 62, "two of 64 places were taken");
    assert_eq!(provider.asked("") - asked, 62);
    let known = key.sign(&claims(&url("a"), 3));
    assert!(issuers.authenticate(&known, at(3)).await.is_ok());
    let token = theirs.sign(&claims(&fixed.url(), 3));
    assert!(issuers.authenticate(&token, at(3)).await.is_ok());
    assert_eq!(fixed.fetches(), 1);
    // Ten seconds later there is room for an honest newcomer.
    provider.recover();
    let token = key.sign(&claims(&url("honest"), 20));
    assert!(issuers.authenticate(&token, at(20)).await.is_ok());
}

#[tokio::test]
async fn a_fixed_issuer_gets_the_terms_of_a_pattern() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let fixed = format!("{}/org/a", provider.url());
    let text = format!(
        "oidc-issuers:\n{}meta-issuers:\n  {}/org/*:\n    client-id: other\n    type: email\n",
        email(&fixed, ""),
        provider.url()
    );
    let issuers = configured(&text);
    let token = key.sign(&claims(&fixed, 0));
    assert!(issuers.authenticate(&token, at(0)).await.is_ok());
}

#[test]
fn a_private_certificate_authority_is_not_trusted_or_everyone_is() {
    use std::io::{Read as _, Write as _};
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![pair.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let key = TestKey::new("k", 1);
    let documents = [
        json!({"issuer": url, "jwks_uri": format!("{url}/keys"),
            "id_token_signing_alg_values_supported": ["ES256"]}),
        json!({"keys": [key.jwk()]}),
    ];
    // Two strangers' attempts that fail in the handshake, then one connection for each document.
    let server = std::thread::spawn(move || {
        let config = Arc::new(config);
        let mut served = 0;
        while served < documents.len() {
            let (socket, _) = listener.accept().unwrap();
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, socket);
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                let body = documents[served].to_string();
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
                served += 1;
            }
        }
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let indented = |pem: String| {
        pem.lines()
            .map(|line| format!("      {line}\n"))
            .collect::<String>()
    };
    let token = key.sign(&claims(&url, 0));
    for (roots, good) in [
        (String::new(), false),
        (indented(other.cert.pem()), false),
        (indented(pair.cert.pem()), true),
    ] {
        let ca = if roots.is_empty() {
            roots
        } else {
            format!("    ca-cert: |\n{roots}")
        };
        let issuers = configured(&format!("oidc-issuers:\n{}", email(&url, &ca)));
        let result = runtime.block_on(issuers.authenticate(&token, at(0)));
        match result {
            Ok(_) => assert!(good),
            Err(error) => assert!(!good, "{error}"),
        }
    }
    server.join().unwrap();
}

const ELSEWHERE: &str = "names a key set at an address that is not allowed; one on another host than the issuer's needs jwks-host";
