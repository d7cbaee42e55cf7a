//! The commands that work on a PostgreSQL server.

use super::postgres::Cluster;
use super::*;

/// The deployment with its certificates going to somebody else's log, and whatever is added.
fn with_external_log(directory: &Path, more: &str) -> PathBuf {
    let config = directory.join("external.yaml");
    let key = vouchsafe(&[
        "log",
        "export-key",
        "--format",
        "public",
        "--config",
        directory.join("vouchsafe.yaml").to_str().unwrap(),
    ]);
    fs::write(directory.join("theirs.pem"), key.stdout).unwrap();
    let text = "public-url: https://ca.example.com\nissuers: issuers.yaml\n\
        authority: {chain: ca/chain.pem, key: ca/intermediate.key.pem, passphrase: {file: passphrase}}\n\
        ctlog: {url: https://log.example.com/2026, public-key: theirs.pem}\n";
    fs::write(&config, format!("{text}{more}\n")).unwrap();
    config
}

#[test]
fn the_ledger_moves_alone_where_certificates_go_to_somebody_elses_log() {
    let (_place, directory) = deployment();
    let address = Cluster::shared().database();
    let config = with_external_log(&directory, &format!("database: {address}"));
    let config = config.to_str().unwrap();
    let error = error_of(&vouchsafe(&["check", "--config", config]));
    assert!(error.contains("there are none"), "{error}");
    for _ in 0..2 {
        let moved = vouchsafe(&["database", "move", "--config", config]);
        let told = String::from_utf8_lossy(&moved.stderr).into_owned();
        assert!(moved.status.success(), "{told}");
        assert!(told.contains("ledger with 0 rows"), "{told}");
    }
    let checked = vouchsafe(&["check", "--config", config]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{told}");
}

#[test]
fn who_asks_for_the_built_in_log_where_there_is_none_is_told_the_file_that_says_so() {
    let (_place, directory) = deployment();
    let config = with_external_log(&directory, "");
    for command in [&["fsck"][..], &["follow", "--no-wait"], &["adopt"]] {
        let error = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .arg("log")
            .args(command)
            .args(["--config", "external.yaml"])
            .current_dir(config.parent().unwrap())
            .output()
            .unwrap();
        let error = error_of(&error);
        let expected = "external.yaml: there is no log of its own here";
        assert!(error.contains(expected), "{error} for {command:?}");
    }
}

fn init(directory: &Path, address: &str) -> Output {
    vouchsafe(&[
        "init",
        "--dir",
        directory.to_str().unwrap(),
        "--public-url",
        "https://ca.example.com",
        "--database",
        address,
    ])
}

#[track_caller]
fn assert_success(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

#[test]
fn an_init_that_ends_before_the_log_is_on_the_server_keeps_its_keys_and_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("ca");
    let cluster = Cluster::shared();
    let address = cluster.database();
    let name = address.rsplit('/').next().unwrap();
    let (_other_place, other) = deployment();
    // Another log has the name: the ledger can be made, and the log cannot.
    let log = vouchsafe(&[
        "log",
        "init",
        "--dir",
        place.path().join("other").to_str().unwrap(),
        "--public-url",
        "https://ca.example.com",
        "--prefix",
        "/log",
        "--roots",
        other.join("ca/root.pem").to_str().unwrap(),
        "--database",
        &address,
    ]);
    assert_success(&log);
    let error = error_of(&init(&directory, &address));
    assert!(error.contains("a log of the same name"), "{error}");
    assert!(error.contains("give the same command again"), "{error}");
    assert!(
        error.contains("DROP SCHEMA IF EXISTS ctlog, ledger"),
        "{error}"
    );
    let key = fs::read(directory.join("log/key.pem")).unwrap();
    error_of(&check(&directory));

    // As often as it is given while nothing has changed.
    let error = error_of(&init(&directory, &address));
    assert!(error.contains("a log of the same name"), "{error}");
    cluster.sql(
        name,
        "UPDATE ctlog.log SET origin = 'elsewhere.example.com'",
    );
    let told = assert_success(&init(&directory, &address));
    assert!(told.contains("that was begun in"), "{told}");
    assert_eq!(fs::read(directory.join("log/key.pem")).unwrap(), key);
    assert_success(&check(&directory));
    let error = error_of(&init(&directory, &address));
    assert!(error.contains("nothing was changed"), "{error}");
}

#[test]
fn an_init_that_was_killed_at_any_step_on_the_server_is_completed() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("ca");
    let cluster = Cluster::shared();
    let address = cluster.database();
    let name = address.rsplit('/').next().unwrap();
    assert_success(&init(&directory, &address));
    // What is there after each step, the last one first.
    let undone = |statements: &str, has_mark: bool| {
        fs::write(directory.join(".unfinished"), "").unwrap();
        if !has_mark {
            fs::remove_file(directory.join("high-water")).unwrap();
        }
        cluster.sql(name, statements);
        let told = assert_success(&init(&directory, &address));
        assert!(told.contains("that was begun in"), "{told}");
        assert!(!directory.join(".unfinished").exists());
        assert_success(&check(&directory));
    };
    undone("SELECT 1", true);
    undone("SELECT 1", false);
    undone("DROP SCHEMA ctlog CASCADE", false);
    undone("DROP SCHEMA ctlog, ledger CASCADE", false);
}

#[test]
fn an_init_for_a_taken_or_missing_database_leaves_nothing() {
    let (place, _first) = deployment();
    let address = Cluster::shared().database();
    assert_success(&init(&place.path().join("second"), &address));
    let error = error_of(&init(&place.path().join("third"), &address));
    assert!(error.contains("has a ledger already"), "{error}");
    let missing = Cluster::shared().address("missing");
    let error = error_of(&init(&place.path().join("third"), &missing));
    assert!(error.contains("missing"), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn a_log_that_runs_alone_is_made_checked_and_upgraded_on_a_server() {
    let address = Cluster::shared().database();
    let (_place, directory) = log_alone(&["--database", &address]);
    assert!(!directory.join("log.sqlite").exists());
    let config = directory.join("log.yaml");
    for command in [&["check"][..], &["database", "upgrade"], &["log", "fsck"]] {
        let arguments = [command, &["--config", config.to_str().unwrap()]].concat();
        assert_success(&vouchsafe(&arguments));
    }
}
