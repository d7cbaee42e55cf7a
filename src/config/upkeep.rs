//! What a configuration says of the log beside issuance: its second key, where it is published, who
//! vouches for it.

use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;

use super::logs::refused;
use super::settings::LogSettings;
use super::{ConfigError, Logs, OpenError};
use crate::authority::file::read_text;
use crate::ctlog::Log;
use crate::ctlog::note::NoteKey;
use crate::ctlog::publisher::{Credentials, Publisher};
use crate::ctlog::signer::LogSigner;
use crate::ctlog::upkeep::{Upkeep, UpkeepError};
use crate::ctlog::witness::Witness;

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
                let keys = publish.credentials.as_deref();
                let keys = keys.map(|file| self.credentials(file)).transpose()?;
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

    fn credentials(&self, file: &Path) -> Result<Credentials, ConfigError> {
        let file = self.base.join(file);
        let text = read_text(&file).map_err(|error| refused(&file, error.to_string()))?;
        let missing = "there are no aws_access_key_id and aws_secret_access_key";
        Credentials::parse(&text).ok_or_else(|| refused(&file, missing.to_owned()))
    }
}

const MAX_WITNESSES: usize = 16;
