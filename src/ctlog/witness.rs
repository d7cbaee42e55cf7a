//! Witnesses (C2SP tlog-witness): others who vouch that they have seen one tree only, each larger than
//! the one before.
//!
//! ```text
//! POST <url>/add-checkpoint       old <size>\n | base64 of each hash of the proof, \n | \n | checkpoint
//! 200                             cosignature lines
//! 409, text/x.tlog.size           <the size that the witness has seen>\n
//! ```
//!
//! A witness is asked beside issuance, by a task of its own, and the newest tree only: one that is
//! down, slow or lying costs a warning. Its cosignature is added to the checkpoint that is served and
//! published, if it verifies. Once, before the log opens, it is asked what it has seen: it may remember
//! more of this log than the database does.

use super::Log;
use super::guard::Rollback;
use super::merkle::Hash;
use super::note::{CosignatureKey, VerifierKeyError, signed_text};
use super::store::{Head, StoreError};
use super::upkeep::Clock;
use crate::failpoint::FailPoint;
use crate::telemetry::metrics;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};
use std::net::IpAddr;
use std::time::Duration;

/// What an operator says about a witness.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Its address, below which `add-checkpoint` is.
    pub url: String,
    /// Its verifier key for cosignatures, `NAME+HASH+KEY`, as witnesses publish it.
    pub public_key: String,
    /// Whether the address may be `http://` on loopback.
    #[serde(default)]
    pub allow_http_loopback: bool,
}

