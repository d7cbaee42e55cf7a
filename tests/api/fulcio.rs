//! The program started as Fulcio's charts and compose files start Fulcio, with what they bring.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use p256::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use reqwest::Client;
use serde_json::Value;
use vouchsafe::ledger::Ledger;

use super::caller::Caller;
use super::house::{V1, V2, deploy};
use super::process::Program;
use super::provider::Provider;

/// What a chart mounts: a chain, an encrypted key and its password, an issuers' file; and ports.
struct Mounts {
    provider: Provider,
    http: Client,
    place: PathBuf,
    directory: tempfile::TempDir,
    ports: [u16; 3],
}

impl Mounts {
    async fn make() -> Self {
        let http = vouchsafe::client::http_client().unwrap();
        let provider = Provider::start().await;
        let directory = tempfile::tempdir().unwrap();
        let file = deploy(directory.path(), "http://127.0.0.1:1", &provider).await;
        // Held together, so that they are three.
        let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let ports = held.map(|one| one.local_addr().unwrap().port());
        Self {
            provider,
            http,
            place: file.parent().unwrap().to_owned(),
            directory,
            ports,
        }
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).to_str().unwrap().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn password(&self) -> String {
        fs::read_to_string(self.path("passphrase")).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[0]);
        let response = self.http.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// A certificate's chain, by both versions of the API.
    async fn issue(&self) -> String {
        let caller = Caller::new("developer@example.com");
        let token = self.provider.token(&caller.name);
        let url = format!("http://127.0.0.1:{}", self.ports[0]);
        let request = self.http.post(format!("{url}{V2}"));
        let body = caller.v2(Some(&token)).to_string();
        let response = request.body(body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{text}");
        let request = self.http.post(format!("{url}{V1}")).bearer_auth(&token);
        let response = request.body(caller.v1().to_string()).send().await.unwrap();
        assert_eq!(response.status(), 201);
        response.text().await.unwrap()
    }

    async fn log_size(&self) -> u64 {
        let checkpoint = self.get("/log/checkpoint").await;
        checkpoint.lines().nth(1).unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_for_fulcio_starts_it_and_a_restart_keeps_log_and_ledger() {
    let mounts = Mounts::make().await;
    let [port, grpc, metrics] = mounts.ports.map(|port| port.to_string());
    // As a chart does it: the issuers in JSON.
    let issuers = fs::read_to_string(mounts.path("issuers.yaml")).unwrap();
    let issuers: Value = yaml_serde::from_str(&issuers).unwrap();
    let config = mounts.path("config.json");
    fs::write(&config, issuers.to_string()).unwrap();
    let (password, data) = (mounts.password(), mounts.data());
    let (chain, key) = (
        mounts.path("ca/chain.pem"),
        mounts.path("ca/intermediate.key.pem"),
    );
    let flags = [
        "serve",
        &format!("--port={port}"),
        &format!("--grpc-port={grpc}"),
        &format!("--metrics-port={metrics}"),
        "--ca=fileca",
        "--fileca-key",
        &key,
        "--fileca-cert",
        &chain,
        "--fileca-key-passwd",
        &password,
        "--ct-log-url=",
        "--config-path",
        &config,
        "--log_type=prod",
        // What Fulcio has no flag for.
        "--data-dir",
        data.to_str().unwrap(),
        "--allow-http-loopback-issuers",
    ];
    let log_key = mounts.path("ctfe.pub");
    for start in 1..=2 {
        let mut flags = flags.to_vec();
        if start == 2 {
            // Who wants to be sure which log it is can say so.
            let private = fs::read_to_string(data.join("state/log/key.pem")).unwrap();
            let private = p256::SecretKey::from_pkcs8_pem(&private).unwrap();
            let public = private.public_key().to_public_key_pem(LineEnding::LF);
            fs::write(&log_key, public.unwrap()).unwrap();
            flags.extend(["--ct-log-public-key-path", &log_key]);
        }
        let program = Program::start(&flags, "info", "serving");
        assert_eq!(mounts.get("/healthz").await, r#"{"status":"SERVING"}"#);
        assert_eq!(mounts.get("/readyz").await, "ok\n");
        let issued = mounts.issue().await;
        let authority = fs::read_to_string(&chain).unwrap();
        assert!(
            issued.trim_end().ends_with(authority.trim_end()),
            "{issued}"
        );
        assert_eq!(mounts.log_size().await, 2 * start);
        program.signal("TERM");
        let (status, lines) = program.ended();
        assert!(status.success(), "{lines:#?}");
        // JSON, every line of it.
        for line in &lines {
            let line: Value = serde_json::from_str(line).expect(line);
            assert!(line["level"].is_string());
        }
        let said = |what: &str| lines.iter().any(|line| line.contains(what));
        assert!(!said(&password), "the password is in the log");
        assert!(said("--ct-log-url is empty"), "{lines:#?}");
        assert_eq!(said("a new transparency log"), start == 1, "{lines:#?}");
        let ledger = Ledger::open_read_only(&data.join("state/ledger.sqlite"))
            .await
            .unwrap();
        assert_eq!(ledger.count().await.unwrap(), 2 * start);
    }
    let state = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(
        state.collect::<Vec<_>>(),
        ["state"],
        "nothing else is left there"
    );
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(data.join("state/log/key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "the log's key is open to others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compose_file_for_fulcio_starts_it_from_variables_and_a_file() {
    let mounts = Mounts::make().await;
    let [port, grpc, metrics] = mounts.ports;
    let server = mounts.path("server.yaml");
    let issuers = mounts.path("issuers.yaml");
    // The variables below count more.
    let text = format!(
        "ca: kmsca\nport: {port}\ngrpc-port: 1\nmetrics-port: {metrics}\nconfig-path: {issuers}\nhost: 127.0.0.1\n"
    );
    fs::write(&server, text).unwrap();
    let data = mounts.data();
    let grpc = grpc.to_string();
    let environment = [
        ("FULCIO_SERVE_CA", "ephemeralca"),
        ("FULCIO_SERVE_GRPC-PORT", grpc.as_str()),
        ("FULCIO_SERVE_LOG_TYPE", ""),
        ("STATE_DIRECTORY", data.to_str().unwrap()),
    ];
    let flags = [
        "serve",
        "fulcio-server",
        "serve",
        "-c",
        &server,
        "--allow-http-loopback-issuers",
    ];
    let mut roots = Vec::new();
    for start in 1..=2 {
        let program = Program::start_with(&flags, &environment, "info", "serving");
        let issued = mounts.issue().await;
        assert_eq!(issued.matches("BEGIN CERTIFICATE").count(), 3);
        assert_eq!(mounts.log_size().await, 2 * start);
        roots.push(mounts.get("/api/v1/rootCert").await);
        program.signal("INT");
        let (status, lines) = program.ended();
        assert!(status.success(), "{lines:#?}");
    }
    assert_ne!(roots[0], roots[1], "it is ephemeral");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_says_why_and_leaves_nothing_behind() {
    let mounts = Mounts::make().await;
    let (chain, key) = (
        mounts.path("ca/chain.pem"),
        mounts.path("ca/intermediate.key.pem"),
    );
    let (root, issuers) = (mounts.path("ca/root.pem"), mounts.path("issuers.yaml"));
    let good = [
        ("--ca", "fileca"),
        ("--fileca-cert", &chain),
        ("--fileca-key", &key),
        ("--fileca-key-passwd", &mounts.password()),
        ("--config-path", &issuers),
    ];
    let other_key = mounts.path("other.pem");
    fs::write(&other_key, Caller::new("log").pem()).unwrap();
    for (flag, value, expected) in [
        ("--ca", "pkcs11ca", "--ca=pkcs11ca cannot be honoured"),
        ("--fileca-key-passwd", "wrong", "passphrase"),
        ("--fileca-key-passwd", "", "no passphrase is configured"),
        ("--fileca-cert", &root, "not that of the private key"),
        (
            "--config-path",
            "/nonexistent/config.yaml",
            "there is no /nonexistent/config.yaml",
        ),
        ("--config-path", &chain, "chain.pem"),
        (
            "--ct-log-url",
            "https://log.example.com/2026",
            "https://log.example.com/2026",
        ),
        (
            "--ct-log-public-key-path",
            &other_key,
            "not the key of the built-in log",
        ),
    ] {
        let data = mounts
            .directory
            .path()
            .join(format!("data{flag}{}", value.len()));
        let flags = good.iter().filter(|(name, _)| *name != flag);
        let flags = flags.flat_map(|(name, value)| [*name, *value]);
        let output = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .arg("serve")
            .args(flags)
            .args([flag, value, "--allow-http-loopback-issuers", "--data-dir"])
            .arg(&data)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{flag} {value}: {said}");
        assert!(!said.contains("wrong"), "{said}");
        assert!(!Path::exists(&data), "{flag} {value} left something behind");
    }
}
