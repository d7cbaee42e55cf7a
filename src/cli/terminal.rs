//! How the commands speak.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use tokio::io::Interest;
use tokio::net::unix::pipe;

/// Why a result did not get out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    /// Whoever read it has read enough. No failure of the command, and nobody need be told.
    #[error("nobody reads the result any more")]
    Unread,
    /// The disk is full, or the like.
    #[error("the result cannot be written: {0}")]
    Output(io::Error),
}

/// A result, for standard output.
pub(super) fn result(text: impl Display) -> Result<(), Unwritten> {
    let mut output = anstream::stdout().lock();
    let written = writeln!(output, "{text}").and_then(|()| output.flush());
    written.map_err(|error| match error.kind() == ErrorKind::BrokenPipe {
        true => Unwritten::Unread,
        false => Unwritten::Output(error),
    })
}

/// Waits until nobody reads standard output any more, for commands that may have nothing to write for
/// long; for ever, where it is no pipe.
pub(super) async fn unread() {
    // Opened once more, so that what is done to it is not done to others who have it open.
    let pipe = match pipe::OpenOptions::new().open_sender("/dev/stdout") {
        Ok(pipe) => pipe,
        Err(error) if error.raw_os_error() == Some(ENXIO) => return,
        Err(_) => return std::future::pending().await,
    };
    while let Ok(ready) = pipe.ready(Interest::ERROR).await {
        if ready.is_error() || ready.is_write_closed() {
            return;
        }
    }
}

/// Talk, for standard error. What nobody can hear is no reason to end.
pub(super) fn say(text: impl Display) {
    let _heard = writeln!(anstream::stderr(), "{text}");
}

/// How far something is, on a line that is written over.
pub(super) fn progress(percent: u64, text: impl Display) {
    let done = usize::try_from(percent / 4).unwrap_or_default();
    let done = "=".repeat(done);
    let _heard = write!(anstream::stderr(), "\r[{done:<25}] {percent:>3} % {text}");
}

/// Leaves that line as it is.
pub(super) fn progress_ends() {
    say("");
}

/// The one line that ends a failed command, causes included.
pub(super) fn failure(failure: &(dyn Error + 'static)) {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !text.contains(&sentence) {
            text = format!("{text}: {sentence}");
        }
        cause = error.source();
    }
    say(format_args!("{RED}vouchsafe:{RESET} {text}"));
}

/// A pipe that nobody reads.
const ENXIO: i32 = 6;

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const RED: &str = "\x1b[1;31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const CYAN: &str = "\x1b[36m";
pub(super) const YELLOW: &str = "\x1b[1;33m";
pub(super) const RESET: &str = "\x1b[0m";
