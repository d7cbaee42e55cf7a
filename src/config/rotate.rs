//! Beginning the next shard of a log. Its key and its database are made first, in a directory of their
//! own; then one file is exchanged, the configuration. Whatever interrupts this, the configuration is the
//! old one or the new one, and the command can be given again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use der::pem::LineEnding;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use yaml_serde::{Mapping, Value};

use super::fresh::{FreshError, HIGH_WATER, finish_mark, make_directory, sync_directories, write};
use super::logs::{check_prefix, public_key_file, secret};
use super::settings::LogSettings;
use super::surgery::{Lines, Unchangeable, scalar};
use super::{ConfigError, Either, OpenError};
use crate::authority::hierarchy::{encrypt_private_key, new_p256_key};
use crate::certificate::profile::LIFETIME;
use crate::ctlog::signer::{LogSigner, LogVerifier};
use crate::ctlog::store::StoreError;
use crate::ctlog::{self, Log, LogError, Reader, Window};
use crate::database::Server;

/// What the next shard is to be.
#[derive(Debug)]
pub struct Shard<'a> {
    /// Below which path it will be mounted.
    pub prefix: &'a str,
    /// When certificates must end to be logged there.
    pub window: Window,
    /// Until when the present one may still take entries.
    pub until: OffsetDateTime,
}

/// What was begun.
#[derive(Debug)]
pub struct Rotated {
    /// The name of the log that was the present one.
    pub before: String,
    /// The name of the one that is now.
    pub origin: String,
    /// Where its key and its database are.
    pub directory: PathBuf,
}

