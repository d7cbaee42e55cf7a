//! Where a new deployment comes to be: beside its place, until it is whole.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{FreshError, make_directory};

/// The place of a new deployment, if it is free.
pub(super) fn place(directory: &Path) -> Result<PathBuf, FreshError> {
    let directory = std::path::absolute(directory).map_err(|source| FreshError::File {
        path: directory.to_owned(),
        source,
    })?;
    let is_free = match fs::read_dir(&directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(FreshError::Exists(directory));
    }
    Ok(directory)
}

/// Has a deployment written beside its place, and moves it there.
pub(super) async fn finish(
    directory: &Path,
    write: impl AsyncFnOnce(&Path) -> Result<(), FreshError>,
) -> Result<(), FreshError> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = directory.with_file_name(format!(".{name}.unfinished"));
    let file = |source| FreshError::File {
        path: directory.to_owned(),
        source,
    };
    let _lock = own(&unfinished)?;
    let mut made = write(&unfinished).await;
    if made.is_ok() {
        made = fs::rename(&unfinished, directory).map_err(file);
    }
    if let Err(error) = made {
        // If it cannot be removed the next attempt will say so.
        let _removed = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    let parent = directory.parent().unwrap_or_else(|| Path::new("/"));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(file)
}

/// Makes the directory of an unfinished deployment and holds it for as long as what is returned lives.
/// One that a killed process left is taken away first: nothing in it was ever in use.
fn own(unfinished: &Path) -> Result<Vec<File>, FreshError> {
    let file = |source| FreshError::File {
        path: unfinished.to_owned(),
        source,
    };
    let locked = || {
        let opened = File::open(unfinished).map_err(file)?;
        match opened.try_lock() {
            Ok(()) => Ok(opened),
            Err(TryLockError::WouldBlock) => Err(FreshError::Busy(unfinished.to_owned())),
            Err(TryLockError::Error(error)) => Err(file(error)),
        }
    };
    let made = make_directory(unfinished);
    // Who made it a moment ago may find it locked by another one that took it for a leftover, and stops.
    let first = locked()?;
    if made.is_ok() {
        return Ok(vec![first]);
    }
    // Held until the new one is: its maker, if there still is one, must not take the new one for its own.
    fs::remove_dir_all(unfinished).map_err(file)?;
    make_directory(unfinished)?;
    Ok(vec![first, locked()?])
}
