//! The high-water mark: the newest checkpoint this process knows to be durable, in a file of its own.
//!
//! A database that was restored from a backup is whole and looks like any other; a log that goes on
//! from it signs a second tree for sizes it has signed already. Nothing in the database can tell.
//! The mark can, and costs one write in place:
//!
//! ```text
//! slot 0 | slot 1        each a checkpoint, then zeros, 4096 bytes in all
//! ```
//!
//! The slots are written in turn and the newest that verifies counts, so a write that is torn by a
//! power cut leaves the mark before it. The checkpoint's own signature says that it is whole. Nothing
//! is renamed and the file never grows, so that one `fdatasync` is all a batch pays.
//!
//! The mark is raised after the commit and before anybody is answered. Before the commit, a crash
//! could leave it ahead of the database and refuse a start that is sound.

use super::checkpoint::Checkpoint;
use super::signer::LogVerifier;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why there is no mark to go by, or it cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HighWaterError {
    /// A mark that was lost must not be made again without anybody looking.
    #[error(
        "there is no high-water mark at {0}; if the database is the newest there is, `vouchsafe log adopt` makes one from it"
    )]
    Missing(String),
    /// A mark is never overwritten by another log.
    #[error(
        "there is already a high-water mark at {0}, perhaps an earlier log's; it is never overwritten"
    )]
    Exists(String),
    /// Two processes would write into each other's slots.
    #[error("another process keeps the high-water mark at {0}")]
    Locked(String),
    /// Neither slot verifies.
    #[error(
        "the file at {0} holds no checkpoint of this log; if it was damaged and the database is the newest there is, move it away and run `vouchsafe log adopt`"
    )]
    Damaged(String),
    /// A checkpoint that does not fit into a slot.
    #[error("a checkpoint of {0} bytes does not fit into the high-water mark")]
    TooLong(usize),
    /// The operating system's own words.
    #[error("the high-water mark at {path}: {error}")]
    File {
        /// Which.
        path: String,
        /// What it says.
        error: String,
    },
}

/// The mark, open and locked.
#[derive(Debug)]
pub struct HighWater {
    file: File,
    path: PathBuf,
    mark: Checkpoint,
    /// The slot that holds the older checkpoint, or none.
    next: u64,
}

impl HighWater {
    /// Makes the file with its first mark, or finishes one of this log whose making was cut short. A
    /// whole one is never overwritten, nor is anything else.
    pub fn create(path: &Path, checkpoint: &str) -> Result<(), HighWaterError> {
        let slot = slot(checkpoint)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        lock(&file, path)?;
        if !is_unfinished(&file, checkpoint).map_err(|error| failed(path, &error))? {
            return Err(HighWaterError::Exists(text(path)));
        }
        // Both slots, so that later writes change no length and need no more than their data synced.
        let written = file
            .write_all_at(&slot, 0)
            .and_then(|()| file.write_all_at(&[0; SLOT], SLOT as u64))
            .and_then(|()| file.sync_all())
            .and_then(|()| File::open(directory(path))?.sync_all());
        // At once, and not only when a child that is just being started lets its descriptor go.
        let unlocked = written.and_then(|()| file.unlock());
        unlocked.map_err(|error| failed(path, &error))
    }

    /// Opens the mark of the log of `origin` and `verifier`, for this process alone.
    pub fn open(path: &Path, origin: &str, verifier: &LogVerifier) -> Result<Self, HighWaterError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| not_opened(path, &error))?;
        lock(&file, path)?;
        let (mark, number) = newest(&file, path, origin, verifier)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            mark,
            next: 1 - number,
        })
    }

    /// Reads the mark without its lock, which a running server holds.
    ///
    /// # Errors
    /// [`HighWaterError`]: there is none that can be read.
    pub fn look(
        path: &Path,
        origin: &str,
        verifier: &LogVerifier,
    ) -> Result<Checkpoint, HighWaterError> {
        let file = File::open(path).map_err(|error| not_opened(path, &error))?;
        newest(&file, path, origin, verifier).map(|(mark, _)| mark)
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn mark(&self) -> &Checkpoint {
        &self.mark
    }

    /// Makes `checkpoint` the mark, durably; `note` is its signed form. An older one changes nothing. This
    /// waits for the disk on the thread it is called on.
    ///
    /// # Errors
    /// [`HighWaterError`]: whether the mark is on the disk is not known then, and asking again would
    /// not tell.
    pub fn raise(&mut self, checkpoint: Checkpoint, note: &str) -> Result<(), HighWaterError> {
        if order(&checkpoint) <= order(&self.mark) {
            return Ok(());
        }
        let slot = slot(note)?;
        let written = self.file.write_all_at(&slot, self.next * SLOT as u64);
        let synced = written.and_then(|()| self.file.sync_data());
        synced.map_err(|error| failed(&self.path, &error))?;
        self.next = 1 - self.next;
        self.mark = checkpoint;
        Ok(())
    }
}

