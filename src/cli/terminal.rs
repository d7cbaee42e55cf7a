//! How the commands speak.

use std::error::Error;
use std::fmt::Display;

use anstream::{eprint, eprintln, println};

/// A result, for standard output.
pub(super) fn result(text: impl Display) {
    println!("{text}");
}

/// Talk, for standard error.
pub(super) fn say(text: impl Display) {
    eprintln!("{text}");
}

/// How far something is, on a line that is written over.
pub(super) fn progress(percent: u64, text: impl Display) {
    let done = usize::try_from(percent / 4).unwrap_or_default();
    eprint!("\r[{:<25}] {percent:>3} % {text}", "=".repeat(done));
}

/// Leaves that line as it is.
pub(super) fn progress_ends() {
    eprintln!();
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
    eprintln!("{RED}vouchsafe:{RESET} {text}");
}

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const RED: &str = "\x1b[1;31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const CYAN: &str = "\x1b[36m";
pub(super) const YELLOW: &str = "\x1b[1;33m";
pub(super) const RESET: &str = "\x1b[0m";
