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
