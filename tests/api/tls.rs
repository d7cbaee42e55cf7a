//! The listener in TLS: its protocols, its certificate, and what happens to it when the files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, ClientBuilder, Version, tls};
use time::OffsetDateTime;
use vouchsafe::config::{Config, Occasion, Outcome};

use super::house::{House, Transport, deploy};
use super::process::Program;
use super::provider::Provider;

/// A certificate for loopback and its key, in two files.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    pub(crate) pem: String,
    key_pem: String,
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsFiles {
    pub(crate) fn write(directory: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]);
        let pem = params.unwrap().self_signed(&key).unwrap().pem();
        let files = Self {
            pem,
            key_pem: key.serialize_pem(),
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        files.write_to(&files);
        files
    }

    /// Writes this pair in the place of another one.
    fn write_to(&self, place: &Self) {
        fs::write(&place.certificate, &self.pem).unwrap();
        fs::write(&place.key, &self.key_pem).unwrap();
    }

    /// Names the files in a configuration.
    pub(crate) fn set(&self, configuration: &Path, setting: &str) {
        let mut text = fs::read_to_string(configuration).unwrap();
        let (certificate, key) = (self.certificate.display(), self.key.display());
        text += &format!("\n{setting}: {{certificate: '{certificate}', key: '{key}'}}\n");
        fs::write(configuration, text).unwrap();
    }

    /// A client that trusts this certificate and no other.
    pub(crate) fn client(&self) -> ClientBuilder {
        let trusted = Certificate::from_pem(self.pem.as_bytes()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([trusted])
            .pool_max_idle_per_host(0)
    }

    async fn is_shown_by(&self, url: &str) -> bool {
        let client = self.client().build().unwrap();
        client.get(format!("{url}/livez")).send().await.is_ok()
    }
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_spoken() {
    let house = House::open_with(Transport::Tls).await;
    let trusted = house.certificate();
    let livez = format!("{}/livez", house.url());
    for version in [tls::Version::TLS_1_2, tls::Version::TLS_1_3] {
        let client = trusted
            .client()
            .tls_version_min(version)
            .tls_version_max(version);
        // What both sides like best.
        let answer = client.build().unwrap().get(&livez).send().await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(answer.text().await.unwrap(), "ok\n");
        let client = trusted
            .client()
            .tls_version_min(version)
            .tls_version_max(version)
            .http1_only();
        let answer = client.build().unwrap().get(&livez).send().await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_11);
    }
    // Plain text is not answered.
    let plain = livez.replace("https://", "http://");
    let answer = reqwest::Client::new().get(plain).send().await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    drop(vouchsafe::client::http_client().unwrap());
    let provider = Provider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = deploy(directory.path(), "http://127.0.0.1:1", &provider).await;
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("listen: 127.0.0.1:1", "listen: 127.0.0.1:0"),
    )
    .unwrap();
    let files = TlsFiles::write(directory.path(), "tls");
    files.set(&file, "tls");
    let config = Config::read(&file).unwrap();
    let now = OffsetDateTime::now_utc();
    let shown = config.certificates(now).unwrap().main().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/livez", axum::routing::get(|| async { "ok" }));
    let listener = vouchsafe::server::Listener::new(listener, Some(shown.clone()));
    let serving = tokio::spawn(vouchsafe::server::serve_router(
        listener,
        router,
        std::future::pending(),
    ));
    assert!(files.is_shown_by(&url).await);
    assert_eq!(shown.look(Occasion::Interval, now), Outcome::Unchanged);

    // Half of a renewal is not one, and both halves are.
    let renewed = TlsFiles::write(directory.path(), "renewed");
    assert!(!renewed.is_shown_by(&url).await);
    fs::write(&files.certificate, &renewed.pem).unwrap();
    assert_eq!(shown.look(Occasion::Interval, now), Outcome::Settling);
    fs::write(&files.key, &renewed.key_pem).unwrap();
    assert_eq!(shown.look(Occasion::Interval, now), Outcome::Settling);
    assert!(files.is_shown_by(&url).await);
    assert_eq!(shown.look(Occasion::Interval, now), Outcome::Loaded);
    assert!(renewed.is_shown_by(&url).await && !files.is_shown_by(&url).await);

    for (certificate, key) in [
        ("", renewed.key_pem.as_str()),
        (&renewed.pem, ""),
        (&renewed.pem, &files.key_pem),
        (&renewed.key_pem, &renewed.key_pem),
    ] {
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        assert_eq!(shown.look(Occasion::Demand, now), Outcome::Refused);
        assert!(renewed.is_shown_by(&url).await);
    }
    // A link that is turned to other files, as containers have it.
    fs::remove_file(&files.certificate).unwrap();
    fs::remove_file(&files.key).unwrap();
    let third = TlsFiles::write(directory.path(), "third");
    std::os::unix::fs::symlink(&third.certificate, &files.certificate).unwrap();
    std::os::unix::fs::symlink(&third.key, &files.key).unwrap();
    assert_eq!(shown.look(Occasion::Demand, now), Outcome::Loaded);
    assert!(third.is_shown_by(&url).await);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_a_renewal_on_sighup_and_starts_with_no_broken_pair() {
    drop(vouchsafe::client::http_client().unwrap());
    let provider = Provider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let file = deploy(directory.path(), &format!("http://{address}"), &provider).await;
    let files = TlsFiles::write(directory.path(), "tls");
    files.set(&file, "tls");
    // A second listener, with a certificate of its own.
    let second = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let grpc = TlsFiles::write(directory.path(), "grpc");
    grpc.set(&file, "grpc-tls");
    let mut text = fs::read_to_string(&file).unwrap();
    text = text.replace("reload-seconds: 5", "reload-seconds: 0");
    assert!(text.contains("reload-seconds: 0"));
    text += &format!("grpc-listen: {second}\n");
    fs::write(&file, text).unwrap();

    let arguments = ["serve", "--config", file.to_str().unwrap()];
    let program = Program::start(&arguments, "info", "serving");
    let (url, second) = (format!("https://{address}"), format!("https://{second}"));
    assert!(files.is_shown_by(&url).await && grpc.is_shown_by(&second).await);
    assert!(!files.is_shown_by(&second).await);
    let renewed = TlsFiles::write(directory.path(), "renewed");
    renewed.write_to(&files);
    program.signal("HUP");
    let begun = std::time::Instant::now();
    while !renewed.is_shown_by(&url).await {
        assert!(begun.elapsed().as_secs() < 20, "not renewed");
    }
    assert!(grpc.is_shown_by(&second).await);
    program.signal("TERM");
    let (status, lines) = tokio::task::spawn_blocking(move || program.ended())
        .await
        .unwrap();
    assert!(status.success(), "{lines:?}");

    fs::write(&files.key, &grpc.key_pem).unwrap();
    for command in [["serve", "--config"], ["check", "--config"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(command)
            .arg(&file)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command:?}");
        let is_named = told.contains("tls.key") && told.contains("not the key of the certificate");
        assert!(is_named, "{told}");
        assert!(!told.contains("PRIVATE"), "{told}");
    }
}
