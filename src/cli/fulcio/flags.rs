//! Fulcio's flags: which there are, what becomes of each, and where their values come from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

/// A flag of `fulcio serve`.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    /// Fulcio's, which holds here as well unless `becomes` says otherwise.
    pub(super) default: &'static str,
    pub(super) stance: Stance,
    /// What becomes of it, or what to do instead.
    pub(super) becomes: &'static str,
}

/// How a flag is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    /// It means what it means in Fulcio.
    Honoured,
    /// It is turned into something of ours that is not quite the same.
    Translated,
    /// It is taken and nothing comes of it; a warning says so.
    WithoutEffect,
    /// A value of it ends the start.
    Refused,
}

impl Stance {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Translated => "translated",
            Self::WithoutEffect => "without effect",
            Self::Refused => "refused",
        }
    }
}

/// The flags that stand on the command line.
#[derive(Default)]
pub(in crate::cli) struct Flags(BTreeMap<&'static str, String>);

/// Every value that somebody gave, by the flag's name, from whoever is to be believed first: the
/// command line, the environment, the file of settings.
#[derive(Default)]
pub(super) struct Given {
    values: BTreeMap<&'static str, (String, String)>,
    pub(super) warnings: Vec<String>,
}

impl Flags {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them, for a message.
    pub(super) fn first(&self) -> Option<&'static str> {
        self.0.keys().next().copied()
    }

    #[cfg(test)]
    pub(super) fn of(values: &[(&'static str, &str)]) -> Self {
        let values = values.iter();
        Self(values.map(|(name, v)| (*name, (*v).to_owned())).collect())
    }
}

impl fmt::Debug for Flags {
    /// Without the passphrase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| match *name {
            "fileca-key-passwd" if !value.is_empty() => (name, "…"),
            _ => (name, value.as_str()),
        });
        f.debug_map().entries(shown).finish()
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().filter(|flag| flag.name != "config").fold(
            command.next_help_heading("Fulcio's flags, see docs/fulcio.md"),
            |command, flag| {
                let argument = Arg::new(flag.name)
                    .long(flag.name)
                    .aliases(flag.aliases)
                    .value_name("VALUE")
                    .hide_short_help(true)
                    .help(format!("{}: {}", flag.stance.word(), flag.becomes));
                // As Go's pflag: the last one counts, lists grow, and a switch takes its value with
                // an equals sign only.
                command.arg(match flag.name {
                    "client-signing-algorithms" => argument.action(ArgAction::Append),
                    "fileca-watch" => argument
                        .num_args(0..=1)
                        .require_equals(true)
                        .default_missing_value("true")
                        .overrides_with(flag.name),
                    _ => argument.allow_hyphen_values(true).overrides_with(flag.name),
                })
            },
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = FLAGS.iter().filter(|flag| flag.name != "config");
        let given = flags.filter_map(|flag| {
            let values = matches.get_many::<String>(flag.name)?;
            let values: Vec<&str> = values.map(String::as_str).collect();
            Some((flag.name, values.join(",")))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Given {
    /// Puts together what was given. `environment` may have anything in it; an empty value there
    /// counts as none, as it does for Fulcio.
    pub(super) fn gather(
        flags: Flags,
        environment: &[(String, String)],
        file: Option<(&Path, BTreeMap<String, Value>)>,
    ) -> Result<Self, String> {
        let mut given = Self::default();
        if let Some((path, settings)) = file {
            let path = path.display();
            for (key, value) in flattened(settings) {
                let Some(flag) = flag(&key) else {
                    let warning = format!("{path}: {key} is not a flag of Fulcio; it is ignored");
                    given.warnings.push(warning);
                    continue;
                };
                let value = text_of(&value)
                    .ok_or_else(|| format!("{path}: {key} has a value that is not plain"))?;
                let origin = format!("{key} in {path}");
                given.values.insert(flag.name, (value, origin));
            }
        }
        for (name, value) in environment {
            let Some(of_fulcio) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let Some(flag) = flag_of_variable(of_fulcio) else {
                let warning = format!("{name} is not a setting of Fulcio; it is ignored");
                given.warnings.push(warning);
                continue;
            };
            let known = given.values.get(flag.name);
            if let Some((other, origin)) = known.filter(|(_, origin)| origin.starts_with(PREFIX))
                && other != value
            {
                return Err(format!(
                    "{name} and {origin} are the same setting with two values"
                ));
            }
            given
                .values
                .insert(flag.name, (value.clone(), name.clone()));
        }
        for (name, value) in flags.0 {
            given.values.insert(name, (value, format!("--{name}")));
        }
        Ok(given)
    }

    /// What was given for a flag, empty or not.
    pub(super) fn explicit(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(value, _)| value.as_str())
    }

    /// What was given or else is Fulcio's default.
    pub(super) fn value(&self, name: &str) -> &str {
        let default = || flag(name).map_or("", |flag| flag.default);
        self.explicit(name).unwrap_or_else(default)
    }

    /// How a value came, for a message: `--ca`, or a variable, or a key in a file.
    pub(super) fn origin(&self, name: &str) -> String {
        let origin = self.values.get(name).map(|(_, origin)| origin.clone());
        origin.unwrap_or_else(|| format!("--{name}"))
    }

    /// The flags that were given a value, in the order of their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.values.keys().copied()
    }
}

/// The flag of a name, in any case, as Fulcio's settings are.
pub(super) fn flag(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| {
        let names = std::iter::once(&flag.name).chain(flag.aliases);
        names.into_iter().any(|one| one.eq_ignore_ascii_case(name))
    })
}

/// The flag that a variable without its prefix means: by Fulcio's own spelling, in which hyphens and
/// dots stay, or by the one a shell can set.
pub(super) fn flag_of_variable(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| {
        let literal = flag.name.to_ascii_uppercase();
        name == literal || name == literal.replace(['-', '.'], "_")
    })
}

