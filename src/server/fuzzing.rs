//! What the fuzz targets call: the reading of request bodies.

use super::body::{V1Request, V2Request};
use crate::possession::KeyRequest;

/// Reads a body of the second interface: the token in it and the key, or why it is refused.
///
/// # Errors
/// The sentence that the caller would see.
pub fn v2(body: &[u8]) -> Result<(String, KeyRequest), String> {
    match V2Request::read(body) {
        Ok(request) => Ok(request.into_parts()),
        Err(malformed) => Err(malformed.0),
    }
}

/// Reads a body of the first interface: the key, or why it is refused.
///
/// # Errors
/// The sentence that the caller would see.
pub fn v1(body: &[u8]) -> Result<Option<KeyRequest>, String> {
    match V1Request::read(body) {
        Ok(request) => Ok(request.into_key()),
        Err(malformed) => Err(malformed.0),
    }
}
