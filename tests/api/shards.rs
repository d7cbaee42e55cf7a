//! One log after another: what was issued before stays good, and what is issued after goes elsewhere.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use der::pem::LineEnding;
use serde_json::{Value, json};
use tempfile::TempDir;
use vouchsafe::client::inclusion::check_inclusion;
use vouchsafe::client::verify::verify;
use vouchsafe::trust::TrustedRoot;

use super::alone::{Alone, get, submit, vector, vouchsafe};
use super::caller::Caller;
use super::house::{V2, deploy_in, der_of};
use super::postgres::Cluster;
use super::process::Program;
use super::provider::Provider;

pub(crate) struct Deployment {
    _directory: TempDir,
    pub(crate) config: PathBuf,
    pub(crate) url: String,
    pub(crate) provider: Provider,
    http: reqwest::Client,
}

impl Deployment {
    pub(crate) async fn make() -> Self {
        Self::make_in(None).await
    }

    async fn make_in(database: Option<&str>) -> Self {
        let http = vouchsafe::client::http_client().unwrap();
        let provider = Provider::start().await;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", address.local_addr().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let config = deploy_in(database, directory.path(), &url, &provider).await;
        Self {
            _directory: directory,
            config,
            url,
            provider,
            http,
        }
    }

    pub(crate) fn serve(&self) -> Program {
        let arguments = ["serve", "--config", self.config.to_str().unwrap()];
        Program::start(&arguments, "info", "serving")
    }

    async fn issue(&self) -> (u16, Value) {
        let caller = Caller::new("one@example.com");
        let body = caller.v2(Some(&self.provider.token(&caller.name)));
        let url = format!("{}{V2}", self.url);
        let answer = self.http.post(url).body(body.to_string()).send().await;
        let answer = answer.unwrap();
        (
            answer.status().as_u16(),
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap(),
        )
    }

    pub(crate) async fn issue_leaf(&self) -> Vec<u8> {
        let (status, told) = self.issue().await;
        assert_eq!(status, 200, "{told}");
        let chain = &told["signedCertificateEmbeddedSct"]["chain"]["certificates"];
        der_of(chain[0].as_str().unwrap())
    }

    pub(crate) fn rotate(&self, more: &[&str]) -> Result<String, String> {
        rotate(&self.config, more)
    }

    fn trusted_root(&self) -> TrustedRoot {
        let output = vouchsafe(&[
            "trust",
            "trusted-root",
            "--config",
            self.config.to_str().unwrap(),
        ]);
        TrustedRoot::from_json(&output.stdout).unwrap()
    }
}

