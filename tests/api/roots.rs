//! The roots of a log that runs alone change under it, to something good and to something broken.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::alone::{Alone, get, submit, vector};

/// A log that runs alone, with what it says in a file.
struct Served {
    child: Child,
    said: PathBuf,
    alone: Alone,
}

impl Served {
    async fn start(reload_seconds: u32) -> Self {
        vouchsafe::client::http_client().unwrap();
        let alone = Alone::make("");
        let seconds = format!("\nreload-seconds: {reload_seconds}");
        alone.change("\n# reload-seconds: 5", &seconds);
        let said = alone.place().join("said");
        let child = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .args(["log", "serve", "--config"])
            .arg(alone.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let served = Self { child, said, alone };
        served.until_said("serving the log", 1).await;
        served
    }

    /// Exchanges the file in one step.
    fn put(&self, text: &str) {
        let draft = self.alone.place().join("roots.pem.new");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.alone.place().join("roots.pem")).unwrap();
    }

    fn hang_up(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status();
        assert!(sent.unwrap().success());
    }

    fn times_said(&self, words: &str) -> usize {
        let said = fs::read_to_string(&self.said).unwrap();
        said.lines().filter(|line| line.contains(words)).count()
    }

    async fn until_said(&self, words: &str, times: usize) {
        let begun = Instant::now();
        while self.times_said(words) < times {
            let said = fs::read_to_string(&self.said).unwrap();
            assert!(begun.elapsed() < LIMIT, "{words} is not in {said}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What `get-roots` tells.
    async fn roots(&self) -> Value {
        let (status, roots) = get(&format!("{}/ct/v1/get-roots", self.alone.url)).await;
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&roots).unwrap()["certificates"].take()
    }

    async fn until_roots(&self, expected: &Value) {
        let begun = Instant::now();
        while self.roots().await != *expected {
            assert!(begun.elapsed() < LIMIT, "other roots than {expected}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn submit(&self) -> (u16, String) {
        submit(&self.alone.url, "add-pre-chain", &vector().0).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A root that nothing leads to here, in PEM and as `get-roots` tells it.
fn another() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), STANDARD.encode(certificate.der()))
}

#[tokio::test]
async fn roots_that_change_are_in_force_without_a_restart() {
    let served = Served::start(1).await;
    let ours = fs::read_to_string(served.alone.place().join("roots.pem")).unwrap();
    let known = json!([vector().0[3]]);
    assert_eq!(served.roots().await, known);
    let (status, first) = served.submit().await;
    assert_eq!(status, 200, "{first}");

    let (pem, other) = another();
    served.put(&pem);
    served.until_roots(&json!([other])).await;
    served.until_said("roots reloaded", 1).await;
    let (status, told) = served.submit().await;
    assert_eq!(status, 400, "{told}");
    assert!(told.contains("a root the log accepts"), "{told}");

    served.put(&format!("{pem}{ours}"));
    served.until_roots(&json!([other, vector().0[3]])).await;
    let (status, again) = served.submit().await;
    assert_eq!(
        (status, again),
        (200, first),
        "another answer than the first time"
    );
    // Other bytes and the same roots are no news.
    served.put(&format!("# a comment\n{pem}{ours}"));
    tokio::time::sleep(TWO_LOOKS).await;
    assert_eq!(served.times_said("roots reloaded"), 2);
    served.put(&format!("{ours}{pem}"));
    served.until_roots(&json!([vector().0[3], other])).await;
    served.until_said("roots reloaded", 3).await;
    assert_eq!(served.times_said("not reloaded"), 0);
}

#[tokio::test]
async fn a_broken_file_of_roots_changes_nothing_and_is_told_once() {
    let served = Served::start(1).await;
    let ours = fs::read_to_string(served.alone.place().join("roots.pem")).unwrap();
    let known = json!([vector().0[3]]);
    let refusals = "roots not reloaded";
    for (times, (broken, reason)) in [
        ("", "there is no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nMIIB", "is not PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 0 of the log's roots",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        served.put(broken);
        served.until_said(refusals, times + 1).await;
        served.until_said(reason, 1).await;
        assert_eq!(served.roots().await, known, "{broken}");
        assert_eq!(served.submit().await.0, 200, "{broken}");
    }
    fs::remove_file(served.alone.place().join("roots.pem")).unwrap();
    served.until_said("No such file", 1).await;
    assert_eq!(served.roots().await, known);
    tokio::time::sleep(TWO_LOOKS).await;
    assert_eq!(served.times_said(refusals), 4, "said with every look");
    let (pem, other) = another();
    served.put(&pem);
    served.until_roots(&json!([other])).await;
    served.put(&ours);
    served.until_roots(&known).await;
}

#[tokio::test]
async fn a_signal_has_the_roots_read_where_nobody_looks_at_them() {
    let served = Served::start(0).await;
    let known = json!([vector().0[3]]);
    let (pem, other) = another();
    served.put("nothing");
    served.hang_up();
    served.until_said("roots not reloaded", 1).await;
    assert_eq!(served.roots().await, known);
    served.put(&pem);
    assert_eq!(served.roots().await, known, "nobody was asked to look");
    served.hang_up();
    served.until_roots(&json!([other])).await;
    served.until_said("roots reloaded", 1).await;
}

const LIMIT: Duration = Duration::from_secs(30);
/// For what must not be said: nothing tells that it was not.
const TWO_LOOKS: Duration = Duration::from_millis(2_500);
const POLL: Duration = Duration::from_millis(20);
