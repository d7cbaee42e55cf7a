//! The issuers' file changes under a running server: by a move, by a link turned elsewhere, by a
//! signal; to something good and to something broken.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;

use super::caller::Caller;
use super::house::{V2, deploy};
use super::process::Program;
use super::provider::{JOB, Provider};

struct Served {
    program: Program,
    http: Client,
    url: String,
    /// The directory of the configuration.
    place: PathBuf,
    _directory: tempfile::TempDir,
}

impl Served {
    /// With the setting `reload-seconds`, and the issuers' file where `arrange` put it.
    async fn start(
        provider: &Provider,
        reload_seconds: u32,
        arrange: impl FnOnce(&Path) -> &'static str,
    ) -> Self {
        let http = vouchsafe::client::http_client().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let url = format!("http://{address}");
        let directory = tempfile::tempdir().unwrap();
        let file = deploy(directory.path(), &url, provider).await;
        let place = file.parent().unwrap().to_owned();
        let issuers = arrange(&place);
        let settings = fs::read_to_string(&file).unwrap();
        let seconds = format!("reload-seconds: {reload_seconds}");
        let settings = settings
            .replace("reload-seconds: 5", &seconds)
            .replace("issuers: issuers.yaml", &format!("issuers: {issuers}"));
        assert!(settings.contains(&seconds) && settings.contains(issuers));
        fs::write(&file, settings).unwrap();
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let program = Program::start(&arguments, "info", "serving");
        Self {
            program,
            http,
            url,
            place,
            _directory: directory,
        }
    }

    async fn get(&self, path: &str) -> String {
        let url = format!("{}{path}", self.url);
        let response = self.http.get(url).send().await.unwrap();
        response.text().await.unwrap()
    }

    /// The audience of the first issuer, as clients are told.
    async fn audience(&self) -> String {
        let json: Value = serde_json::from_str(&self.get("/api/v2/configuration").await).unwrap();
        json["issuers"][0]["audience"].as_str().unwrap().to_owned()
    }

