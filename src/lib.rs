//! Vouchsafe: a keyless-signing certificate authority.
//!
//! A caller shows an OpenID Connect token and proves possession of a fresh key; Vouchsafe answers
//! with a ten-minute X.509 code-signing certificate that carries the token's identity as its
//! subject, and nothing leaves before that certificate stands in a Certificate Transparency log.
//!
//! The rooms, in the order a signing request walks through them. Each stands on a floor and may
//! enter only the floors below it; `tests/floors.rs` holds the walls up.
//!
//! | floor | rooms |
//! |---|---|
//! | 4 street | [`cli`], [`server`], [`client`], [`dev`] |
//! | 3 order | [`issuance`], [`reconciliation`], [`trust`], [`config`] |
//! | 2 craft | [`identity`], [`authority`], [`ctlog`], [`ledger`] |
//! | 1 | [`certificate`] |
//! | 0 ground | [`database`], [`possession`], [`telemetry`], [`failpoint`] |

pub mod cli;
pub mod client;
pub mod dev;
pub mod server;

pub mod config;
pub mod issuance;
pub mod reconciliation;
pub mod trust;

pub mod authority;
pub mod ctlog;
pub mod identity;
pub mod ledger;

pub mod certificate;

pub mod api;
pub mod database;
pub mod failpoint;
pub mod possession;
pub mod telemetry;
