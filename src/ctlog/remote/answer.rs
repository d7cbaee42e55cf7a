//! The answer to `add-pre-chain`, believed only as far as it can be checked.
//!
//! ```text
//! {"sct_version": 0, "id": base64[32], "timestamp": milliseconds, "extensions": base64, "signature": base64}
//! ```
//!
//! The leaf is made of our own bytes. What the log says enters as time and extensions only, and both
//! are under its signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use time::OffsetDateTime;

use super::error::Fault;
use crate::certificate::sct::{Sct, SctError};
use crate::ctlog::entry::{EntryBody, read_extensions};
use crate::ctlog::signer::LogVerifier;
use crate::ctlog::{Appended, milliseconds};

/// Why an answer must not get into a certificate. A log that gives such an answer is broken in a way
/// that waiting does not mend, or somebody else answers in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// Something else with status 200, such as a page in HTML.
    #[error("answered with something that is no timestamp: {0}")]
    NotATimestamp(String),
    /// More than any timestamp has.
    #[error("answered with more than {MAX_ANSWER} bytes")]
    TooLong,
    /// Another version, another algorithm, or lengths that do not fit.
    #[error("answered with a timestamp that cannot be used: {0}")]
    Sct(#[from] SctError),
    /// Another log's, or this one has another key than it is configured with.
    #[error(
        "answered with the timestamp of another log; compare its public key with the configured one"
    )]
    OtherLog,
    /// Not signed, or over something else than our certificate.
    #[error("answered with a signature that does not fit the certificate")]
    Signature,
    /// Extensions that readers could stumble over.
    #[error("answered with extensions that are malformed or repeat a type")]
    Extensions,
    /// Its clock, or an answer that was made for another day.
    #[error("answered with a time {0} ms off ours; the most is ten minutes behind and one ahead")]
    Time(i128),
}

/// As it is written.
#[derive(Deserialize)]
struct AddChain {
    sct_version: u8,
    id: String,
    timestamp: u64,
    extensions: String,
    signature: String,
}

/// What the log promised about `body`, if it did. `now` is the time at which the answer was here.
pub(super) fn check(
    answer: &[u8],
    verifier: &LogVerifier,
    body: &EntryBody,
    now: OffsetDateTime,
) -> Result<Appended, Fault> {
    let sct = read(answer)?;
    if sct.log_id != verifier.log_id() {
        return Err(Lie::OtherLog.into());
    }
    if !verifier.verifies_sct(&sct, body) {
        return Err(Lie::Signature.into());
    }
    let index = read_extensions(&sct.extensions).ok_or(Lie::Extensions)?;
    let ahead_ms = i128::from(sct.timestamp_ms) - i128::from(milliseconds(now));
    if !(-MOST_BEHIND_MS..=MOST_AHEAD_MS).contains(&ahead_ms) {
        return Err(Lie::Time(ahead_ms).into());
    }
    Ok(Appended { sct, index })
}

fn read(answer: &[u8]) -> Result<Sct, Fault> {
    let answer: AddChain =
        serde_json::from_slice(answer).map_err(|error| match error.is_eof() {
            // Where the end of the connection is the end of the answer, half an answer looks like this.
            true => Fault::Unreachable("the answer is cut off".to_owned()),
            false => Lie::NotATimestamp(error.to_string()).into(),
        })?;
    let AddChain {
        sct_version,
        id,
        timestamp,
        extensions,
        signature,
    } = answer;
    let decode = |text: &str| {
        let not_base64 = |_| Lie::NotATimestamp("a member is not base64".to_owned());
        STANDARD.decode(text).map_err(not_base64)
    };
    let (id, extensions, signature) = (decode(&id)?, decode(&extensions)?, decode(&signature)?);
    // Put together as TLS has it, so that there is one reader of timestamps and no second opinion.
    let length = u16::try_from(extensions.len()).map_err(|_| Lie::Extensions)?;
    let whole = [
        &[sct_version],
        id.as_slice(),
        &timestamp.to_be_bytes(),
        &length.to_be_bytes(),
        &extensions,
        &signature,
    ];
    if id.len() != 32 {
        return Err(Lie::Sct(SctError::Malformed).into());
    }
    Ok(Sct::from_tls(&whole.concat()).map_err(Lie::Sct)?)
}

/// A timestamp is some hundred bytes, whatever is around it.
pub(super) const MAX_ANSWER: usize = 16 << 10;
const MOST_BEHIND_MS: i128 = 10 * 60 * 1000;
const MOST_AHEAD_MS: i128 = 60 * 1000;

#[cfg(test)]
mod tests;