/// Keys of mappings within, joined by dots.
fn flattened(settings: BTreeMap<String, Value>) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (key, value) in settings {
        match value {
            Value::Object(inner) => {
                let inner = inner.into_iter();
                flat.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                flat.push((key, value));
            }
        }
    }
    flat
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(text_of).collect();
            items.map(|items| items.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

const fn row(
    name: &'static str,
    default: &'static str,
    stance: Stance,
    becomes: &'static str,
) -> Flag {
    Flag {
        name,
        aliases: &[],
        default,
        stance,
        becomes,
    }
}

const fn with_alias(flag: Flag, aliases: &'static [&'static str]) -> Flag {
    Flag { aliases, ..flag }
}

/// What Fulcio's variables begin with.
pub(super) const PREFIX: &str = "FULCIO_SERVE_";

const PKCS11: &str = "belongs to --ca pkcs11ca, which is refused";
const KMS: &str = "belongs to --ca kmsca, which is refused";
const TINK: &str = "belongs to --ca tinkca, which is refused";
const GOOGLE: &str = "belongs to --ca googleca, which is refused";

/// Every flag of `fulcio serve`. `docs/fulcio.md` shows this table.
#[rustfmt::skip]
pub(super) const FLAGS: [Flag; 36] = {
    use Stance::{Honoured, Refused, Translated, WithoutEffect};
    [
        row("config", "", Translated, "Fulcio's file of settings, in YAML or JSON; other formats are refused. The same flag names Vouchsafe's own vouchsafe.yaml, which goes together with none of these flags"),
        row("log_type", "dev", Honoured, "dev writes text and prod writes JSON, both to standard error"),
        row("ca", "", Honoured, "fileca and ephemeralca; every other one is refused"),
        row("config-path", "/etc/fulcio-config/config.yaml", Honoured, "the issuers, followed while the server runs; beside the default path config.json is looked for too. There are no built-in issuers: a missing file is refused"),
        row("ct-log-url", "http://localhost:6962/test", Translated, "somebody else's log, for which --ct-log-public-key-path must be set. Where nothing is said that is the built-in log and not Fulcio's default; an empty value and the built-in log's own address mean it too"),
        row("ct-log-origin", "", Honoured, "the Host header towards somebody else's log; of a tiled log's origin the part before the path. The built-in log is named after --public-url"),
        row("ct-log-public-key-path", "", Honoured, "the key that somebody else's log must sign with, ECDSA on P-256; mandatory with such a log. Without one it must hold the key of the built-in log"),
        row("ct-log.tls-ca-cert", "", Honoured, "the CA certificates for somebody else's log, instead of the system's; refused without such a log"),
        with_alias(row("host", "0.0.0.0", Honoured, "the main listener, for HTTP and gRPC"), &["http-host"]),
        with_alias(row("port", "8080", Honoured, "the main listener, for HTTP and gRPC"), &["http-port"]),
        row("grpc-host", "0.0.0.0", Honoured, "the second listener"),
        row("grpc-port", "8081", Honoured, "the second listener; there is none if it is the main one"),
        row("metrics-port", "2112", Honoured, "metrics, on all addresses"),
        row("grpc-tls-certificate", "", Honoured, "the certificate of the second listener"),
        row("grpc-tls-key", "", Honoured, "the key of the second listener"),
        row("fileca-cert", "", Honoured, "the chain, the issuing certificate first"),
        row("fileca-key", "", Honoured, "the issuing certificate's key"),
        row("fileca-key-passwd", "", Honoured, "opens the key; not needed for a key that is not encrypted. Everybody on the machine can read a command line: better set FULCIO_SERVE_FILECA_KEY_PASSWD"),
        row("fileca-watch", "true", Refused, "true is refused where somebody says it: chain and key are read at the start only. Leave it out or say false, and restart for a new certificate"),
        row("client-signing-algorithms", "", Translated, "must hold the seven that Fulcio has by default, which cannot be narrowed; ed25519-ph and RSA-PSS, which no request can use, may be named"),
        row("read-header-timeout", "10s", WithoutEffect, "headers must arrive within five seconds"),
        row("idle-connection-timeout", "30s", WithoutEffect, "idle connections are closed after five seconds"),
        row("legacy-unix-domain-socket", "@fulcio-legacy-grpc-socket", WithoutEffect, "the first version of the API needs no socket of its own"),
        row("hsm-caroot-id", "", WithoutEffect, PKCS11),
        row("hsm-key-label", "PKCS11CA", WithoutEffect, PKCS11),
        row("pkcs11-config-path", "config/crypto11.conf", WithoutEffect, PKCS11),
        row("aws-hsm-root-ca-path", "", WithoutEffect, PKCS11),
        row("kms-resource", "", WithoutEffect, KMS),
        row("kms-cert-chain-path", "", WithoutEffect, KMS),
        row("gcp-kms-retries", "0", WithoutEffect, KMS),
        row("gcp-kms-timeout", "0", WithoutEffect, KMS),
        row("tink-kms-resource", "", WithoutEffect, TINK),
        row("tink-cert-chain-path", "", WithoutEffect, TINK),
        row("tink-keyset-path", "", WithoutEffect, TINK),
        row("gcp_private_ca_parent", "", WithoutEffect, GOOGLE),
        row("gcp_private_ca_version", "", WithoutEffect, GOOGLE),
    ]
};