/// Why there is no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The settings do not name a witness.
    #[error("log.witnesses: {0}")]
    Config(String),
    /// Its key is not one.
    #[error("log.witnesses: {0}")]
    Key(#[from] VerifierKeyError),
    /// No connection, or it broke, or it took too long.
    #[error("it cannot be asked: {0}")]
    Unreachable(String),
    /// It does not know this log, or does not like what it was sent.
    #[error("it answers with status {0}")]
    Status(u16),
    /// More than any answer needs.
    #[error("its answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    /// 409 without a size.
    #[error("it has seen another tree but does not say which")]
    NoSize,
    /// Its size changes while it is asked.
    #[error("it keeps changing its mind about what it has seen")]
    Unsteady,
    /// A line that does not verify, or another witness's.
    #[error("its answer has no cosignature of this tree that verifies")]
    Cosignature,
    /// It has seen more, or something else.
    #[error(transparent)]
    Rollback(#[from] Rollback),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One witness, and how far it is.
#[derive(Debug)]
pub struct Witness {
    log: Log,
    http: reqwest::Client,
    url: Url,
    key: CosignatureKey,
    /// The size it has seen, as far as is known.
    seen: Option<u64>,
    /// The text it has cosigned last.
    cosigned: String,
}

enum Answer {
    Cosigned(String),
    Seen(u64),
}

impl Witness {
    /// A witness for `log`.
    pub fn new(log: Log, config: &Config) -> Result<Self, WitnessError> {
        let (key, url, http) = Self::read(config)?;
        Ok(Self {
            http,
            log,
            url,
            key,
            seen: None,
            cosigned: String::new(),
        })
    }

    /// What `config` says: key, address, and the client for it. Nobody is asked.
    ///
    /// # Errors
    /// [`WitnessError::Config`] or [`WitnessError::Key`]: it makes no sense.
    pub fn read(config: &Config) -> Result<(CosignatureKey, Url, reqwest::Client), WitnessError> {
        let key = CosignatureKey::parse(&config.public_key)?;
        let refused = |reason: String| WitnessError::Config(reason);
        let address = format!("{}/add-checkpoint", config.url.trim_end_matches('/'));
        let url = Url::parse(&address).map_err(|error| refused(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let is_loopback = address.is_some_and(|address| address.is_loopback());
        let is_plain = url.scheme() == "http" && is_loopback && config.allow_http_loopback;
        if url.scheme() != "https" && !is_plain {
            let reason = format!(
                "{} is not https://; http:// is for addresses on loopback, with allow-http-loopback",
                config.url
            );
            return Err(refused(reason));
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("vouchsafe/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .https_only(!is_plain)
            .build();
        Ok((key, url, http.map_err(|error| refused(error.to_string()))?))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// Asks for a cosignature of `head`. What the witness has seen is found out on the way: it is
    /// shown the whole tree as if it had seen it, and says what it has really seen.
    ///
    /// # Errors
    /// [`WitnessError::Rollback`]: the witness has seen more than is stored, or another tree of this
    /// size. It says so without proof.
    pub async fn cosign(&mut self, head: &Head) -> Result<(), WitnessError> {
        let text = signed_text(&head.checkpoint).unwrap_or_default();
        let mut old = self.seen.unwrap_or(head.size).min(head.size);
        for _ in 0..ATTEMPTS {
            let proof = self.log.consistency_up_to(old, head.size).await?;
            match self.ask(old, &proof, head).await? {
                Answer::Cosigned(lines) => {
                    FailPoint::WitnessAnswered.reach();
                    self.seen = Some(head.size);
                    let (line, _) = self
                        .key
                        .find(&lines, text)
                        .ok_or(WitnessError::Cosignature)?;
                    self.log
                        .add_cosignature(text, head.size, self.key.name(), line);
                    text.clone_into(&mut self.cosigned);
                    return Ok(());
                }
                // The tree of this size that it has seen is another one.
                Answer::Seen(size) if size == head.size && old == size => {
                    return Err(WitnessError::Rollback(Rollback::Forked {
                        witnessed: self.described(),
                        size,
                    }));
                }
                Answer::Seen(size) if size > head.size => {
                    // With others at the same database it may be ahead of what this process knows.
                    let stored = self.log.shared.reader.store.state().await?.head.size;
                    if size <= stored {
                        return Err(WitnessError::Unsteady);
                    }
                    return Err(WitnessError::Rollback(Rollback::Behind {
                        witnessed: self.described(),
                        seen: size,
                        stored,
                    }));
                }
                Answer::Seen(size) => {
                    self.seen = Some(size);
                    old = size;
                }
            }
        }
        Err(WitnessError::Unsteady)
    }

    /// Asks for every new tree, for as long as the log runs.
    pub async fn run(mut self, clock: Clock) {
        let mut pause = INTERVAL;
        loop {
            // Whoever committed it: the witness may have seen what another server has shown it.
            let Ok(head) = self.log.reader().newest_head().await else {
                tokio::time::sleep(pause).await;
                continue;
            };
            let is_new = signed_text(&head.checkpoint) != Some(self.cosigned.as_str());
            if is_new {
                match self.cosign(&head).await {
                    Ok(()) => {
                        pause = INTERVAL;
                        let now = clock().unix_timestamp();
                        metrics().witnesses.cosigned(self.name(), head.size, now);
                    }
                    Err(error) => {
                        // Asked from the start again: what was known may be wrong.
                        self.seen = None;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        metrics().witnesses.failed(self.name());
                        tracing::warn!(witness = self.name(), %error, again_in = ?pause, "no cosignature");
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask(&self, old: u64, proof: &[Hash], head: &Head) -> Result<Answer, WitnessError> {
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&STANDARD.encode(hash));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&head.checkpoint);
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
                error.source()
            });
            let causes: Vec<String> = causes.map(ToString::to_string).collect();
            WitnessError::Unreachable(causes.join(": "))
        };
        let sent = self.http.post(self.url.clone()).body(body).send().await;
        let mut response = sent.map_err(unreachable)?;
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE);
        let is_size = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/x.tlog.size"));
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(WitnessError::TooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        let answer = String::from_utf8_lossy(&answer);
        match status {
            StatusCode::OK => Ok(Answer::Cosigned(answer.into_owned())),
            StatusCode::CONFLICT if is_size => {
                let size = answer.trim_end().parse();
                size.map(Answer::Seen).map_err(|_| WitnessError::NoSize)
            }
            StatusCode::CONFLICT => Err(WitnessError::NoSize),
            other => Err(WitnessError::Status(other.as_u16())),
        }
    }

    fn described(&self) -> String {
        let name = self.name();
        format!("the witness {name} (if it is wrong, take it out of log.witnesses)")
    }
}

/// Trees between two questions are passed over.
const INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);
/// A few cosignature lines.
const MAX_ANSWER: usize = 16 * 1024;
/// The first answer says what was seen, the second cosigns; one more for a witness that others ask too.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests;
