//! Both versions of the API over gRPC: the same path, the same verdicts.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::problem::Problem;
use super::reply::PEM_CHAIN;
use super::request_id::RequestId;
use super::{App, MAX_BODY, client, guard, health};
use crate::api::google::HttpBody;
use crate::api::v1beta;
use crate::api::v1beta::ca_server::CaServer as LegacyCaServer;
use crate::api::v2;
use crate::api::v2::ca_server::CaServer;
use crate::api::v2::create_signing_certificate_request::Key;
use crate::api::v2::credentials::Credentials as Token;
use crate::api::v2::signing_certificate::Certificate;
use crate::identity::{ConfiguredIssuer, IssuerUrl};
use crate::possession::KeyRequest;

/// Every service that is offered over gRPC.
pub(super) fn routes(app: &Arc<App>) -> Router {
    let ca = CaServer::new(Ca(Arc::clone(app))).max_decoding_message_size(MAX_BODY);
    let legacy = LegacyCaServer::new(LegacyCa(Arc::clone(app))).max_decoding_message_size(MAX_BODY);
    let health = HealthService::from_health_reporter(app.reporter.clone());
    let health = HealthServer::new(health).max_decoding_message_size(MAX_SERVICE_NAME);
    let limited = Routes::new(ca).add_service(legacy).prepare();
    let limit = from_fn_with_state(Arc::clone(app), client::limit);
    let free = Routes::new(health).prepare();
    limited
        .into_axum_router()
        .reset_fallback()
        .route_layer(limit)
        .merge(free.into_axum_router().reset_fallback())
        .route_layer(from_fn(guard::only_grpc))
}

