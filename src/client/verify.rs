//! Checks a certificate from the bytes up, against a trusted root and nothing else.

use core::time::Duration;

use aws_lc_rs::digest;
use der::asn1::Utf8StringRef;
use der::{Decode, Encode};
use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage as X509KeyUsage, SubjectAltName};

use super::chain::UnverifiedChain;
use crate::certificate::extensions::Extension;
use crate::certificate::name::{EmailAddress, SubjectAlternativeName, Uri, Username};
use crate::certificate::precertificate::{SpliceError, tbs_without};
use crate::certificate::sct::{SCT_LIST_OID, Sct, SctError, read_list};
use crate::ctlog::entry::{EntryBody, EntryError, read_leaf_index};
use crate::ctlog::merkle::leaf_hash;
use crate::ctlog::signer::LogVerifier;
use crate::trust::TrustedRoot;

/// What a certificate says, once it has been proved that a trusted authority says it and that a
/// trusted log has promised to list it. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    name: SubjectAlternativeName,
    extensions: Vec<(Extension, String)>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    public_key_der: Vec<u8>,
    sct: Sct,
    logged_at: OffsetDateTime,
    log_index: Option<u64>,
    leaf_hash: [u8; 32],
}

/// A certificate that is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a certificate.
    #[error("the certificate cannot be read: {0}")]
    Malformed(&'static str),
    /// The certificate is somebody else's.
    #[error("the certificate is for another key than the one that was sent")]
    OtherKey,
    /// No authority of the trusted root has issued it, or not for signing, or not at that time.
    #[error("no certificate authority of the trusted root vouches for the certificate: {0}")]
    Chain(String),
    /// None of the authorities was to be believed when the certificate was logged.
    #[error("the trusted root has no certificate authority for the time of the certificate")]
    NoAuthority,
    /// The certificate's key is not to sign with.
    #[error("the certificate's key usage is not digital signature")]
    KeyUsage,
    /// The name is missing, is one of several, or of a kind or form that is not issued here.
    #[error("the certificate does not name exactly one e-mail address or URI: {0}")]
    Name(String),
    /// The same extension twice, or one that is no text, or one that would drive a terminal.
    #[error("the extension {0} is there twice or cannot be read")]
    Extension(String),
    /// No list of timestamps, or several.
    #[error("no signed certificate timestamps can be taken out of the certificate: {0}")]
    NoSct(#[from] SpliceError),
    /// A list that cannot be read.
    #[error("the signed certificate timestamps cannot be read: {0}")]
    Sct(#[from] SctError),
    /// Clients disagree about more than one.
    #[error("the certificate carries {0} signed certificate timestamps, not one")]
    SctCount(usize),
    /// The log is not in the trusted root, or was not to be believed at that time.
    #[error("the signed certificate timestamp is of a log that the trusted root does not know")]
    UnknownLog,
    /// The log has not signed this.
    #[error("the signature of the signed certificate timestamp does not fit the certificate")]
    SctSignature,
    /// The promise was made before the certificate began or after it ended.
    #[error("the signed certificate timestamp lies outside the certificate's validity")]
    SctTime,
    /// Larger than a log entry can be.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// Checks the end entity's certificate of `chain`, as it has just been issued for the key with this
/// DER `SubjectPublicKeyInfo`.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_issued(
    chain: &UnverifiedChain,
    trusted_root: &TrustedRoot,
    public_key_der: &[u8],
) -> Result<Verified, VerifyError> {
    let verified = verify(chain.leaf(), trusted_root)?;
    if verified.public_key_der != public_key_der {
        return Err(VerifyError::OtherKey);
    }
    Ok(verified)
}

/// Checks a certificate in DER: that an authority of the trusted root issued it for signing code, that
/// it carries exactly one timestamp, that the timestamp is a trusted log's over this very certificate,
/// and that it was made while the certificate was valid. The time of that promise is the only time
/// that counts: certificates are checked long after their ten minutes.
///
/// Intermediates are the trusted root's. Those that come along with a certificate are not looked at.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(leaf_der: &[u8], trusted_root: &TrustedRoot) -> Result<Verified, VerifyError> {
    let malformed = |_| VerifyError::Malformed("it is no X.509 certificate in DER");
    let leaf = x509_cert::Certificate::from_der(leaf_der).map_err(malformed)?;
    let tbs = leaf.tbs_certificate();
    let mut read = Read::default();
    for extension in tbs.extensions().map(Vec::as_slice).unwrap_or_default() {
        read.extension(extension)?;
    }
    let Read {
        seen: _,
        signs,
        name,
        timestamps,
        values,
    } = read;
    if !signs {
        return Err(VerifyError::KeyUsage);
    }
    let name = name.ok_or_else(|| VerifyError::Name("it has no name".to_owned()))?;

    // The list is cut out first: this fails unless there is exactly one.
    let logged = tbs_without(leaf_der, SCT_LIST_OID)?;
    let [sct] = <[Sct; 1]>::try_from(timestamps)
        .map_err(|timestamps| VerifyError::SctCount(timestamps.len()))?;
    let logged_at = i128::from(sct.timestamp_ms) * NANOSECONDS_IN_MILLISECOND;
    let logged_at =
        OffsetDateTime::from_unix_timestamp_nanos(logged_at).map_err(|_| VerifyError::SctTime)?;
    let validity = tbs.validity();
    let not_before = OffsetDateTime::UNIX_EPOCH + validity.not_before.to_unix_duration();
    let not_after = OffsetDateTime::UNIX_EPOCH + validity.not_after.to_unix_duration();
    if logged_at < not_before || logged_at > not_after {
        return Err(VerifyError::SctTime);
    }

    let issuer_key_hash = issued_by(leaf_der, trusted_root, logged_at)?;
    let log = trusted_root
        .log(&sct.log_id)
        .filter(|log| log.covers(logged_at))
        .ok_or(VerifyError::UnknownLog)?;
    let verifier = LogVerifier::from_public_key_der(log.public_key_der())
        .map_err(|_| VerifyError::UnknownLog)?;
    let body = EntryBody::precertificate(&issuer_key_hash, &logged)?;
    if !verifier.verifies_sct(&sct, &body) {
        return Err(VerifyError::SctSignature);
    }

    Ok(Verified {
        name,
        extensions: values,
        not_before,
        not_after,
        public_key_der: tbs.subject_public_key_info().to_der().map_err(malformed)?,
        logged_at,
        log_index: read_leaf_index(&sct.extensions),
        leaf_hash: leaf_hash(&body.merkle_tree_leaf_with(sct.timestamp_ms, &sct.extensions)),
        sct,
    })
}

impl Verified {
    /// Who may sign with the key.
    pub const fn name(&self) -> &SubjectAlternativeName {
        &self.name
    }

    /// What the authority says of the identity, in the certificate's order.
    pub fn extensions(&self) -> &[(Extension, String)] {
        &self.extensions
    }

    /// The value of one extension.
    pub fn extension(&self, extension: Extension) -> Option<&str> {
        self.extensions
            .iter()
            .find(|(found, _)| *found == extension)
            .map(|(_, value)| value.as_str())
    }

    /// Start of its validity.
    pub const fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// End of its validity.
    pub const fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The key, a DER `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// The log's promise.
    pub const fn sct(&self) -> &Sct {
        &self.sct
    }

    /// When the log promised.
    pub const fn logged_at(&self) -> OffsetDateTime {
        self.logged_at
    }

    /// Where in the log the certificate is, if the log says so.
    pub const fn log_index(&self) -> Option<u64> {
        self.log_index
    }

    /// What stands for the certificate in the log's tree.
    pub const fn leaf_hash(&self) -> &[u8; 32] {
        &self.leaf_hash
    }
}

/// SHA-256 of the key that signed the certificate, which the path up to a trusted root proves.
fn issued_by(
    leaf_der: &[u8],
    trusted_root: &TrustedRoot,
    when: OffsetDateTime,
) -> Result<[u8; 32], VerifyError> {
    let leaf_der = CertificateDer::from(leaf_der);
    let chain_error = |error: webpki::Error| VerifyError::Chain(error.to_string());
    let leaf = EndEntityCert::try_from(&leaf_der).map_err(chain_error)?;
    let since_1970 = u64::try_from(when.unix_timestamp()).map_err(|_| VerifyError::SctTime)?;
    let when_unix = UnixTime::since_unix_epoch(Duration::from_secs(since_1970));

    let mut refused = VerifyError::NoAuthority;
    // One authority at a time: none may lend another its period or its intermediates.
    for authority in trusted_root
        .authorities
        .iter()
        .filter(|one| one.covers(when))
    {
        let Some((root, intermediates)) = authority.chain().split_last() else {
            continue;
        };
        let root = CertificateDer::from(root.as_slice());
        let anchor = webpki::anchor_from_trusted_cert(&root).map_err(chain_error)?;
        let intermediates: Vec<_> = intermediates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        match leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &intermediates,
            when_unix,
            KeyUsage::required(CODE_SIGNING),
            None,
            None,
        ) {
            Ok(path) => {
                let mut hash = [0; 32];
                let key = path.issuer_spki();
                hash.copy_from_slice(digest::digest(&digest::SHA256, &key).as_ref());
                return Ok(hash);
            }
            Err(error) => refused = chain_error(error),
        }
    }
    Err(refused)
}

/// What has been read of the extensions so far.
#[derive(Default)]
struct Read {
    seen: Vec<const_oid::ObjectIdentifier>,
    signs: bool,
    name: Option<SubjectAlternativeName>,
    timestamps: Vec<Sct>,
    values: Vec<(Extension, String)>,
}

impl Read {
    /// RFC 5280 section 4.2: "A certificate MUST NOT include more than one instance of a particular
    /// extension." Two readers could each believe another of them.
    fn extension(&mut self, extension: &x509_cert::ext::Extension) -> Result<(), VerifyError> {
        let oid = extension.extn_id;
        let unreadable = || VerifyError::Extension(oid.to_string());
        if self.seen.contains(&oid) {
            // For the timestamps the caller has better words.
            return if oid.as_bytes() == SCT_LIST_OID {
                Ok(())
            } else {
                Err(unreadable())
            };
        }
        self.seen.push(oid);
        let value = extension.extn_value.as_bytes();
        if oid == const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME {
            self.name = Some(read_name(value)?);
        } else if oid == const_oid::db::rfc5280::ID_CE_KEY_USAGE {
            let usage = X509KeyUsage::from_der(value).map_err(|_| unreadable())?;
            self.signs = usage.digital_signature();
        } else if oid.as_bytes() == SCT_LIST_OID {
            self.timestamps = read_list(value)?;
        } else if let Some(arc) = oid.as_bytes().strip_prefix(IDENTITY_ARC)
            && Extension::ALL.iter().any(|known| [known.arc()] == *arc)
        {
            let (extension, value) =
                Extension::read(oid.as_bytes(), value).ok_or_else(unreadable)?;
            if value.contains(char::is_control) {
                return Err(unreadable());
            }
            self.values.push((extension, value.to_owned()));
        }
        Ok(())
    }
}

/// The name as the certificate has it, letter for letter, but only in a form that could have been
/// issued: a name with a line break or a second spelling is refused rather than shown.
fn read_name(value: &[u8]) -> Result<SubjectAlternativeName, VerifyError> {
    let wrong = |why: &str| VerifyError::Name(why.to_owned());
    let names = SubjectAltName::from_der(value).map_err(|_| wrong("its names cannot be read"))?;
    let [name] = names.0.as_slice() else {
        return Err(VerifyError::Name(format!("it has {} names", names.0.len())));
    };
    match name {
        GeneralName::Rfc822Name(address) => EmailAddress::parse(address.as_str())
            .map(SubjectAlternativeName::Email)
            .map_err(|error| VerifyError::Name(error.to_string())),
        GeneralName::UniformResourceIdentifier(uri) => {
            let normal = Uri::normalize(uri.as_str())
                .map_err(|error| VerifyError::Name(error.to_string()))?;
            if normal.as_str() != uri.as_str() {
                return Err(wrong("its URI is not in its one normal form"));
            }
            Ok(SubjectAlternativeName::Uri(normal))
        }
        GeneralName::OtherName(other) if other.type_id.as_bytes() == Username::TYPE => {
            let text: Utf8StringRef<'_> = other
                .value
                .decode_as()
                .map_err(|_| wrong("its username cannot be read"))?;
            let (user, domain) = text
                .as_str()
                .split_once('!')
                .ok_or_else(|| wrong("its username has no domain"))?;
            Username::new(user, domain)
                .map(SubjectAlternativeName::Username)
                .map_err(|error| VerifyError::Name(error.to_string()))
        }
        GeneralName::OtherName(_)
        | GeneralName::DnsName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => Err(wrong("its name is of another kind")),
    }
}

/// 1.3.6.1.5.5.7.3.3, as content octets.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// 1.3.6.1.4.1.57264.1, as content octets: the extensions that describe an identity.
const IDENTITY_ARC: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01];
const NANOSECONDS_IN_MILLISECOND: i128 = 1_000_000;

#[cfg(test)]
mod tests;
