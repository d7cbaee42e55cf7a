//! Runs the program as its users do: a deployment in a directory, the server as a process of its
//! own, an OpenID provider on loopback, and clients that speak HTTP over sockets. Nothing here
//! enters the product's code, so what it measures and checks is what leaves the process.

#![allow(
    dead_code,
    reason = "each program that includes these files uses its own part of them"
)]

pub(crate) mod deployment;
pub(crate) mod der;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod postgres;
pub(crate) mod protobuf;
pub(crate) mod received;
pub(crate) mod request;
