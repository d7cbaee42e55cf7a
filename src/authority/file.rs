//! A key in a file, encrypted or not, and the chain beside it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use der::pem::PemLabel as _;
use pkcs8::EncryptedPrivateKeyInfoRef;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::key::{CaKey, KeyError, Signing};
use super::memory::MemoryKey;
use crate::certificate::profile::SignatureAlgorithm;

/// A private key that was read from a PEM file.
#[derive(Debug)]
pub struct FileKey {
    key: MemoryKey,
}

/// Where the passphrase of an encrypted key is. Never a value: a flag or a setting would show it to
/// everyone who can list processes or read the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PassphraseSettings")]
pub enum Passphrase {
    /// A file; one line break at its end does not count.
    File(PathBuf),
    /// A credential of this name, handed over by the service manager in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// `file: PATH` or `credential: NAME`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PassphraseSettings {
    file: Option<PathBuf>,
    credential: Option<String>,
}

impl TryFrom<PassphraseSettings> for Passphrase {
    type Error = &'static str;

    fn try_from(settings: PassphraseSettings) -> Result<Self, Self::Error> {
        match settings {
            PassphraseSettings {
                file: Some(file),
                credential: None,
            } => Ok(Self::File(file)),
            PassphraseSettings {
                file: None,
                credential: Some(name),
            } => Ok(Self::Credential(name)),
            PassphraseSettings { .. } => Err("a passphrase has either a file or a credential"),
        }
    }
}

impl Passphrase {
    /// Reads it.
    ///
    /// # Errors
    /// [`KeyError`]: the file cannot be read, or the service manager gave no credentials.
    pub fn read(&self, base: &Path) -> Result<Zeroizing<String>, KeyError> {
        let path = match self {
            Self::File(path) => base.join(path),
            Self::Credential(name) => {
                let unusable = |reason| KeyError::Unusable {
                    path: format!("credential {name}"),
                    reason,
                };
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    return Err(unusable("a credential's name is one plain file name"));
                }
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| unusable("$CREDENTIALS_DIRECTORY is not set"))?;
                Path::new(&directory).join(name)
            }
        };
        let mut text = read_text(&path)?;
        let kept = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(kept);
        Ok(text)
    }
}

impl FileKey {
    /// Loads the one private key in a PEM file: `PRIVATE KEY`, `ENCRYPTED PRIVATE KEY` (PKCS#8),
    /// `EC PRIVATE KEY` (SEC1) or `RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    /// [`KeyError`]: which file, and what is wrong with it.
    pub fn load(path: &Path, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let der = load_private_key_der(path, passphrase)?;
        let key = MemoryKey::from_der(&der).map_err(|reason| KeyError::Unusable {
            path: path.display().to_string(),
            reason,
        })?;
        Ok(Self { key })
    }
}

impl CaKey for FileKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }

    fn public_key_der(&self) -> &[u8] {
        self.key.public_key_der()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        self.key.sign(message)
    }
}

/// The private key in a PEM file, decrypted: PKCS#8, or SEC1 or PKCS#1 as it stands there.
///
/// # Errors
/// [`KeyError`]: which file, and what is wrong with it.
pub fn load_private_key_der(
    path: &Path,
    passphrase: Option<&str>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unusable = |reason| KeyError::Unusable {
        path: path.display().to_string(),
        reason,
    };
    let text = read_text(path)?;
    let (label, der) = der::pem::decode_vec(text.trim().as_bytes())
        .map_err(|_| unusable("it is not one PEM block"))?;
    let der = Zeroizing::new(der);
    match label {
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => Ok(der),
        EncryptedPrivateKeyInfoRef::PEM_LABEL => {
            let passphrase = passphrase
                .ok_or_else(|| unusable("it is encrypted and no passphrase is configured"))?;
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(der.as_slice())
                .map_err(|_| unusable("the encrypted key is malformed"))?;
            let opened = encrypted
                .decrypt(passphrase)
                .map_err(|_| KeyError::Passphrase {
                    path: path.display().to_string(),
                })?;
            Ok(Zeroizing::new(opened.as_bytes().to_vec()))
        }
        _ => Err(unusable("the PEM block is not a private key")),
    }
}

/// A small text file. A key, a chain or a passphrase beyond 64 KiB is none.
///
/// # Errors
/// [`KeyError::Unreadable`].
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let unreadable = |source| KeyError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if read as u64 > MAX_FILE {
        return Err(unreadable(std::io::Error::other(
            "the file has more than 64 KiB",
        )));
    }
    Ok(text)
}

const MAX_FILE: u64 = 64 * 1024;
