//! The files member by member, in the order in which they are written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::{
    Authority, MAX_ENTRIES, Service, SignatureLog, TimestampAuthority, TransparencyLog, TrustError,
    check_origin, check_p256, check_period, check_url, read_chain, sha256,
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrustedRoot {
    media_type: String,
    /// Signature logs: written, never read.
    #[serde(default, deserialize_with = "passed_over")]
    tlogs: Vec<LogInstance>,
    #[serde(default)]
    certificate_authorities: Vec<CertificateAuthority>,
    #[serde(default)]
    ctlogs: Vec<LogInstance>,
    /// Written, never read.
    #[serde(default, deserialize_with = "passed_over")]
    timestamp_authorities: Vec<CertificateAuthority>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateAuthority {
    #[serde(default)]
    subject: Subject,
    #[serde(default)]
    uri: String,
    cert_chain: Chain,
    valid_for: Period,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Subject {
    #[serde(default)]
    organization: String,
    #[serde(default)]
    common_name: String,
}

#[derive(Serialize, Deserialize)]
struct Chain {
    certificates: Vec<RawCertificate>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: Base64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogInstance {
    #[serde(default)]
    base_url: String,
    hash_algorithm: String,
    public_key: PublicKey,
    log_id: LogId,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicKey {
    raw_bytes: Base64,
    key_details: String,
    valid_for: Period,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: Base64,
}

#[derive(Serialize, Deserialize)]
struct Period {
    start: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SigningConfig {
    media_type: &'static str,
    ca_urls: Vec<ServiceUrl>,
    oidc_urls: Vec<ServiceUrl>,
    rekor_tlog_urls: Vec<ServiceUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rekor_tlog_config: Option<Selection>,
    tsa_urls: Vec<ServiceUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tsa_config: Option<Selection>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceUrl {
    url: String,
    major_api_version: u32,
    valid_for: Period,
    operator: String,
}

/// `ANY` is the one rule that every client knows.
#[derive(Serialize)]
struct Selection {
    selector: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientTrustConfig {
    media_type: &'static str,
    trusted_root: TrustedRoot,
    signing_config: SigningConfig,
}

impl ClientTrustConfig {
    pub(super) const fn new(trusted_root: TrustedRoot, signing_config: SigningConfig) -> Self {
        Self {
            media_type: CLIENT_TRUST_CONFIG,
            trusted_root,
            signing_config,
        }
    }
}

impl From<&super::TrustedRoot> for TrustedRoot {
    fn from(root: &super::TrustedRoot) -> Self {
        Self {
            media_type: TRUSTED_ROOT.to_owned(),
            tlogs: root.signature_logs.iter().map(Into::into).collect(),
            certificate_authorities: root.authorities.iter().map(Into::into).collect(),
            ctlogs: root.logs.iter().map(Into::into).collect(),
            timestamp_authorities: root
                .timestamp_authorities
                .iter()
                .map(|TimestampAuthority(chain)| chain.into())
                .collect(),
        }
    }
}

impl From<&Authority> for CertificateAuthority {
    fn from(authority: &Authority) -> Self {
        let certificates = authority.chain.iter().map(|der| RawCertificate {
            raw_bytes: Base64(der.clone()),
        });
        Self {
            subject: Subject {
                organization: authority.organization.clone(),
                common_name: authority.common_name.clone(),
            },
            uri: authority.url.clone(),
            cert_chain: Chain {
                certificates: certificates.collect(),
            },
            valid_for: Period::new(authority.valid_from, authority.valid_until),
        }
    }
}

impl From<&TransparencyLog> for LogInstance {
    fn from(log: &TransparencyLog) -> Self {
        Self {
            base_url: log.base_url.clone(),
            hash_algorithm: "SHA2_256".to_owned(),
            public_key: PublicKey {
                raw_bytes: Base64(log.public_key_der.clone()),
                key_details: P256.to_owned(),
                valid_for: Period::new(log.valid_from, log.valid_until),
            },
            log_id: LogId {
                key_id: Base64(log.log_id.to_vec()),
            },
        }
    }
}

impl From<&SignatureLog> for LogInstance {
    fn from(log: &SignatureLog) -> Self {
        Self {
            base_url: log.base_url.clone(),
            hash_algorithm: "SHA2_256".to_owned(),
            public_key: PublicKey {
                raw_bytes: Base64(log.public_key_der.clone()),
                key_details: log.key_details.to_owned(),
                valid_for: Period::new(log.valid_from, None),
            },
            log_id: LogId {
                key_id: Base64(log.log_id.to_vec()),
            },
        }
    }
}

impl TryFrom<TrustedRoot> for super::TrustedRoot {
    type Error = TrustError;

    fn try_from(root: TrustedRoot) -> Result<Self, TrustError> {
        if root.media_type != TRUSTED_ROOT && root.media_type != TRUSTED_ROOT_NEXT {
            return Err(TrustError::MediaType(root.media_type));
        }
        for (what, found) in [
            (
                "certificate authorities",
                root.certificate_authorities.len(),
            ),
            ("transparency logs", root.ctlogs.len()),
        ] {
            if found > MAX_ENTRIES {
                return Err(TrustError::TooMany { what, found });
            }
        }
        Ok(Self {
            authorities: root
                .certificate_authorities
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            logs: root
                .ctlogs
                .into_iter()
                .filter(|log| log.public_key.key_details == P256)
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            signature_logs: Vec::new(),
            timestamp_authorities: Vec::new(),
        })
    }
}

impl TryFrom<CertificateAuthority> for Authority {
    type Error = TrustError;

    fn try_from(authority: CertificateAuthority) -> Result<Self, TrustError> {
        let (valid_from, valid_until) = authority.valid_for.checked()?;
        let certificates = authority.cert_chain.certificates.into_iter();
        let chain: Vec<_> = certificates.map(|one| one.raw_bytes.0).collect();
        read_chain(&chain)?;
        Ok(Self {
            url: authority.uri,
            chain,
            organization: authority.subject.organization,
            common_name: authority.subject.common_name,
            valid_from,
            valid_until,
        })
    }
}

impl TryFrom<LogInstance> for TransparencyLog {
    type Error = TrustError;

    fn try_from(log: LogInstance) -> Result<Self, TrustError> {
        let (valid_from, valid_until) = log.public_key.valid_for.checked()?;
        let public_key_der = log.public_key.raw_bytes.0;
        check_p256(&public_key_der)?;
        let id = sha256(&public_key_der);
        if log.log_id.key_id.0 != id {
            return Err(TrustError::LogId);
        }
        Ok(Self {
            base_url: log.base_url,
            public_key_der,
            log_id: id,
            valid_from,
            valid_until,
        })
    }
}

impl TryFrom<&super::SigningConfig> for SigningConfig {
    type Error = TrustError;

    fn try_from(config: &super::SigningConfig) -> Result<Self, TrustError> {
        let super::SigningConfig {
            certificate_authorities,
            openid_providers,
            signature_logs,
            timestamp_authorities,
        } = config;
        let any =
            |services: &[Service]| (!services.is_empty()).then_some(Selection { selector: "ANY" });
        for authority in certificate_authorities {
            check_origin(&authority.url)?;
        }
        Ok(Self {
            media_type: SIGNING_CONFIG,
            ca_urls: service_urls(certificate_authorities)?,
            oidc_urls: service_urls(openid_providers)?,
            rekor_tlog_urls: service_urls(signature_logs)?,
            rekor_tlog_config: any(signature_logs),
            tsa_urls: service_urls(timestamp_authorities)?,
            tsa_config: any(timestamp_authorities),
        })
    }
}

fn service_urls(services: &[Service]) -> Result<Vec<ServiceUrl>, TrustError> {
    services
        .iter()
        .map(|service| {
            check_url(&service.url)?;
            Ok(ServiceUrl {
                url: service.url.clone(),
                major_api_version: service.major_api_version,
                valid_for: Period::new(service.valid_from, None),
                operator: service.operator.clone(),
            })
        })
        .collect()
}

impl Period {
    fn new(start: OffsetDateTime, end: Option<OffsetDateTime>) -> Self {
        let whole = |end: OffsetDateTime| end.saturating_add(Duration::nanoseconds(999_999_999));
        Self {
            start: Timestamp(start),
            end: end.map(|end| Timestamp(whole(end))),
        }
    }

    fn checked(&self) -> Result<(OffsetDateTime, Option<OffsetDateTime>), TrustError> {
        let end = self.end.as_ref().map(|end| end.0);
        check_period(self.start.0, end)?;
        Ok((self.start.0, end))
    }
}

/// Written in whole seconds, rounded down, so that a start never falls after what it must cover; an end
/// is moved up before.
struct Timestamp(OffsetDateTime);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = OffsetDateTime::from_unix_timestamp(self.0.unix_timestamp());
        let text = whole.map_err(serde::ser::Error::custom)?.format(&Rfc3339);
        serializer.serialize_str(&text.map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let when = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        Ok(Self(when.to_offset(time::UtcOffset::UTC)))
    }
}

/// `bytes` in protobuf JSON: standard base64 with padding.
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

fn passed_over<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Vec<T>, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| Vec::new())
}

pub(super) fn pretty(file: &impl Serialize) -> Result<String, TrustError> {
    let mut text = serde_json::to_string_pretty(file).map_err(TrustError::Unwritable)?;
    text.push('\n');
    Ok(text)
}

const TRUSTED_ROOT: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
/// The format's next name. Read, not written: several clients refuse it.
const TRUSTED_ROOT_NEXT: &str = "application/vnd.dev.sigstore.trustedroot.v0.2+json";
const SIGNING_CONFIG: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const CLIENT_TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
const P256: &str = "PKIX_ECDSA_P256_SHA_256";
