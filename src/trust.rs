//! What verifiers and signers need to know about this deployment: the trusted root, the signing
//! configuration, both in one file, and the plain PEM bundle.
//!
//! The files are the protobuf messages of Sigstore's `sigstore_trustroot.proto` in JSON. Readers
//! differ in what they demand, so what is written here is what the strictest of them accepts: every
//! member they ask for, no member that one of them does not know, whole seconds, `Z`.

mod services;
mod wire;

pub use services::{SignatureLog, TimestampAuthority};

use aws_lc_rs::digest;
use der::pem::{self, LineEnding};
use der::{Decode, Encode};
use time::OffsetDateTime;
use x509_cert::Certificate;

/// The authorities and logs that a verifier believes, each within its time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedRoot {
    /// The authorities, one for each issuing certificate ever used; retired ones stay, with an end.
    pub authorities: Vec<Authority>,
    /// The Certificate Transparency logs whose promises count.
    pub logs: Vec<TransparencyLog>,
    /// The signature logs whose entries count. Written only.
    pub signature_logs: Vec<SignatureLog>,
    /// The timestamp authorities whose word on the time counts. Written only.
    pub timestamp_authorities: Vec<TimestampAuthority>,
}

/// One issuing certificate with its chain up to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    url: String,
    chain: Vec<Vec<u8>>,
    organization: String,
    common_name: String,
    valid_from: OffsetDateTime,
    valid_until: Option<OffsetDateTime>,
}

/// One Certificate Transparency log and its P-256 key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransparencyLog {
    base_url: String,
    public_key_der: Vec<u8>,
    log_id: [u8; 32],
    valid_from: OffsetDateTime,
    valid_until: Option<OffsetDateTime>,
}

/// Where a signer finds the services it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SigningConfig {
    /// Certificate authorities: bare origins, since some clients drop a path and others double a
    /// trailing slash.
    pub certificate_authorities: Vec<Service>,
    /// OpenID providers for a sign-in through the browser.
    pub openid_providers: Vec<Service>,
    /// Signature transparency logs (Rekor).
    pub signature_logs: Vec<Service>,
    /// Timestamp authorities: the full address of the endpoint.
    pub timestamp_authorities: Vec<Service>,
}

/// One service of a signing configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its address.
    pub url: String,
    /// The major version of its API as the format counts it: 1 for every certificate authority,
    /// although the path of the request says `v2`.
    pub major_api_version: u32,
    /// Who runs it.
    pub operator: String,
    /// Since when it may be asked.
    pub valid_from: OffsetDateTime,
}

/// Trust material that cannot be written, or a trusted root that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is too large to be looked at.
    #[error("the trusted root has {0} bytes, more than the {MAX_JSON} that are read")]
    TooLarge(usize),
    /// Not JSON, or a member that is missing or of the wrong kind.
    #[error("the trusted root is not one: {0}")]
    Json(#[from] serde_json::Error),
    /// A time that RFC 3339 cannot tell.
    #[error("the trust material cannot be written: {0}")]
    Unwritable(serde_json::Error),
    /// A format that is not known here.
    #[error("the trusted root has the media type {0:?}, which is not known")]
    MediaType(String),
    /// More authorities or logs than any deployment has.
    #[error("the trusted root lists {found} {what}, more than {MAX_ENTRIES}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A chain without a certificate, or of absurd length.
    #[error("a certificate authority's chain has {0} certificates, not 1 to {MAX_CHAIN}")]
    ChainLength(usize),
    /// A certificate that cannot be read.
    #[error("a certificate authority's chain holds something that is no certificate: {0}")]
    Certificate(der::Error),
    /// An address that some client cannot use.
    #[error("{url:?} is not an address that every client can use: {why}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The log's key is of another kind.
    #[error("the transparency log's key is not an ECDSA P-256 key in DER")]
    LogKey,
    /// The log ID must be the hash of the key.
    #[error("a transparency log's ID is not the SHA-256 of its key")]
    LogId,
    /// A signature log's key that verifiers cannot use.
    #[error(
        "the signature log's key is not one PUBLIC KEY in PEM, for Ed25519 or ECDSA on P-256 or P-384"
    )]
    SignatureLogKey,
    /// Not a timestamp authority's chain.
    #[error(
        "the timestamp authority's chain does not begin with a certificate for timestamps, or ends with it"
    )]
    TimestampChain,
    /// A period that ends before it starts.
    #[error("a validity period ends before it starts")]
    Period,
}

/// All trust files of one deployment, written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    /// The trusted root as JSON.
    pub trusted_root: String,
    /// The signing configuration as JSON.
    pub signing_config: String,
    /// Both in one, as JSON.
    pub client_config: String,
    /// The certificates as PEM.
    pub bundle: String,
}

