//! The levels of the configuration, from the whole document down to one template.

use super::Options;
use super::kinds::{self, DraftKind, KindSettings};
use super::mapping::{Level, Mapping, Parsed};
use super::providers::ProvidersLevel;
use super::url;
use crate::identity::ci::CiProvider;
use crate::identity::issuer::{Told, Which};
use crate::identity::outbound::{Reach, certificates};
use crate::identity::pattern::Pattern;
use serde::de::{IgnoredAny, MapAccess};
use std::collections::BTreeMap;

/// All that was read. What depends on other parts of the document is still to be checked.
#[derive(Default)]
pub(super) struct Document {
    pub(super) fixed: Vec<(String, Draft)>,
    pub(super) patterns: Vec<(String, Draft)>,
    pub(super) providers: Vec<(String, CiProvider)>,
    pub(super) warnings: Vec<String>,
}

/// An issuer whose CI provider is not looked up yet.
pub(super) struct Draft {
    pub(super) which: Which,
    pub(super) audience: String,
    pub(super) kind: DraftKind,
    pub(super) reach: Reach,
    pub(super) keys_host: Option<String>,
    pub(super) roots: Vec<Vec<u8>>,
    /// What the configuration says about it, if it does.
    pub(super) in_cluster: Option<bool>,
    pub(super) environment: String,
    pub(super) told: Told,
}

/// The reader of a whole document.
pub(super) fn document(options: Options) -> Mapping<DocumentLevel> {
    Mapping(DocumentLevel {
        options,
        document: Document::default(),
    })
}

pub(super) struct DocumentLevel {
    options: Options,
    document: Document,
}

impl Level for DocumentLevel {
    type Out = Document;

