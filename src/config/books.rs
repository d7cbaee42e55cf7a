//! Opening ledger and log to compare them.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::logs::public_key_file;
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
        let chain = self.chain_pem()?;
        let first = CertificateDer::pem_slice_iter(chain.as_bytes()).next();
        let first = first.and_then(Result::ok);
        let issuer = first.and_then(|first| issuer_hashes(first.as_ref()));
        let issuer = issuer.ok_or_else(|| ConfigError {
            file: self.base.clone(),
            line: None,
            reason: "the authority's chain does not begin with a certificate".to_owned(),
        })?;
        let own = self.log_verifier()?;
        let log = match own.clone() {
            Some(verifier) => {
                let log = Records::open(&self.log_config()?, verifier).await;
                Some(log.map_err(LogError::from)?)
            }
            None => None,
        };
        Ok(Books {
            ledger: Ledger::open_read_only(self.ledger_database()).await?,
            log,
            keys: self.log_keys(own)?,
            issuer,
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
    ) -> Result<Option<Periodic>, ConfigError> {
        let seconds = self.settings.ledger.audit_seconds;
        let first = authority.chain().der().first();
        let (Some(issuer), true) = (first.and_then(|der| issuer_hashes(der)), seconds > 0) else {
            return Ok(None);
        };
        let log = log.built_in().map(Log::records);
        let own = log.as_ref().map(|log| log.verifier().clone());
        let books = Books {
            ledger: ledger.reader(),
            keys: self.log_keys(own)?,
            log,
            issuer,
        };
        let interval = Duration::from_secs(seconds.into());
        Ok(Some(Periodic::new(books, interval)))
    }

    /// The keys of every log that a certificate of the ledger may stand in. Of somebody else's logs the
    /// timestamps are all there is to compare with.
    fn log_keys(&self, own: Option<LogVerifier>) -> Result<Vec<LogVerifier>, ConfigError> {
        let mut keys = self.logs().retired_keys()?;
        keys.extend(own);
        for log in self.ct_logs() {
            keys.push(public_key_file(&self.base.join(&log.public_key))?);
        }
        Ok(keys)
    }
}

fn issuer_hashes(certificate_der: &[u8]) -> Option<IssuerHashes> {
    let certificate = ChainCertificate::from_der(certificate_der.to_vec()).ok()?;
    Some(IssuerHashes {
        key: certificate.key_hash(),
        certificate: certificate.fingerprint(),
    })
}
