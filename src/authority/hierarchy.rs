//! Making a hierarchy: a root for the safe, and the intermediate that issues.

use der::pem::LineEnding;
use pkcs8::{PrivateKeyInfoRef, SecretDocument};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SerialNumber as RcgenSerial, SignatureAlgorithm,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::certificate::profile::SerialNumber;

/// The curve of an intermediate's key. Every issuance makes two signatures with it: P-256 costs a
/// quarter of P-384.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256, signing with SHA-256.
    P256,
    /// NIST P-384, signing with SHA-384.
    P384,
}

/// A new root and intermediate.
pub struct Hierarchy {
    /// The root: P-384, ten years, no purpose but signing certificates.
    pub root: Entity,
    /// The intermediate: three years, path length 0, code signing only.
    pub intermediate: Entity,
}

/// One certificate and its key.
pub struct Entity {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 in DER.
    pub private_key_der: Zeroizing<Vec<u8>>,
}

/// A hierarchy that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HierarchyError {
    /// The certificate writer refused.
    #[error("the certificate cannot be written: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The key could not be encrypted.
    #[error("the private key cannot be encrypted: {0}")]
    Encryption(#[from] pkcs8::Error),
    /// A name is empty, too long (RFC 5280 appendix A.1: 64 characters), or not printable.
    #[error("the {0} must be 1 to 64 printable characters")]
    Name(&'static str),
}

impl Hierarchy {
    /// Makes both, valid from `now`. The names need an organisation because readers of trusted roots
    /// want one.
    ///
    /// # Errors
    /// [`HierarchyError`].
    pub fn create(
        organization: &str,
        common_name: &str,
        curve: Curve,
        serials: [SerialNumber; 2],
        now: OffsetDateTime,
    ) -> Result<Self, HierarchyError> {
        let named = |suffix: &str| {
            let mut name = DistinguishedName::new();
            name.push(
                DnType::OrganizationName,
                printable(organization, "organization")?,
            );
            name.push(
                DnType::CommonName,
                printable(&format!("{common_name}{suffix}"), "common name")?,
            );
            Ok::<_, HierarchyError>(name)
        };
        let [root_serial, intermediate_serial] = serials;
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let mut root = authority(
            named(" root")?,
            root_serial,
            now,
            ROOT_LIFE,
            BasicConstraints::Unconstrained,
        );
        root.use_authority_key_identifier_extension = false;
        let root_certificate = root.self_signed(&root_key)?;

        let algorithm: &SignatureAlgorithm = match curve {
            Curve::P256 => &PKCS_ECDSA_P256_SHA256,
            Curve::P384 => &PKCS_ECDSA_P384_SHA384,
        };
        let key = KeyPair::generate_for(algorithm)?;
        let constraints = BasicConstraints::Constrained(0);
        let mut intermediate = authority(
            named(" intermediate")?,
            intermediate_serial,
            now,
            INTERMEDIATE_LIFE,
            constraints,
        );
        intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        intermediate.use_authority_key_identifier_extension = true;
        let certificate = intermediate.signed_by(&key, &Issuer::from_params(&root, &root_key))?;

        Ok(Self {
            root: Entity {
                certificate_pem: root_certificate.pem(),
                private_key_der: Zeroizing::new(root_key.serialize_der()),
            },
            intermediate: Entity {
                certificate_pem: certificate.pem(),
                private_key_der: Zeroizing::new(key.serialize_der()),
            },
        })
    }
}

/// Encrypts a PKCS#8 private key under a passphrase (PBES2 with scrypt and AES-256, RFC 8018 and
/// RFC 7914), as PEM.
///
/// # Errors
/// [`HierarchyError::Encryption`].
pub fn encrypt_private_key(
    private_key_der: &[u8],
    passphrase: &str,
) -> Result<Zeroizing<String>, HierarchyError> {
    let encrypted: SecretDocument =
        PrivateKeyInfoRef::try_from(private_key_der)?.encrypt(passphrase)?;
    Ok(encrypted
        .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
        .map_err(pkcs8::Error::from)?)
}

/// Makes a P-256 private key, PKCS#8 in DER.
///
/// # Errors
/// [`HierarchyError::Certificate`], if the library has no randomness.
pub fn new_p256_key() -> Result<Zeroizing<Vec<u8>>, HierarchyError> {
    Ok(Zeroizing::new(
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_der(),
    ))
}

fn authority(
    name: DistinguishedName,
    serial: SerialNumber,
    now: OffsetDateTime,
    life: Duration,
    constraints: BasicConstraints,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(RcgenSerial::from_slice(serial.as_bytes()));
    params.not_before = now;
    params.not_after = now + life;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn printable<'a>(text: &'a str, which: &'static str) -> Result<&'a str, HierarchyError> {
    let good = (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
    good.then_some(text).ok_or(HierarchyError::Name(which))
}

const ROOT_LIFE: Duration = Duration::days(3652);
const INTERMEDIATE_LIFE: Duration = Duration::days(1095);
