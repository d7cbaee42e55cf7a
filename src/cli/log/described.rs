//! What an entry of a log says, for people and for programs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use der::asn1::Utf8StringRef;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificate::extensions::Extension;
use crate::cli::hex;
use crate::ctlog::entry::{Certified, TileLeaf};
use crate::ctlog::merkle::leaf_hash;

/// An entry, read as far as it can be. Nothing in it is believed for being readable.
pub(super) struct Described {
    pub(super) index: u64,
    timestamp_ms: u64,
    is_precertificate: bool,
    leaf_hash: [u8; 32],
    serial: String,
    subject: String,
    issuer: String,
    validity: [String; 2],
    pub(super) names: Vec<String>,
    pub(super) extensions: Vec<(&'static str, String)>,
    chain: Vec<String>,
    certificate: Vec<u8>,
}

impl Described {
    /// Nothing, if the certificate cannot be read.
    pub(super) fn of(leaf: &TileLeaf) -> Option<Self> {
        let precertificate = leaf.precertificate.as_deref();
        let der = match (precertificate, leaf.body.certified()?) {
            (Some(der), _) | (None, Certified::Certificate(der)) => der,
            (None, Certified::Precertificate { .. }) => return None,
        };
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let names = tbs.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        let all = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        let extensions = all.iter().filter_map(|extension| {
            let oid = extension.extn_id.as_bytes();
            let (known, value) = Extension::read(oid, extension.extn_value.as_bytes())?;
            Some((known.name(), tame(value)))
        });
        let validity = tbs.validity();
        let time = |time: x509_cert::time::Time| {
            timestamp(OffsetDateTime::UNIX_EPOCH + time.to_unix_duration())
        };
        Some(Self {
            index: leaf.index,
            timestamp_ms: leaf.timestamp_ms,
            is_precertificate: precertificate.is_some(),
            leaf_hash: leaf_hash(&leaf.merkle_tree_leaf()),
            serial: hex(tbs.serial_number().as_bytes()),
            subject: tame(&tbs.subject().to_string()),
            issuer: tame(&tbs.issuer().to_string()),
            validity: [time(validity.not_before), time(validity.not_after)],
            names: names.iter().map(name).collect(),
            extensions: extensions.collect(),
            chain: leaf.chain.iter().map(|hash| hex(hash)).collect(),
            certificate: der.to_vec(),
        })
    }

    /// The kind of its entry, in the words of RFC 6962.
    const fn kind(&self) -> &'static str {
        match self.is_precertificate {
            true => "precert_entry",
            false => "x509_entry",
        }
    }

    /// The issuer of the token that the certificate was given for.
    pub(super) fn token_issuer(&self) -> Option<&str> {
        let mut all = self.extensions.iter();
        let found = all.find(|(name, _)| ["issuer", "issuer-v2"].contains(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn as_json(&self) -> Value {
        let extensions = self.extensions.iter();
        let extensions = extensions.map(|(name, value)| ((*name).to_owned(), value.clone().into()));
        json!({
            "index": self.index,
            "timestampMs": self.timestamp_ms,
            "kind": self.kind(),
            "leafHash": hex(&self.leaf_hash),
            "serial": self.serial,
            "subject": self.subject,
            "issuer": self.issuer,
            "notBefore": self.validity[0],
            "notAfter": self.validity[1],
            "names": self.names,
            "extensions": serde_json::Map::from_iter(extensions),
            "chain": self.chain,
            "certificate": STANDARD.encode(&self.certificate),
        })
    }

    /// One line for each thing it says.
    pub(super) fn lines(&self, log_id: &[u8; 32]) -> Vec<(String, String)> {
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let logged = i128::from(self.timestamp_ms) * 1_000_000;
        let logged = OffsetDateTime::from_unix_timestamp_nanos(logged).map(timestamp);
        let mut lines = vec![
            line("kind", self.kind()),
            line(
                "logged",
                &format!("{} ({} ms)", logged.unwrap_or_default(), self.timestamp_ms),
            ),
        ];
        lines.extend(self.names.iter().map(|name| line("name", name)));
        if !self.subject.is_empty() {
            lines.push(line("subject", &self.subject));
        }
        lines.push(line("issuer", &self.issuer));
        lines.push(line("serial", &self.serial));
        lines.push(line("valid", &self.validity.join(" to ")));
        lines.extend(
            self.extensions
                .iter()
                .map(|(name, value)| line(name, value)),
        );
        lines.extend(self.chain.iter().map(|hash| line("above it", hash)));
        lines.push(line("log id", &hex(log_id)));
        lines.push(line("leaf hash", &hex(&self.leaf_hash)));
        lines
    }
}

fn name(name: &GeneralName) -> String {
    let text = match name {
        GeneralName::Rfc822Name(text)
        | GeneralName::DnsName(text)
        | GeneralName::UniformResourceIdentifier(text) => text.as_str().to_owned(),
        GeneralName::OtherName(other) => {
            let text: Result<Utf8StringRef<'_>, _> = other.value.decode_as();
            let other = |_| format!("another kind of name: {}", other.type_id);
            text.map_or_else(other, |text| text.as_str().to_owned())
        }
        GeneralName::DirectoryName(name) => name.to_string(),
        GeneralName::EdiPartyName(_) | GeneralName::IpAddress(_) | GeneralName::RegisteredId(_) => {
            "another kind of name".to_owned()
        }
    };
    tame(&text)
}

/// A stranger's text must not drive a terminal.
fn tame(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn timestamp(time: OffsetDateTime) -> String {
    let seconds = time.to_offset(UtcOffset::UTC).truncate_to_second();
    seconds.format(&Rfc3339).unwrap_or_default()
}