/// A shard that was not begun: unless it says otherwise the configuration is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Two at once.
    #[error("another process is changing {0}")]
    Busy(PathBuf),
    /// Exchanging it would leave what it stands for unchanged.
    #[error("{0} is a link: give the file it leads to")]
    Link(PathBuf),
    /// The file is written in a way that cannot be changed line by line.
    #[error("{file} cannot be changed: {reason}")]
    Unchangeable {
        /// The configuration.
        file: PathBuf,
        /// What would have to be different.
        reason: String,
    },
    /// No log can be mounted there.
    #[error("{0}")]
    Prefix(String),
    /// Two logs cannot be published to one place.
    #[error(
        "log.publish is set: the next log needs a place of its own. Take the setting out, rotate, and set it anew for the next log"
    )]
    Published,
    /// Nothing that is issued today could be logged.
    #[error("the window takes no certificate that would be issued now")]
    Window,
    /// Verifiers would not believe the present log any more while it still takes entries.
    #[error("the time until which the present log takes entries has passed")]
    Until,
    /// The configuration is the new one.
    #[error(
        "the next log has begun and {file} names it, but whether that survives a power cut is not known: {source}"
    )]
    Begun {
        /// The configuration.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something is in the way, and it is not a shard that was begun and not finished.
    #[error("{directory} is there already and is not a new log named {origin}: {reason}")]
    Taken {
        /// Where.
        directory: PathBuf,
        /// What it should be.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Key or database could not be made.
    #[error(transparent)]
    Fresh(#[from] FreshError),
    /// The log could not be made.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The configuration is wrong, the present or the new one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the new configuration names cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Begins the next shard of the log in a configuration file. A running server goes on with the present
/// one until it is started again.
///
/// # Errors
/// [`RotateError`]
pub async fn rotate(
    file: &Path,
    shard: &Shard<'_>,
    now: OffsetDateTime,
) -> Result<Rotated, RotateError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RotateError::File { path, source }
    };
    let is_link = fs::symlink_metadata(file).map_err(io(file))?.is_symlink();
    if is_link {
        return Err(RotateError::Link(file.to_owned()));
    }
    // Held to the end. Whoever comes later finds another file under this name.
    let lock = File::open(file).map_err(io(file))?;
    if lock.try_lock().is_err() {
        return Err(RotateError::Busy(file.to_owned()));
    }
    let config = Either::read(file)?;
    let is_authority = matches!(config, Either::Authority(_));
    if is_authority && !shard.window.contains(now + LIFETIME) {
        return Err(RotateError::Window);
    }
    let logs = config.logs();
    let (base, present) = (logs.base, logs.own()?);
    let before = logs.config()?.origin;
    check_prefix(shard.prefix).map_err(RotateError::Prefix)?;
    let retired = logs.retired.iter().map(|retired| &retired.prefix);
    let is_taken = std::iter::once(&present.prefix)
        .chain(retired)
        .any(|prefix| prefix == shard.prefix);
    if is_taken || shard.prefix.is_empty() {
        let reason = format!(
            "prefix: {:?} is another log's already, or none",
            shard.prefix
        );
        return Err(RotateError::Prefix(reason));
    }

    if present.publish.is_some() {
        return Err(RotateError::Published);
    }

    if shard.until < now {
        return Err(RotateError::Until);
    }
    let directory_of_file = match base.as_os_str().is_empty() {
        true => Path::new("."),
        false => base,
    };
    logs.check_owner(directory_of_file)?;

    let relative = place_of(shard.prefix, present);
    let directory = base.join(&relative);
    let origin = logs.origin_at(shard.prefix);
    let public_key = present.key.with_extension("pub");
    let has_mark = present.high_water.is_some();
    let text = fs::read_to_string(file).map_err(io(file))?;
    let path = |path: &Path| scalar(&path.to_string_lossy());
    let mut changed = vec![
        ("prefix", Some(scalar(shard.prefix))),
        ("key", Some(path(&relative.join(KEY)))),
        ("window", written(shard.window)),
    ];
    let mut retired = vec![
        ("prefix", scalar(&present.prefix)),
        ("public-key", path(&public_key)),
        ("until", timestamp(shard.until)),
        ("rfc6962-reads", present.rfc6962_reads.to_string()),
    ];
    // The present mark goes on remembering the present log.
    if has_mark {
        changed.push(("high-water", Some(path(&relative.join(HIGH_WATER)))));
    }
    // On a server both are found by their keys.
    if logs.server.is_none() {
        changed.push(("database", Some(path(&relative.join(DATABASE)))));
        retired.push(("database", path(&present.database)));
    }
    // Before anything is made: a file that cannot be changed must not leave a log behind.
    let new_text = change(&text, &changed, &retired).map_err(|Unchangeable(reason)| {
        RotateError::Unchangeable {
            file: file.to_owned(),
            reason,
        }
    })?;

    let passphrase = secret(base, &present.key, present.passphrase.as_ref())?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
    make(&directory, &origin, logs.server, passphrase, has_mark, now).await?;
    let signer = logs.signer()?;
    write_public_key(&base.join(&public_key), signer.verifier())?;

    let draft = write_draft(&new_text, file)?;
    let exchanged = async {
        // It must be good before it is the configuration: every log in it, opened as a server would.
        let new = Either::read(&draft)?;
        new.logs().mounts().await?;
        Reader::open(&new.logs().config()?, new.logs().signer()?.verifier()).await?;
        fs::rename(&draft, file).map_err(io(file))
    };
    if let Err(error) = exchanged.await {
        // If it cannot be removed it is in nobody's way.
        let _removed = fs::remove_file(&draft);
        return Err(error);
    }
    let synced = File::open(directory_of_file).and_then(|opened| opened.sync_all());
    synced.map_err(|source| RotateError::Begun {
        file: file.to_owned(),
        source,
    })?;
    drop(lock);
    Ok(Rotated {
        before,
        origin,
        directory,
    })
}

/// A directory of its own, named after the log: beside that of the present one, where that has its own too,
/// and otherwise where the present database is.
fn place_of(prefix: &str, present: &LogSettings) -> PathBuf {
    let name = |prefix: &str| prefix.trim_matches('/').replace('/', "-");
    let at = present.database.parent().unwrap_or_else(|| Path::new(""));
    let is_its_own = at
        .file_name()
        .is_some_and(|at| *at == *name(&present.prefix));
    let above = at.parent().filter(|_| is_its_own).unwrap_or(at);
    above.join(name(prefix))
}

/// What the configuration will name of the present log. It is written once.
fn write_public_key(at: &Path, verifier: &LogVerifier) -> Result<(), RotateError> {
    let spki = verifier.public_key_der();
    let pem = der::pem::encode_string("PUBLIC KEY", LineEnding::LF, spki)
        .map_err(|error| FreshError::LogKey(error.to_string()))?;
    match at.exists() {
        false => write(at, 0o644, &pem)?,
        true if public_key_file(at)?.public_key_der() == spki => {}
        true => {
            let source = io::Error::other("it has the key of another log");
            let path = at.to_owned();
            return Err(RotateError::File { path, source });
        }
    }
    Ok(())
}

/// Makes key and database of a new log in a directory of their own, which is there whole or not at all.
async fn make(
    directory: &Path,
    origin: &str,
    server: Option<&Server>,
    passphrase: Option<&str>,
    has_mark: bool,
    now: OffsetDateTime,
) -> Result<(), RotateError> {
    let config = |directory: &Path| {
        let place = match server {
            Some(server) => ctlog::Config::new(server.clone(), origin.to_owned()),
            None => ctlog::Config::new(directory.join(DATABASE), origin.to_owned()),
        };
        let high_water = has_mark.then(|| directory.join(HIGH_WATER));
        ctlog::Config {
            high_water,
            ..place
        }
    };
    let taken = |reason: &dyn ToString| RotateError::Taken {
        directory: directory.to_owned(),
        origin: origin.to_owned(),
        reason: reason.to_string(),
    };
    if directory.exists() {
        // Made by an attempt that ended before the configuration was exchanged.
        let config = config(directory);
        let pem = crate::authority::file::load_private_key_der(&directory.join(KEY), passphrase);
        let pem = pem.map_err(|error| taken(&error))?;
        let signer = LogSigner::from_private_key(&pem).map_err(|error| taken(&error))?;
        let mut reader = Reader::open(&config, signer.verifier()).await;
        if let (Some(_), Err(LogError::Store(StoreError::NoLog(_)))) = (server, &reader) {
            Log::create(&config, &signer, now).await?;
            reader = Reader::open(&config, signer.verifier()).await;
        }
        let reader = reader.map_err(|error| taken(&error))?;
        let size = reader.head().size;
        if size > 0 {
            return Err(taken(&format!("it has {size} entries")));
        }
        finish_mark(&config, &signer, size).await?;
        return Ok(());
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = directory.with_file_name(format!(".{name}.unfinished"));
    let io = |source| RotateError::File {
        path: unfinished.clone(),
        source,
    };
    if unfinished.exists() {
        // Nobody else is at work here: the configuration is locked.
        fs::remove_dir_all(&unfinished).map_err(io)?;
    }
    make_directory(&unfinished)?;
    let key = new_p256_key().map_err(FreshError::from)?;
    let pem = match passphrase {
        Some(passphrase) => encrypt_private_key(&key, passphrase).map_err(FreshError::from)?,
        None => zeroize::Zeroizing::new(
            der::pem::encode_string("PRIVATE KEY", LineEnding::LF, &key)
                .map_err(|error| FreshError::LogKey(error.to_string()))?,
        ),
    };
    write(&unfinished.join(KEY), 0o600, &pem)?;
    let signer = LogSigner::from_private_key(&key).map_err(LogError::from)?;
    if server.is_none() {
        Log::create(&config(&unfinished), &signer, now).await?;
    }
    sync_directories([unfinished.clone()])?;
    fs::rename(&unfinished, directory).map_err(io)?;
    let above = directory
        .parent()
        .filter(|above| !above.as_os_str().is_empty());
    sync_directories([above.unwrap_or_else(|| Path::new(".")).to_owned()])?;
    // On a server only after the key is at its place: a log whose key was lost keeps its name.
    if server.is_some() {
        Log::create(&config(directory), &signer, now).await?;
    }
    Ok(())
}

/// The text with these settings of the log changed and this item added, if that is all it changes.
fn change(
    text: &str,
    changed: &[(&str, Option<String>)],
    retired: &[(&str, String)],
) -> Result<String, Unchangeable> {
    let mut lines = Lines::of(text);
    for (setting, value) in changed {
        lines.set(LOG, setting, value.as_deref())?;
    }
    lines.add(RETIRED, retired, LOG)?;
    let new_text = lines.into_text();

    let unreadable = |_| Unchangeable("it could not be read any more".to_owned());
    let mut old: Mapping = yaml_serde::from_str(text).map_err(unreadable)?;
    let mut new: Mapping = yaml_serde::from_str(&new_text).map_err(unreadable)?;
    let item = retired.iter().map(|(_, value)| value.as_str());
    let items = |of: &mut Mapping| match of.remove(RETIRED) {
        Some(Value::Sequence(items)) => items,
        Some(_) | None => Vec::new(),
    };
    let (old_items, mut new_items) = (items(&mut old), items(&mut new));
    let added = new_items.pop();
    let added = added.as_ref().and_then(Value::as_mapping);
    let is_added = added.is_some_and(|added| added.len() == item.count());
    for of in [&mut old, &mut new] {
        if let Some(Value::Mapping(log)) = of.get_mut(LOG) {
            for (setting, _) in changed {
                log.remove(*setting);
            }
        }
    }
    if old != new || old_items != new_items || !is_added {
        let reason = "its lines mean something else than they seem to; write it plainly";
        return Err(Unchangeable(reason.to_owned()));
    }
    Ok(new_text)
}

/// Writes the text beside the file, with its permissions, to the disk. What is there already, left by an
/// attempt that was cut short or anybody's own, is not touched.
fn write_draft(text: &str, file: &Path) -> Result<PathBuf, RotateError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let failed = |path: &Path, source| RotateError::File {
        path: path.to_owned(),
        source,
    };
    let mut number = 0;
    let (draft, mut opened) = loop {
        let draft = file.with_file_name(format!(".{name}.{number}.new"));
        let mut options = OpenOptions::new();
        match options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
        {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < MOST_DRAFTS => {
                number += 1;
            }
            opened => {
                let opened = opened.map_err(|source| failed(&draft, source))?;
                break (draft, opened);
            }
        }
    };
    let written = fs::metadata(file).and_then(|present| {
        opened.set_permissions(present.permissions())?;
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    });
    match written {
        Ok(()) => Ok(draft),
        Err(source) => {
            let _removed = fs::remove_file(&draft);
            Err(failed(&draft, source))
        }
    }
}

fn written(window: Window) -> Option<String> {
    let start = window
        .start
        .map(|start| format!("start: {}", timestamp(start)));
    let end = window.end.map(|end| format!("end: {}", timestamp(end)));
    let both: Vec<String> = start.into_iter().chain(end).collect();
    (!both.is_empty()).then(|| format!("{{{}}}", both.join(", ")))
}

fn timestamp(time: OffsetDateTime) -> String {
    let seconds = time.to_offset(UtcOffset::UTC).truncate_to_second();
    seconds.format(&Rfc3339).unwrap_or_default()
}

const LOG: &str = "log";
const RETIRED: &str = "retired-logs";
const DATABASE: &str = "log.sqlite";
const KEY: &str = "key.pem";
const MOST_DRAFTS: u32 = 1000;
