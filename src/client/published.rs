//! A log's files over HTTP.

use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::StatusCode;
use reqwest::header::CONTENT_ENCODING;

use super::body;
use crate::ctlog::files::{Files, FilesError};

/// A log at an address.
#[derive(Debug, Clone)]
pub struct Published {
    http: reqwest::Client,
    /// Without a slash at its end.
    base: String,
}

impl Published {
    /// The log at `url`, with or without a slash at its end.
    pub fn new(http: reqwest::Client, url: &str) -> Self {
        let base = url.trim_end_matches('/').to_owned();
        Self { http, base }
    }

    /// The name that a log at this address has unless something else is said: the address without its
    /// scheme.
    pub fn origin(&self) -> &str {
        self.base
            .split_once("://")
            .map_or(&self.base, |(_, origin)| origin)
    }
}

#[async_trait::async_trait]
impl Files for Published {
    async fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, FilesError> {
        let failed = |error: &dyn std::fmt::Display| FilesError::new(name, error);
        let asked = self.http.get(format!("{}/{name}", self.base)).send().await;
        let answer = asked.map_err(|error| failed(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            other => return Err(failed(&format_args!("the answer is {other}"))),
        }
        // "Clients MUST support" tiles of entries that come compressed without having been asked for so
        // (static-ct-api).
        let encoding = answer.headers().get(CONTENT_ENCODING);
        let is_compressed = encoding.is_some_and(|encoding| encoding.as_bytes() == b"gzip");
        let bytes = body(answer, limit).await.map_err(|error| failed(&error))?;
        if !is_compressed {
            return Ok(Some(bytes));
        }
        let mut unpacked = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        GzDecoder::new(bytes.as_slice())
            .take(most)
            .read_to_end(&mut unpacked)
            .map_err(|error| failed(&error))?;
        match unpacked.len() > limit {
            true => Err(failed(&format_args!("it has more than {limit} bytes"))),
            false => Ok(Some(unpacked)),
        }
    }
}
