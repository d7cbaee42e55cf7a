//! A directory that any web server can serve.
//!
//! A file is written beside its name, synchronised, moved to its name, and its directory is
//! synchronised: after a power cut there is the whole file or none.

use super::target::{Found, Kind, Target, TargetError};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A directory, locked against another publisher for as long as this lives.
#[derive(Debug)]
pub struct Directory {
    at: PathBuf,
    lock: File,
}

impl Directory {
    /// Opens the directory, which is made if it is not there.
    pub fn open(at: &Path) -> Result<Self, TargetError> {
        let refused =
            |error: &dyn core::fmt::Display| TargetError::new(&at.to_string_lossy(), error);
        make(at).map_err(|error| refused(&error))?;
        let lock = File::open(at).map_err(|error| refused(&error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => refused(&"another process publishes here"),
            TryLockError::Error(error) => refused(&error),
        })?;
        Ok(Self {
            at: at.to_owned(),
            lock,
        })
    }

    /// Runs beside the threads that answer: disks take their time.
    async fn run<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, TargetError> {
        let file = self.at.join(path);
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        let done = done.map_err(io::Error::other).flatten();
        done.map_err(|error| TargetError::new(path, error))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // At once, and not only when a child that is just being started lets its descriptor go.
        drop(self.lock.unlock());
    }
}

#[async_trait::async_trait]
impl Target for Directory {
    async fn get(&self, path: &str, limit: usize) -> Result<Option<Found>, TargetError> {
        let read = move |file: &Path| match File::open(file) {
            Ok(opened) => {
                let mut bytes = Vec::new();
                opened.take(limit as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() > limit {
                    return Err(io::Error::other(format!("more than {limit} bytes")));
                }
                let version = None;
                Ok(Some(Found { bytes, version }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        self.run(path, read).await
    }

    /// Nobody else writes here: the directory is locked.
    async fn put(
        &self,
        path: &str,
        bytes: Vec<u8>,
        _kind: Kind,
        _over: Option<&Found>,
    ) -> Result<bool, TargetError> {
        let write = move |file: &Path| {
            let directory = file.parent().unwrap_or(file);
            make(directory)?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            // What a process left that was killed here is written over.
            let draft = directory.join(format!(".{name}.new"));
            let mut written = File::create(&draft)?;
            written.write_all(&bytes)?;
            written.sync_all()?;
            fs::rename(&draft, file)?;
            File::open(directory)?.sync_all()
        };
        self.run(path, write).await?;
        Ok(true)
    }

    async fn remove(&self, directory: &str) -> Result<(), TargetError> {
        let remove = |at: &Path| match fs::remove_dir_all(at) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        self.run(directory, remove).await
    }
}

/// Makes a directory and those above it, durably.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    make(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}
