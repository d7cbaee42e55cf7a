//! A deployment of its own for each test, served in this process on a port of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use vouchsafe::authority::hierarchy::Curve;
use vouchsafe::config::Config;
use vouchsafe::config::fresh::{self, Entropy, Plan};
use vouchsafe::issuance::Issuance;
use vouchsafe::server::{self, App};

use super::provider::Provider;

/// A running server and all that belongs to it.
pub(crate) struct House {
    pub(crate) provider: Provider,
    pub(crate) http: Client,
    pub(crate) issuance: Issuance,
    url: String,
    directory: TempDir,
    serving: JoinHandle<()>,
}

impl House {
    pub(crate) async fn open() -> Self {
        // First of all: it installs the provider of cryptography that the issuers' client needs too.
        let http = vouchsafe::client::http_client().unwrap();
        let provider = Provider::start().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let file = deploy(directory.path(), &url, &provider).await;

        let config = Config::read(&file).unwrap();
        let opened = config.open(OffsetDateTime::now_utc()).await.unwrap();
        let issuance = opened.issuance.clone();
        let app = App::new(opened.issuance, opened.trust, 2, 64).unwrap();
        let serving = tokio::spawn(async move {
            server::serve(listener, &app, std::future::pending())
                .await
                .unwrap();
        });
        Self {
            provider,
            http,
            issuance,
            url,
            directory,
            serving,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.directory.path().join("deployment/ledger.sqlite")
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
        (ledger, self.issuance.log.head().size)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Makes a deployment below `directory` that trusts `provider`; answers with its configuration.
pub(crate) async fn deploy(directory: &Path, url: &str, provider: &Provider) -> PathBuf {
    let place = directory.join("deployment");
    let plan = Plan {
        public_url: url,
        listen: url.strip_prefix("http://").unwrap().parse().unwrap(),
        organization: "Example organisation",
        common_name: "Example",
        curve: Curve::P256,
        passphrase_file: None,
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
        let is_retried = self.status == StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(self.header("retry-after").is_some(), is_retried, "{self:?}");
        Refusal {
            status: self.status.as_u16(),
            code: json["code"].as_u64().unwrap(),
            message: json["message"].as_str().unwrap().to_owned(),
            reason: detail["reason"].as_str().unwrap().to_owned(),
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
