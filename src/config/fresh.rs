//! A new deployment: keys, certificates, databases and the files that name them.

mod place;
mod server;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::pem::LineEnding;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use place::{Place, hold, mark_unfinished, put};
pub(super) use place::{make_directory, sync_directories, write};
pub(super) use server::finish_mark;

use super::{Config, ConfigError, LogConfig};
use crate::authority::file::Passphrase;
use crate::authority::hierarchy::{
    Curve, Hierarchy, HierarchyError, encrypt_private_key, new_p256_key,
};
use crate::authority::key::KeyError;
use crate::certificate::profile::SerialNumber;
use crate::ctlog::note::NoteKey;
use crate::ctlog::signer::{self, LogSigner};
use crate::ctlog::{self, Log, LogError};
use crate::database::DatabaseError;
use crate::ledger::{Ledger, LedgerError};

/// What a new deployment is to be.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The origin at which clients will reach it.
    pub public_url: &'a str,
    /// Where it will listen.
    pub listen: std::net::SocketAddr,
    /// The organisation in both certificates.
    pub organization: &'a str,
    /// The beginning of both certificates' common name.
    pub common_name: &'a str,
    /// The curve of the issuing key.
    pub curve: Curve,
    /// The file with the passphrase for the keys; without one a random passphrase is made.
    pub passphrase_file: Option<PathBuf>,
    /// The PostgreSQL database for log and ledger; without one they are in files.
    pub database: Option<&'a str>,
    /// The file with the password there.
    pub database_password_file: Option<PathBuf>,
    /// The issuers' file, as text.
    pub issuers: &'a str,
    /// Whether it is to trust issuers over plain HTTP on loopback.
    pub development: bool,
}

/// What a new log that runs alone is to be.
#[derive(Debug)]
pub struct LogPlan<'a> {
    /// The origin at which clients will reach it.
    pub public_url: &'a str,
    /// The path below which it will be mounted.
    pub prefix: &'a str,
    /// Where it will listen.
    pub listen: std::net::SocketAddr,
    /// The file with the roots it will accept.
    pub roots: &'a Path,
    /// The file with the passphrase for the key; without one a random passphrase is made.
    pub passphrase_file: Option<PathBuf>,
    /// The PostgreSQL database for it; without one it is in a file.
    pub database: Option<&'a str>,
    /// The file with the password there.
    pub database_password_file: Option<PathBuf>,
}

/// Randomness for a new deployment, drawn at the door.
pub struct Entropy {
    /// For the serial numbers of root and intermediate.
    pub serials: [[u8; 20]; 2],
    /// For the passphrase.
    pub passphrase: [u8; 32],
}

/// What was done about a new deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New,
    /// One that had been begun was made to its end, as its own configuration has it.
    Completed,
}

