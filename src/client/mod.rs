//! The other side of the door: what asks for a certificate, and what checks the answer without
//! believing the one who gave it.
//!
//! A certificate is worth something when three things hold, each checked from the bytes up:
//! [`verify`] that an authority of the trusted root issued it for this key and that a log of the
//! trusted root promised to list it, [`inclusion`] that the log kept its promise.

pub mod chain;
pub mod inclusion;
pub mod published;
pub mod request;
pub mod verify;

use core::time::Duration;

/// What all requests go out with: TLS checked against the system's roots, no redirect followed (a
/// token must not go where nobody sent it), no waiting forever.
///
/// # Errors
/// A system without a usable TLS configuration.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    // Whoever comes first installs it for the process; it is the same provider everywhere.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::Client::builder()
        .user_agent(concat!("vouchsafe/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .build()
}

/// Reads a reply's body, but no more than `limit` bytes of it.
async fn body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > limit - body.len() {
            return Err(BodyError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A reply that did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More than was asked for.
    #[error("the reply is larger than {limit} bytes")]
    TooLarge {
        /// How many bytes are read at most.
        limit: usize,
    },
    /// The connection broke.
    #[error("the reply broke off: {0}")]
    Connection(#[from] reqwest::Error),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
