//! What the kernel tells about another process.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process to be watched.
#[derive(Clone)]
pub(crate) struct Process {
    directory: PathBuf,
}

/// What each thread of a process has used so far.
pub(crate) struct Used(HashMap<String, Duration>);

impl Process {
    pub(crate) fn of(id: u32) -> Self {
        Self {
            directory: PathBuf::from(format!("/proc/{id}")),
        }
    }

    /// Processor time so far, to the nanosecond, by thread.
    pub(crate) fn used(&self) -> Used {
        let threads = fs::read_dir(self.directory.join("task"))
            .expect("the process lives")
            .flatten();
        Used(
            threads
                .filter_map(|thread| {
                    Some((
                        thread.file_name().into_string().ok()?,
                        on_processor(&thread.path())?,
                    ))
                })
                .collect(),
        )
    }

    /// Memory now resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that ever was, in bytes.
    pub(crate) fn peak_resident(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(self.directory.join("status")).expect("the process lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("the kernel tells memory");
        let kibibytes: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB");
        kibibytes << 10
    }
}

impl Used {
    /// What was used between `earlier` and now. Threads that ended in between would be missing, so
    /// they end the run instead: the server keeps its threads.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        for thread in earlier.0.keys() {
            assert!(
                self.0.contains_key(thread),
                "a thread of the server ended under load"
            );
        }
        self.0
            .iter()
            .map(|(thread, used)| {
                used.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
            })
            .sum()
    }
}

/// Processor time that every process of the machine used so far, and its host took away, in all.
pub(crate) fn of_this_machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("the kernel tells processor time");
    let ticks = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1);
    let ticks: Vec<u64> = ticks.filter_map(|number| number.parse().ok()).collect();
    let &[
        user,
        nice,
        system,
        _idle,
        _waiting,
        interrupts,
        soft_interrupts,
        stolen,
        ..,
    ] = &ticks[..]
    else {
        panic!("not the /proc/stat of Linux: {stat}");
    };
    TICK * u32::try_from(user + nice + system + interrupts + soft_interrupts + stolen)
        .expect("a machine up for less than a year")
}

/// Processor time of this process so far, in ticks of the kernel.
pub(crate) fn of_this_process() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("the kernel tells processor time");
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th after it.
    let numbers = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_ascii_whitespace()
        .skip(11)
        .take(2);
    TICK * numbers
        .filter_map(|number| number.parse::<u32>().ok())
        .sum::<u32>()
}

/// Processor time of this thread so far.
pub(crate) fn of_this_thread() -> Duration {
    on_processor(Path::new("/proc/thread-self")).expect("the kernel tells processor time")
}

fn on_processor(thread: &Path) -> Option<Duration> {
    let schedstat = fs::read_to_string(thread.join("schedstat")).ok()?;
    Some(Duration::from_nanos(
        schedstat.split_ascii_whitespace().next()?.parse().ok()?,
    ))
}

/// The kernel's unit in these files, on every platform of Linux that matters here.
const TICK: Duration = Duration::from_millis(10);
