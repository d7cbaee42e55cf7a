//! What a server would refuse, `check` refuses before it.

use super::*;

/// `vouchsafe serve`, ended after a minute if it does not end by itself.
fn serve(config: &Path) -> Output {
    Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_vouchsafe"), "serve", "--config"])
        .arg(config)
        .env_remove("VOUCHSAFE_CONFIG")
        .output()
        .unwrap()
}

#[test]
fn check_refuses_every_setting_of_the_log_that_serve_refuses() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    edit(&config, |text| {
        text.replace("listen: 127.0.0.1:5555", "listen: 127.0.0.1:0")
    });
    let good = fs::read_to_string(&config).unwrap();
    assert!(check(&directory).status.success());
    fs::write(directory.join("empty.pem"), "").unwrap();
    fs::write(directory.join("garbage.pem"), GARBAGE).unwrap();
    fs::write(directory.join("file"), "").unwrap();
    for (setting, sentence) in [
        ("roots: missing.pem", "missing.pem"),
        ("roots: empty.pem", "there is no certificate in it"),
        ("roots: garbage.pem", "certificate 0 of the log's roots"),
        ("extended-key-usages: [fishing]", "\"fishing\" is not"),
        (
            "publish: {to: \"ftp://example.com/log\"}",
            "neither a directory",
        ),
        ("publish: {to: file/log}", "file/log"),
        ("publish: {to: public, interval-seconds: 0}", "1 to 3600"),
        (
            "publish: {to: \"s3://bucket\", region: x, credentials: empty.pem}",
            "aws_access_key_id",
        ),
        (
            "witnesses: [{url: \"https://witness.example.com\", public-key: nonsense}]",
            "log.witnesses",
        ),
        (
            "witnesses: [{url: \"http://witness.example.com\", public-key: \"witness.example.com+94947cf1+BNdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea\"}]",
            "is not https://",
        ),
    ] {
        fs::write(
            &config,
            good.replace("\nlog:\n", &format!("\nlog:\n  {setting}\n")),
        )
        .unwrap();
        for refused in [check(&directory), serve(&config)] {
            let error = error_of(&refused);
            assert!(error.contains(sentence), "{error} for {setting}");
        }
    }
    for (audit, sentence) in [
        ("audit: {file: nowhere/audit.jsonl}", "nowhere/audit.jsonl"),
        ("audit: {file: log}", "audit trail"),
    ] {
        fs::write(&config, format!("{good}\n{audit}\n")).unwrap();
        for refused in [check(&directory), serve(&config)] {
            let error = error_of(&refused);
            assert!(error.contains(sentence), "{error} for {audit}");
        }
    }
    // Where they can be made, they are not made.
    let possible = good.replace("\nlog:\n", "\nlog:\n  publish: {to: public/log}\n");
    fs::write(&config, possible + "\naudit: {file: audit.jsonl}\n").unwrap();
    assert!(check(&directory).status.success());
    assert!(!directory.join("public").exists() && !directory.join("audit.jsonl").exists());
}

#[test]
fn check_refuses_a_window_in_which_nothing_can_be_issued() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let window = "\nlog:\n  window: {end: 2020-01-01T00:00:00Z}\n";
    edit(&config, |text| text.replace("\nlog:\n", window));
    let error = error_of(&check(&directory));
    assert!(
        error.contains("log.window") && error.contains("vouchsafe log rotate"),
        "{error}"
    );
    assert!(error.contains(config.to_str().unwrap()), "{error}");
}

#[test]
fn check_refuses_a_mark_that_is_lost_or_another_logs_and_leaves_a_running_server_alone() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    edit(&config, |text| {
        text.replace("listen: 127.0.0.1:5555", "listen: 127.0.0.1:0")
    });
    let mark = directory.join("high-water");
    let good = fs::read(&mark).unwrap();
    // Held as a server holds it.
    let held = fs::File::open(&mark).unwrap();
    held.try_lock().unwrap();
    assert!(check(&directory).status.success(), "check wanted the lock");
    drop(held);

    let (_other_place, other) = deployment();
    fs::copy(other.join("high-water"), &mark).unwrap();
    for refused in [check(&directory), serve(&config)] {
        let error = error_of(&refused);
        assert!(error.contains("no checkpoint of this log"), "{error}");
    }
    fs::remove_file(&mark).unwrap();
    for refused in [check(&directory), serve(&config)] {
        let error = error_of(&refused);
        assert!(error.contains("no high-water mark"), "{error}");
    }
    assert!(!mark.exists(), "check or serve made a mark");
    fs::write(&mark, good).unwrap();
    assert!(check(&directory).status.success());
}

const GARBAGE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn a_log_that_runs_alone_is_checked_like_any_other_and_says_its_keys() {
    let (_place, directory) = log_alone(&[]);
    let config = directory.join("log.yaml");
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        vouchsafe(&arguments)
    };
    let checked = run(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{told}");
    assert!(
        told.contains("the log log.example.com has 0 entries and is whole"),
        "{told}"
    );
    let key = run(&["log", "export-key", "--format", "note-vkey"]);
    let key = String::from_utf8(key.stdout).unwrap();
    assert!(key.starts_with("log.example.com+"), "{key}");
    assert!(
        told.contains(&format!("witnesses know the log as {}\n", key.trim_end())),
        "{told}"
    );

    let good = fs::read_to_string(&config).unwrap();
    for (from, to, sentence) in [
        ("roots: roots.pem", "roots: missing.pem", "missing.pem"),
        (
            "refresh-seconds: 30",
            "witnesses: [{url: \"https://x\", public-key: y}]",
            "log.witnesses",
        ),
        (
            "high-water: high-water",
            "high-water: lost",
            "no high-water mark",
        ),
        ("\nlog:\n", "\nlgo:\n", "unknown field `lgo`"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&config, good.replace(from, to)).unwrap();
        let error = error_of(&run(&["check"]));
        assert!(error.contains(sentence), "{error} for {to}");
    }
}

#[test]
fn a_misspelt_setting_of_an_authority_does_not_make_a_log_of_it() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let good = fs::read_to_string(&config).unwrap();
    for (setting, misspelt) in [("authority", "authorty"), ("issuers", "issuer")] {
        let text = good.replace(&format!("\n{setting}:"), &format!("\n{misspelt}:"));
        fs::write(&config, text).unwrap();
        for command in [&["check"][..], &["log", "fsck"], &["database", "upgrade"]] {
            let arguments = [command, &["--config", config.to_str().unwrap()]].concat();
            let error = error_of(&vouchsafe(&arguments));
            assert!(
                error.contains(&format!("unknown field `{misspelt}`")),
                "{error} for {command:?}"
            );
        }
    }
}
