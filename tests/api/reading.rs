//! The commands that read a log, from its database, over HTTP, and from a directory of its files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::LineEnding;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::alone::{Alone, get, submit, vector, vouchsafe};
use super::shards::Deployment;

fn text(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "an unexpected success");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `vouchsafe log COMMAND`, with the log given by each of these.
fn log(command: &[&str], source: &[&str]) -> Output {
    vouchsafe(&[&["log"], command, source].concat())
}

/// Copies what is served of a log with one entry under one signer, issuer and root.
async fn mirror(url: &str, place: &Path) {
    let (chain, _) = vector();
    let mut names = vec![
        "checkpoint".to_owned(),
        "tile/0/000.p/1".to_owned(),
        "tile/data/000.p/1".to_owned(),
    ];
    for above in &chain[1..] {
        let hash = Sha256::digest(STANDARD.decode(above).unwrap());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        names.push(format!("issuer/{hash}"));
    }
    for name in names {
        let (status, bytes) = get(&format!("{url}/{name}")).await;
        assert_eq!(status, 200, "{name}");
        let file = place.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_checked_and_shown_wherever_it_is_read() {
    vouchsafe::client::http_client().unwrap();
    let alone = Alone::make("/2026");
    let _program = alone.serve();
    let (chain, _) = vector();
    assert_eq!(submit(&alone.url, "add-pre-chain", &chain).await.0, 200);
    let config = alone.config();
    let config = ["--config", config.to_str().unwrap()];
    let key = alone.place().join("key.pub");
    fs::write(
        &key,
        text(&log(&["export-key", "--format", "public"], &config)),
    )
    .unwrap();
    let key = key.to_str().unwrap();
    let place = tempfile::tempdir().unwrap();
    mirror(&alone.url, place.path()).await;
    let directory = place.path().to_str().unwrap();

    let sources = [
        &config[..],
        &["--url", &alone.url, "--public-key", key],
        &["--directory", directory, "--public-key", key],
    ];
    for source in sources {
        let told = text(&log(&["fsck"], source));
        let issuers = if source.len() == 2 {
            "hash tiles 1, issuers 3"
        } else {
            "issuers 3"
        };
        assert!(
            told.ends_with(&format!("is whole: entries 1, {issuers}\n")),
            "{told}"
        );
        let shown = text(&log(&["show", "0"], source));
        for line in [
            "precert_entry",
            "name         somebody@example.com",
            "leaf hash",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
        let json: Value =
            serde_json::from_str(&text(&log(&["show", "0", "--json"], source))).unwrap();
        assert_eq!(
            (&json["index"], &json["certificate"]),
            (&0.into(), &chain[0].clone().into())
        );
        assert_eq!(json["chain"].as_array().unwrap().len(), 3);
        assert!(refusal(&log(&["show", "1"], source)).contains("1 entries and no entry 1"));
        let streamed = text(&log(&["follow", "--no-wait", "--from", "0"], source));
        let streamed: Value = serde_json::from_str(&streamed).unwrap();
        assert_eq!(streamed, json);
        let nobody = [
            "follow",
            "--no-wait",
            "--from",
            "0",
            "--identity",
            "nobody@example.com",
        ];
        assert_eq!(text(&log(&nobody, source)), "");
    }
    let elsewhere = [
        "--url",
        &alone.url,
        "--public-key",
        key,
        "--origin",
        "example.com",
    ];
    assert!(refusal(&log(&["fsck"], &elsewhere)).contains("names another origin"));
    let without_key = ["--url", &alone.url];
    assert!(refusal(&log(&["fsck"], &without_key)).contains("--public-key"));
    // They would be passed over where the log is the configured one.
    for given in [["--public-key", key], ["--origin", "example.com"]] {
        let told = refusal(&log(&["fsck"], &given));
        assert!(
            told.contains("--directory") && told.contains("--url"),
            "{told}"
        );
    }
    let issuer = fs::read_dir(place.path().join("issuer"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::write(issuer.path(), "another").unwrap();
    let name = issuer.file_name().into_string().unwrap();
    let told = refusal(&log(&["fsck"], sources[2]));
    assert!(
        told.contains(&format!("issuer/{name}: it is not the certificate")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_proved_and_another_is_not() {
    let deployment = Deployment::make().await;
    let _program = deployment.serve();
    let leaves = [
        deployment.issue_leaf().await,
        deployment.issue_leaf().await,
        deployment.issue_leaf().await,
    ];
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, der: &[u8]| {
        let file = place.path().join(name);
        let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap();
        fs::write(&file, pem).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let config = ["--config", deployment.config.to_str().unwrap()];
    let key = write("key.pub", &[]);
    fs::write(
        &key,
        text(&log(&["export-key", "--format", "public"], &config)),
    )
    .unwrap();
    let url = format!("{}/log", deployment.url);
    let file = write("leaf.pem", &leaves[1]);
    for source in [&config[..], &["--url", &url, "--public-key", &key]] {
        let told = text(&log(&["prove", &file], source));
        assert!(told.contains("is entry 1 of the 3 of"), "{told}");
        assert_eq!(told.matches("  with  ").count(), 2, "{told}");
        let json: Value =
            serde_json::from_str(&text(&log(&["prove", &file, "--json"], source))).unwrap();
        assert_eq!((&json["index"], &json["treeSize"]), (&1.into(), &3.into()));
    }
    // A bit of the serial number.
    let mut forged = leaves[1].clone();
    forged[20] ^= 1;
    let told = refusal(&log(&["prove", &write("forged.pem", &forged)], &config));
    assert!(told.contains("is another certificate"), "{told}");
    let foreign = Deployment::make().await;
    foreign.rotate(&["--prefix", "/log-2"]).unwrap();
    let names = foreign.url.strip_prefix("http://").unwrap();
    let names = format!("no timestamp of the log {names}/log-2 or {names}/log\n");
    let foreign = ["--config", foreign.config.to_str().unwrap()];
    let told = refusal(&log(&["prove", &file], &foreign));
    assert!(told.ends_with(&names), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_entries_come_while_one_waits_and_only_those_asked_for() {
    let deployment = Deployment::make().await;
    let _program = deployment.serve();
    deployment.issue_leaf().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
        .args([
            "log",
            "follow",
            "--from",
            "0",
            "--identity",
            "one@example.com",
            "--issuer",
            &deployment.provider.email(),
            "--config",
        ])
        .arg(&deployment.config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["index"], 0);
    for index in 1..3 {
        deployment.issue_leaf().await;
        let entry = next();
        assert_eq!(
            (&entry["index"], &entry["names"][0]),
            (&index.into(), &"one@example.com".into())
        );
    }
    let interrupted = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    assert!(child.wait().unwrap().success());
}

/// What a command writes where both of its outputs are a terminal, and whether it succeeded.
fn on_a_terminal(command: &[&str], source: &[&str]) -> (bool, String) {
    let mut words = vec![env!("CARGO_BIN_EXE_vouchsafe"), "log"];
    words.extend(command.iter().chain(source));
    assert!(
        !words.iter().any(|word| word.contains(['\'', ' '])),
        "{words:?}"
    );
    let output = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.join(" "),
            "/dev/null",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), shown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_a_check_sees_how_far_it_is() {
    let deployment = Deployment::make().await;
    let program = deployment.serve();
    deployment.issue_leaf().await;
    let config = ["--config", deployment.config.to_str().unwrap()];
    let place = tempfile::tempdir().unwrap();
    let key = place.path().join("key.pub");
    let public = text(&log(&["export-key", "--format", "public"], &config));
    fs::write(&key, public).unwrap();
    let url = format!("{}/log", deployment.url);
    for source in [
        &config[..],
        &["--url", &url, "--public-key", key.to_str().unwrap()],
    ] {
        let (whole, shown) = on_a_terminal(&["fsck"], source);
        assert!(whole, "{shown}");
        let bar = format!("[{}] 100 % 1 of 1 entries", "=".repeat(25));
        assert!(shown.contains(&bar), "{shown}");
        assert!(shown.contains("is whole: entries 1"), "{shown}");
        let unwatched = log(&["fsck"], source);
        assert!(
            unwatched.status.success() && unwatched.stderr.is_empty(),
            "{unwatched:?}"
        );
    }
    drop(program);
}

#[test]
fn a_private_key_is_not_shown_on_a_screen_unless_somebody_insists() {
    let alone = Alone::make("");
    let config = alone.config();
    let config = ["--config", config.to_str().unwrap()];
    for format in ["sec1", "pkcs8"] {
        let export = ["export-key", "--format", format, "--private"];
        let (exported, shown) = on_a_terminal(&export, &config);
        assert!(
            !exported && shown.contains("does not belong on a screen"),
            "{shown}"
        );
        assert!(!shown.contains("BEGIN"), "{shown}");
        let (exported, shown) = on_a_terminal(&[&export[..], &["--force"]].concat(), &config);
        assert!(exported && shown.contains("PRIVATE KEY-----"), "{shown}");
    }
    // What is public may be seen by everybody.
    let (exported, shown) = on_a_terminal(&["export-key", "--format", "public"], &config);
    assert!(exported && shown.contains("BEGIN PUBLIC KEY"), "{shown}");
}

#[test]
fn keys_are_handed_out_in_the_forms_that_others_take() {
    let alone = Alone::make("");
    let config = alone.config();
    let config = ["--config", config.to_str().unwrap()];
    let export = |format: &str, more: &[&str]| {
        log(
            &[&["export-key", "--format", format], more].concat(),
            &config,
        )
    };
    let public = text(&export("public", &[]));
    for (format, label) in [("sec1", "EC PRIVATE KEY"), ("pkcs8", "PRIVATE KEY")] {
        assert!(refusal(&export(format, &[])).contains("--private"));
        let private = text(&export(format, &["--private"]));
        assert!(
            private.starts_with(&format!("-----BEGIN {label}-----\n")),
            "{label}"
        );
        let file = alone.place().join("exported.pem");
        fs::write(&file, private).unwrap();
        let output = Command::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(&file)
            .output();
        assert_eq!(text(&output.unwrap()), public, "{format}");
    }
    let (_, spki) = x509_parser::pem::parse_x509_pem(public.as_bytes()).unwrap();
    let id = Sha256::digest(&spki.contents);
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text(&export("id", &[])).trim(), hex);
    let origin = alone.url.strip_prefix("http://").unwrap();
    let of_key = Sha256::digest([format!("{origin}\n\x05").as_bytes(), &id].concat());
    let of_key: String = of_key[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let key = STANDARD.encode([&[5], spki.contents.as_slice()].concat());
    assert_eq!(
        text(&export("vkey", &[])).trim(),
        format!("{origin}+{of_key}+{key}")
    );
}

/// The command as it runs beside the test, ended after a minute if it does not end by itself.
fn follow(source: &[&str]) -> Child {
    Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_vouchsafe"), "log", "follow"])
        .args(source)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_out_of_reach_for_a_while_is_followed_to_its_next_entry() {
    let deployment = Deployment::make().await;
    let program = deployment.serve();
    deployment.issue_leaf().await;
    let place = tempfile::tempdir().unwrap();
    let key = place.path().join("key.pub");
    let config = ["--config", deployment.config.to_str().unwrap()];
    let public = log(&["export-key", "--format", "public"], &config);
    fs::write(&key, text(&public)).unwrap();
    let url = format!("{}/log", deployment.url);
    let source = ["--url", &url, "--public-key", key.to_str().unwrap()];
    let mut child = follow(&[&["--from", "0"], &source[..]].concat());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["index"], 0);
    program.signal("TERM");
    assert!(program.ended().0.success());
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = told.next().unwrap().unwrap();
    assert!(
        told.contains("checkpoint cannot be read") && told.contains("trying again"),
        "{told}"
    );
    let _program = deployment.serve();
    deployment.issue_leaf().await;
    assert_eq!(next()["index"], 1);
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    child.wait().unwrap();

    // What cannot be read from the beginning is told and not waited for.
    let wrong = format!("{}/elsewhere", deployment.url);
    let source = ["--url", &wrong, "--public-key", key.to_str().unwrap()];
    let ended = follow(&source).wait_with_output().unwrap();
    assert!(refusal(&ended).contains("checkpoint is missing"));
}

#[test]
fn whoever_follows_ends_with_the_reader_of_what_is_shown() {
    let alone = Alone::make("/2026");
    let config = alone.config();
    let mut child = follow(&["--config", config.to_str().unwrap()]);
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        ended.status.success() && told.is_empty(),
        "{:?}: {told}",
        ended.status
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_of_the_ledger_that_does_not_show_all_says_so() {
    let deployment = Deployment::make().await;
    let _program = deployment.serve();
    for _ in 0..3 {
        deployment.issue_leaf().await;
    }
    let find = |by: &[&str]| {
        let config = ["--json", "--config", deployment.config.to_str().unwrap()];
        vouchsafe(&[&["ledger", "find"], by, &config].concat())
    };
    let issuer = deployment.provider.email();
    for (by, count, is_all) in [
        (&["--issuer", &issuer][..], 3, true),
        (&["--issuer", &issuer, "--limit", "3"], 3, true),
        (&["--identity", "one@example.com", "--limit", "2"], 2, false),
        (
            &["--since", "2020-01-01T00:00:00Z", "--limit", "2"],
            2,
            false,
        ),
    ] {
        let found = find(by);
        assert_eq!(text(&found).lines().count(), count, "{by:?}");
        let told = String::from_utf8(found.stderr).unwrap();
        assert_eq!(told.contains("there are more"), !is_all, "{by:?}: {told}");
    }
    let before = [
        "--identity",
        "one@example.com",
        "--until",
        "2020-01-01T00:00:00Z",
    ];
    assert!(refusal(&find(&before)).contains("no such certificate"));
    assert!(refusal(&find(&[])).contains("--since"));
    assert!(refusal(&find(&["--since", "yesterday"])).contains("2027-01-01T00:00:00Z"));
    let both = ["--serial", "01", "--identity", "one@example.com"];
    assert!(refusal(&find(&both)).contains("cannot be used with"));
}
