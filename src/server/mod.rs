//! The street door: bytes in, status codes out. It decides nothing.

mod alone;
mod body;
mod client;
mod connections;
mod ctlog;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod guard;
mod health;
mod http;
mod legacy;
mod listen;
mod observe;
mod pool;
mod problem;
mod reason;
mod reply;
mod request_id;
mod rfc6962;
mod trail;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use der::pem::LineEnding;
use time::OffsetDateTime;
use tonic_health::server::HealthReporter;
use tower_http::cors::{Any, CorsLayer};
use tracing::Instrument as _;

pub use self::alone::{LogApp, serve_log};
use self::client::Clients;
use self::connections::Connections;
pub use self::listen::{Listener, bind, serve, serve_router};
use self::pool::Pool;
use self::problem::Problem;
use self::reply::{CertificateChain, Configuration, TrustBundle};
use self::request_id::RequestId;
use crate::certificate::profile::SerialNumber;
use crate::config::{Behaviour, Mounts};
use crate::failpoint::FailPoint;
use crate::identity::Issuers;
use crate::issuance::{Issuance, Limiter, Request};
use crate::possession::KeyRequest;
use crate::telemetry::audit::{self, Record};
use crate::telemetry::{Outcome, metrics, tick};
use crate::trust::TrustFiles;

type BodyRejection = axum::extract::rejection::BytesRejection;

/// A server that has everything it needs and no port yet.
#[derive(Debug)]
pub struct App {
    issuance: Issuance,
    pool: Pool,
    documents: Documents,
    doors: Doors,
    mounts: Mounts,
    /// What the health service of gRPC tells.
    reporter: HealthReporter,
    /// Set once the server takes no more requests.
    is_closing: AtomicBool,
}

/// What every connection and every request from outside is measured by.
#[derive(Debug)]
struct Doors {
    clients: Clients,
    connections: Arc<Connections>,
    /// How often an address may ask, if that is limited.
    addresses: Option<Limiter>,
}

/// Answers that never change while the server runs, written once.
#[derive(Debug)]
struct Documents {
    trust_bundle: bytes::Bytes,
    /// Written again when the issuers are others.
    configuration: ArcSwap<IssuersDocument>,
    root_certificate: String,
    /// The part of every answered chain that follows the leaf.
    issuing_chain: Vec<String>,
    trust: TrustFiles,
}

/// What clients are told about the issuers.
#[derive(Debug)]
struct IssuersDocument {
    of: Arc<Issuers>,
    json: bytes::Bytes,
}

impl IssuersDocument {
    fn of(issuers: Arc<Issuers>) -> std::io::Result<Self> {
        let json = serde_json::to_vec(&Configuration::of(issuers.configured()))?.into();
        Ok(Self { of: issuers, json })
    }
}

