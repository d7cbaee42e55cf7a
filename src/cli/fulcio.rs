//! `vouchsafe serve`, started as Fulcio is: its flags, its environment and its file of settings,
//! turned into a configuration of ours in memory. What cannot be honoured is refused by name.

mod flags;
mod log;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub(super) use self::flags::Flags;
use self::flags::{Given, PREFIX, Stance, flag, flag_of_variable};
use super::Failure;
use crate::authority::file::read_text;
use crate::authority::hierarchy::{Curve, Hierarchy};
use crate::certificate::profile::SerialNumber;
use crate::config::fresh::{self, Entropy};
use crate::config::{
    AuthorityFiles, AuthorityMemory, AuthoritySettings, Config, DEFAULT_AUDIT_SECONDS,
    DEFAULT_CTLOG_SECONDS, DEFAULT_RELOAD_SECONDS, Development, LedgerSettings, Limits,
    LogSettings, Secret, Services, Settings, Tls,
};
use crate::issuance::RateLimits;
use crate::telemetry::LogFormat;

/// What Fulcio has no flag for.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Beside Fulcio's flags")]
pub(super) struct Own {
    /// Where log and ledger are kept, made at the first start; $STATE_DIRECTORY or /var/lib/vouchsafe
    #[arg(long, env = "VOUCHSAFE_DATA_DIR", hide_short_help = true)]
    data_dir: Option<PathBuf>,
    /// The origin at which clients reach the server; the log is named after it for good
    #[arg(long, env = "VOUCHSAFE_PUBLIC_URL", hide_short_help = true)]
    public_url: Option<String>,
    /// For development only: trust issuers at http:// addresses on loopback
    #[arg(long, hide_short_help = true)]
    allow_http_loopback_issuers: bool,
}

/// Whether somebody starts Fulcio here, and with what.
pub(super) struct Start {
    given: Given,
    own: Own,
}

/// A configuration, and what should be said about it once there is a log to say it in.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) config: Config,
    pub(super) warnings: Vec<String>,
}