impl Drop for HighWater {
    /// Closed alone, the file would stay locked for as long as a child that is just being started has it
    /// open too.
    fn drop(&mut self) {
        drop(self.file.unlock());
    }
}

/// The newest checkpoint that verifies, and its slot.
fn newest(
    file: &File,
    path: &Path,
    origin: &str,
    verifier: &LogVerifier,
) -> Result<(Checkpoint, u64), HighWaterError> {
    let slots = [0, 1].map(|number| {
        let mut bytes = [0; SLOT];
        file.read_exact_at(&mut bytes, number * SLOT as u64).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let note = str::from_utf8(&bytes[..end]).ok()?;
        let checkpoint = Checkpoint::verify(note, origin, verifier).ok()?;
        Some((checkpoint, number))
    });
    let newest = slots
        .into_iter()
        .flatten()
        .max_by_key(|(mark, _)| order(mark));
    if let Some(newest) = newest {
        return Ok(newest);
    }
    let length = file.metadata().map_err(|error| failed(path, &error))?.len();
    Err(match length {
        // Its making was cut short before there was anything in it.
        0 => HighWaterError::Missing(text(path)),
        _ => HighWaterError::Damaged(text(path)),
    })
}

fn not_opened(path: &Path, error: &std::io::Error) -> HighWaterError {
    match error.kind() == ErrorKind::NotFound {
        true => HighWaterError::Missing(text(path)),
        false => failed(path, error),
    }
}

/// A tree is newer if it is larger, and a signature over the same tree if it was made later.
fn order(checkpoint: &Checkpoint) -> (u64, u64) {
    (checkpoint.size, checkpoint.timestamp_ms)
}

fn slot(note: &str) -> Result<[u8; SLOT], HighWaterError> {
    let mut slot = [0; SLOT];
    // One zero at least, to end the note.
    match slot.get_mut(..note.len()) {
        Some(start) if note.len() < SLOT => start.copy_from_slice(note.as_bytes()),
        Some(_) | None => return Err(HighWaterError::TooLong(note.len())),
    }
    Ok(slot)
}

fn lock(file: &File, path: &Path) -> Result<(), HighWaterError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => HighWaterError::Locked(text(path)),
        TryLockError::Error(error) => failed(path, &error),
    })
}

/// Whether this is a file that was just made, or one whose making by the log of this checkpoint was cut
/// short: its length is written last, and nobody keeps a mark in a shorter one.
fn is_unfinished(file: &File, checkpoint: &str) -> std::io::Result<bool> {
    let length = file.metadata()?.len();
    if length == 0 || length >= 2 * SLOT as u64 {
        return Ok(length == 0);
    }
    let origin = checkpoint.split_inclusive('\n').next().unwrap_or_default();
    let mut begun = vec![0; origin.len()];
    let read = file.read_exact_at(&mut begun, 0);
    Ok(read.is_ok() && begun == origin.as_bytes())
}

fn directory(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn failed(path: &Path, error: &std::io::Error) -> HighWaterError {
    HighWaterError::File {
        path: text(path),
        error: error.to_string(),
    }
}

/// A page of every file system; the longest note, with an origin of 255 bytes and both signatures,
/// has less than half of it.
const SLOT: usize = 4096;

#[cfg(test)]
mod tests;
