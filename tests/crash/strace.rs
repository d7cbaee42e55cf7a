//! The kernel's side of a server: its calls, seen and failed on purpose, by `strace`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::deployment::Server;

/// A tracer at work on a server.
pub(crate) struct Strace {
    child: Child,
    /// The server's process.
    traced: u32,
    output: PathBuf,
}

impl Strace {
    /// Attaches to a running server and returns when all of its threads are watched. What is seen
    /// goes to files whose names begin with `output`.
    pub(crate) fn attach(server: &Server, output: &Path, options: &[&str]) -> Self {
        let talk = output.with_extension("talk");
        let errors = fs::File::create(&talk).expect("a file");
        let child = Command::new("strace")
            .args(["-f", "-y", "-o"])
            .arg(output)
            .args(options)
            .args(["-p", &server.id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("strace, which .ci/run installs");
        let begin = Instant::now();
        while !fs::read_to_string(&talk).is_ok_and(|text| text.contains(" attached")) {
            let said = fs::read_to_string(&talk).unwrap_or_default();
            assert!(begin.elapsed() < PATIENCE, "strace did not attach: {said}");
            thread::sleep(Duration::from_millis(1));
        }
        Self {
            child,
            traced: server.id(),
            output: output.to_owned(),
        }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Lets go of the server, if it still lives, and returns what was seen.
    pub(crate) fn detach(self) -> String {
        let output = self.output.clone();
        drop(self);
        fs::read_to_string(output).unwrap_or_default()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // An interrupted tracer lets its processes go on. It fails only where it has ended already.
        let id = self.child.id().to_string();
        Command::new("kill")
            .args(["-INT", &id])
            .stderr(Stdio::null())
            .status()
            .ok();
        // One that wants to let go of a process that was killed waits for it for ever.
        let begin = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let limit = if self.traced_has_ended() {
                MOMENT
            } else {
                PATIENCE
            };
            if begin.elapsed() > limit {
                self.child.kill().ok();
                self.child.wait().ok();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Strace {
    fn traced_has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.traced)).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.starts_with('Z'));
        state.unwrap_or(true)
    }
}

const MOMENT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);