/// A deployment that could not be made. Unless it says otherwise nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum FreshError {
    /// Nothing is ever overwritten.
    #[error("{0} exists and is not an empty directory; nothing was changed")]
    Exists(PathBuf),
    /// The directory that is to be exchanged is the one that the command was given in.
    #[error("{0} is the working directory: name a new directory in it")]
    Here(PathBuf),
    /// Two at once.
    #[error("another process is at work in {0}")]
    Busy(PathBuf),
    /// The directory cannot be exchanged for a new one.
    #[error(
        "cannot put a deployment at {path}: {source}; if it is a mount point, name a directory in it"
    )]
    Place {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The deployment is at its place, with all its keys, but not all of it is on the server.
    #[error(
        "{directory} is at its place, but what belongs to it in {database} is not complete: {reason}. Once that is put right, give the same command again and it goes on; or, if no server was ever started on it, remove the directory and, if nothing else is in that database, DROP SCHEMA IF EXISTS ctlog, ledger CASCADE"
    )]
    Unfinished {
        /// Where it is.
        directory: PathBuf,
        /// Where it is not complete.
        database: String,
        /// Why.
        reason: String,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The given roots cannot be read.
    #[error("cannot read {path}: {source}")]
    Roots {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The given passphrase cannot be read.
    #[error(transparent)]
    Passphrase(#[from] KeyError),
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// Keys and certificates could not be made.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// A key for the log could not be made.
    #[error("the log's key: {0}")]
    LogKey(String),
    /// The log could not be created.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger could not be created.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] DatabaseError),
    /// The new configuration does not hold, for one of the plan's values.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Makes a deployment at `directory`, which must not exist or be empty. Everything is written beside
/// it first and then moved there in one step, so that after a crash there is a whole deployment or
/// none. What it has on a server is made after that: the keys are never lost to something that was
/// made with them, and what was cut short there is gone on with.
///
/// # Errors
/// [`FreshError`].
pub async fn create(
    directory: &Path,
    plan: &Plan<'_>,
    entropy: &Entropy,
    now: OffsetDateTime,
) -> Result<Made, FreshError> {
    let write = async |at: &Path| write_all(at, plan, entropy, now).await;
    make(directory, "vouchsafe.yaml", write, now).await
}

/// Makes a log that runs alone at `directory`, in the same way. `passphrase` is random.
///
/// # Errors
/// [`FreshError`].
pub async fn create_log(
    directory: &Path,
    plan: &LogPlan<'_>,
    passphrase: [u8; 32],
    now: OffsetDateTime,
) -> Result<Made, FreshError> {
    let write = async |at: &Path| write_log(at, plan, passphrase, now).await;
    make(directory, "log.yaml", write, now).await
}

async fn make(
    directory: &Path,
    configuration: &str,
    write: impl AsyncFnOnce(&Path) -> Result<(), FreshError>,
    now: OffsetDateTime,
) -> Result<Made, FreshError> {
    // Held to the end.
    let (directory, _lock, made) = match Place::of(directory)? {
        Place::Unfinished(directory) => {
            let lock = hold(&directory)?;
            (directory, vec![lock], Made::Completed)
        }
        Place::Free(directory) => {
            let lock = put(&directory, write).await?;
            (directory, lock, Made::New)
        }
    };
    if place::is_unfinished(&directory) {
        server::finish(&directory, configuration, made == Made::New, now).await?;
    }
    Ok(made)
}

/// Makes log and ledger in `data`, where `config` has them, unless they are there: true, if they were
/// made. Nothing there means a first start; something there is never added to. `unique` is a name
/// that nobody else uses at the same time.
///
/// # Errors
/// [`FreshError`].
pub async fn create_state(
    data: &Path,
    config: &Config,
    unique: &str,
    now: OffsetDateTime,
) -> Result<bool, FreshError> {
    let state = data.join(STATE);
    if state.exists() {
        return Ok(false);
    }
    let file = |path: &Path, source| FreshError::File {
        path: path.to_owned(),
        source,
    };
    let mut directories = DirBuilder::new();
    directories.recursive(true).mode(0o700);
    directories
        .create(data)
        .map_err(|source| file(data, source))?;
    let unfinished = data.join(format!(".{STATE}.{unique}"));
    make_directory(&unfinished)?;
    let origin = match config.has_own_log() {
        true => Some(config.log_config()?.origin),
        false => None,
    };
    let mut made = write_state(&unfinished, origin, now).await;
    if made.is_ok() {
        // Fails where somebody else was faster.
        made = fs::rename(&unfinished, &state).map_err(|source| file(&state, source));
    }
    if let Err(error) = made {
        // If it cannot be removed it is in nobody's way.
        let _removed = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    let opened = File::open(data).and_then(|data| data.sync_all());
    opened.map_err(|source| file(data, source))?;
    Ok(true)
}

/// The ledger and, unless certificates go to somebody else's, a log of that name.
async fn write_state(
    at: &Path,
    log: Option<String>,
    now: OffsetDateTime,
) -> Result<(), FreshError> {
    if let Some(origin) = log {
        write_built_in_log(&at.join("log"), origin, now).await?;
    }
    Ledger::create(at.join("ledger.sqlite").as_path())
        .await?
        .close()
        .await;
    sync_directories([at.to_owned()])
}

async fn write_built_in_log(
    at: &Path,
    origin: String,
    now: OffsetDateTime,
) -> Result<(), FreshError> {
    make_directory(at)?;
    let refused = |error: signer::KeyError| FreshError::LogKey(error.to_string());
    let write_key = |name: &str, der: &[u8]| {
        let pem = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, der);
        let pem = pem.map_err(|error| FreshError::LogKey(error.to_string()))?;
        write(&at.join(name), 0o600, &Zeroizing::new(pem))
    };
    let (key, note_key) = (new_p256_key()?, NoteKey::generate().map_err(refused)?);
    write_key("key.pem", &key)?;
    write_key(NOTE_KEY, &note_key)?;
    let second = NoteKey::from_pkcs8(&note_key).map_err(refused)?;
    let signer = LogSigner::from_private_key(&key).map_err(refused)?;
    let signer = signer.with_note_key(second);
    let log = ctlog::Config {
        high_water: Some(at.join(HIGH_WATER)),
        ..ctlog::Config::new(at.join("log.sqlite"), origin)
    };
    Log::create(&log, &signer, now).await?;
    sync_directories([at.to_owned()])
}

async fn write_all(
    at: &Path,
    plan: &Plan<'_>,
    entropy: &Entropy,
    now: OffsetDateTime,
) -> Result<(), FreshError> {
    make_directory(&at.join("ca"))?;
    make_directory(&at.join("log"))?;
    let (passphrase, passphrase_file) =
        passphrase(at, plan.passphrase_file.as_deref(), entropy.passphrase)?;

    let serials = entropy.serials.map(SerialNumber::from_random);
    let Hierarchy { root, intermediate } = Hierarchy::create(
        plan.organization,
        plan.common_name,
        plan.curve,
        serials,
        now,
    )?;
    write(&at.join("ca/root.pem"), 0o644, &root.certificate_pem)?;
    write(
        &at.join("ca/root.key.pem"),
        0o600,
        &encrypt_private_key(&root.private_key_der, &passphrase)?,
    )?;
    let chain = intermediate.certificate_pem + &root.certificate_pem;
    write(&at.join("ca/chain.pem"), 0o644, &chain)?;
    write(
        &at.join("ca/intermediate.key.pem"),
        0o600,
        &encrypt_private_key(&intermediate.private_key_der, &passphrase)?,
    )?;
    write(
        &at.join("log/key.pem"),
        0o600,
        &encrypt_private_key(&new_p256_key()?, &passphrase)?,
    )?;
    let note_key = NoteKey::generate().map_err(|error| FreshError::LogKey(error.to_string()))?;
    write(
        &at.join("log/note-key.pem"),
        0o600,
        &encrypt_private_key(&note_key, &passphrase)?,
    )?;

    let quoted = serde_json::to_string(&passphrase_file).unwrap_or_default();
    let settings = SAMPLE
        .replace(
            "public-url: http://127.0.0.1:5555",
            &format!("public-url: {}", plan.public_url),
        )
        .replace(
            "listen: 127.0.0.1:5555",
            &format!("listen: {}", plan.listen),
        )
        .replace("file: passphrase", &format!("file: {quoted}"));
    let settings = match plan.development {
        true => settings.replace(LIMITED, UNLIMITED) + DEVELOPMENT,
        false => settings,
    };
    let settings =
        settings + &server::settings(plan.database, plan.database_password_file.as_deref());
    write(&at.join("vouchsafe.yaml"), 0o644, &settings)?;
    write(&at.join("issuers.yaml"), 0o644, plan.issuers)?;

    let config = Config::read(&at.join("vouchsafe.yaml"))?;
    let signer = config.log_signer()?;
    match config.server() {
        Some(server) => {
            server::check(server, &config.logs()).await?;
            mark_unfinished(at)?;
        }
        None => {
            Ledger::create(config.ledger_database())
                .await?
                .close()
                .await;
            Log::create(&config.log_config()?, &signer, now).await?;
        }
    }
    sync_directories([at.join("ca"), at.join("log"), at.to_owned()])
}

async fn write_log(
    at: &Path,
    plan: &LogPlan<'_>,
    random: [u8; 32],
    now: OffsetDateTime,
) -> Result<(), FreshError> {
    let (passphrase, passphrase_file) = passphrase(at, plan.passphrase_file.as_deref(), random)?;
    let key = encrypt_private_key(&new_p256_key()?, &passphrase)?;
    write(&at.join("key.pem"), 0o600, &key)?;
    let note_key = NoteKey::generate().map_err(|error| FreshError::LogKey(error.to_string()))?;
    let note_key = encrypt_private_key(&note_key, &passphrase)?;
    write(&at.join("note-key.pem"), 0o600, &note_key)?;
    let roots = fs::read_to_string(plan.roots).map_err(|source| FreshError::Roots {
        path: plan.roots.to_owned(),
        source,
    })?;
    write(&at.join("roots.pem"), 0o644, &roots)?;
    let quoted = |text: &dyn AsRef<Path>| serde_json::to_string(text.as_ref()).unwrap_or_default();
    let settings = LOG_SAMPLE
        .replace(
            "public-url: http://127.0.0.1:6962",
            &format!("public-url: {}", plan.public_url),
        )
        .replace(
            "listen: 127.0.0.1:6962",
            &format!("listen: {}", plan.listen),
        )
        .replace("prefix: \"\"", &format!("prefix: {}", quoted(&plan.prefix)))
        .replace(
            "file: passphrase",
            &format!("file: {}", quoted(&passphrase_file)),
        );
    let settings =
        settings + &server::settings(plan.database, plan.database_password_file.as_deref());
    let file = at.join("log.yaml");
    write(&file, 0o644, &settings)?;

    let config = LogConfig::read(&file)?;
    let logs = config.logs();
    logs.roots()?;
    let signer = logs.signer()?;
    match logs.server {
        Some(server) => {
            server::check(server, &logs).await?;
            mark_unfinished(at)?;
        }
        None => Log::create(&logs.config()?, &signer, now).await?,
    }
    sync_directories([at.to_owned()])
}

/// The passphrase of a new deployment's keys, and where it is: in the operator's file, or a random one in
/// a file of ours.
fn passphrase(
    at: &Path,
    file: Option<&Path>,
    random: [u8; 32],
) -> Result<(Zeroizing<String>, PathBuf), FreshError> {
    let (passphrase, file) = match file {
        Some(file) => (
            Passphrase::File(file.to_owned()).read(Path::new(""))?,
            file.to_owned(),
        ),
        None => {
            let passphrase = Zeroizing::new(URL_SAFE_NO_PAD.encode(random));
            write(&at.join("passphrase"), 0o600, &passphrase)?;
            (passphrase, PathBuf::from("passphrase"))
        }
    };
    if passphrase.is_empty() {
        return Err(FreshError::EmptyPassphrase);
    }
    Ok((passphrase, file))
}

const DEVELOPMENT: &str =
    "\n# Not for production.\ndevelopment:\n  allow-http-loopback-issuers: true\n";
/// A developer is one subject and asks as often as he likes.
const LIMITED: &str = "rate-limits:\n  enabled: true";
const UNLIMITED: &str = "rate-limits:\n  enabled: false";

const SAMPLE: &str = include_str!("../../config/vouchsafe.yaml");
const LOG_SAMPLE: &str = include_str!("../../config/log.yaml");

/// The log's second key in its directory.
pub const NOTE_KEY: &str = "note-key.pem";

/// The high-water mark in a log's directory.
pub const HIGH_WATER: &str = "high-water";

/// The directory of log and ledger in a directory for data.
pub const STATE: &str = "state";
