//! The extensions below 1.3.6.1.4.1.57264.1 that carry who asked and where a build ran.
//!
//! One row an extension; the certificate, the ledger, the template keys of a configuration and every
//! printed table are derived from it.

use super::der;
use super::text;

pub use super::text::ValueError;

/// One extension of the arc 1.3.6.1.4.1.57264.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table below says what each one means")]
pub enum Extension {
    Issuer,
    GithubWorkflowTrigger,
    GithubWorkflowSha,
    GithubWorkflowName,
    GithubWorkflowRepository,
    GithubWorkflowRef,
    IssuerV2,
    BuildSignerUri,
    BuildSignerDigest,
    RunnerEnvironment,
    SourceRepositoryUri,
    SourceRepositoryDigest,
    SourceRepositoryRef,
    SourceRepositoryIdentifier,
    SourceRepositoryOwnerUri,
    SourceRepositoryOwnerIdentifier,
    BuildConfigUri,
    BuildConfigDigest,
    BuildTrigger,
    RunInvocationUri,
    SourceRepositoryVisibilityAtSigning,
    DeploymentEnvironment,
    TokenSubject,
}

/// How the value stands inside the extension.
#[derive(Clone, Copy)]
enum Encoding {
    /// The bare bytes of the text, without any DER: the six oldest, kept so because verifiers read
    /// them so.
    Raw,
    /// A DER `UTF8String`.
    Utf8,
}

use Encoding::{Raw, Utf8};

/// The table, in the order of the enumeration, which is the order in a certificate: the last number
/// of the object identifier, the name in configuration and reports, how the value is encoded, and
/// what it means.
const TABLE: [(u8, &str, Encoding, &str); Extension::COUNT] = [
    (1, "issuer", Raw, "issuer of the token"),
    (
        2,
        "github-workflow-trigger",
        Raw,
        "event that started the GitHub workflow",
    ),
    (
        3,
        "github-workflow-sha",
        Raw,
        "commit the GitHub workflow ran on",
    ),
    (
        4,
        "github-workflow-name",
        Raw,
        "name of the GitHub workflow",
    ),
    (
        5,
        "github-workflow-repository",
        Raw,
        "repository of the GitHub workflow",
    ),
    (
        6,
        "github-workflow-ref",
        Raw,
        "git ref of the GitHub workflow",
    ),
    (8, "issuer-v2", Utf8, "issuer of the token"),
    (
        9,
        "build-signer-uri",
        Utf8,
        "build instructions that asked for the certificate",
    ),
    (
        10,
        "build-signer-digest",
        Utf8,
        "digest of those build instructions",
    ),
    (
        11,
        "runner-environment",
        Utf8,
        "hosted or self-hosted runner",
    ),
    (12, "source-repository-uri", Utf8, "source repository"),
    (
        13,
        "source-repository-digest",
        Utf8,
        "commit that was built",
    ),
    (14, "source-repository-ref", Utf8, "git ref that was built"),
    (
        15,
        "source-repository-identifier",
        Utf8,
        "immutable id of the source repository",
    ),
    (
        16,
        "source-repository-owner-uri",
        Utf8,
        "owner of the source repository",
    ),
    (
        17,
        "source-repository-owner-identifier",
        Utf8,
        "immutable id of that owner",
    ),
    (18, "build-config-uri", Utf8, "top-level build instructions"),
    (
        19,
        "build-config-digest",
        Utf8,
        "digest of the top-level build instructions",
    ),
    (20, "build-trigger", Utf8, "event that started the build"),
    (21, "run-invocation-uri", Utf8, "the run itself"),
    (
        22,
        "source-repository-visibility-at-signing",
        Utf8,
        "public or private source at the time",
    ),
    (
        23,
        "deployment-environment",
        Utf8,
        "environment the build deployed to",
    ),
    (24, "subject", Utf8, "subject of the token"),
];

impl Extension {
    const COUNT: usize = 23;