impl App {
    /// Prepares the fixed answers and starts the issuing threads.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub fn new(
        issuance: Issuance,
        trust: TrustFiles,
        mounts: Mounts,
        behaviour: Behaviour,
    ) -> std::io::Result<Arc<Self>> {
        let pem = issuance.authority.chain().pem();
        let chains = vec![CertificateChain {
            certificates: pem.to_vec(),
        }];
        let documents = Documents {
            trust_bundle: serde_json::to_vec(&TrustBundle { chains })?.into(),
            configuration: ArcSwap::from_pointee(IssuersDocument::of(issuance.issuers.current())?),
            root_certificate: pem.join("\n").trim_end().to_owned(),
            issuing_chain: pem.iter().map(|pem| pem.trim_end().to_owned()).collect(),
            trust,
        };
        let Behaviour {
            limits,
            rate_limits,
            trusted_proxies,
        } = behaviour;
        let (threads, queue) = (limits.issuing_threads(), limits.issuing_queue);
        let pool = Pool::start(threads, threads.saturating_mul(4).saturating_add(queue))?;
        let clients = Clients::new(trusted_proxies);
        let (most, most_of_one) = (limits.connections, limits.connections_per_address);
        let address = rate_limits.address;
        let doors = Doors {
            connections: Connections::new(most, most_of_one, clients.clone()),
            clients,
            addresses: rate_limits.enabled.then(|| Limiter::new(address)),
        };
        Ok(Arc::new(Self {
            issuance,
            pool,
            documents,
            doors,
            mounts,
            reporter: HealthReporter::new(),
            is_closing: AtomicBool::new(false),
        }))
    }

    /// Every route of the server, for whoever brings a connection.
    pub fn router(self: &Arc<Self>) -> Router {
        let signing = Router::new()
            .route("/api/v2/signingCert", post(http::signing_certificate))
            .route("/api/v1/signingCert", post(legacy::signing_certificate))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(from_fn_with_state(Arc::clone(self), client::limit));
        Router::new()
            .merge(signing)
            .route(
                "/api/v2/trustBundle",
                get(http::trust_bundle).head(problem::method_not_allowed),
            )
            .route(
                "/api/v2/configuration",
                get(http::configuration).head(problem::method_not_allowed),
            )
            .route(
                "/api/v1/rootCert",
                get(legacy::root_certificate).head(problem::method_not_allowed),
            )
            .route("/trust/{file}", get(health::trust_file))
            .route("/healthz", get(health::healthz))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route("/openapi.json", get(http::openapi))
            .method_not_allowed_fallback(problem::method_not_allowed)
            .with_state(Arc::clone(self))
            .merge(ctlog::mount_all(self.issuance.log.built_in(), &self.mounts))
            .merge(grpc::routes(self))
            .fallback(guard::nowhere)
            .layer(from_fn(guard::guard))
            .layer(cors())
            .layer(from_fn(request_id::name_request))
            .layer(from_fn_with_state(
                ctlog::prefixes(&self.mounts),
                observe::measure,
            ))
    }

    /// Issues one certificate on the issuing threads, writes the one log line about it, and answers
    /// with the PEM chain.
    async fn issue(
        self: &Arc<Self>,
        unverified_token: String,
        key: KeyRequest,
        id: RequestId,
    ) -> Result<Vec<String>, Problem> {
        FailPoint::RequestParsed.reach();
        let began = tick();
        let serial = random().map_err(|_| Problem::no_randomness(&id))?;
        // A certificate without its record must not be: first the place for it, then the rest.
        let place = audit::reserve().map_err(|audit::Full| Problem::no_audit(&id))?;
        let request = Request {
            unverified_token,
            key,
            serial: SerialNumber::from_random(serial),
        };
        let app = Arc::clone(self);
        let work_id = id.clone();
        // What is told about the outcome is told here and not where it is awaited: there may be nobody
        // left who waits.
        let work = async move {
            let issued = app.issuance.issue(&request, now()).await;
            let token = &request.unverified_token;
            let issued = match issued {
                Ok(issued) => issued,
                Err(error) => {
                    let problem = Problem::issue(&error, &work_id);
                    let issuers = app.issuance.issuers.current();
                    let entry = issuers.unverified_entry(token);
                    metrics().issuance(entry, problem.outcome(), began);
                    place.fill(|| Record {
                        issuer_entry: entry,
                        token_sha256: Some(trail::sha256(token.as_bytes())),
                        ..trail::refused(&problem, &error, &work_id)
                    });
                    return Err(problem);
                }
            };
            let entry = issued.issuers.entry_of(&issued.issuer);
            metrics().issuance(entry, Outcome::Granted, began);
            place.fill(|| trail::granted(&issued, entry, token, &work_id));
            tracing::info!(
                request_id = %work_id,
                identity = %issued.name,
                issuer = issued.issuer,
                subject = issued.subject,
                serial = %Hex(issued.certificate.serial().as_bytes()),
                log_index = issued.log_index,
                "issued"
            );
            let leaf =
                der::pem::encode_string("CERTIFICATE", LineEnding::LF, issued.certificate.der());
            let leaf = leaf.map_err(|error| Problem::unwritable(&error, &work_id))?;
            FailPoint::ReplyReady.reach();
            let above = app.documents.issuing_chain.iter().cloned();
            Ok(std::iter::once(leaf.trim_end().to_owned())
                .chain(above)
                .collect())
        };
        self.pool
            .run(work.in_current_span())
            .await
            .unwrap_or_else(|error| Err(Problem::pool(error, &id)))
    }

    /// `dev.sigstore.fulcio.v2.Configuration` for the issuers that are in force now.
    fn configuration(&self) -> std::io::Result<bytes::Bytes> {
        let issuers = self.issuance.issuers.current();
        let written = self.documents.configuration.load();
        if Arc::ptr_eq(&written.of, &issuers) {
            return Ok(written.json.clone());
        }
        let document = IssuersDocument::of(issuers)?;
        let json = document.json.clone();
        self.documents.configuration.store(Arc::new(document));
        Ok(json)
    }

    /// From now on the server says that it is about to end.
    fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing is being issued any more, for those too whose callers have gone; not longer
    /// than [`serve`] waits for answers. Then log and ledger may be closed.
    pub async fn drain(&self) {
        if tokio::time::timeout(listen::DRAIN, self.pool.drained())
            .await
            .is_err()
        {
            tracing::warn!("requests were still under way at the end");
        }
    }
}

/// What browsers are told: whoever has a token may ask from anywhere, since nothing here depends on
/// cookies.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-requested-with"),
            request_id::REQUEST_ID,
        ])
        .expose_headers([header::RETRY_AFTER, request_id::REQUEST_ID])
}

/// The street's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door at which a request's time is taken"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The street's dice.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door at which a request's serial number and name are drawn"
)]
fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets)?;
    Ok(octets)
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A token, a key and a proof fit many times over.
const MAX_BODY: usize = 64 << 10;
