use super::*;
use std::path::Path;
use time::Duration;
use time::macros::datetime;

const START: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

struct Followed {
    directory: tempfile::TempDir,
    reloader: Reloader,
    issuers: Arc<TrustedIssuers>,
}

fn text(audience: &str) -> String {
    let url = "https://issuer.example.com";
    format!(
        "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: {audience}\n    type: email\n"
    )
}

impl Followed {
    fn open() -> Self {
        // The first of all tests installs it; the others find it.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("issuers.yaml");
        std::fs::write(&path, text("first")).unwrap();
        let source = IssuersFile {
            path,
            options: identity::Options::default(),
            environments: None,
        };
        let Read {
            config,
            fingerprint,
        } = source.read().unwrap();
        let issuers = Arc::new(TrustedIssuers::new(source.open(config).unwrap(), START));
        let reloader = Reloader::new(source, Arc::clone(&issuers), fingerprint);
        Self {
            directory,
            reloader,
            issuers,
        }
    }

    fn path(&self) -> &Path {
        &self.reloader.source.path
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn look(&mut self, second: i64) -> Outcome {
        let now = START + Duration::seconds(second);
        self.reloader.look(Occasion::Interval, now)
    }

    fn audience(&self) -> String {
        let current = self.issuers.current();
        let first = current.configured().next().unwrap();
        first.audience.clone()
    }
}

#[test]
fn a_file_that_stays_the_same_is_left_alone_unless_somebody_asks() {
    let mut followed = Followed::open();
    assert_eq!(followed.look(1), Outcome::Unchanged);
    followed.write(&text("first"));
    assert_eq!(followed.look(2), Outcome::Unchanged);
    assert_eq!(followed.issuers.reload_state().generation, 1);
    let now = START + Duration::seconds(3);
    assert_eq!(
        followed.reloader.look(Occasion::Demand, now),
        Outcome::Loaded
    );
    let state = followed.issuers.reload_state();
    assert_eq!((state.generation, state.last_success), (2, now));
}

#[test]
fn a_file_that_is_still_being_written_is_not_believed() {
    let mut followed = Followed::open();
    followed.write(&text("half"));
    assert_eq!(followed.look(1), Outcome::Settling);
    followed.write(&text("whole"));
    assert_eq!(followed.look(2), Outcome::Settling);
    assert_eq!(followed.audience(), "first");
    assert_eq!(followed.look(3), Outcome::Loaded);
    assert_eq!(followed.audience(), "whole");
    assert_eq!(followed.look(4), Outcome::Unchanged);
}

#[test]
fn every_kind_of_broken_file_leaves_the_old_issuers_in_force() {
    let mut followed = Followed::open();
    let taken = followed.issuers.current();
    let mut second = 0;
    let broken: [(&str, &[u8]); 5] = [
        ("not a mapping", b"- 1\n"),
        ("no issuer", b""),
        ("not text", b"\xff\xfe"),
        ("cut short", b"oidc-issuers:\n  https://issuer.exam"),
        ("too large", &[b'#'; 3 << 20]),
    ];
    for (name, bytes) in broken {
        std::fs::write(followed.path(), bytes).unwrap();
        second += 10;
        assert_eq!(followed.look(second), Outcome::Settling, "{name}");
        assert_eq!(followed.look(second + 1), Outcome::Refused, "{name}");
        assert_eq!(followed.look(second + 2), Outcome::Unchanged, "{name}");
        let state = followed.issuers.reload_state();
        assert!(state.is_failing, "{name}");
        assert_eq!((state.generation, state.last_success), (1, START), "{name}");
        let failure = state.last_failure.unwrap();
        assert_eq!(failure.at, START + Duration::seconds(second + 1), "{name}");
        assert!(failure.sentence.starts_with("issuers.yaml"), "{failure:?}");
        assert!(Arc::ptr_eq(&taken, &followed.issuers.current()), "{name}");
    }
    std::fs::remove_file(followed.path()).unwrap();
    assert_eq!(followed.look(100), Outcome::Settling);
    assert_eq!(followed.look(101), Outcome::Refused);
    assert_eq!(followed.look(102), Outcome::Unchanged);

    followed.write(&text("mended"));
    assert_eq!(followed.look(103), Outcome::Settling);
    assert_eq!(followed.look(104), Outcome::Loaded);
    let state = followed.issuers.reload_state();
    assert!(!state.is_failing);
    assert_eq!(state.generation, 2);
    assert!(state.last_failure.is_some(), "it is remembered");
    assert_eq!(followed.audience(), "mended");
    drop(followed.directory);
}

#[test]
fn a_file_that_goes_back_to_what_is_in_force_is_no_failure_any_more() {
    let mut followed = Followed::open();
    followed.write("broken");
    followed.look(1);
    assert_eq!(followed.look(2), Outcome::Refused);
    followed.write(&text("first"));
    followed.look(3);
    assert_eq!(followed.look(4), Outcome::Loaded);
    assert!(!followed.issuers.reload_state().is_failing);
}

#[test]
fn the_same_mistake_is_news_once() {
    let followed = Followed::open();
    let issuers = &followed.issuers;
    assert!(issuers.refuse("one".to_owned(), START));
    assert!(!issuers.refuse("one".to_owned(), START));
    assert!(issuers.refuse("two".to_owned(), START));
}