    /// Every extension, in the order in which a certificate carries them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Issuer,
        Self::GithubWorkflowTrigger,
        Self::GithubWorkflowSha,
        Self::GithubWorkflowName,
        Self::GithubWorkflowRepository,
        Self::GithubWorkflowRef,
        Self::IssuerV2,
        Self::BuildSignerUri,
        Self::BuildSignerDigest,
        Self::RunnerEnvironment,
        Self::SourceRepositoryUri,
        Self::SourceRepositoryDigest,
        Self::SourceRepositoryRef,
        Self::SourceRepositoryIdentifier,
        Self::SourceRepositoryOwnerUri,
        Self::SourceRepositoryOwnerIdentifier,
        Self::BuildConfigUri,
        Self::BuildConfigDigest,
        Self::BuildTrigger,
        Self::RunInvocationUri,
        Self::SourceRepositoryVisibilityAtSigning,
        Self::DeploymentEnvironment,
        Self::TokenSubject,
    ];

    /// The last number of its object identifier.
    pub const fn arc(self) -> u8 {
        TABLE[self as usize].0
    }

    /// Its name in configuration, ledger and reports.
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// What its value means, in a few words.
    pub const fn meaning(self) -> &'static str {
        TABLE[self as usize].3
    }

    /// The extension that a key of a configuration's `extension-templates` fills. Issuer and subject
    /// are not among them: they come from the token alone.
    pub fn from_template_key(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .filter(|extension| {
                !matches!(
                    extension,
                    Self::Issuer | Self::IssuerV2 | Self::TokenSubject
                )
            })
            .find(|extension| extension.name() == key)
    }

    /// The extension with this object identifier (content octets), and its value as text. `None` for
    /// any other extension and for a value that is not what the table says.
    pub fn read<'a>(oid: &[u8], value: &'a [u8]) -> Option<(Self, &'a str)> {
        let arc = *oid
            .strip_prefix(&ARC)?
            .first()
            .filter(|_| oid.len() == ARC.len() + 1)?;
        let extension = Self::ALL
            .into_iter()
            .find(|extension| extension.arc() == arc)?;
        let text = match extension.encoding() {
            Raw => value,
            Utf8 => {
                der::expect(value, der::UTF8_STRING)
                    .filter(|(_, rest)| rest.is_empty())?
                    .0
                    .value
            }
        };
        Some((extension, str::from_utf8(text).ok()?))
    }

    const fn encoding(self) -> Encoding {
        TABLE[self as usize].2
    }
}

/// The checked values of one certificate's extensions. An empty value is the same as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    values: [String; Extension::COUNT],
}

impl Extensions {
    /// The extensions every certificate has: who vouched (`issuer`, in both encodings) and the
    /// token's `subject`.
    ///
    /// # Errors
    /// An empty issuer, or a value that must not enter a certificate.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, ValueError> {
        if issuer.is_empty() {
            return Err(ValueError::Empty);
        }
        let mut extensions = Self {
            values: Default::default(),
        };
        extensions.insert(Extension::Issuer, issuer)?;
        extensions.insert(Extension::IssuerV2, issuer)?;
        extensions.insert(Extension::TokenSubject, subject)?;
        Ok(extensions)
    }

    /// Sets one value, replacing what stood there.
    ///
    /// # Errors
    /// A value that must not enter a certificate.
    pub fn insert(&mut self, extension: Extension, value: &str) -> Result<(), ValueError> {
        text::check(value)?;
        value.clone_into(&mut self.values[extension as usize]);
        Ok(())
    }

    /// The value of one extension, if it has one.
    pub fn value(&self, extension: Extension) -> Option<&str> {
        Some(self.values[extension as usize].as_str()).filter(|value| !value.is_empty())
    }

    /// All values, in the order in which a certificate carries them.
    pub fn iter(&self) -> impl Iterator<Item = (Extension, &str)> {
        Extension::ALL
            .into_iter()
            .filter_map(|extension| Some((extension, self.value(extension)?)))
    }

    /// Appends them as they stand in a certificate, none critical.
    ///
    /// ```text
    /// Extension ::= SEQUENCE { extnID OBJECT IDENTIFIER, extnValue OCTET STRING }
    /// ```
    pub(super) fn push_der(&self, out: &mut Vec<u8>) {
        for (extension, value) in self.iter() {
            let oid = [&ARC[..], &[extension.arc()]].concat();
            match extension.encoding() {
                Raw => push_extension(out, &oid, &[value.as_bytes()]),
                Utf8 => {
                    let header = der::header(der::UTF8_STRING, value.len());
                    push_extension(out, &oid, &[&header, value.as_bytes()]);
                }
            }
        }
    }
}

