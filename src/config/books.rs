//! Opening ledger and log to compare them.

use std::time::Duration;

use super::logs::{Retired, certificates, public_key_file, refused};
use super::{Config, ConfigError, OpenError};
use crate::authority::Authority;
use crate::ctlog::chain::ChainCertificate;
use crate::ctlog::signer::LogVerifier;
use crate::ctlog::{Destination, Log, LogError, Records};
use crate::ledger::Ledger;
use crate::reconciliation::{Books, IssuerHashes, Periodic};

impl Config {
    /// Ledger and log for reading only, also beside a server that writes them.
    ///
    /// # Errors
    /// [`OpenError`]: what cannot be opened, and why.
    pub async fn books(&self) -> Result<Books, OpenError> {
        let chain = certificates(&self.chain_pem()?);
        let chain = chain.map_err(|reason| refused(&self.source, reason.to_owned()))?;
        let issuers = self.issuers_of(&chain)?;
        let mut logs = Vec::new();
        let mut keys = self.external_keys()?;
        for (config, verifier) in self.logs().all()? {
            keys.push(verifier.clone());
            let log = Records::open(&config, verifier).await;
            logs.push(log.map_err(LogError::from)?);
        }
        Ok(Books {
            ledger: Ledger::open_read_only(self.ledger_database()).await?,
            logs,
            keys,
            issuers,
        })
    }

    /// The comparison that a server makes beside its work, if it is to make one.
    ///
    /// # Errors
    /// [`ConfigError`] with the file of an earlier log's key.
    pub(super) fn periodic(
        &self,
        authority: &Authority,
        log: &Destination,
        ledger: &Ledger,
        retired: &[Retired],
    ) -> Result<Option<Periodic>, ConfigError> {
        let seconds = self.settings.ledger.audit_seconds;
        if seconds == 0 {
            return Ok(None);
        }
        let issuers = self.issuers_of(authority.chain().der())?;
        let retired = retired.iter().map(Retired::records);
        let logs: Vec<Records> = log
            .built_in()
            .map(Log::records)
            .into_iter()
            .chain(retired)
            .collect();
        let mut keys = self.external_keys()?;
        keys.extend(logs.iter().map(|log| log.verifier().clone()));
        let books = Books {
            ledger: ledger.reader(),
            logs,
            keys,
            issuers,
        };
        let interval = Duration::from_secs(seconds.into());
        Ok(Some(Periodic::new(books, interval)))
    }

    /// By what an entry is known to be ours: the first certificate of the present chain, and of each that
    /// it replaced.
    fn issuers_of(&self, chain: &[Vec<u8>]) -> Result<Vec<IssuerHashes>, ConfigError> {
        let retired = self.retired_chains()?;
        let chains = retired.iter().map(|retired| retired.der.as_slice());
        let hashes = [chain].into_iter().chain(chains).map(|chain| {
            let first = chain.first().cloned();
            let first = first.and_then(|der| ChainCertificate::from_der(der).ok());
            let first = first.map(|certificate| IssuerHashes {
                key: certificate.key_hash(),
                certificate: certificate.fingerprint(),
            });
            let reason = "an authority's chain does not begin with a certificate";
            first.ok_or_else(|| refused(&self.source, reason.to_owned()))
        });
        hashes.collect()
    }

    /// The keys of somebody else's logs, whose timestamps are all there is to compare with.
    fn external_keys(&self) -> Result<Vec<LogVerifier>, ConfigError> {
        let logs = self.ct_logs().iter();
        logs.map(|log| public_key_file(&self.base.join(&log.public_key)))
            .collect()
    }
}
