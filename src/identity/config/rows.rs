//! The levels of the configuration, from the whole document down to one template.

use super::Options;
use super::mapping::{Level, Mapping, Parsed};
use super::url;
use crate::certificate::extensions::Extension;
use crate::identity::ci::CiProvider;
use crate::identity::email::{ClaimPath, Email};
use crate::identity::issuer::{Told, Which};
use crate::identity::outbound::Reach;
use crate::identity::pattern::Pattern;
use crate::identity::template::Template;
use der::Encode as _;
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
    pub(super) told: Told,
}

pub(super) enum DraftKind {
    Email(Email),
    CiProvider(String),
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
        let which = if self.fixed {
            Which::Fixed(self.key)
        } else {
            Which::Matching(Pattern::compile(&self.key)?)
        };
        let audience = text("clientid");
        if audience.is_empty() {
            return Err("client-id must not be empty: it is what tokens must be meant for".into());
        }
        let issuer_claim = text("issuerclaim");
        let provider = text("ciprovider");
        let kind = match text("type").as_str() {
            "email" => DraftKind::Email(Email {
                issuer_claim: match issuer_claim.as_str() {
                    "" => None,
                    path => Some(ClaimPath::parse(path)?),
                },
                skip_verification: self.skip_email_verification,
            }),
            "ci-provider" if !issuer_claim.is_empty() => {
                return Err("only the type email can have an issuer-claim".to_owned());
            }
            "ci-provider" if provider.is_empty() => {
                return Err("the type ci-provider needs a ci-provider".to_owned());
            }
            "ci-provider" => DraftKind::CiProvider(provider),
            "" => return Err("the type is missing".to_owned()),
            other => {
                return Err(format!(
                    "the type {other:?} is not supported; there are {SUPPORTED}"
                ));
            }
        };
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
            told: Told {
                challenge_claim: text("challengeclaim"),
                subject_domain: text("subjectdomain"),
                spiffe_trust_domain: text("spiffetrustdomain"),
            },
        };
        Ok((draft, self.unknown))
    }
}

/// The certificates of a `ca-cert`, in DER.
fn roots(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    if pem.trim().is_empty() {
        return Ok(Vec::new());
    }
    let roots: Option<Vec<Vec<u8>>> = x509_cert::Certificate::load_pem_chain(pem.as_bytes())
        .ok()
        .filter(|chain| !chain.is_empty())
        .and_then(|chain| chain.iter().map(|root| root.to_der().ok()).collect());
    roots.ok_or_else(|| "ca-cert is not a certificate in PEM".to_owned())
}

#[derive(Default)]
struct ProvidersLevel {
    providers: Vec<(String, CiProvider)>,
    warnings: Vec<String>,
}

impl Level for ProvidersLevel {
    type Out = (Vec<(String, CiProvider)>, Vec<String>);

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let (provider, unknown_keys) = access.next_value_seed(Mapping(ProviderLevel::default()))?;
        let warnings = unknown_keys.iter().map(|name| unknown(&key, name));
        self.warnings.extend(warnings);
        self.providers.push((key, provider));
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, String> {
        Ok((self.providers, self.warnings))
    }
}

#[derive(Default)]
struct ProviderLevel {
    defaults: BTreeMap<String, String>,
    extensions: Vec<(Extension, Template)>,
    name: Option<Template>,
    unknown: Vec<String>,
}

impl Level for ProviderLevel {
    type Out = (CiProvider, Vec<String>);

    fn spelling(key: &str) -> String {
        squash(key)
    }

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        match squash(&key).as_str() {
            "defaulttemplatevalues" => {
                self.defaults = access.next_value_seed(Mapping(DefaultsLevel::default()))?;
            }
            "extensiontemplates" => {
                let (extensions, unknown) =
                    access.next_value_seed(Mapping(TemplatesLevel::default()))?;
                self.extensions = extensions;
                self.unknown.extend(unknown);
            }
            "subjectalternativenametemplate" => {
                self.name = access.next_value_seed(Parsed(template))?;
            }
            _ => {
                access.next_value::<IgnoredAny>()?;
                self.unknown.push(key);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, String> {
        let Some(name) = self.name else {
            return Err("subject-alternative-name-template must not be empty".to_owned());
        };
        let provider = CiProvider {
            defaults: self.defaults,
            name,
            extensions: self.extensions,
        };
        Ok((provider, self.unknown))
    }
}

#[derive(Default)]
struct DefaultsLevel(BTreeMap<String, String>);

impl Level for DefaultsLevel {
    type Out = BTreeMap<String, String>;

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let value = access.next_value_seed(Parsed(|text: &str| Ok(text.to_owned())))?;
        self.0.insert(key, value);
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, String> {
        Ok(self.0)
    }
}

#[derive(Default)]
struct TemplatesLevel {
    templates: Vec<(Extension, Template)>,
    unknown: Vec<String>,
}

impl Level for TemplatesLevel {
    type Out = (Vec<(Extension, Template)>, Vec<String>);

    fn spelling(key: &str) -> String {
        squash(key)
    }

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let squashed = squash(&key);
        let extension = Extension::ALL
            .into_iter()
            .find(|extension| squash(extension.name()) == squashed)
            .and_then(|extension| Extension::from_template_key(extension.name()));
        let template = access.next_value_seed(Parsed(template))?;
        match (extension, template) {
            (Some(extension), Some(template)) => self.templates.push((extension, template)),
            // A blank template is none.
            (Some(_), None) => {}
            (None, _) => self.unknown.push(key),
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, String> {
        Ok((self.templates, self.unknown))
    }
}

fn template(text: &str) -> Result<Option<Template>, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn unknown(place: &str, key: &str) -> String {
    format!("{place}: the key {key:?} means nothing here and was ignored")
}

/// `issuer-url` of YAML and `IssuerURL` of JSON are one name, whatever its case.
fn squash(key: &str) -> String {
    key.replace('-', "").to_ascii_lowercase()
}

/// The settings of an issuer whose value is text.
const TEXTS: [&str; 13] = [
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
];

const SUPPORTED: &str = "email and ci-provider";