    async fn until_audience(&self, expected: &str) {
        let asked = Instant::now();
        while self.audience().await != expected {
            assert!(asked.elapsed() < LIMIT, "{expected} is not told");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn until_ready_says(&self, expected: &str) -> String {
        let asked = Instant::now();
        loop {
            let told = self.get("/readyz?verbose").await;
            if told.contains(expected) {
                return told;
            }
            assert!(asked.elapsed() < LIMIT, "{expected} is not in {told}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn issue(&self, provider: &Provider, audience: &str) -> u16 {
        let caller = Caller::new("developer@example.com");
        let mut claims = provider.person(&caller.name);
        claims["aud"] = audience.into();
        let body = caller.v2(Some(&provider.sign(&claims))).to_string();
        let request = self.http.post(format!("{}{V2}", self.url)).body(body);
        request.send().await.unwrap().status().as_u16()
    }
}

/// The provider's file with another audience for people.
fn issuers(provider: &Provider, audience: &str) -> String {
    let text = provider.issuers_yaml();
    let other = text.replacen(
        "sigstore, type: email",
        &format!("{audience}, type: email"),
        1,
    );
    assert_ne!(text, other);
    other
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_taken_into_force_without_a_request_that_fails() {
    let provider = Arc::new(Provider::start().await);
    // As Kubernetes mounts it: the file is a link through a link that is turned.
    let arrange = |place: &Path| {
        let mount = place.join("mount");
        fs::create_dir_all(mount.join("..one")).unwrap();
        let text = fs::read(place.join("issuers.yaml")).unwrap();
        fs::write(mount.join("..one/issuers.yaml"), text).unwrap();
        symlink("..one", mount.join("..data")).unwrap();
        symlink("..data/issuers.yaml", mount.join("issuers.yaml")).unwrap();
        "mount/issuers.yaml"
    };
    let served = Served::start(&provider, 1, arrange).await;
    assert_eq!(served.issue(&provider, "sigstore").await, 200);

    // Somebody whose issuer stays as it is asks all the time, over connections that are kept.
    let stop = Arc::new(AtomicBool::new(false));
    let client = {
        let (http, url) = (served.http.clone(), format!("{}{V2}", served.url));
        let token = provider.sign(&provider.job());
        let body = Caller::new(JOB).v2(Some(&token)).to_string();
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut answers = 0;
            while !stop.load(Ordering::SeqCst) {
                let request = http.post(&url).body(body.clone());
                let response = request.send().await.unwrap();
                let status = response.status();
                let text = response.text().await.unwrap();
                assert_eq!(status, 200, "after {answers} answers: {text}");
                answers += 1;
            }
            answers
        })
    };

    let mount = served.place.join("mount");
    // The link is turned.
    fs::create_dir(mount.join("..two")).unwrap();
    fs::write(mount.join("..two/issuers.yaml"), issuers(&provider, "two")).unwrap();
    symlink("..two", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    fs::remove_dir_all(mount.join("..one")).unwrap();
    served.until_audience("two").await;
    assert_eq!(served.issue(&provider, "two").await, 200);
    assert_eq!(served.issue(&provider, "sigstore").await, 400);

    // The file is moved there.
    fs::write(mount.join("new"), issuers(&provider, "three")).unwrap();
    fs::rename(mount.join("new"), mount.join("issuers.yaml")).unwrap();
    served.until_audience("three").await;
    served
        .until_ready_says("[+] issuers ok: generation 3")
        .await;

    // It is broken, then gone, then good again.
    fs::write(mount.join("issuers.yaml"), "oidc-issuers: [\n").unwrap();
    let told = served.until_ready_says("[-] issuers failed").await;
    assert!(told.contains("generation 3 of "), "{told}");
    assert!(told.contains("issuers.yaml:"), "{told}");
    assert!(told.ends_with("ok\n"), "it can still issue: {told}");
    assert_eq!(served.get("/readyz").await, "ok\n");
    assert_eq!(served.audience().await, "three");
    assert_eq!(served.issue(&provider, "three").await, 200);
    fs::remove_file(mount.join("issuers.yaml")).unwrap();
    served.until_ready_says("os error 2").await;
    assert_eq!(served.audience().await, "three");
    fs::write(mount.join("issuers.yaml"), issuers(&provider, "four")).unwrap();
    served.until_audience("four").await;
    served
        .until_ready_says("[+] issuers ok: generation 4")
        .await;

    stop.store(true, Ordering::SeqCst);
    assert!(client.await.unwrap() > 0);
    served.program.signal("TERM");
    let (status, lines) = served.program.ended();
    assert!(status.success(), "{lines:?}");
    let said = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(said("issuers reloaded"), 3, "{lines:#?}");
    assert_eq!(said("issuers not reloaded"), 2, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_has_the_file_read_and_keys_of_unchanged_issuers_are_kept() {
    let mut provider = Provider::start().await;
    let served = Served::start(&provider, 0, |_| "issuers.yaml").await;
    let file = served.place.join("issuers.yaml");
    assert_eq!(served.issue(&provider, "sigstore").await, 200);
    // From now on there is nobody to fetch keys from.
    provider.stop_serving().await;

    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replacen("type: email", "type: parchment", 1)).unwrap();
    served.program.signal("HUP");
    let told = served.until_ready_says("[-] issuers failed").await;
    assert!(told.contains("generation 1 of "), "{told}");
    assert!(told.contains("parchment"), "{told}");
    assert_eq!(served.issue(&provider, "sigstore").await, 200);

    let more = "meta-issuers:\n  https://new.*.example.com: {client-id: sigstore, type: email}";
    let longer = good.replacen("meta-issuers:", more, 1);
    fs::write(&file, &longer).unwrap();
    served.program.signal("HUP");
    served
        .until_ready_says("[+] issuers ok: generation 2")
        .await;
    let told = served.get("/api/v2/configuration").await;
    assert!(told.contains("https://new.*.example.com"), "{told}");
    assert_eq!(served.issue(&provider, "sigstore").await, 200);

    // Without a change as well.
    served.program.signal("HUP");
    served
        .until_ready_says("[+] issuers ok: generation 3")
        .await;
    assert_eq!(served.issue(&provider, "sigstore").await, 200);
    served.program.signal("INT");
    assert!(served.program.ended().0.success());
}

const POLL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(60);
