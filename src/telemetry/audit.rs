//! The audit trail: one JSON object a line for each decision about a certificate, to a file or to
//! standard output. `docs/audit.schema.json` describes the lines.
//!
//! A request that may end in a certificate gets its place in the queue before anything is signed, so
//! no certificate leaves without its record while the sink is full: the request is refused instead.
//! One thread writes. What it cannot write it keeps and tries again, from the very octet at which the
//! last try ended, so a disk that was full for a while leaves neither a gap nor half a line.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::now;

/// Where the records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// The end of a file, which is made if it is not there.
    File(PathBuf),
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("on standard output"),
            Self::File(path) => write!(f, "in {}", path.display()),
        }
    }
}

/// One decision. Nothing in it is secret: the token is there as its SHA-256.
#[derive(Debug, Default, Serialize)]
pub struct Record<'a> {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// `granted`; `refused` by the caller's fault; `failed` by ours or a provider's.
    pub decision: &'static str,
    /// The name of the request in its answer's header.
    pub request_id: &'a str,
    /// The reason that the caller is told; none for a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The sentence of the log line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The entry of the configuration that the token's issuer belongs to. The token of a refused
    /// request only claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_entry: Option<&'a str>,
    /// SHA-256 of the token, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// What was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Granted<'a>>,
}

/// A certificate that was granted.
#[derive(Debug, Serialize)]
pub struct Granted<'a> {
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of its DER, in hexadecimal digits.
    pub sha256: String,
    /// The name it bears.
    pub identity: String,
    /// What kind of name that is.
    pub identity_kind: &'a str,
    /// The token's issuer.
    pub issuer: &'a str,
    /// The token's subject.
    pub subject: &'a str,
    /// From when it is valid, RFC 3339 in UTC.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// The transparency log it stands in, in hexadecimal digits.
    pub log_id: String,
    /// Where it stands there, counted from zero, if the log says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

/// A place in the queue, or none that is needed.
#[derive(Debug)]
pub struct Place(Option<mpsc::OwnedPermit<Message>>);

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// How the trail is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Records written.
    pub written: u64,
    /// Records for which there was no place.
    pub lost: u64,
    /// Records that wait.
    pub waiting: usize,
    /// Whether the last try to write failed.
    pub is_failing: bool,
}

/// Writes records to `sink` from now on; the first call of a process counts.
///
/// # Errors
/// A sink that cannot be opened for appending, or a thread that cannot be started.
pub fn install(sink: &Sink) -> io::Result<()> {
    let output: Box<dyn Write + Send> = match sink {
        // Without the library's buffer: what it took would count as written.
        Sink::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Sink::File(path) => Box::new(open(path)?),
    };
    let path = match sink {
        Sink::Stdout => None,
        Sink::File(path) => Some(path.clone()),
    };
    let trail = Trail::start(output, path, PLACES)?;
    // A second trail would have nobody to write to it; it ends as it is dropped.
    drop(TRAIL.set(trail));
    Ok(())
}

/// Takes a place for one record.
///
/// # Errors
/// [`Full`]: the sink cannot be written, and the queue has filled up meanwhile.
pub fn reserve() -> Result<Place, Full> {
    match TRAIL.get() {
        Some(trail) => trail.reserve(),
        None => Ok(Place(None)),
    }
}

/// Whether a record would find a place.
pub fn accepts() -> bool {
    TRAIL.get().is_none_or(|trail| trail.queue.capacity() > 0)
}

/// How the trail is.
pub fn state() -> State {
    TRAIL.get().map(Trail::state).unwrap_or_default()
}

/// Records a refusal that was not given a place beforehand. If there is none it is counted, and the
/// next record that is written is about the gap.
pub fn refused<'a>(record: impl FnOnce() -> Record<'a>) {
    if let Some(trail) = TRAIL.get() {
        trail.refused(record);
    }
}

/// Opens the file again by its name, which somebody may have moved away to begin another one. Standard
/// output stays what it is.
pub fn reopen() {
    if let Some(trail) = TRAIL.get() {
        trail.reopen();
    }
}

/// RFC 3339 in UTC.
pub fn rfc3339(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Ends the trail: writes what waits, for a few seconds if need be. True, if all was written.
pub fn close() -> bool {
    TRAIL.get().is_none_or(|trail| trail.close(CLOSING))
}

impl Place {
    /// Fills it. The record is only made if there is a trail.
    pub fn fill<'a>(self, record: impl FnOnce() -> Record<'a>) {
        if let Self(Some(permit)) = self {
            drop(permit.send(Message::Line(line(&record()))));
        }
    }
}

static TRAIL: OnceLock<Trail> = OnceLock::new();

