//! X.509 certificates as pure functions: no I/O, no clock, no async.
//!
//! A certificate is born in three steps and never re-encoded between them: [`template`] writes the
//! to-be-signed bytes once, [`precertificate`] adds the poison and the CA's first signature, and the
//! final certificate replaces the poison by the list of signed certificate timestamps.

mod der;
pub mod extensions;
pub mod name;
pub mod precertificate;
pub mod profile;
pub mod readback;
pub mod sct;
pub mod signature;
pub mod template;
mod text;
