//! A PostgreSQL server of the tests' own: real, on loopback, with its data in a directory that goes when
//! the test program does, however it ends.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's neighbour: it waits, and each program uses its own part of it"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running server with its own data.
pub(crate) struct Cluster {
    /// Below it are the data and the server's log.
    directory: PathBuf,
    binaries: PathBuf,
    port: u16,
    databases: AtomicU32,
    /// Stops the server and removes the directory as soon as this process is gone.
    guard: Child,
}

impl Cluster {
    /// The one of this process, for all who only need a database.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new one, to be stopped and started at will.
    pub(crate) fn start() -> Self {
        let cluster = Self::place();
        cluster.run(
            "initdb",
            &[
                "--auth=trust",
                "--username=vouchsafe",
                "--encoding=UTF8",
                "--no-sync",
            ],
        );
        cluster.start_again();
        cluster
    }

    /// A standby that streams from this one, at a port of its own. It calls itself `standby`, for
    /// settings that name one.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::place();
        let primary = format!(
            "host=127.0.0.1 port={} user=vouchsafe application_name=standby",
            self.port
        );
        standby.run(
            "pg_basebackup",
            &[
                "--dbname",
                &primary,
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
        );
        standby.start_again();
        standby
    }

    /// A port, a directory without data, and who clears it away.
    fn place() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("vouchsafe-postgres-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let binaries = newest_binaries();
        let made = as_server(Path::new("mkdir"))
            .arg("-m0700")
            .arg(&directory)
            .status();
        assert!(
            made.expect("mkdir runs").success(),
            "{} is taken",
            directory.display()
        );
        let script = r#"cat; "$0/pg_ctl" -D "$1/data" -m immediate stop; rm -rf "$1""#;
        // In a session of its own, so that a signal to the terminal's group does not end it too.
        let guard = as_server(Path::new("setsid"))
            .args(["sh", "-c", script])
            .arg(&binaries)
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self {
            port: free_port(),
            directory,
            binaries,
            databases: AtomicU32::new(0),
            guard,
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of a new, empty database.
    pub(crate) fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address(&name)
    }

    /// The address of a database.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("postgresql://vouchsafe@127.0.0.1:{}/{name}", self.port)
    }

    /// Has the server's own client run statements, and returns what it prints.
    pub(crate) fn sql(&self, database: &str, statements: &str) -> String {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.address(database))
            .args(["-c", statements])
            .output()
            .expect("psql runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {told}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Stops it as a power cut would, but for what the system has not yet written.
    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start_again(&self) {
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories= -c fsync=on \
             -c max_connections=200 -c shared_buffers=64MB -c log_statement=none",
            self.port
        );
        let log = self.directory.join("log");
        let log = log.to_str().expect("a path in UTF-8");
        self.run("pg_ctl", &["-o", &settings, "-l", log, "-w", "start"]);
        let begun = Instant::now();
        let port = self.port.to_string();
        while !Command::new(self.binaries.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port])
            .status()
            .expect("pg_isready runs")
            .success()
        {
            assert!(begun.elapsed() < LIMIT, "not ready: {}", self.talk());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Comes to where another one was that has been stopped, as a failover does it. What it is, standby
    /// or primary, it stays.
    pub(crate) fn move_to(&mut self, port: u16) {
        self.run("pg_ctl", &["-m", "fast", "stop"]);
        self.port = port;
        self.start_again();
    }

    /// Makes a standby a primary.
    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["-w", "promote"]);
    }

    /// Changes the server's configuration while it runs.
    pub(crate) fn set(&self, setting: &str, value: &str) {
        self.sql(
            "postgres",
            &format!("ALTER SYSTEM SET {setting} = '{value}'"),
        );
        self.sql("postgres", "SELECT pg_reload_conf()");
        self.until(&format!("current_setting('{setting}') = '{value}'"));
    }

    /// Writes a file beside the server's data, where its settings look for it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let mut shell = as_server(Path::new("sh"))
            .args(["-c", r#"umask 077; cat > "$0""#])
            .arg(self.directory.join("data").join(name))
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut input = shell.stdin.take().expect("its input");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        assert!(shell.wait().expect("its end").success(), "{name}");
    }

    /// Waits until a condition holds, in SQL and asked over a new connection each time.
    pub(crate) fn until(&self, condition: &str) {
        let begun = Instant::now();
        while self.sql("postgres", &format!("SELECT {condition}")) != "t" {
            assert!(begun.elapsed() < LIMIT, "{condition}: {}", self.talk());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a standby of this one has everything that is here.
    pub(crate) fn until_all_is_in(&self, standby: &Self) {
        let here = self.sql("postgres", "SELECT pg_current_wal_lsn()");
        standby.until(&format!("pg_last_wal_replay_lsn() >= '{here}'"));
    }

    /// What the server wrote.
    pub(crate) fn talk(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = as_server(&self.binaries.join(program))
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("PostgreSQL's programs run");
        assert!(status.success(), "{program} {arguments:?}: {}", self.talk());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}

/// The server refuses to run as root, and where we are somebody else we cannot become its user.
fn as_server(program: &Path) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    let mut command = Command::new("setpriv");
    if id.stdout != b"0\n" {
        return Command::new(program);
    }
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(program);
    command.current_dir("/");
    command
}

fn newest_binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let versions = versions.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = versions.max_by_key(|version| version.parse::<u32>().unwrap_or(0));
    let newest = newest.expect("PostgreSQL is installed");
    Path::new("/usr/lib/postgresql").join(newest).join("bin")
}

fn free_port() -> u16 {
    // Below those the system gives to outgoing connections, and not where deployments look for theirs.
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 4_000 + 20 * GIVEN.fetch_add(1, Ordering::Relaxed);
    let first = 4_000 + u16::try_from(first).unwrap_or(0);
    (first..first + 1_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

const LIMIT: Duration = Duration::from_secs(30);