impl TrustFiles {
    /// Writes them.
    ///
    /// # Errors
    /// [`TrustError`]: an address, a time or a key that some client could not use.
    pub fn new(root: &TrustedRoot, signing: &SigningConfig) -> Result<Self, TrustError> {
        Ok(Self {
            trusted_root: root.to_json()?,
            signing_config: signing.to_json()?,
            client_config: signing.with_trusted_root(root)?,
            bundle: root.to_pem()?,
        })
    }
}

impl TrustedRoot {
    /// The trusted root as JSON (`application/vnd.dev.sigstore.trustedroot+json;version=0.1`). The
    /// same input gives the same bytes.
    ///
    /// # Errors
    /// [`TrustError::Unwritable`].
    pub fn to_json(&self) -> Result<String, TrustError> {
        wire::pretty(&wire::TrustedRoot::from(self))
    }

    /// Reads a trusted root. Signature logs and timestamp authorities in it are passed over, and so
    /// are Certificate Transparency logs whose key is not ECDSA P-256: no timestamp of theirs can be
    /// checked here, so none of them is believed. Members that are not known are passed over too.
    ///
    /// # Errors
    /// [`TrustError`]; what is believed must be whole, one broken entry spoils the file.
    pub fn from_json(json: &[u8]) -> Result<Self, TrustError> {
        if json.len() > MAX_JSON {
            return Err(TrustError::TooLarge(json.len()));
        }
        serde_json::from_slice::<wire::TrustedRoot>(json)?.try_into()
    }

    /// The issuing and the root certificates of every authority in PEM, one after the other: what
    /// `SIGSTORE_ROOT_FILE` and its like take.
    ///
    /// # Errors
    /// [`TrustError::Certificate`], for a certificate too large to be written.
    pub fn to_pem(&self) -> Result<String, TrustError> {
        self.authorities
            .iter()
            .flat_map(|authority| &authority.chain)
            .map(|certificate| pem::encode_string("CERTIFICATE", LineEnding::LF, certificate))
            .collect::<Result<_, _>>()
            .map_err(|error| TrustError::Certificate(error.into()))
    }

    /// The log with this ID.
    pub fn log(&self, log_id: &[u8; 32]) -> Option<&TransparencyLog> {
        self.logs.iter().find(|log| log.log_id == *log_id)
    }
}

impl Authority {
    /// An authority as it is today: its address, and its chain in DER with the issuing certificate
    /// first and the root last. It is trusted from the issuing certificate's `notBefore` on; the time
    /// of writing would shut out older certificates.
    ///
    /// # Errors
    /// [`TrustError::Url`], [`TrustError::ChainLength`], [`TrustError::Certificate`].
    pub fn new(url: &str, chain: Vec<Vec<u8>>) -> Result<Self, TrustError> {
        check_origin(url)?;
        let certificates = read_chain(&chain)?;
        let [issuing, ..] = certificates.as_slice() else {
            return Err(TrustError::ChainLength(0));
        };
        let valid_from = issuing.tbs_certificate().validity().not_before;
        let valid_from = OffsetDateTime::UNIX_EPOCH + valid_from.to_unix_duration();
        let (organization, common_name) = subject_names(certificates.last().unwrap_or(issuing));
        Ok(Self {
            url: url.to_owned(),
            organization,
            common_name,
            chain,
            valid_from,
            valid_until: None,
        })
    }

    /// The same authority, believed until `end` only: it has been replaced.
    ///
    /// # Errors
    /// [`TrustError::Period`].
    pub fn retired(mut self, end: OffsetDateTime) -> Result<Self, TrustError> {
        check_period(self.valid_from, Some(end))?;
        self.valid_until = Some(end);
        Ok(self)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its certificates in DER, the issuing one first, the root last. Never empty.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Since when it is believed.
    pub const fn valid_from(&self) -> OffsetDateTime {
        self.valid_from
    }

    /// Whether it is believed at `when`.
    pub fn covers(&self, when: OffsetDateTime) -> bool {
        covers(self.valid_from, self.valid_until, when)
    }
}

impl TransparencyLog {
    /// A log: its address, its key as a DER `SubjectPublicKeyInfo`, and a time not after its first
    /// promise.
    ///
    /// # Errors
    /// [`TrustError::LogKey`], [`TrustError::Url`].
    pub fn new(
        base_url: &str,
        public_key_der: &[u8],
        valid_from: OffsetDateTime,
    ) -> Result<Self, TrustError> {
        check_url(base_url)?;
        Ok(Self {
            base_url: base_url.to_owned(),
            public_key_der: check_p256(public_key_der)?.to_vec(),
            log_id: sha256(public_key_der),
            valid_from,
            valid_until: None,
        })
    }

    /// The same log, its promises believed until `end` only: it takes no entries any more.
    ///
    /// # Errors
    /// [`TrustError::Period`].
    pub fn retired(mut self, end: OffsetDateTime) -> Result<Self, TrustError> {
        check_period(self.valid_from, Some(end))?;
        self.valid_until = Some(end);
        Ok(self)
    }