    fn spelling(key: &str) -> String {
        squash(key)
    }

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let Self { options, document } = self;
        let issuers = |fixed| {
            Mapping(IssuersLevel {
                options: *options,
                fixed,
                drafts: Vec::new(),
                warnings: Vec::new(),
            })
        };
        match squash(&key).as_str() {
            "oidcissuers" => {
                let (drafts, warnings) = access.next_value_seed(issuers(true))?;
                document.fixed = drafts;
                document.warnings.extend(warnings);
            }
            "metaissuers" => {
                let (drafts, warnings) = access.next_value_seed(issuers(false))?;
                document.patterns = drafts;
                document.warnings.extend(warnings);
            }
            "ciissuermetadata" => {
                let (providers, warnings) =
                    access.next_value_seed(Mapping(ProvidersLevel::default()))?;
                document.providers = providers;
                document.warnings.extend(warnings);
            }
            other => {
                // The customary place for anchors.
                if other != "define" {
                    document.warnings.push(unknown("the configuration", &key));
                }
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Document, String> {
        Ok(self.document)
    }
}

struct IssuersLevel {
    options: Options,
    fixed: bool,
    drafts: Vec<(String, Draft)>,
    warnings: Vec<String>,
}

impl Level for IssuersLevel {
    type Out = (Vec<(String, Draft)>, Vec<String>);

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let level = IssuerLevel {
            key: key.clone(),
            options: self.options,
            fixed: self.fixed,
            texts: BTreeMap::new(),
            skip_email_verification: false,
            internal: false,
            in_cluster: None,
            unknown: Vec::new(),
        };
        let (draft, unknown_keys) = access.next_value_seed(Mapping(level))?;
        let warnings = unknown_keys.iter().map(|name| unknown(&key, name));
        self.warnings.extend(warnings);
        self.drafts.push((key, draft));
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, String> {
        Ok((self.drafts, self.warnings))
    }
}

struct IssuerLevel {
    key: String,
    options: Options,
    fixed: bool,
    /// The text settings by their squashed names.
    texts: BTreeMap<&'static str, String>,
    skip_email_verification: bool,
    internal: bool,
    in_cluster: Option<bool>,
    unknown: Vec<String>,
}

impl Level for IssuerLevel {
    type Out = (Draft, Vec<String>);

    fn spelling(key: &str) -> String {
        squash(key)
    }

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let squashed = squash(&key);
        if let Some(name) = TEXTS.into_iter().find(|name| *name == squashed) {
            let text = access.next_value_seed(Parsed(|text: &str| Ok(text.to_owned())))?;
            self.texts.insert(name, text);
            return Ok(());
        }
        match squashed.as_str() {
            "skipemailverification" => {
                self.skip_email_verification = access.next_value::<Option<bool>>()? == Some(true);
            }
            "incluster" => self.in_cluster = access.next_value::<Option<bool>>()?,
            "internal" => self.internal = access.next_value::<Option<bool>>()? == Some(true),
            _ => {
                access.next_value::<IgnoredAny>()?;
                self.unknown.push(key);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Self::Out, String> {
        let mut text = |name: &str| self.texts.remove(name).unwrap_or_default();
        if self.fixed && text("issuerurl") != self.key {
            return Err("issuer-url must be the same text as the key".to_owned());
        }
        let reach = url::check(&self.key, !self.fixed, self.internal, self.options)?;
        let url = self.key.clone();
        let which = if self.fixed {
            Which::Fixed(self.key)
        } else {
            Which::Matching(Pattern::compile(&self.key)?)
        };
        let audience = text("clientid");
        if audience.is_empty() {
            return Err("client-id must not be empty: it is what tokens must be meant for".into());
        }
        let told = Told {
            challenge_claim: text("challengeclaim"),
            subject_domain: text("subjectdomain"),
            spiffe_trust_domain: text("spiffetrustdomain"),
        };
        let kind = kinds::read(&KindSettings {
            name: &text("type"),
            is_fixed: self.fixed,
            url: &url,
            ci_provider: &text("ciprovider"),
            issuer_claim: &text("issuerclaim"),
            name_prefix: &text("nameprefix"),
            skip_email_verification: self.skip_email_verification,
            told: &told,
        })?;
        if self.in_cluster == Some(true)
            && !(self.fixed && matches!(kind, DraftKind::Kubernetes(_)))
        {
            return Err(
                "in-cluster is for issuers of the type kubernetes in oidc-issuers only".to_owned(),
            );
        }
        let keys_host = text("jwkshost").to_ascii_lowercase();
        if keys_host.contains(['/', ':']) {
            return Err("jwks-host is a bare host, without port and path".to_owned());
        }
        if !keys_host.is_empty() {
            url::check(&format!("https://{keys_host}"), false, true, self.options)
                .map_err(|reason| format!("jwks-host: {reason}"))?;
        }
        let draft = Draft {
            which,
            audience,
            kind,
            reach,
            keys_host: Some(keys_host).filter(|host| !host.is_empty()),
            roots: roots(&text("cacert"))?,
            in_cluster: self.in_cluster,
            environment: text("environment"),
            told,
        };
        Ok((draft, self.unknown))
    }
}

/// The certificates of a `ca-cert`, in DER.
fn roots(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    if pem.trim().is_empty() {
        return Ok(Vec::new());
    }
    certificates(pem).ok_or_else(|| "ca-cert is not a certificate in PEM".to_owned())
}

pub(super) fn unknown(place: &str, key: &str) -> String {
    format!("{place}: the key {key:?} means nothing here and was ignored")
}

/// `issuer-url` of YAML and `IssuerURL` of JSON are one name, whatever its case.
pub(super) fn squash(key: &str) -> String {
    key.replace('-', "").to_ascii_lowercase()
}

/// The settings of an issuer whose value is text.
pub(super) const TEXTS: [&str; 14] = [
    "issuerurl",
    "clientid",
    "type",
    "ciprovider",
    "issuerclaim",
    "subjectdomain",
    "spiffetrustdomain",
    "challengeclaim",
    "cacert",
    "description",
    "contact",
    "environment",
    "jwkshost",
    "nameprefix",
];
