//! The command line as an operator meets it: exit codes, messages, and what is left behind.

#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

mod check;
mod databases;
#[path = "../harness/postgres.rs"]
mod postgres;
mod rotate;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn vouchsafe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
        .args(arguments)
        .env_remove("VOUCHSAFE_CONFIG")
        .output()
        .unwrap()
}

fn error_of(output: &Output) -> String {
    assert!(!output.status.success(), "an unexpected success");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A fresh deployment.
fn deployment() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("ca");
    let made = vouchsafe(&[
        "init",
        "--dir",
        directory.to_str().unwrap(),
        "--public-url",
        "https://ca.example.com",
    ]);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    (place, directory)
}

/// A fresh log that runs alone, under the root of a fresh deployment.
fn log_alone(more: &[&str]) -> (TempDir, PathBuf) {
    let (place, authority) = deployment();
    let directory = place.path().join("alone");
    let made = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
        .args(["log", "init", "--dir"])
        .arg(&directory)
        .args(["--public-url", "https://log.example.com", "--roots"])
        .arg(authority.join("ca/root.pem"))
        .args(more)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    (place, directory)
}

fn check(directory: &Path) -> Output {
    vouchsafe(&[
        "check",
        "--config",
        directory.join("vouchsafe.yaml").to_str().unwrap(),
    ])
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    fs::write(file, change(fs::read_to_string(file).unwrap())).unwrap();
}

#[test]
fn a_fresh_deployment_passes_its_own_check_and_hides_its_secrets() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_place, directory) = deployment();
    let checked = check(&directory);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    for secret in [
        "passphrase",
        "ca/root.key.pem",
        "ca/intermediate.key.pem",
        "log/key.pem",
    ] {
        let mode = fs::metadata(directory.join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{secret} is open to others");
    }
    for key in ["ca/root.key.pem", "ca/intermediate.key.pem", "log/key.pem"] {
        assert!(
            fs::read_to_string(directory.join(key))
                .unwrap()
                .starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        );
    }
}

#[test]
fn init_never_overwrites_and_leaves_nothing_when_it_fails() {
    let (place, directory) = deployment();
    let before = fs::read(directory.join("ca/intermediate.key.pem")).unwrap();
    let again = error_of(&vouchsafe(&["init", "--dir", directory.to_str().unwrap()]));
    assert!(again.contains("nothing was changed"), "{again}");
    assert_eq!(
        fs::read(directory.join("ca/intermediate.key.pem")).unwrap(),
        before
    );

    let other = place.path().join("other");
    for bad in [
        &["--organization", ""][..],
        &["--public-url", "https://ca.example.com/path"],
        &["--passphrase-file", "/nonexistent"],
    ] {
        let arguments = [&["init", "--dir", other.to_str().unwrap()][..], bad].concat();
        error_of(&vouchsafe(&arguments));
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count(),
            1,
            "{bad:?} left something behind"
        );
    }
}