    /// Where its checkpoint and tiles are read.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Its key, a DER `SubjectPublicKeyInfo` with a point on P-256.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// SHA-256 of its key, as in the timestamps it signs.
    pub const fn log_id(&self) -> [u8; 32] {
        self.log_id
    }

    /// Whether its promises of `when` are believed.
    pub fn covers(&self, when: OffsetDateTime) -> bool {
        covers(self.valid_from, self.valid_until, when)
    }
}

impl SigningConfig {
    /// The signing configuration as JSON (`application/vnd.dev.sigstore.signingconfig.v0.2+json`).
    /// How to choose among signature logs or timestamp authorities is said only where there is one:
    /// a client in JavaScript refuses the rule without a service to apply it to.
    ///
    /// # Errors
    /// [`TrustError::Url`], [`TrustError::Unwritable`].
    pub fn to_json(&self) -> Result<String, TrustError> {
        wire::pretty(&wire::SigningConfig::try_from(self)?)
    }

    /// The trusted root and this configuration in one file
    /// (`application/vnd.dev.sigstore.clienttrustconfig.v0.1+json`).
    ///
    /// # Errors
    /// [`TrustError::Url`], [`TrustError::Unwritable`].
    pub fn with_trusted_root(&self, trusted_root: &TrustedRoot) -> Result<String, TrustError> {
        wire::pretty(&wire::ClientTrustConfig::new(
            trusted_root.into(),
            self.try_into()?,
        ))
    }
}

fn read_chain(chain: &[Vec<u8>]) -> Result<Vec<Certificate>, TrustError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(TrustError::ChainLength(chain.len()));
    }
    chain
        .iter()
        .map(|der| Certificate::from_der(der).map_err(TrustError::Certificate))
        .collect()
}

/// Organization and common name.
fn subject_names(certificate: &Certificate) -> (String, String) {
    let attribute = |oid| name_attribute(certificate, oid);
    (
        attribute(const_oid::db::rfc4519::ORGANIZATION_NAME),
        attribute(const_oid::db::rfc4519::COMMON_NAME),
    )
}

/// The first value of an attribute in the subject, or nothing. Readers want the member even where
/// the certificate has no such attribute.
fn name_attribute(certificate: &Certificate, oid: const_oid::ObjectIdentifier) -> String {
    certificate
        .tbs_certificate()
        .subject()
        .iter()
        .find(|attribute| attribute.oid == oid)
        .and_then(|attribute| str::from_utf8(attribute.value.value()).ok())
        .unwrap_or_default()
        .to_owned()
}

/// A signer builds `url + "/api/v2/signingCert"` in one of three ways, which agree only for an origin.
fn check_origin(url: &str) -> Result<(), TrustError> {
    let bare = check_url(url)?;
    if url.ends_with('/') || bare.path() != "/" || bare.query().is_some() {
        return Err(TrustError::Url {
            url: url.to_owned(),
            why: "it must be an origin alone, with no path and no slash at its end",
        });
    }
    Ok(())
}

fn check_url(url: &str) -> Result<reqwest::Url, TrustError> {
    let wrong = |why| TrustError::Url {
        url: url.to_owned(),
        why,
    };
    let parsed = reqwest::Url::parse(url).map_err(|_| wrong("it is not an absolute URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(wrong("it is not an http or https URL"));
    }
    Ok(parsed)
}

/// The key when it is exactly a named-curve P-256 `SubjectPublicKeyInfo`: every client can check the
/// timestamps of such a log, and not of any other kind.
fn check_p256(public_key_der: &[u8]) -> Result<&[u8], TrustError> {
    let key =
        spki::SubjectPublicKeyInfoRef::from_der(public_key_der).map_err(|_| TrustError::LogKey)?;
    let curve = key.algorithm.parameters_oid();
    let exact = key.to_der().is_ok_and(|again| again == public_key_der);
    if key.algorithm.oid != const_oid::db::rfc5912::ID_EC_PUBLIC_KEY
        || curve != Ok(const_oid::db::rfc5912::SECP_256_R_1)
        || !exact
    {
        return Err(TrustError::LogKey);
    }
    Ok(public_key_der)
}

/// Of a log's key in DER it is the log's ID (RFC 6962, section 3.2): "the SHA-256 hash of the log's
/// public key, calculated over the DER encoding of the key represented as SubjectPublicKeyInfo".
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

fn check_period(from: OffsetDateTime, until: Option<OffsetDateTime>) -> Result<(), TrustError> {
    if until.is_some_and(|until| until < from) {
        return Err(TrustError::Period);
    }
    Ok(())
}

fn covers(from: OffsetDateTime, until: Option<OffsetDateTime>, when: OffsetDateTime) -> bool {
    from <= when && until.is_none_or(|until| when <= until)
}

/// A trusted root of many years is some tens of kilobytes.
const MAX_JSON: usize = 1024 * 1024;
const MAX_ENTRIES: usize = 64;
const MAX_CHAIN: usize = 8;

#[cfg(test)]
mod tests;