fn rotate(config: &Path, more: &[&str]) -> Result<String, String> {
    let arguments = [
        &["log", "rotate", "--config", config.to_str().unwrap()],
        more,
    ]
    .concat();
    let output = vouchsafe(&arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(told),
        false => Err(told),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_before_and_after_are_good_with_one_trusted_root() {
    let deployment = Deployment::make().await;
    // Where logs are in files, their names change too.
    are_good_before_and_after(&deployment, &["  database: log/log.sqlite"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_they_are_where_all_logs_are_in_one_database() {
    let database = Cluster::shared().database();
    let deployment = Deployment::make_in(Some(&database)).await;
    are_good_before_and_after(&deployment, &[]).await;
}

async fn are_good_before_and_after(deployment: &Deployment, files: &[&str]) {
    let before_text = fs::read_to_string(&deployment.config).unwrap();
    let program = deployment.serve();
    let before = deployment.issue_leaf().await;
    deployment.rotate(&["--prefix", "/log-2"]).unwrap();
    // The running server goes on with the log that it has open.
    let between = deployment.issue_leaf().await;
    program.signal("TERM");
    assert!(program.ended().0.success());

    let text = fs::read_to_string(&deployment.config).unwrap();
    let kept = before_text
        .lines()
        .filter(|line| !text.lines().any(|other| other == *line));
    let lost: Vec<&str> = kept.collect();
    let expected = [files, &["  key: log/key.pem", "  high-water: high-water"]].concat();
    assert_eq!(lost, expected, "every other line is as it was");

    let program = deployment.serve();
    let after = deployment.issue_leaf().await;
    let root = deployment.trusted_root();
    let served = deployment
        .http
        .get(format!("{}/trust/trusted-root", deployment.url));
    let served = served.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(TrustedRoot::from_json(&served).unwrap(), root);
    let mut logs = Vec::new();
    for leaf in [&before, &between, &after] {
        let verified = verify(leaf, &root).unwrap();
        let log = root.log(&verified.sct().log_id).unwrap();
        let included = check_inclusion(&deployment.http, &root, &verified)
            .await
            .unwrap();
        logs.push((log.base_url().to_owned(), included.index));
    }
    let [old, new] = ["/log", "/log-2"].map(|prefix| format!("{}{prefix}", deployment.url));
    assert_eq!(logs, [(old.clone(), 0), (old.clone(), 1), (new.clone(), 0)]);

    for call in ["add-chain", "add-pre-chain"] {
        let (status, told) = submit(&old, call, &[]).await;
        assert_eq!(status, 410, "{told}");
        assert!(told.contains("took its last entry"), "{told}");
    }
    let (status, roots) = get(&format!("{old}/ct/v1/get-roots")).await;
    let roots: Value = serde_json::from_slice(&roots).unwrap();
    assert_eq!((status, roots), (200, json!({"certificates": []})));
    assert_eq!(get(&format!("{old}/tile/0/000.p/2")).await.0, 200);
    drop(program);

    // And once more, from there.
    deployment.rotate(&["--prefix", "/log-3"]).unwrap();
    let program = deployment.serve();
    let third = deployment.issue_leaf().await;
    let root = deployment.trusted_root();
    assert_eq!(root.logs.len(), 3);
    for leaf in [&before, &between, &after, &third] {
        let verified = verify(leaf, &root).unwrap();
        check_inclusion(&deployment.http, &root, &verified)
            .await
            .unwrap();
    }
    drop(program);
    let config = deployment.config.to_str().unwrap();
    // Whichever of the logs it is in.
    for (number, (leaf, name)) in [(&between, "/log"), (&after, "/log-2"), (&third, "/log-3")]
        .into_iter()
        .enumerate()
    {
        let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, leaf).unwrap();
        let file = deployment.config.with_file_name(format!("{number}.pem"));
        fs::write(&file, pem).unwrap();
        let file = file.to_str().unwrap();
        let output = vouchsafe(&["log", "prove", file, "--json", "--config", config]);
        assert!(output.status.success(), "{output:?}");
        let proved: Value = serde_json::from_slice(&output.stdout).unwrap();
        let origin = format!("{}{name}", deployment.url.strip_prefix("http://").unwrap());
        assert_eq!(proved["origin"], origin);
    }
    for command in [["log", "fsck"].as_slice(), &["check"]] {
        let arguments = [command, &["--config", config]].concat();
        let output = vouchsafe(&arguments);
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_does_not_write_into_a_shard_for_other_times() {
    let deployment = Deployment::make().await;
    let past = ["--prefix", "/log-2", "--window-end", "2026-01-01T00:00:00Z"];
    let told = deployment.rotate(&past).unwrap_err();
    assert!(
        told.contains("takes no certificate that would be issued now"),
        "{told}"
    );
    let text = fs::read_to_string(&deployment.config).unwrap();
    let text = text.replacen(
        "\nlog:\n",
        "\nlog:\n  window: {end: 2026-01-01T00:00:00Z}\n",
        1,
    );
    fs::write(&deployment.config, &text).unwrap();
    let _program = deployment.serve();
    let (status, told) = deployment.issue().await;
    assert_eq!(status, 503, "{told}");
    assert_eq!(told["details"][0]["reason"], "LOG_UNAVAILABLE");
    assert_eq!(get(&format!("{}/readyz", deployment.url)).await.0, 503);
}

#[tokio::test]
async fn what_was_interrupted_is_finished_and_what_is_in_the_way_is_left_alone() {
    let deployment = Deployment::make().await;
    let place = deployment.config.parent().unwrap();
    let before = fs::read_to_string(&deployment.config).unwrap();

    // Ended while it wrote: half a log is swept away, and half a file is in nobody's way.
    fs::create_dir(place.join(".log-2.unfinished")).unwrap();
    fs::write(place.join(".log-2.unfinished/key.pem"), "half a key").unwrap();
    fs::write(place.join(".vouchsafe.yaml.0.new"), "half a file").unwrap();
    deployment.rotate(&["--prefix", "/log-2"]).unwrap();
    let after = fs::read_to_string(&deployment.config).unwrap();
    let key = fs::read(place.join("log-2/key.pem")).unwrap();
    assert!(!place.join(".vouchsafe.yaml.1.new").exists());

    // Ended before the configuration was exchanged: the shard that was made is the one that is used.
    fs::write(&deployment.config, &before).unwrap();
    deployment.rotate(&["--prefix", "/log-2"]).unwrap();
    assert_eq!(fs::read(place.join("log-2/key.pem")).unwrap(), key);
    let again = fs::read_to_string(&deployment.config).unwrap();
    let without_time = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("until:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(without_time(&again), without_time(&after));

    let taken = deployment.rotate(&["--prefix", "/log-2"]).unwrap_err();
    assert!(taken.contains("another log's already"), "{taken}");
    fs::create_dir(place.join("log-9")).unwrap();
    let taken = deployment.rotate(&["--prefix", "/log-9"]).unwrap_err();
    assert!(
        taken.contains("is there already and is not a new log"),
        "{taken}"
    );
    let reserved = deployment.rotate(&["--prefix", "/api"]).unwrap_err();
    assert!(reserved.contains("is not one like /log"), "{reserved}");
    let locked = fs::File::open(&deployment.config).unwrap();
    locked.try_lock().unwrap();
    let busy = deployment.rotate(&["--prefix", "/log-3"]).unwrap_err();
    assert!(busy.contains("another process is changing"), "{busy}");
    drop(locked);
    assert!(!place.join("log-3").exists() && !place.join("api").exists());
    assert_eq!(fs::read_to_string(&deployment.config).unwrap(), again);

    let flow = before.replacen("log:\n  database", "log: {a: b}\nlogs:\n  database", 1);
    fs::write(&deployment.config, &flow).unwrap();
    deployment.rotate(&["--prefix", "/log-4"]).unwrap_err();
    assert_eq!(fs::read_to_string(&deployment.config).unwrap(), flow);
}

#[tokio::test]
async fn a_database_that_goes_away_between_the_key_and_the_log_is_asked_again() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let deployment = Deployment::make_in(Some(&database)).await;
    let place = deployment.config.parent().unwrap();
    let before = fs::read_to_string(&deployment.config).unwrap();
    cluster.stop();
    let away = deployment.rotate(&["--prefix", "/log-2"]).unwrap_err();
    assert!(away.contains("cannot be reached"), "{away}");
    assert_eq!(fs::read_to_string(&deployment.config).unwrap(), before);
    let key = fs::read(place.join("log-2/key.pem")).unwrap();

    // The key that was made is the one that is used, also where only the configuration was missing.
    cluster.start_again();
    for _ in 0..2 {
        fs::write(&deployment.config, &before).unwrap();
        deployment.rotate(&["--prefix", "/log-2"]).unwrap();
        assert_eq!(fs::read(place.join("log-2/key.pem")).unwrap(), key);
    }
    let logs = "SELECT count(*), count(DISTINCT log_id) FROM ctlog.log";
    assert_eq!(cluster.sql("test_0", logs), "2|2");

    // Another one has the name already: under another key, since its directory is gone.
    fs::write(&deployment.config, &before).unwrap();
    fs::remove_dir_all(place.join("log-2")).unwrap();
    let taken = deployment.rotate(&["--prefix", "/log-2"]).unwrap_err();
    assert!(taken.contains("a log of the same name already"), "{taken}");
    assert_eq!(fs::read_to_string(&deployment.config).unwrap(), before);
    deployment.rotate(&["--prefix", "/log-3"]).unwrap();
    let program = deployment.serve();
    deployment.issue_leaf().await;
    drop(program);
}

#[tokio::test]
async fn a_log_alone_has_shards_too() {
    vouchsafe::client::http_client().unwrap();
    let alone = Alone::make("/2026");
    let (chain, _) = vector();
    let program = alone.serve();
    assert_eq!(submit(&alone.url, "add-pre-chain", &chain).await.0, 200);
    rotate(
        &alone.config(),
        &[
            "--prefix",
            "/2027",
            "--window-start",
            "2025-01-01T00:00:00Z",
        ],
    )
    .unwrap();
    drop(program);
    let _program = alone.serve();
    assert_eq!(submit(&alone.url, "add-pre-chain", &chain).await.0, 410);
    let new = alone.url.replace("/2026", "/2027");
    assert_eq!(submit(&new, "add-pre-chain", &chain).await.0, 200);
    for url in [&alone.url, &new] {
        assert_eq!(
            get(&format!("{url}/tile/data/000.p/1")).await.0,
            200,
            "{url}"
        );
    }
    assert!(alone.place().join("key.pub").exists());
}