#[test]
fn init_finds_out_that_its_place_cannot_be_taken_before_it_makes_anything() {
    let place = tempfile::tempdir().unwrap();
    let init = |directory: &str| {
        Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(["init", "--dir", directory])
            .current_dir(place.path().join("here"))
            .output()
            .unwrap()
    };
    fs::create_dir(place.path().join("here")).unwrap();
    for here in [".", "../here", place.path().join("here").to_str().unwrap()] {
        let error = error_of(&init(here));
        assert!(error.contains("working directory"), "{error} for {here}");
    }
    // No more than a mount point can it be exchanged.
    fs::create_dir(place.path().join("empty")).unwrap();
    std::os::unix::fs::symlink("empty", place.path().join("link")).unwrap();
    let error = error_of(&init("../link"));
    assert!(error.contains("cannot put a deployment at"), "{error}");
    fs::write(place.path().join("file"), "").unwrap();
    let error = error_of(&init("../file"));
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(
        fs::read_dir(place.path()).unwrap().count(),
        4,
        "something was left"
    );

    fs::create_dir(place.path().join(".ca.unfinished")).unwrap();
    let held = fs::File::open(place.path().join(".ca.unfinished")).unwrap();
    held.try_lock().unwrap();
    let error = error_of(&init("../ca"));
    assert!(error.contains("another process is at work in"), "{error}");
    drop(held);
    let made = init("../ca");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[test]
fn check_tells_file_and_line_of_every_kind_of_mistake() {
    let (_place, directory) = deployment();
    let settings = directory.join("vouchsafe.yaml");
    let issuers = directory.join("issuers.yaml");
    let (good_settings, good_issuers) = (
        fs::read_to_string(&settings).unwrap(),
        fs::read_to_string(&issuers).unwrap(),
    );
    let line_with =
        |text: &str, needle: &str| text.lines().position(|line| line.contains(needle)).unwrap() + 1;

    // A mistake in an entry of the issuers' file is told at the entry's first line.
    for (file, from, to, blamed, sentence) in [
        (
            &settings,
            "log-format: text",
            "log-format: verse",
            "log-format: verse",
            "verse",
        ),
        (
            &settings,
            "issuing-queue: 256",
            "issuing-queue: many",
            "issuing-queue: many",
            "issuing-queue",
        ),
        (
            &settings,
            "public-url: https://ca.example.com",
            "public-url: ftp://x",
            "public-url: ftp://x",
            "must begin with",
        ),
        (
            &settings,
            "log-format: text",
            "loudness: 11",
            "loudness: 11",
            "loudness",
        ),
        (
            &issuers,
            "type: email",
            "type: e-mail",
            "issuer-url: https://accounts.google.com",
            "\"e-mail\" is not supported",
        ),
        (
            &issuers,
            "client-id: sigstore",
            "client-id: \"\"",
            "issuer-url: https://accounts.google.com",
            "client-id",
        ),
        (
            &issuers,
            "{{ .url }}/{{ .job_workflow_ref }}",
            "{{ .url }}/{{ .job_workflow_ref",
            "{{ .url }}/{{ .job_workflow_ref",
            "",
        ),
    ] {
        edit(file, |text| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        let line = line_with(&fs::read_to_string(file).unwrap(), blamed);
        let error = error_of(&check(&directory));
        let place = format!("{}:{line}:", file.display());
        assert!(
            error.contains(&place) && error.contains(sentence),
            "{error} for {to}, expected {place}"
        );
        fs::write(&settings, &good_settings).unwrap();
        fs::write(&issuers, &good_issuers).unwrap();
    }

    edit(&directory.join("passphrase"), |_| "wrong".to_owned());
    let error = error_of(&check(&directory));
    assert!(
        error.contains("passphrase does not open") && error.contains("ca/intermediate.key.pem"),
        "{error}"
    );
}

#[test]
fn a_log_without_its_database_or_its_key_does_not_begin_anew() {
    let (_place, directory) = deployment();
    fs::remove_file(directory.join("log/log.sqlite")).unwrap();
    let error = error_of(&check(&directory));
    assert!(error.contains("no log database"), "{error}");
    let error = error_of(&vouchsafe(&[
        "serve",
        "--config",
        directory.join("vouchsafe.yaml").to_str().unwrap(),
    ]));
    assert!(error.contains("no log database"), "{error}");
    assert!(!directory.join("log/log.sqlite").exists());

    let (_place, first) = deployment();
    let (_other_place, second) = deployment();
    for file in ["log/key.pem", "passphrase"] {
        fs::copy(second.join(file), first.join(file)).unwrap();
    }
    for file in ["ca/chain.pem", "ca/intermediate.key.pem"] {
        fs::copy(second.join(file), first.join(file)).unwrap();
    }
    assert!(
        !check(&first).status.success(),
        "another log's key was accepted"
    );
}

#[test]
fn the_development_stack_listens_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:5555"] {
        let error = error_of(&vouchsafe(&["dev", "--listen", address]));
        assert!(error.contains("is not a loopback address"), "{error}");
    }
}

