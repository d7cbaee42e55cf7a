//! What the kernel tells about another process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process to be watched.
#[derive(Clone)]
pub(crate) struct Process {
    directory: PathBuf,
}

impl Process {
    pub(crate) fn of(id: u32) -> Self {
        Self {
            directory: PathBuf::from(format!("/proc/{id}")),
        }
    }

    /// Processor time so far, in ticks of the kernel, of all threads that are and that were.
    pub(crate) fn used(&self) -> Duration {
        ticks_of(&self.directory)
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

/// Processor time of this process so far.
pub(crate) fn of_this_process() -> Duration {
    ticks_of(Path::new("/proc/self"))
}

/// Processor time of this thread so far, to the nanosecond.
pub(crate) fn of_this_thread() -> Duration {
    let schedstat =
        fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel tells processor time");
    let nanoseconds = schedstat
        .split_ascii_whitespace()
        .next()
        .and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
}

fn ticks_of(process: &Path) -> Duration {
    let stat = fs::read_to_string(process.join("stat")).expect("the process lives");
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th after it.
    let numbers = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = numbers.split_ascii_whitespace().skip(11).take(2);
    TICK * ticks
        .filter_map(|number| number.parse::<u32>().ok())
        .sum::<u32>()
}

/// The kernel's unit in these files, on every platform of Linux that matters here.
const TICK: Duration = Duration::from_millis(10);
