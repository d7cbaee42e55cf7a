//! A deployment on disk and the server process that runs on it.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::http::Connection;
use super::issuer::Issuer;

/// What `vouchsafe init` made, with one trusted issuer: the given one.
pub(crate) struct Deployment {
    directory: TempDir,
    address: SocketAddr,
    program: PathBuf,
    tls: Option<Tls>,
    /// Where log and ledger are, if not in files.
    database: Option<String>,
}

/// A second listener, in TLS.
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    /// What a client has to trust.
    pub(crate) certificate: CertificateDer<'static>,
}

impl Deployment {
    /// Makes a deployment below the build directory, which is on a real disk where a temporary
    /// directory often is in memory.
    pub(crate) fn create(issuer: &Issuer) -> Self {
        Self::create_by(Path::new(env!("CARGO_BIN_EXE_vouchsafe")), issuer)
    }

    /// The same with a listener in TLS beside the plain one.
    pub(crate) fn create_with_tls(issuer: &Issuer) -> Self {
        let mut made = Self::create(issuer);
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]);
        let certificate = params.and_then(|params| params.self_signed(&key));
        let certificate = certificate.expect("a certificate");
        let (at, address) = (made.path(), free_address());
        fs::write(at.join("tls.pem"), certificate.pem()).expect("a file");
        fs::write(at.join("tls.key"), key.serialize_pem()).expect("a file");
        let mut text = fs::read_to_string(made.configuration()).expect("a configuration");
        text.push_str(&format!(
            "grpc-listen: {address}\ngrpc-tls: {{certificate: tls.pem, key: tls.key}}\n"
        ));
        fs::write(made.configuration(), text).expect("the configuration is written");
        let certificate = certificate.der().clone();
        made.tls = Some(Tls {
            address,
            certificate,
        });
        made
    }

    /// The same with another build of the program.
    pub(crate) fn create_by(program: &Path, issuer: &Issuer) -> Self {
        Self::create_with(program, issuer, &[])
    }

    /// The same with log and ledger in a PostgreSQL database.
    pub(crate) fn create_in(database: &str, issuer: &Issuer) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_vouchsafe"));
        let mut made = Self::create_with(program, issuer, &["--database", database]);
        made.database = Some(database.to_owned());
        made
    }

    fn create_with(program: &Path, issuer: &Issuer, more: &[&str]) -> Self {
        let directory =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let address = free_address();
        let made = Self {
            directory,
            address,
            program: program.to_owned(),
            tls: None,
            database: None,
        };
        let output = Command::new(program)
            .args(["init", "--dir"])
            .arg(made.path())
            .args([
                "--public-url",
                &made.origin(),
                "--listen",
                &address.to_string(),
            ])
            .args(more)
            .output()
            .expect("the program runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "init failed: {told}");
        fs::write(made.path().join("issuers.yaml"), issuer.issuers_yaml())
            .expect("issuers.yaml is written");
        let settings = made.configuration();
        let mut text = fs::read_to_string(&settings).expect("init wrote a configuration");
        // Whoever measures or breaks something here asks faster than anybody should.
        text = text.replace(
            "rate-limits:\n  enabled: true",
            "rate-limits:\n  enabled: false",
        );
        text.push_str("\ndevelopment:\n  allow-http-loopback-issuers: true\n");
        fs::write(settings, text).expect("the configuration is written");
        made
    }

    /// Another server of the same deployment, with a high-water mark of its own: the address it will
    /// have, and its configuration.
    pub(crate) fn replica(&self) -> (SocketAddr, PathBuf) {
        let address = free_address();
        let port = address.port();
        let mut text = fs::read_to_string(self.configuration()).expect("a configuration");
        let own = [
            (
                format!("listen: {}", self.address),
                format!("listen: {address}"),
            ),
            (
                "high-water: high-water".to_owned(),
                format!("high-water: high-water-{port}"),
            ),
        ];
        for (of_the_first, own) in own {
            assert!(text.contains(&of_the_first), "{of_the_first} in {text}");
            text = text.replace(&of_the_first, &own);
        }
        let file = self.path().join(format!("replica-{port}.yaml"));
        fs::write(&file, text).expect("a configuration is written");
        let output = Command::new(&self.program)
            .args(["log", "adopt", "--config"])
            .arg(&file)
            .output()
            .expect("the program runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "log adopt failed: {told}");
        (address, file)
    }

    /// The directory that holds its configuration, keys and databases.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("deployment")
    }

    /// Where the server listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The database on a server, if log and ledger are there.
    pub(crate) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The listener in TLS, if there is one.
    pub(crate) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The server's origin, without a slash at the end.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the server and waits until it can issue.
    pub(crate) fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(&self, environment: &[(&str, &str)]) -> Server {
        let mut command = Command::new(&self.program);
        command.envs(environment.iter().copied());
        self.started(command, self.address, &self.configuration())
            .unwrap_or_else(|status| {
                panic!("the server ended at its start ({status}): {}", self.talk())
            })
    }

    /// Starts the server under another program, given with its arguments. Nothing, if it ended before
    /// it could issue.
    pub(crate) fn try_start_under(&self, program: &[&str]) -> Option<Server> {
        let (first, arguments) = program.split_first()?;
        let mut command = Command::new(first);
        command.args(arguments).arg(&self.program);
        self.started(command, self.address, &self.configuration())
            .ok()
    }

    /// Starts a [replica](Self::replica).
    pub(crate) fn start_replica(&self, (address, configuration): &(SocketAddr, PathBuf)) -> Server {
        self.started(Command::new(&self.program), *address, configuration)
            .unwrap_or_else(|status| {
                panic!("the server ended at its start ({status}): {}", self.talk())
            })
    }

    /// A server that is ready, or how it ended.
    fn started(
        &self,
        mut command: Command,
        address: SocketAddr,
        configuration: &Path,
    ) -> Result<Server, ExitStatus> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("server.log"))
            .expect("a file for the log");
        let errors = log.try_clone().expect("a second handle of a file");
        let spawned = Instant::now();
        let child = command
            .args(["serve", "--config"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("the program runs");
        let mut server = Server {
            child,
            startup: Duration::ZERO,
        };
        while !is_ready(address) {
            if let Some(status) = server.child.try_wait().expect("the child's state") {
                return Err(status);
            }
            assert!(
                spawned.elapsed() < STARTUP_LIMIT,
                "not ready after {STARTUP_LIMIT:?}: {}",
                self.talk()
            );
            thread::sleep(POLL);
        }
        server.startup = spawned.elapsed();
        Ok(server)
    }

    /// Runs another command of the program on this deployment: whether it succeeded, and what it said.
    pub(crate) fn run(&self, command: &[&str]) -> (bool, String) {
        // A server that should have refused to start does not end by itself.
        let output = Command::new("timeout")
            .arg("120")
            .arg(&self.program)
            .args(command)
            .arg("--config")
            .arg(self.configuration())
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// The end of what the server wrote, for a failure's message.
    pub(crate) fn talk(&self) -> String {
        tail(&self.directory.path().join("server.log"))
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path().join("vouchsafe.yaml")
    }
}

/// A running server; killed when it is dropped, whatever happened before.
pub(crate) struct Server {
    child: Child,
    startup: Duration,
}

impl Server {
    /// How long it took from the start of the process to the first good answer of `/readyz`.
    pub(crate) const fn startup(&self) -> Duration {
        self.startup
    }

    /// The process's identifier.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn end(mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child's state") {
                return status;
            }
            assert!(begin.elapsed() < END_LIMIT, "the server did not end");
            thread::sleep(POLL);
        }
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child's state").is_some()
    }

    /// `SIGKILL`: nothing in the process runs any more when this returns.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a signal to our own child");
        let status = self.child.wait().expect("the child's end");
        assert!(
            status.code().is_none(),
            "the server had ended by itself before it was killed: {status}"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    Connection::get_once(address, "/readyz").is_ok_and(|response| response.status == 200)
}

/// A free port on loopback, below those the system gives to outgoing connections: a client that
/// polls a port from that range before anybody listens can be connected to itself.
pub(crate) fn free_address() -> SocketAddr {
    // Nobody in this process is given the same one twice: it is bound later, by another process.
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = 10_000 + std::process::id() % 20_000 + 100 * GIVEN.fetch_add(1, Ordering::Relaxed);
    (first..first + 100)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Between two looks at whether the server is ready: far below any start-up time.
const POLL: Duration = Duration::from_micros(250);
const STARTUP_LIMIT: Duration = Duration::from_secs(30);
/// For a process that is about to end.
const END_LIMIT: Duration = Duration::from_secs(30);