impl Start {
    /// Nothing, if neither the command line nor `environment` nor `file` has anything of Fulcio's.
    /// `positional` is what else stands on the command line: the program's own name, where an image
    /// has it already.
    pub(super) fn recognise(
        flags: Flags,
        own: Own,
        environment: &[(String, String)],
        file: Option<&Path>,
    ) -> Result<Option<Self>, Failure> {
        let of_fulcio = |(name, value): &&(String, String)| {
            let name = name.strip_prefix(PREFIX);
            !value.is_empty() && name.is_some_and(|name| flag_of_variable(name).is_some())
        };
        let variable = environment.iter().find(of_fulcio);
        let reason = flags.first().map(|name| format!("--{name}"));
        let reason = reason.or_else(|| variable.map(|(name, _)| name.clone()));
        let Some(path) = file else {
            if reason.is_none() {
                return own.refuse_alone().map(|()| None);
            }
            let given = Given::gather(flags, environment, None)?;
            return Ok(Some(Self { given, own }));
        };
        let settings = match settings_of_fulcio(path) {
            Ok(Some(settings)) => settings,
            Ok(None) => {
                if let Some(reason) = reason {
                    let path = path.display();
                    return Err(format!("{path} is Vouchsafe's own configuration, with which {reason} does not go together: leave out one of them").into());
                }
                return own.refuse_alone().map(|()| None);
            }
            // Of our own files the reader of configurations knows to tell what is wrong.
            Err(_) if reason.is_none() && flags.is_empty() && !is_foreign(path) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let given = Given::gather(flags, environment, Some((path, settings)))?;
        Ok(Some(Self { given, own }))
    }

    /// Turns it all into a configuration, and makes log and ledger at the first start.
    pub(super) async fn prepare(
        self,
        state_directory: Option<&str>,
        entropy: &Entropy,
        now: OffsetDateTime,
    ) -> Result<Translated, Failure> {
        let data = self.own.data_directory(state_directory);
        let (settings, mut warnings) = self.translate(&data, entropy, now)?;
        let config = Config::from_settings(Path::new("the command line"), settings)?;
        let unique: String = entropy.passphrase[..8]
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        // A mistake in what is given must not leave a log behind.
        config.issuers()?;
        config.authority(now).await?;
        self.check_log(&config, &data)?;
        if fresh::create_state(&data, &config, &unique, now).await? {
            let (log, data) = (config.log_names(), data.display());
            warnings.push(match config.has_own_log() {
                true => format!("a new transparency log, {log}, was made in {data}: keep that directory, what was issued can only be checked with it"),
                false => format!("a new ledger was made in {data}: keep that directory, only there it says what was issued to whom"),
            });
        }
        Ok(Translated { config, warnings })
    }

    fn translate(
        &self,
        data: &Path,
        entropy: &Entropy,
        now: OffsetDateTime,
    ) -> Result<(Settings, Vec<String>), Failure> {
        let given = &self.given;
        let mut warnings = given.warnings.clone();
        for name in given.names() {
            if let Some(flag) = flag(name).filter(|flag| flag.stance == Stance::WithoutEffect) {
                let origin = given.origin(name);
                warnings.push(format!("{origin} is without effect: {}", flag.becomes));
            }
        }
        // First of all, since it is what most start attempts lack.
        let authority = self.authority(entropy, now)?;
        let listen = self.address("host", "port")?;
        let grpc = self.address("grpc-host", "grpc-port")?;
        let metrics = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port("metrics-port")?);
        let public_url = match &self.own.public_url {
            Some(url) => url.clone(),
            None => {
                let url = format!("http://localhost:{}", listen.port());
                warnings.push(format!("--public-url is not set: {url} stands in every trust file, and the log is named after it for good"));
                url
            }
        };
        let ctlog = self.ctlog(&public_url, listen, &mut warnings)?;
        self.check_algorithms(&mut warnings)?;
        if given.explicit("fileca-watch").is_some_and(is_true) {
            return Err(self.refusal("fileca-watch"));
        }
        let state = data.join(fresh::STATE);
        // What is about to be made has these; what an earlier version made has not.
        let present = |name| {
            let path = state.join("log").join(name);
            (path.exists() || !state.exists()).then_some(path)
        };
        let settings = Settings {
            public_url,
            listen,
            grpc_listen: (grpc != listen).then_some(grpc),
            metrics_listen: Some(metrics),
            tls: None,
            grpc_tls: self.grpc_tls(grpc != listen)?,
            issuers: self.issuers_file()?,
            reload_seconds: DEFAULT_RELOAD_SECONDS,
            environments: None,
            authority,
            retired_authorities: Vec::new(),
            database: None,
            database_password: None,
            log: ctlog.is_none().then(|| LogSettings {
                note_key: present(fresh::NOTE_KEY),
                high_water: present(fresh::HIGH_WATER),
                ..LogSettings::new(state.join("log/log.sqlite"), state.join("log/key.pem"))
            }),
            retired_logs: Vec::new(),
            ctlog,
            ctlog_seconds: DEFAULT_CTLOG_SECONDS,
            ledger: LedgerSettings {
                database: state.join("ledger.sqlite"),
                audit_seconds: DEFAULT_AUDIT_SECONDS,
            },
            services: Services::default(),
            // Fulcio has no limits, and its deployments have proxies in front that we know nothing of.
            limits: Limits {
                connections_per_address: Limits::default().connections,
                ..Limits::default()
            },
            rate_limits: RateLimits {
                enabled: false,
                ..RateLimits::default()
            },
            trusted_proxies: Vec::new(),
            audit: None,
            log_format: match given.value("log_type") {
                "dev" => LogFormat::Text,
                "prod" => LogFormat::Json,
                other => {
                    let origin = given.origin("log_type");
                    return Err(format!("{origin} is {other:?}; it is dev or prod").into());
                }
            },
            development: Development {
                allow_http_loopback_issuers: self.own.allow_http_loopback_issuers,
            },
        };
        Ok((settings, warnings))
    }