/// Appends one extension that is not critical.
pub(super) fn push_extension(out: &mut Vec<u8>, oid: &[u8], value: &[&[u8]]) {
    let id = der::tlv(der::OBJECT_IDENTIFIER, &[oid]);
    let value = der::tlv(der::OCTET_STRING, value);
    der::push(out, der::SEQUENCE, &[&id, &value]);
}

/// Appends one critical extension.
pub(super) fn push_critical_extension(out: &mut Vec<u8>, oid: &[u8], value: &[&[u8]]) {
    let id = der::tlv(der::OBJECT_IDENTIFIER, &[oid]);
    let critical = der::tlv(der::BOOLEAN, &[&[0xff]]);
    let value = der::tlv(der::OCTET_STRING, value);
    der::push(out, der::SEQUENCE, &[&id, &critical, &value]);
}

/// 1.3.6.1.4.1.57264.1, as content octets.
const ARC: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_enumeration_are_in_one_order_and_the_arcs_rise() {
        for (place, extension) in Extension::ALL.into_iter().enumerate() {
            assert_eq!(extension as usize, place);
        }
        let arcs: Vec<u8> = Extension::ALL
            .iter()
            .map(|extension| extension.arc())
            .collect();
        assert!(
            arcs.is_sorted() && !arcs.contains(&7),
            "7 is a name's type, not an extension: {arcs:?}"
        );
        assert_eq!(
            const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1").as_bytes(),
            ARC
        );
    }

    #[test]
    fn issuer_and_subject_cannot_be_filled_by_a_template() {
        assert_eq!(Extension::from_template_key("issuer"), None);
        assert_eq!(Extension::from_template_key("subject"), None);
        assert_eq!(
            Extension::from_template_key("build-trigger"),
            Some(Extension::BuildTrigger)
        );
        assert_eq!(Extension::from_template_key("Build-Trigger"), None);
    }

    #[test]
    fn a_certificate_without_an_issuer_cannot_be_described() {
        assert_eq!(Extensions::new("", "sub"), Err(ValueError::Empty));
    }

    #[test]
    fn values_come_back_from_der_in_both_encodings() {
        let mut extensions = Extensions::new("https://issuer.example", "é").unwrap();
        extensions
            .insert(Extension::GithubWorkflowTrigger, "push")
            .unwrap();
        extensions.insert(Extension::BuildTrigger, "push").unwrap();
        extensions
            .insert(Extension::DeploymentEnvironment, "")
            .unwrap();
        let mut out = Vec::new();
        extensions.push_der(&mut out);
        let mut rest = out.as_slice();
        let mut seen = Vec::new();
        while let Some((extension, after)) = der::expect(rest, der::SEQUENCE) {
            let (oid, value) = der::expect(extension.value, der::OBJECT_IDENTIFIER).unwrap();
            let (value, _) = der::expect(value, der::OCTET_STRING).unwrap();
            seen.push(Extension::read(oid.value, value.value).unwrap());
            rest = after;
        }
        assert_eq!(seen, extensions.iter().collect::<Vec<_>>());
        assert_eq!(seen.len(), 5, "an empty value is not written");
    }
}
