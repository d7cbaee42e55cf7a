//! The certificate that a listener shows, from files that may change while it listens.
//!
//! Like the issuers' file, both files are compared by their bytes, so a renewal is seen however it is
//! written. The two cannot change at once: a pair that does not fit is looked at again before anybody
//! is told.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use der::Decode as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_cert::Certificate;
use zeroize::Zeroizing;

use super::reload::{Fingerprint, Looked};
use super::{ConfigError, Occasion, Outcome, Tls};
use crate::telemetry::metrics;

/// A certificate with its key, and the files it comes from.
#[derive(Debug)]
pub struct ServerCertificate {
    /// The setting that names the files.
    listener: &'static str,
    files: Tls,
    current: ArcSwap<CertifiedKey>,
    looked: Mutex<Looked>,
}

struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    fingerprint: Fingerprint,
}

impl ServerCertificate {
    /// Reads both files and checks that they belong together.
    ///
    /// # Errors
    /// [`ConfigError`] with the file that is wrong.
    pub fn load(
        listener: &'static str,
        files: Tls,
        now: OffsetDateTime,
    ) -> Result<Arc<Self>, ConfigError> {
        let read = Files::read(&files)?;
        let looked = Looked::judged(read.fingerprint);
        let (key, not_after) = read.pair(&files)?;
        let certificate = Self {
            listener,
            files,
            current: ArcSwap::from_pointee(key),
            looked: Mutex::new(looked),
        };
        certificate.tell(not_after, now);
        Ok(Arc::new(certificate))
    }

    /// Looks at the files and shows what is in them from now on, if it is good. Says so in the log; says
    /// the same mistake once, unless somebody asked. It blocks.
    pub fn look(&self, occasion: Occasion, now: OffsetDateTime) -> Outcome {
        let read = Files::read(&self.files);
        let found = read.as_ref().ok().map(|files| files.fingerprint);
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = looked.look(found, occasion) {
            return outcome;
        }
        drop(looked);
        match read.and_then(|read| read.pair(&self.files)) {
            Ok((key, not_after)) => {
                self.current.store(Arc::new(key));
                let file = self.files.certificate.display();
                tracing::info!(%file, listener = self.listener, %not_after, "certificate reloaded");
                self.tell(not_after, now);
                Outcome::Loaded
            }
            Err(error) => {
                metrics().tls_failing(self.listener, true);
                tracing::error!(%error, listener = self.listener, "certificate not reloaded: the one in use stays");
                Outcome::Refused
            }
        }
    }

    fn tell(&self, not_after: OffsetDateTime, now: OffsetDateTime) {
        let expiry = u64::try_from(not_after.unix_timestamp()).unwrap_or_default();
        metrics().tls_loaded(self.listener, expiry);
        if not_after <= now {
            let file = self.files.certificate.display();
            tracing::error!(%file, listener = self.listener, %not_after, "the certificate has expired: clients will refuse it");
        }
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Files {
    fn read(files: &Tls) -> Result<Self, ConfigError> {
        let certificate = bounded(&files.certificate)?;
        let key = bounded(&files.key)?;
        let mut fingerprint = [0; 32];
        let both = [digest(&SHA256, &certificate), digest(&SHA256, &key)];
        let both = [both[0].as_ref(), both[1].as_ref()].concat();
        fingerprint.copy_from_slice(digest(&SHA256, &both).as_ref());
        Ok(Self {
            certificate: certificate.to_vec(),
            key,
            fingerprint,
        })
    }

    /// Certificate and key, and the end of the first's life.
    fn pair(&self, files: &Tls) -> Result<(CertifiedKey, OffsetDateTime), ConfigError> {
        let of_certificate = |reason: &str| refused(&files.certificate, reason);
        let of_key = |reason: &str| refused(&files.key, reason);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|_| of_certificate("it is not PEM"))?;
        let leaf = chain
            .first()
            .ok_or_else(|| of_certificate("there is no certificate in it"))?;
        let leaf = Certificate::from_der(leaf)
            .map_err(|_| of_certificate("its first certificate cannot be read"))?;
        let not_after = leaf
            .tbs_certificate()
            .validity()
            .not_after
            .to_unix_duration();
        let not_after = i64::try_from(not_after.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or_else(|| of_certificate("its first certificate ends in no year"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| of_key("there is no private key in PEM in it, or it is encrypted"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                return of_key("it is not the key of the certificate");
            }
            of_key(&error.to_string())
        })?;
        Ok((key, not_after))
    }
}

fn bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(refused(path, &error.to_string())),
    }
}

fn refused(path: &Path, reason: &str) -> ConfigError {
    ConfigError {
        file: path.to_owned(),
        line: None,
        reason: reason.to_owned(),
    }
}

/// Longer than any chain that a client would take.
const MAX_FILE: u64 = 256 << 10;
