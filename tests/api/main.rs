//! The whole server, asked over real HTTP as its clients ask it: every answer is compared to the
//! letter where clients and scripts rely on it, and read by somebody else's libraries where it is a
//! certificate. The OpenID provider is the test's own, so that it can also lie.

#![expect(
    clippy::disallowed_methods,
    reason = "a test asks the clock like a client does"
)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test fails, in its helpers too"
)]

mod alone;
mod audit;
mod bodies;
mod caller;
mod conformance;
mod ctlog;
mod documents;
mod door;
mod entries;
mod faults;
mod fulcio;
mod grpc;
mod house;
mod issued;
mod keys;
mod limits;
mod log;
mod neighbours;
mod observe;
mod openapi;
#[path = "../harness/postgres.rs"]
mod postgres;
mod process;
mod provider;
mod reading;
mod reload;
mod rfc6962;
mod roots;
mod schema;
#[path = "../crash/seed.rs"]
mod seed;
mod shapes;
mod shards;
mod stub;
mod tls;
mod tokens;
