//! The doors through which one and the same question can be asked.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use vouchsafe::api::google::HttpBody;
use vouchsafe::api::v2::create_signing_certificate_request::Key as V2Key;
use vouchsafe::api::v2::credentials::Credentials;
use vouchsafe::api::v2::signing_certificate::Certificate;
use vouchsafe::api::{v1beta, v2};

use super::house::{House, V1, V2};

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    V1,
    V2,
    Grpc,
    LegacyGrpc,
}

pub(crate) const DOORS: [Door; 4] = [Door::V1, Door::V2, Door::Grpc, Door::LegacyGrpc];

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) token: String,
    pub(crate) key: Key,
}

/// What has to be certified.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Nothing,
    Public { pem: Vec<u8>, proof: Vec<u8> },
    Request(Vec<u8>),
}

/// Why not: what every door says in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) code: u64,
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

impl House {
    /// Asks at one door; the chain in PEM, or the verdict.
    pub(crate) async fn ask(
        &self,
        door: Door,
        question: &Question,
    ) -> Result<Vec<String>, Verdict> {
        match door {
            Door::V1 => self.ask_v1(question).await,
            Door::V2 => self.ask_v2(question).await,
            Door::Grpc => self
                .ask_grpc(question)
                .await
                .map_err(|status| verdict(&status)),
            Door::LegacyGrpc => {
                let chain = self.ask_legacy_grpc(question).await;
                chain.map_err(|status| verdict(&status))
            }
        }
    }

    async fn ask_v1(&self, Question { token, key }: &Question) -> Result<Vec<String>, Verdict> {
        let body = match key {
            Key::Nothing => json!({}),
            Key::Public { pem, proof } => json!({
                "publicKey": {"algorithm": "any", "content": STANDARD.encode(pem)},
                "signedEmailAddress": STANDARD.encode(proof),
            }),
            Key::Request(csr) => json!({"certificateSigningRequest": STANDARD.encode(csr)}),
        };
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer = self.post(V1, &headers, body.to_string()).await;
        match answer.status.as_u16() {
            201 => Ok(chain_of(answer.text())),
            _ => Err(answer.verdict()),
        }
    }

    async fn ask_v2(&self, Question { token, key }: &Question) -> Result<Vec<String>, Verdict> {
        let mut body = match key {
            Key::Nothing => json!({}),
            Key::Public { pem, proof } => json!({
                "publicKeyRequest": {
                    "publicKey": {"content": str::from_utf8(pem).unwrap()},
                    "proofOfPossession": STANDARD.encode(proof),
                },
            }),
            Key::Request(csr) => json!({"certificateSigningRequest": STANDARD.encode(csr)}),
        };
        body["credentials"] = json!({"oidcIdentityToken": token});
        let answer = self.post(V2, &[], body.to_string()).await;
        match answer.status.as_u16() {
            200 => Ok(answer.chain()),
            _ => Err(answer.verdict()),
        }
    }

    async fn ask_grpc(&self, question: &Question) -> Result<Vec<String>, Status> {
        let request = Request::new(v2_message(question));
        let answer: v2::SigningCertificate = self.call(V2_CREATE, request).await?;
        let Some(Certificate::SignedCertificateEmbeddedSct(embedded)) = answer.certificate else {
            panic!("the timestamp is embedded: {answer:?}");
        };
        Ok(embedded.chain.unwrap().certificates)
    }

    async fn ask_legacy_grpc(&self, question: &Question) -> Result<Vec<String>, Status> {
        let Question { token, key } = question;
        let mut message = v1beta::CreateSigningCertificateRequest::default();
        match key.clone() {
            Key::Nothing => (),
            Key::Public { pem, proof } => {
                message.public_key = Some(v1beta::PublicKey {
                    algorithm: "any".to_owned(),
                    content: pem,
                });
                message.signed_email_address = proof;
            }
            Key::Request(csr) => message.certificate_signing_request = csr,
        }
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("oidcidentitytoken", token.parse().unwrap());
        let HttpBody { content_type, data } = self.call(V1_CREATE, request).await?;
        assert_eq!(content_type, "application/pem-certificate-chain");
        Ok(chain_of(str::from_utf8(&data).unwrap()))
    }

    /// One call over gRPC, on a connection of its own.
    pub(crate) async fn call<Q, A>(
        &self,
        path: &'static str,
        request: Request<Q>,
    ) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut client = Grpc::new(self.channel().await);
        client.ready().await.unwrap();
        let codec = ProstCodec::default();
        let path = PathAndQuery::from_static(path);
        let answer = client.unary(request, path, codec).await?;
        Ok(answer.into_inner())
    }

    /// A connection for gRPC.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.url().to_owned())
            .unwrap()
            .timeout(Duration::from_secs(30));
        let endpoint = match self.tls() {
            None => endpoint,
            Some(tls) => endpoint.tls_config(tls).unwrap(),
        };
        endpoint.connect().await.unwrap()
    }
}

pub(crate) fn v2_message(question: &Question) -> v2::CreateSigningCertificateRequest {
    let Question { token, key } = question.clone();
    let key = match key {
        Key::Nothing => None,
        Key::Public { pem, proof } => Some(V2Key::PublicKeyRequest(v2::PublicKeyRequest {
            public_key: Some(v2::PublicKey {
                algorithm: 0,
                content: String::from_utf8(pem).unwrap(),
            }),
            proof_of_possession: proof,
        })),
        Key::Request(csr) => Some(V2Key::CertificateSigningRequest(csr)),
    };
    let credentials = Some(v2::Credentials {
        credentials: Some(Credentials::OidcIdentityToken(token)),
    });
    v2::CreateSigningCertificateRequest { credentials, key }
}

/// What a status over gRPC says, after its details were checked.
pub(crate) fn verdict(status: &Status) -> Verdict {
    let details = status.get_error_details();
    let info = details.error_info().expect("the details have a reason");
    assert_eq!(info.domain, "vouchsafe");
    assert!(!info.metadata["request_id"].is_empty());
    let is_retried = [tonic::Code::Unavailable, tonic::Code::ResourceExhausted];
    let is_retried = is_retried.contains(&status.code());
    assert_eq!(details.retry_info().is_some(), is_retried, "{status:?}");
    Verdict {
        code: u64::try_from(i32::from(status.code())).unwrap(),
        message: status.message().to_owned(),
        reason: info.reason.clone(),
        detail: info.metadata.get("detail").cloned().unwrap_or_default(),
    }
}

fn chain_of(text: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let pems = text.split_inclusive(END);
    pems.map(|pem| pem.trim_start().to_owned()).collect()
}

pub(crate) const V2_CREATE: &str = "/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate";
pub(crate) const V1_CREATE: &str = "/dev.sigstore.fulcio.v1beta.CA/CreateSigningCertificate";