#[test]
fn check_opens_no_port_and_serve_says_which_port_is_taken() {
    let (_place, directory) = deployment();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    edit(&directory.join("vouchsafe.yaml"), |text| {
        text.replace("listen: 127.0.0.1:5555", &format!("listen: {address}"))
    });
    assert!(check(&directory).status.success(), "check wanted the port");
    let error = error_of(&vouchsafe(&[
        "serve",
        "--config",
        directory.join("vouchsafe.yaml").to_str().unwrap(),
    ]));
    assert!(error.contains(&address.to_string()), "{error}");
}

#[test]
fn the_trust_files_of_a_deployment_are_printed_without_a_running_server() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    for (file, expected) in [
        ("trusted-root", "\"https://ca.example.com/log\""),
        ("signing-config", "\"https://ca.example.com\""),
        ("client-config", "\"trustedRoot\""),
        ("bundle", "-----BEGIN CERTIFICATE-----"),
    ] {
        let printed = vouchsafe(&["trust", file, "--config", config.to_str().unwrap()]);
        let text = String::from_utf8(printed.stdout).unwrap();
        assert!(
            printed.status.success() && text.contains(expected),
            "{file}: {text}"
        );
    }
}

#[test]
fn the_trusted_root_lacks_the_services_or_takes_any_file_for_them() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    edit(&config, |text| {
        text.replace(
            "  # signature-log:\n",
            "  signature-log:\n    {url: https://rekor.example.com, major-version: 2, public-key: rekor.pub}\n",
        )
    });
    let trusted_root = || {
        vouchsafe(&[
            "trust",
            "trusted-root",
            "--config",
            config.to_str().unwrap(),
        ])
    };
    let key = directory.join("rekor.pub");
    assert!(error_of(&trusted_root()).contains(key.to_str().unwrap()));
    fs::copy("testdata/keys/rsa-2048.pem", &key).unwrap();
    let error = error_of(&check(&directory));
    assert!(
        error.contains(key.to_str().unwrap()) && error.contains("Ed25519"),
        "{error}"
    );
    fs::copy("testdata/keys/ed25519.pem", &key).unwrap();
    assert!(check(&directory).status.success());
    let text = String::from_utf8(trusted_root().stdout).unwrap();
    assert!(
        text.contains("\"https://rekor.example.com\"") && text.contains("PKIX_ED25519"),
        "{text}"
    );
}

#[test]
fn an_empty_search_of_the_ledger_is_a_failure_a_script_can_see() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let search = |by: &str, what: &str| {
        vouchsafe(&[
            "ledger",
            "find",
            by,
            what,
            "--config",
            config.to_str().unwrap(),
        ])
    };
    assert!(error_of(&search("--identity", "nobody@example.com")).contains("no such certificate"));
    assert!(error_of(&search("--serial", "xyz")).contains("hexadecimal"));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let bundle = |output: std::process::Stdio| {
        Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(["trust", "bundle", "--config"])
            .arg(&config)
            .stdout(output)
            .output()
            .unwrap()
    };
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = bundle(full.into());
    assert_eq!(output.status.code(), Some(1));
    let error = error_of(&output);
    assert!(error.contains("the result cannot be written"), "{error}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bundle(writer.into());
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn fsck_finds_a_fresh_log_whole_and_names_what_does_not_belong_in_it() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let fsck = || vouchsafe(&["log", "fsck", "--config", config.to_str().unwrap()]);
    let sound = fsck();
    assert!(
        sound.status.success(),
        "{}",
        String::from_utf8_lossy(&sound.stderr)
    );
    let said = String::from_utf8_lossy(&sound.stdout).into_owned();
    assert!(said.contains("is whole: entries 0, hash tiles 0"), "{said}");

    let database = directory.join("log/log.sqlite");
    assert!(database.exists());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
        let mut connection = options.connect().await.unwrap();
        let stray = "INSERT INTO tile (id, hashes) VALUES (0, zeroblob(32))";
        connection.execute(stray).await.unwrap();
        connection.close().await.unwrap();
    });
    let error = error_of(&fsck());
    assert!(
        error.contains("tile/0/000 does not fit the tree head"),
        "{error}"
    );
}
