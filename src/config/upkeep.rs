//! What a configuration says of the log beside issuance: its second key, where it is published, who
//! vouches for it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;

use super::logs::refused;
use super::settings::LogSettings;
use super::{ConfigError, Logs, OpenError};
use crate::authority::file::read_text;
use crate::certificate::profile::LIFETIME;
use crate::ctlog::check::{Report, check_file};
use crate::ctlog::note::NoteKey;
use crate::ctlog::publisher::{self, Credentials, Publisher};
use crate::ctlog::signer::{LogSigner, LogVerifier};
use crate::ctlog::upkeep::{Upkeep, UpkeepError};
use crate::ctlog::witness::Witness;
use crate::ctlog::{Chains, Log, LogError, guard};

impl Logs<'_> {
    /// What is wrong with it on its own.
    pub(super) fn check_upkeep(&self) -> Result<(), String> {
        let Some(LogSettings {
            refresh_seconds,
            witnesses,
            note_key,
            ..
        }) = self.log
        else {
            return Ok(());
        };
        if *refresh_seconds > 3600 {
            return Err("refresh-seconds is at most 3600".to_owned());
        }
        if witnesses.len() > MAX_WITNESSES {
            return Err(format!("there are more than {MAX_WITNESSES} witnesses"));
        }
        if !witnesses.is_empty() && note_key.is_none() {
            return Err("witnesses know the log by its note-key, which is missing".to_owned());
        }
        Ok(())
    }

    /// The same key with the second one beside it, if there is to be one.
    pub(super) fn with_note_key(&self, signer: LogSigner) -> Result<LogSigner, ConfigError> {
        let LogSettings {
            note_key,
            passphrase,
            ..
        } = self.own()?;
        let Some(file) = note_key else {
            return Ok(signer);
        };
        let der = self.private_key(file, passphrase.as_ref())?;
        let key = NoteKey::from_pkcs8(&der)
            .map_err(|error| refused(&self.base.join(file), error.to_string()))?;
        Ok(signer.with_note_key(key))
    }

    /// What is done for the log while it runs, once all who may remember it were asked whether they
    /// remember more than is stored.
    ///
    /// # Errors
    /// [`OpenError`]: one does, or what was configured cannot be.
    pub async fn upkeep(&self, log: &Log, now: OffsetDateTime) -> Result<Upkeep, OpenError> {
        let LogSettings {
            refresh_seconds,
            publish,
            witnesses,
            ..
        } = self.own()?;
        let refresh = Duration::from_secs((*refresh_seconds).into());
        let refresh = Some(refresh).filter(|age| !age.is_zero());
        let publisher = match publish {
            Some(publish) => {
                let keys = self.credentials(publish)?;
                let publisher = Publisher::new(log.clone(), publish, self.base, keys);
                Some(publisher.map_err(UpkeepError::from)?)
            }
            None => None,
        };
        let witnesses = witnesses.iter().map(|one| Witness::new(log.clone(), one));
        let witnesses = witnesses.collect::<Result<_, _>>();
        let witnesses = witnesses.map_err(UpkeepError::from)?;
        let mut upkeep = Upkeep::new(log.clone(), refresh, publisher, witnesses);
        upkeep.check(now).await?;
        Ok(upkeep)
    }

    /// Everything that [`Logs::open`] and [`Logs::upkeep`] would refuse, as far as it can be told beside a
    /// running server: nothing is locked, nothing is left behind, nobody is asked.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn look(
        &self,
        issuer: Vec<Vec<u8>>,
        verifier: &LogVerifier,
        now: OffsetDateTime,
    ) -> Result<Report, OpenError> {
        let LogSettings {
            publish,
            witnesses,
            window,
            ..
        } = self.own()?;
        let config = self.config()?;
        let is_authority = !issuer.is_empty();
        let chains = Chains {
            issuer,
            roots: self.roots()?,
        };
        Log::check_settings(&config, &chains)?;
        if is_authority && !window.contains(now + LIFETIME) {
            let reason = format!(
                "log.window: no certificate that is issued now ends {window}; begin the next log with `vouchsafe log rotate`"
            );
            return Err(refused(self.source, reason).into());
        }
        for witness in witnesses {
            Witness::read(witness).map_err(UpkeepError::from)?;
        }
        if let Some(publish) = publish {
            let bucket = Publisher::bucket(publish, self.credentials(publish)?);
            if bucket.map_err(UpkeepError::from)?.is_none() {
                let directory = self.base.join(&publish.to);
                can_make(&directory).map_err(|error| {
                    refused(&directory, format!("cannot publish there: {error}"))
                })?;
            }
        }
        guard::look(&config, verifier, now).await?;
        let report = check_file(&config.database, &config.origin, verifier, &mut |_, _| {}).await;
        Ok(report.map_err(LogError::from)?)
    }

    /// That what this process makes in `directory` belongs to whom the log's files belong to: a server that
    /// runs as somebody else could not write to it.
    ///
    /// # Errors
    /// [`ConfigError`] with a file of the log and the name of its owner; or nothing can be made there.
    pub fn check_owner(&self, directory: &Path) -> Result<(), ConfigError> {
        let LogSettings {
            high_water,
            database,
            key,
            ..
        } = self.own()?;
        let ours = owner_in(directory).map_err(|error| refused(directory, error.to_string()))?;
        let database = Some(database).filter(|_| self.server.is_none());
        // A key is not written to: it may be root's and open to the server's group.
        let key = Some(key).filter(|_| ours == ROOT);
        let files = [high_water.as_ref(), database, key];
        let files = files.into_iter().flatten().map(|file| self.base.join(file));
        let owned = |file: PathBuf| Some((fs::metadata(&file).ok()?.uid(), file));
        match files.into_iter().find_map(owned) {
            Some((theirs, file)) if theirs != ours => {
                let (owner, me) = (name_of(theirs), name_of(ours));
                let reason = format!(
                    "it belongs to {owner}, and what {me} makes could not be used by a server that runs as {owner}: give the command as {owner}"
                );
                Err(refused(&file, reason))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn credentials(&self, publish: &publisher::Config) -> Result<Option<Credentials>, ConfigError> {
        let Some(file) = &publish.credentials else {
            return Ok(None);
        };
        let file = self.base.join(file);
        let text = read_text(&file).map_err(|error| refused(&file, error.to_string()))?;
        let missing = "there are no aws_access_key_id and aws_secret_access_key";
        let found = Credentials::parse(&text);
        Ok(Some(
            found.ok_or_else(|| refused(&file, missing.to_owned()))?,
        ))
    }
}

/// Whether a directory is there and can be written to, or could be made.
fn can_make(directory: &Path) -> io::Result<()> {
    let mut above = directory.ancestors();
    let found = above.find(|above| above.as_os_str().is_empty() || above.exists());
    let found = found.filter(|found| !found.as_os_str().is_empty());
    owner_in(found.unwrap_or_else(|| Path::new("."))).map(drop)
}

/// To whom a file belongs that is made there. Only a try tells whether one can be: rights, the kind of the
/// file system and that of the directory play into it.
pub(super) fn owner_in(directory: &Path) -> io::Result<u32> {
    let probe = directory.join(format!(".vouchsafe-check-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).open(&probe)?;
    let owner = made.metadata().map(|made| made.uid());
    fs::remove_file(&probe)?;
    owner
}

/// The name of a user of this machine, or the number where there is none.
fn name_of(uid: u32) -> String {
    let number = uid.to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = users.lines().map(|line| line.split(':'));
    let found = users.find_map(|mut user| {
        let name = user.next()?;
        (user.nth(1)? == number).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("user {number}"))
}

const ROOT: u32 = 0;
const MAX_WITNESSES: usize = 16;
