//! The CI providers of a configuration: what their claims must be and how these become values.

use super::mapping::{Level, Mapping, Parsed};
use super::rows::{squash, unknown};
use crate::certificate::extensions::Extension;
use crate::identity::ci::{CiProvider, ClaimRule, Value};
use crate::identity::template::Template;
use serde::de::{IgnoredAny, MapAccess};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct ProvidersLevel {
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
    rules: Vec<(String, ClaimRule)>,
    joined: Vec<String>,
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
            "claims" => {
                self.rules = access.next_value_seed(Mapping(RulesLevel::default()))?;
            }
            "joined" => self.joined = access.next_value()?,
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
        let is_there = |joined: &&String| {
            *joined != NAME && self.extensions.iter().all(|(one, _)| one.name() != *joined)
        };
        if let Some(stray) = self.joined.iter().find(is_there) {
            return Err(format!("joined: there is no template for {stray:?}"));
        }
        let value = |called: &str, template| Value {
            template,
            is_joined: self.joined.iter().any(|joined| joined == called),
        };
        let extensions = self.extensions.into_iter();
        let provider = CiProvider {
            defaults: self.defaults,
            rules: self.rules,
            name: value(NAME, name),
            extensions: extensions
                .map(|(extension, template)| (extension, value(extension.name(), template)))
                .collect(),
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
struct RulesLevel(Vec<(String, ClaimRule)>);

impl Level for RulesLevel {
    type Out = Vec<(String, ClaimRule)>;

    fn entry<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        access: &mut A,
    ) -> Result<(), A::Error> {
        let rule = access.next_value_seed(Parsed(rule))?;
        self.0.push((key, rule));
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, String> {
        Ok(self.0)
    }
}

fn rule(text: &str) -> Result<ClaimRule, String> {
    match text {
        "text" => Ok(ClaimRule::Text),
        "optional" => Ok(ClaimRule::Optional),
        "number" => Ok(ClaimRule::Number),
        several if several.contains('|') => {
            let texts = several.split('|').map(|one| one.trim().to_owned());
            Ok(ClaimRule::OneOf(texts.collect()))
        }
        other => Err(format!(
            "a claim is `text`, `optional`, `number` or one of several, as in `branch | tag`, not {other:?}"
        )),
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

/// What `joined` calls the certificate's name.
const NAME: &str = "subject-alternative-name";
