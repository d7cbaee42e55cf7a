//! The place of a new deployment: looked at before anything is made, and taken in one step.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::FreshError;

/// What is at a place.
pub(super) enum Place {
    /// Nothing, or an empty directory.
    Free(PathBuf),
    /// A deployment whose log and ledger on a server were not made to their end.
    Unfinished(PathBuf),
}

impl Place {
    pub(super) fn of(directory: &Path) -> Result<Self, FreshError> {
        let file = |source| failed(directory, source);
        let directory = std::path::absolute(directory).map_err(file)?;
        let mut entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Free(directory)),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(FreshError::Exists(directory));
            }
            Err(error) => return Err(failed(&directory, error)),
        };
        if directory.join(UNFINISHED).exists() {
            return Ok(Self::Unfinished(directory));
        }
        if entries.next().is_some() {
            return Err(FreshError::Exists(directory));
        }
        // It is exchanged for another one, and whoever stands in it would be left standing nowhere.
        let here = fs::canonicalize(".").ok();
        if here.is_some() && here == fs::canonicalize(&directory).ok() {
            return Err(FreshError::Here(directory));
        }
        Ok(Self::Free(directory))
    }
}

/// Has a deployment written beside its place, and moves it there. It is held for as long as what is
/// returned lives.
pub(super) async fn put(
    directory: &Path,
    write: impl AsyncFnOnce(&Path) -> Result<(), FreshError>,
) -> Result<Vec<File>, FreshError> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = directory.with_file_name(format!(".{name}.unfinished"));
    let mut lock = own(&unfinished)?;
    let not_there = |source| FreshError::Place {
        path: directory.to_owned(),
        source,
    };
    if directory.exists() {
        // What cannot be exchanged is found out with an empty directory: a mount point above all.
        if let Err(error) = fs::rename(&unfinished, directory) {
            let _removed = fs::remove_dir(&unfinished);
            return Err(not_there(error));
        }
        lock = own(&unfinished)?;
    }
    let mut made = write(&unfinished).await;
    if made.is_ok() {
        made = fs::rename(&unfinished, directory).map_err(not_there);
    }
    if let Err(error) = made {
        // If it cannot be removed the next attempt will say so.
        let _removed = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    sync_directories([directory
        .parent()
        .unwrap_or_else(|| Path::new("/"))
        .to_owned()])?;
    Ok(lock)
}

/// Makes the directory of an unfinished deployment and holds it for as long as what is returned lives.
/// One that a killed process left is taken away first: nothing in it was ever in use.
fn own(unfinished: &Path) -> Result<Vec<File>, FreshError> {
    let made = make_directory(unfinished);
    if let Err(FreshError::File { source, .. }) = &made
        && source.kind() != ErrorKind::AlreadyExists
    {
        return made.map(|()| Vec::new());
    }
    // Who made it a moment ago may find it locked by another one that took it for a leftover, and stops.
    let first = hold(unfinished)?;
    if made.is_ok() {
        return Ok(vec![first]);
    }
    // Held until the new one is: its maker, if there still is one, must not take the new one for its own.
    fs::remove_dir_all(unfinished).map_err(|source| failed(unfinished, source))?;
    make_directory(unfinished)?;
    Ok(vec![first, hold(unfinished)?])
}

/// Holds a directory for as long as what is returned lives, wherever it is moved to.
pub(super) fn hold(directory: &Path) -> Result<File, FreshError> {
    let opened = File::open(directory).map_err(|source| failed(directory, source))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(FreshError::Busy(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(directory, source)),
    }
}

/// Whether something of the deployment is still to be made on a server.
pub(super) fn is_unfinished(directory: &Path) -> bool {
    directory.join(UNFINISHED).exists()
}

/// Notes that something is still to be made on a server once the deployment is at its place.
pub(super) fn mark_unfinished(at: &Path) -> Result<(), FreshError> {
    write(&at.join(UNFINISHED), 0o600, "")
}

/// Everything is made.
pub(super) fn mark_finished(directory: &Path) -> Result<(), FreshError> {
    let mark = directory.join(UNFINISHED);
    fs::remove_file(&mark).map_err(|source| failed(&mark, source))?;
    sync_directories([directory.to_owned()])
}

/// Names have to be on the disk as well as what they name.
pub(in crate::config) fn sync_directories<const N: usize>(
    directories: [PathBuf; N],
) -> Result<(), FreshError> {
    for directory in directories {
        File::open(&directory)
            .and_then(|opened| opened.sync_all())
            .map_err(|source| failed(&directory, source))?;
    }
    Ok(())
}

pub(in crate::config) fn make_directory(path: &Path) -> Result<(), FreshError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|source| failed(path, source))
}

/// Writes a file that does not exist yet, and waits until it is on the disk.
pub(in crate::config) fn write(path: &Path, mode: u32, text: &str) -> Result<(), FreshError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> FreshError {
    FreshError::File {
        path: path.to_owned(),
        source,
    }
}

/// The name of the note, in the deployment.
const UNFINISHED: &str = ".unfinished";
