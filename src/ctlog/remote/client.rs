//! One log over HTTP: two calls, each answer read no further than it may be long.
//!
//! No redirect is followed: a log lives at one address, and whoever answers for it must not choose
//! where certificates are sent next. Plain HTTP is as good as TLS for what matters here, since what is
//! sent is public and what comes back is signed.

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;

use super::ExternalLog;
use super::answer::{Lie, MAX_ANSWER};
use super::error::{Fault, LogsError};
use super::retry::{judge, retry_after};
use crate::telemetry::traces;

/// The way to one log, with connections of its own.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    add_pre_chain: Url,
    get_roots: Url,
    /// By which name it is asked, if not by that in its address.
    host: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(log: &ExternalLog) -> Result<Self, LogsError> {
        let base = checked_url(&log.url)?;
        let below = |name: &str| {
            let url = format!("{}/ct/v1/{name}", base.trim_end_matches('/'));
            Url::parse(&url).map_err(|_| wrong_url(&log.url, "it is not an absolute URL"))
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vouchsafe/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(MAX_IDLE);
        if let Some(certificates) = &log.ca_certificates {
            let unusable = || LogsError::CaCertificates(log.url.clone());
            let certificates: Result<Vec<_>, _> = certificates
                .iter()
                .map(|der| reqwest::Certificate::from_der(der))
                .collect();
            let certificates = certificates.map_err(|_| unusable())?;
            if certificates.is_empty() {
                return Err(unusable());
            }
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| {
            let source = error.source().map(ToString::to_string);
            LogsError::Tls(source.unwrap_or_else(|| error.to_string()))
        })?;
        let host = log.origin.as_ref().map(|origin| {
            // The rest of a tiled log's origin is its path, which the address has.
            let host = origin.split('/').next().unwrap_or_default();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
            let host = Some(host).filter(|host| !host.is_empty() && host.bytes().all(plain));
            host.and_then(|host| HeaderValue::from_str(host).ok())
                .ok_or_else(|| LogsError::Origin(origin.clone()))
        });
        Ok(Self {
            http,
            add_pre_chain: below("add-pre-chain")?,
            get_roots: below("get-roots")?,
            host: host.transpose()?,
        })
    }

    /// Sends a chain once.
    pub(super) async fn add_pre_chain(
        &self,
        chain: Bytes,
        now: OffsetDateTime,
    ) -> Result<Vec<u8>, Fault> {
        let request = self.http.post(self.add_pre_chain.clone());
        let request = request.header(CONTENT_TYPE, "application/json").body(chain);
        self.ask(request, MAX_ANSWER, now).await
    }

    /// Whether the log accepts what leads to this root (DER).
    pub(super) async fn accepts(&self, root: &[u8], now: OffsetDateTime) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct Roots {
            certificates: Vec<String>,
        }

        let request = self.http.get(self.get_roots.clone());
        let answer = self.ask(request, MAX_ROOTS, now).await?;
        let roots: Roots = serde_json::from_slice(&answer)
            .map_err(|_| Fault::Unreachable("get-roots answers with something else".to_owned()))?;
        let root = STANDARD.encode(root);
        Ok(roots.certificates.contains(&root))
    }

    async fn ask(
        &self,
        mut request: reqwest::RequestBuilder,
        most: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<u8>, Fault> {
        if let Some(host) = &self.host {
            request = request.header(HOST, host);
        }
        let response = request.headers(traces::outgoing()).send().await;
        let mut response = response.map_err(|error| broken(&error))?;
        let status = response.status();
        if status != StatusCode::OK {
            let pause = response.headers().get(RETRY_AFTER);
            let pause = pause.and_then(|header| header.to_str().ok());
            let pause = pause.and_then(|header| retry_after(header, now));
            return Err(judge(status, pause, sentence(&mut response).await));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
            if body.len() + chunk.len() > most {
                return Err(Lie::TooLong.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The address without a slash at its end, if it can be one of a log.
pub(super) fn checked_url(text: &str) -> Result<&str, LogsError> {
    let wrong = |why| wrong_url(text, why);
    let url = Url::parse(text).map_err(|_| wrong("it is not an absolute URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("it is not an http or https URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has more than host and path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "it has a user name in it, and addresses are shown to everybody",
        ));
    }
    if url.path().ends_with("/ct/v1") || url.path().ends_with("/ct/v1/") {
        return Err(wrong("leave out /ct/v1, which is the same for every log"));
    }
    Ok(text.trim_end_matches('/'))
}

fn wrong_url(url: &str, why: &'static str) -> LogsError {
    let url = url.to_owned();
    LogsError::Url { url, why }
}

/// The beginning of what a log says beside a status, fit for a log line of ours.
async fn sentence(response: &mut reqwest::Response) -> String {
    let mut text = Vec::new();
    // What breaks off or goes on and on is good enough as far as it came.
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= MAX_SENTENCE {
            text.truncate(MAX_SENTENCE);
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    text.trim().replace(char::is_control, " ")
}

/// Why a request failed: the innermost cause, without the address, which is told beside it.
fn broken(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        return Fault::Slow;
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    Fault::Unreachable(innermost.to_string())
}

/// A log in reach has answered a handshake by then.
const CONNECT: Duration = Duration::from_secs(3);
/// Connections to one log that are kept for the next certificate.
const MAX_IDLE: usize = 32;
/// A log for the whole web has some hundred roots.
const MAX_ROOTS: usize = 16 << 20;
const MAX_SENTENCE: usize = 512;