/// The queue and the thread that empties it.
#[derive(Debug)]
struct Trail {
    queue: mpsc::Sender<Message>,
    progress: Arc<Progress>,
    /// Disconnected when the writer has ended.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug)]
enum Message {
    /// One line, with its end.
    Line(String),
    /// Look whether something else is wanted.
    Wake,
}

/// What the two sides of the queue tell each other.
#[derive(Debug, Default)]
struct Progress {
    written: AtomicU64,
    lost: AtomicU64,
    is_failing: AtomicBool,
    is_closing: AtomicBool,
    is_moved: AtomicBool,
}

impl Trail {
    fn start(
        output: Box<dyn Write + Send>,
        path: Option<PathBuf>,
        places: usize,
    ) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel(places);
        let (alive, ended) = std::sync::mpsc::channel();
        let progress = Arc::new(Progress::default());
        let writer = Writer {
            output,
            path,
            progress: Arc::clone(&progress),
            told_lost: 0,
            _alive: alive,
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(messages))?;
        Ok(Self {
            queue,
            progress,
            ended: Mutex::new(ended),
        })
    }

    fn reserve(&self) -> Result<Place, Full> {
        let permit = self.queue.clone().try_reserve_owned();
        Ok(Place(Some(permit.map_err(|_| Full)?)))
    }

    fn refused<'a>(&self, record: impl FnOnce() -> Record<'a>) {
        match self.reserve() {
            Ok(place) => place.fill(record),
            Err(Full) => {
                self.progress.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn state(&self) -> State {
        let Progress {
            written,
            lost,
            is_failing,
            is_closing: _,
            is_moved: _,
        } = &*self.progress;
        State {
            written: written.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed),
            waiting: self.queue.max_capacity() - self.queue.capacity(),
            is_failing: is_failing.load(Ordering::Relaxed),
        }
    }

    fn reopen(&self) {
        self.progress.is_moved.store(true, Ordering::SeqCst);
        // If there is no place for it, the writer is awake.
        drop(self.queue.try_send(Message::Wake));
    }

    fn close(&self, patience: Duration) -> bool {
        self.progress.is_closing.store(true, Ordering::SeqCst);
        // If there is no place for it, the writer is awake.
        drop(self.queue.try_send(Message::Wake));
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

/// The one who writes.
struct Writer {
    output: Box<dyn Write + Send>,
    /// The file's name, if it is one.
    path: Option<PathBuf>,
    progress: Arc<Progress>,
    /// Lost records that a line has told of.
    told_lost: u64,
    /// Dropped at the end.
    _alive: Sender<()>,
}

impl Writer {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let message = match messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    self.tell_of_gap();
                    if self.progress.is_closing.load(Ordering::SeqCst) {
                        return;
                    }
                    let Some(message) = messages.blocking_recv() else {
                        return;
                    };
                    message
                }
            };
            self.reopen();
            if let Message::Line(line) = message {
                self.write(line.as_bytes());
                self.progress.written.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Between two lines, so that none is in two files.
    fn reopen(&mut self) {
        if !self.progress.is_moved.swap(false, Ordering::SeqCst) {
            return;
        }
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                self.output = Box::new(file);
                tracing::info!(file = %path.display(), "the audit trail was opened again");
            }
            Err(error) => {
                tracing::error!(%error, file = %path.display(), "the audit trail cannot be opened again; the file that was open is written on");
            }
        }
    }

    /// Returns when every octet is written.
    fn write(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let error = match self.output.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    if self.progress.is_failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("the audit trail can be written again");
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if !self.progress.is_failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the audit trail cannot be written; records wait");
            }
            std::thread::sleep(RETRY);
        }
    }

    fn tell_of_gap(&mut self) {
        let lost = self.progress.lost.load(Ordering::Relaxed);
        let untold = lost.saturating_sub(self.told_lost);
        if untold > 0 {
            let gap = Gap {
                time: rfc3339(now()),
                decision: "gap",
                lost: untold,
            };
            self.write(line(&gap).as_bytes());
            self.told_lost = lost;
        }
    }
}

/// Stands where records are missing.
#[derive(Serialize)]
struct Gap {
    time: String,
    decision: &'static str,
    lost: u64,
}

fn line(record: &impl Serialize) -> String {
    // Text and numbers only: there is nothing in it that JSON could not say.
    let mut line = serde_json::to_string(record).unwrap_or_default();
    line.push('\n');
    line
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    // A machine that lost its power may have left half a line.
    let is_regular = file.metadata()?.is_file();
    if is_regular && file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// Records that may wait. One takes about a kilobyte.
const PLACES: usize = 1024;
/// The pause between two tries to write.
const RETRY: Duration = Duration::from_millis(250);
/// How long the end waits for what is not written yet.
const CLOSING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