/// Tells those who watch the health service whether certificates can be issued, for as long as it is
/// polled: within a second of each change, and nothing as long as it is as was `told`.
pub(super) async fn report(app: &App, mut told: ServingStatus) {
    loop {
        let status = status(app).await;
        if told != status {
            tell(&app.reporter, status).await;
            told = status;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Says how it is, before anybody can ask.
pub(super) async fn report_first(app: &App) -> ServingStatus {
    let status = status(app).await;
    tell(&app.reporter, status).await;
    status
}

async fn status(app: &App) -> ServingStatus {
    let checks = health::checks(app).await;
    match checks.iter().all(|(_, good)| *good) {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

/// Says that it is over, and ends the streams of those who watch: they would keep the server from
/// ending.
pub(super) async fn report_end(app: &App) {
    tell(&app.reporter, ServingStatus::NotServing).await;
    let mut reporter = app.reporter.clone();
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// `dev.sigstore.fulcio.v2.CA`
struct Ca(Arc<App>);

#[tonic::async_trait]
impl v2::ca_server::Ca for Ca {
    async fn create_signing_certificate(
        &self,
        request: Request<v2::CreateSigningCertificateRequest>,
    ) -> Result<Response<v2::SigningCertificate>, Status> {
        let id = RequestId::among(request.extensions());
        let in_metadata = token(request.metadata());
        let v2::CreateSigningCertificateRequest { credentials, key } = request.into_inner();
        let in_body = credentials.and_then(|credentials| credentials.credentials);
        let unverified_token = match in_body {
            Some(Token::OidcIdentityToken(token)) if !token.is_empty() => token,
            Some(Token::OidcIdentityToken(_)) | None => in_metadata,
        };
        let key = match key {
            Some(Key::CertificateSigningRequest(csr)) if !csr.is_empty() => {
                KeyRequest::CertificateSigningRequest(csr)
            }
            Some(Key::PublicKeyRequest(request)) => KeyRequest::PublicKey {
                key: request.public_key.unwrap_or_default().content.into_bytes(),
                proof: request.proof_of_possession,
            },
            Some(Key::CertificateSigningRequest(_)) | None => KeyRequest::PublicKey {
                key: Vec::new(),
                proof: Vec::new(),
            },
        };
        let certificates = self.0.issue(unverified_token, key, id).await?;
        let embedded = v2::SigningCertificateEmbeddedSct {
            chain: Some(v2::CertificateChain { certificates }),
        };
        Ok(Response::new(v2::SigningCertificate {
            certificate: Some(Certificate::SignedCertificateEmbeddedSct(embedded)),
        }))
    }

    async fn get_trust_bundle(
        &self,
        _: Request<v2::GetTrustBundleRequest>,
    ) -> Result<Response<v2::TrustBundle>, Status> {
        let certificates = self.0.issuance.authority.chain().pem().to_vec();
        let chains = vec![v2::CertificateChain { certificates }];
        Ok(Response::new(v2::TrustBundle { chains }))
    }

    async fn get_configuration(
        &self,
        _: Request<v2::GetConfigurationRequest>,
    ) -> Result<Response<v2::Configuration>, Status> {
        let issuers = self.0.issuance.issuers.current();
        let issuers = issuers.configured().map(v2::OidcIssuer::from).collect();
        Ok(Response::new(v2::Configuration { issuers }))
    }
}

/// `dev.sigstore.fulcio.v1beta.CA`
struct LegacyCa(Arc<App>);

#[tonic::async_trait]
impl v1beta::ca_server::Ca for LegacyCa {
    async fn create_signing_certificate(
        &self,
        request: Request<v1beta::CreateSigningCertificateRequest>,
    ) -> Result<Response<HttpBody>, Status> {
        let id = RequestId::among(request.extensions());
        let unverified_token = token(request.metadata());
        let v1beta::CreateSigningCertificateRequest {
            public_key,
            signed_email_address: proof,
            certificate_signing_request: csr,
        } = request.into_inner();
        let key = match public_key {
            _ if !csr.is_empty() => KeyRequest::CertificateSigningRequest(csr),
            Some(v1beta::PublicKey { content: key, .. }) => KeyRequest::PublicKey { key, proof },
            None => return Err(Problem::no_key(&id).into()),
        };
        let certificates = self.0.issue(unverified_token, key, id).await?;
        Ok(Response::new(pem(certificates.join("\n"))))
    }

    async fn get_root_certificate(&self, _: Request<()>) -> Result<Response<HttpBody>, Status> {
        Ok(Response::new(pem(self
            .0
            .documents
            .root_certificate
            .clone())))
    }
}

fn pem(chain: String) -> HttpBody {
    HttpBody {
        content_type: PEM_CHAIN.to_owned(),
        data: chain.into_bytes(),
    }
}

/// The token in the metadata, if there is exactly one.
fn token(metadata: &MetadataMap) -> String {
    let mut values = metadata.get_all("oidcidentitytoken").iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().unwrap_or_default().to_owned(),
        (None | Some(_), _) => String::new(),
    }
}

impl From<&ConfiguredIssuer> for v2::OidcIssuer {
    fn from(issuer: &ConfiguredIssuer) -> Self {
        use v2::oidc_issuer::Issuer;
        let ConfiguredIssuer {
            url,
            audience,
            challenge_claim,
            spiffe_trust_domain,
            issuer_type,
            subject_domain,
            skip_email_verification,
            environment: _,
        } = issuer.clone();
        let issuer = match url {
            IssuerUrl::Fixed(url) => Issuer::IssuerUrl(url),
            IssuerUrl::Wildcard(pattern) => Issuer::WildcardIssuerUrl(pattern),
        };
        Self {
            issuer: Some(issuer),
            audience,
            challenge_claim,
            spiffe_trust_domain,
            issuer_type: issuer_type.to_owned(),
            subject_domain,
            skip_email_verification,
        }
    }
}

/// What the health service knows by name; the empty one is the server.
const SERVICES: [&str; 3] = [
    "",
    "dev.sigstore.fulcio.v2.CA",
    "dev.sigstore.fulcio.v1beta.CA",
];
const MAX_SERVICE_NAME: usize = 1 << 10;
/// Between two looks at whether certificates can be issued.
const EVERY: Duration = Duration::from_secs(1);
