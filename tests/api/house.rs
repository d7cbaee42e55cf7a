//! A deployment of its own for each test, served in this process on a port of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::ClientTlsConfig;
use vouchsafe::authority::hierarchy::Curve;
use vouchsafe::config::Config;
use vouchsafe::config::fresh::{self, Entropy, Plan};
use vouchsafe::ctlog::Log;
use vouchsafe::issuance::Issuance;
use vouchsafe::server::{self, App, Listener};

use super::door::Verdict;
use super::provider::Provider;
use super::tls::TlsFiles;

/// What carries the requests.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

/// A running server and all that belongs to it.
pub(crate) struct House {
    pub(crate) provider: Provider,
    pub(crate) http: Client,
    pub(crate) issuance: Issuance,
    url: String,
    directory: TempDir,
    certificate: Option<TlsFiles>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_with(Transport::Plain).await
    }

    pub(crate) async fn open_with(transport: Transport) -> Self {
        Self::open_changed(transport, |settings| settings).await
    }

    /// With other settings.
    pub(crate) async fn open_changed(
        transport: Transport,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        Self::open_at(transport, |_, settings| change(settings)).await
    }

    /// With other settings and other files beside them.
    pub(crate) async fn open_at(
        transport: Transport,
        change: impl FnOnce(&Path, String) -> String,
    ) -> Self {
        // First of all: it installs the provider of cryptography that the issuers' client needs too.
        let http = vouchsafe::client::http_client().unwrap();
        let provider = Provider::start().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let plain = format!("http://{address}");
        let file = deploy(directory.path(), &plain, &provider).await;
        let settings = fs::read_to_string(&file).unwrap();
        fs::write(
            &file,
            change(&directory.path().join("deployment"), settings),
        )
        .unwrap();
        let (url, http, certificate) = match transport {
            Transport::Plain => (plain, http, None),
            Transport::Tls => {
                let certificate = TlsFiles::write(directory.path(), "tls");
                certificate.set(&file, "tls");
                let url = format!("https://{address}");
                (
                    url,
                    certificate.client().build().unwrap(),
                    Some(certificate),
                )
            }
        };

        let config = Config::read(&file).unwrap();
        let certificates = config.certificates(OffsetDateTime::now_utc()).unwrap();
        let opened = config.open(OffsetDateTime::now_utc()).await.unwrap();
        let issuance = opened.issuance.clone();
        let (stop, stopped) = oneshot::channel();
        let app = App::new(
            opened.issuance,
            opened.trust,
            opened.mounts,
            config.behaviour(),
        )
        .unwrap();
        let serving = tokio::spawn(async move {
            let listeners = vec![Listener::new(listener, certificates.main())];
            let until = async { drop(stopped.await) };
            server::serve(listeners, &app, until).await.unwrap();
        });
        Self {
            provider,
            http,
            issuance,
            url,
            directory,
            certificate,
            stop: Some(stop),
            serving,
        }
    }

    /// What a client of gRPC has to trust.
    pub(crate) fn tls(&self) -> Option<ClientTlsConfig> {
        let certificate = self.certificate.as_ref()?;
        let trusted = tonic::transport::Certificate::from_pem(&certificate.pem);
        Some(ClientTlsConfig::new().ca_certificate(trusted))
    }

    /// What it shows in TLS.
    pub(crate) fn certificate(&self) -> &TlsFiles {
        self.certificate.as_ref().unwrap()
    }

    /// Tells the server to end, as a signal does.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has.
    pub(crate) async fn ended(&mut self) {
        (&mut self.serving).await.unwrap();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().join("deployment")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.directory().join("ledger.sqlite")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Vec::new()).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        self.send(Method::POST, path, headers, body.into()).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    /// How many certificates the ledger and the log have.
    pub(crate) async fn issued(&self) -> (u64, u64) {
        let ledger = self.issuance.ledger.count().await.unwrap();
        (ledger, self.log().head().size)
    }

    /// Its own log.
    pub(crate) fn log(&self) -> &Log {
        self.issuance.log.built_in().unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Makes a deployment below `directory` that trusts `provider`; answers with its configuration.
pub(crate) async fn deploy(directory: &Path, url: &str, provider: &Provider) -> PathBuf {
    deploy_in(None, directory, url, provider).await
}

/// The same with log and ledger in a database on a server, if one is given.
pub(crate) async fn deploy_in(
    database: Option<&str>,
    directory: &Path,
    url: &str,
    provider: &Provider,
) -> PathBuf {
    let place = directory.join("deployment");
    let plan = Plan {
        public_url: url,
        listen: url.strip_prefix("http://").unwrap().parse().unwrap(),
        organization: "Example organisation",
        common_name: "Example",
        curve: Curve::P256,
        passphrase_file: None,
        database,
        database_password_file: None,
        issuers: &provider.issuers_yaml(),
        development: true,
    };
    // Not random, but another one each time.
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let next = NEXT.fetch_add(2, Ordering::Relaxed);
    let entropy = Entropy {
        serials: [[next; 20], [next + 1; 20]],
        passphrase: [next; 32],
    };
    fresh::create(&place, &plan, &entropy, OffsetDateTime::now_utc())
        .await
        .unwrap();
    place.join("vouchsafe.yaml")
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The chain of a good answer of the second version, in PEM, after its shape was checked: this
    /// one field and no other, since a client reads it as a choice of one.
    pub(crate) fn chain(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text());
        let json = self.json();
        let chain = &json["signedCertificateEmbeddedSct"]["chain"]["certificates"];
        let expected = serde_json::json!({
            "signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}
        });
        assert_eq!(json, expected);
        let pems = chain.as_array().unwrap().iter();
        pems.map(|pem| pem.as_str().unwrap().to_owned()).collect()
    }

    /// The leaf of [`Self::chain`], in DER.
    pub(crate) fn leaf(&self) -> Vec<u8> {
        der_of(&self.chain()[0])
    }

    /// Status, code, message and reason of a refusal, after its shape was checked.
    pub(crate) fn problem(&self) -> Refusal {
        let json = self.json();
        let mut fields: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        assert_eq!(fields, ["code", "details", "message"], "{json}");
        let [detail] = json["details"].as_array().unwrap().as_slice() else {
            panic!("one detail: {json}");
        };
        assert_eq!(
            detail["@type"], "type.googleapis.com/google.rpc.ErrorInfo",
            "{json}"
        );
        assert_eq!(detail["domain"], "vouchsafe", "{json}");
        let id = self.header("x-request-id").unwrap_or_default();
        assert!(!id.is_empty(), "every answer has a name: {self:?}");
        assert_eq!(detail["metadata"]["request_id"], id, "{json}");
        let is_retried = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        let is_retried = is_retried.contains(&self.status);
        assert_eq!(self.header("retry-after").is_some(), is_retried, "{self:?}");
        Refusal {
            status: self.status.as_u16(),
            code: json["code"].as_u64().unwrap(),
            message: json["message"].as_str().unwrap().to_owned(),
            reason: detail["reason"].as_str().unwrap().to_owned(),
        }
    }

    /// The refusal as all doors have it.
    pub(crate) fn verdict(&self) -> Verdict {
        let Refusal {
            status,
            code,
            message,
            reason,
        } = self.problem();
        let expected = match code {
            3 => 400,
            4 => 504,
            5 => 404,
            8 => 429,
            12 => 501,
            14 => 503,
            _ => 500,
        };
        assert_eq!(status, expected, "{}", self.text());
        let detail = &self.json()["details"][0]["metadata"]["detail"];
        Verdict {
            code,
            message,
            reason,
            detail: detail.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// That it is this refusal and no other.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, code: u64, message: &str, reason: &str) {
        let expected = Refusal {
            status,
            code,
            message: message.to_owned(),
            reason: reason.to_owned(),
        };
        assert_eq!(self.problem(), expected, "{}", self.text());
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: u64,
    pub(crate) message: String,
    pub(crate) reason: String,
}

/// The DER inside one PEM block, by somebody else's parser.
pub(crate) fn der_of(pem: &str) -> Vec<u8> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    block.contents
}

pub(crate) const V1: &str = "/api/v1/signingCert";
pub(crate) const V2: &str = "/api/v2/signingCert";
pub(crate) const TOKEN: &str = "There was an error processing the identity token";
pub(crate) const KEY: &str = "The public key supplied in the request could not be parsed";
pub(crate) const PROOF: &str = "The signature supplied in the request could not be verified";