    fn authority(
        &self,
        entropy: &Entropy,
        now: OffsetDateTime,
    ) -> Result<AuthoritySettings, Failure> {
        let given = &self.given;
        let path = |name: &str, what: &str| match given.value(name) {
            "" => Err(format!(
                "{name} must be set to the path of {what} when using fileca"
            )),
            path => Ok(PathBuf::from(path)),
        };
        match given.value("ca") {
            "" => Err("required flag \"ca\" not set; or was this to be Vouchsafe's own --config?".into()),
            "fileca" => Ok(AuthoritySettings::Files(AuthorityFiles {
                chain: path("fileca-cert", "a certificate chain")?,
                key: path("fileca-key", "a private key")?,
                passphrase: match given.value("fileca-key-passwd") {
                    "" => None,
                    secret => Some(Secret::Given(Zeroizing::new(secret.to_owned()))),
                },
            })),
            "ephemeralca" => {
                let serials = entropy.serials.map(SerialNumber::from_random);
                let name = "Vouchsafe ephemeral";
                let Hierarchy { root, intermediate } =
                    Hierarchy::create(name, name, Curve::P256, serials, now)?;
                Ok(AuthoritySettings::Memory(AuthorityMemory {
                    chain_pem: intermediate.certificate_pem + &root.certificate_pem,
                    private_key_der: intermediate.private_key_der,
                }))
            }
            other @ ("kmsca" | "pkcs11ca" | "googleca" | "tinkca") => Err(format!(
                "{}={other} cannot be honoured: the key must be in a file for now. Use --ca fileca with --fileca-cert and --fileca-key",
                given.origin("ca")
            )
            .into()),
            other => Err(format!(
                "{}={other} is not a valid selection. Try: fileca, ephemeralca",
                given.origin("ca")
            )
            .into()),
        }
    }

    fn address(&self, host: &str, port: &str) -> Result<SocketAddr, Failure> {
        let number = self.port(port)?;
        let name = self.given.value(host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() {
            return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), number));
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, number));
        }
        let found = (bare, number).to_socket_addrs().ok();
        let found = found.and_then(|mut found| found.find(SocketAddr::is_ipv4));
        found.ok_or_else(|| {
            let origin = self.given.origin(host);
            format!("{origin} is {name:?}, which is no address to listen on").into()
        })
    }

    fn port(&self, name: &str) -> Result<u16, Failure> {
        let text = self.given.value(name);
        text.parse().map_err(|_| {
            let origin = self.given.origin(name);
            format!("{origin} is {text:?}, which is no port").into()
        })
    }

    fn grpc_tls(&self, has_listener: bool) -> Result<Option<Tls>, Failure> {
        let certificate = self.given.value("grpc-tls-certificate");
        let key = self.given.value("grpc-tls-key");
        match (certificate, key) {
            ("", "") => Ok(None),
            ("", _) | (_, "") => {
                Err("grpc-tls-certificate and grpc-tls-key must be set together".into())
            }
            (_, _) if !has_listener => Err("grpc-tls-certificate needs a --grpc-port of its own: the main listener speaks HTTP in plain text as well".into()),
            (certificate, key) => Ok(Some(Tls {
                certificate: certificate.into(),
                key: key.into(),
            })),
        }
    }

    /// Fulcio goes on with issuers of its own where the file is missing. Whom to believe is nothing
    /// to be guessed.
    fn issuers_file(&self) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(self.given.value("config-path"));
        if path.exists() {
            return Ok(path);
        }
        let json = path.with_extension("json");
        if self.given.explicit("config-path").is_none() && json.exists() {
            return Ok(json);
        }
        let (origin, path) = (self.given.origin("config-path"), path.display());
        Err(format!("{origin}: there is no {path}; there are no built-in issuers, so name the file with the trusted ones").into())
    }

    fn check_algorithms(&self, warnings: &mut Vec<String>) -> Result<(), Failure> {
        let name = "client-signing-algorithms";
        let Some(text) = self.given.explicit(name) else {
            return Ok(());
        };
        let origin = self.given.origin(name);
        let separators = |c: char| c == ',' || c.is_whitespace();
        let named: Vec<&str> = text
            .split(separators)
            .filter(|one| !one.is_empty())
            .collect();
        for one in &named {
            if UNUSABLE_ALGORITHMS.contains(one) {
                warnings.push(format!("{origin}: no request can use {one}"));
            } else if OTHER_HASHES.contains(one) {
                return Err(format!("{origin}: {one} cannot be honoured, each curve has the hash of its own size; leave it out").into());
            } else if !ALGORITHMS.contains(one) {
                return Err(format!("{origin}: {one:?} is not a known algorithm").into());
            }
        }
        match ALGORITHMS.iter().find(|one| !named.contains(one)) {
            Some(missing) if !named.is_empty() => Err(format!("{origin} leaves out {missing}, which cannot be turned off; name all seven that Fulcio has by default, or none").into()),
            Some(_) | None => Ok(()),
        }
    }

    /// By the table's sentence.
    fn refusal(&self, name: &str) -> Failure {
        let becomes = flag(name).map_or("", |flag| flag.becomes);
        format!("{} cannot be honoured: {becomes}", self.given.origin(name)).into()
    }
}

impl Own {
    /// Nothing of this may be said beside our own configuration, which has settings for it.
    fn refuse_alone(&self) -> Result<(), Failure> {
        let Self {
            data_dir,
            public_url,
            allow_http_loopback_issuers,
        } = self;
        let is_given = data_dir.is_some() || public_url.is_some() || *allow_http_loopback_issuers;
        match is_given {
            true => Err("--data-dir, --public-url and --allow-http-loopback-issuers go together with Fulcio's flags; vouchsafe.yaml has settings for them".into()),
            false => Ok(()),
        }
    }

    fn data_directory(&self, state_directory: Option<&str>) -> PathBuf {
        // A service manager separates several by colons.
        let state = state_directory.and_then(|state| state.split(':').next());
        let state = state.filter(|state| !state.is_empty());
        let own = self.data_dir.clone();
        own.unwrap_or_else(|| PathBuf::from(state.unwrap_or("/var/lib/vouchsafe")))
    }
}

/// Whether a word beside the flags is the program's name said again, as images and compose files do.
pub(super) fn is_program_name(word: &str) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default();
    ["serve", "fulcio", "fulcio-server", "vouchsafe"]
        .iter()
        .any(|known| name == *known)
}

/// What stands in a file, if it is Fulcio's; nothing, if it is our own.
fn settings_of_fulcio(path: &Path) -> Result<Option<BTreeMap<String, Value>>, String> {
    if is_foreign(path) {
        let path = path.display();
        return Err(format!(
            "{path}: settings are read from YAML and JSON only; write them as one of these"
        ));
    }
    let text = read_text(path).map_err(|error| error.to_string())?;
    let settings: BTreeMap<String, Value> =
        yaml_serde::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let is_of_fulcio = settings.keys().any(|key| flag(key).is_some());
    Ok(is_of_fulcio.then_some(settings))
}

/// Whether the name says that it is in a format that Fulcio reads and we do not.
fn is_foreign(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    FOREIGN.iter().any(|foreign| extension == *foreign)
}

/// As Go reads it.
fn is_true(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&text)
}

const FOREIGN: [&str; 9] = [
    "toml",
    "properties",
    "props",
    "prop",
    "hcl",
    "tfvars",
    "dotenv",
    "env",
    "ini",
];

/// What every request may use.
const ALGORITHMS: [&str; 7] = [
    "rsa-sign-pkcs1-2048-sha256",
    "rsa-sign-pkcs1-3072-sha256",
    "rsa-sign-pkcs1-4096-sha256",
    "ecdsa-sha2-256-nistp256",
    "ecdsa-sha2-384-nistp384",
    "ecdsa-sha2-512-nistp521",
    "ed25519",
];
/// What Fulcio can name and no request of its API can use.
const UNUSABLE_ALGORITHMS: [&str; 4] = [
    "ed25519-ph",
    "rsa-sign-pss-2048-sha256",
    "rsa-sign-pss-3072-sha256",
    "rsa-sign-pss-4096-sha256",
];
const OTHER_HASHES: [&str; 2] = ["ecdsa-sha2-256-nistp384", "ecdsa-sha2-256-nistp521"];

#[cfg(test)]
mod tests;
