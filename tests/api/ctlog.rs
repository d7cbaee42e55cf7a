//! Certificates that go into somebody else's log: whatever that log does, a certificate leaves with one
//! timestamp that holds, or none leaves.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use vouchsafe::client::chain::UnverifiedChain;
use vouchsafe::client::verify::verify_issued;
use vouchsafe::config::Config;
use vouchsafe::ctlog::entry::{EntryBody, leaf_index_extension};
use vouchsafe::ledger::Query;
use vouchsafe::trust::TrustedRoot;

use super::caller::Caller;
use super::house::{Answer, House, Transport, V2, deploy};
use super::provider::Provider;
use super::stub::{Act, Stub, described, signer, with_external};

/// A server whose certificates go to these logs, with so many seconds for each.
async fn house_with(logs: &[&Stub], seconds: u32) -> House {
    House::open_at(Transport::Plain, |deployment, settings| {
        let described = logs.iter().map(|log| {
            log.accept_root_of(deployment);
            log.described(deployment)
        });
        let described: Vec<String> = described.collect();
        with_external(
            &settings,
            &described,
            &format!("ctlog-seconds: {seconds}\n"),
        )
    })
    .await
}

async fn ask(house: &House) -> Answer {
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    house.post(V2, &[], body.to_string()).await
}

/// Asks for a certificate, and checks all of it by the server's own trusted root. The log it stands in,
/// and where.
async fn issued(house: &House) -> ([u8; 32], Option<u64>) {
    let chain = ask(house).await.chain();
    let root = house.get("/trust/trusted-root").await;
    let root = TrustedRoot::from_json(&root.body).unwrap();
    let chain = UnverifiedChain::from_pems(chain.iter().map(String::as_str)).unwrap();
    let spki = Caller::new("one@example.com").spki();
    let verified = verify_issued(&chain, &root, &spki).unwrap();
    (verified.sct().log_id, verified.log_index())
}

async fn is_refused(house: &House) -> Answer {
    let answer = ask(house).await;
    answer.is_refused(
        503,
        14,
        "Error entering certificate in CTL",
        "LOG_UNAVAILABLE",
    );
    answer
}

/// What `/readyz?verbose` says of one log.
async fn condition(house: &House, log: &Stub) -> String {
    let told = house.get("/readyz?verbose").await;
    let url = format!("{} ", log.url());
    let mut lines = told.text().lines();
    let line = lines.find_map(|line| line.split_once(&url).map(|(_, word)| word.to_owned()));
    line.unwrap_or_else(|| panic!("{}", told.text()))
}

async fn becomes(house: &House, log: &Stub, expected: &str) {
    let began = Instant::now();
    while condition(house, log).await != expected {
        assert!(began.elapsed() < Duration::from_secs(20), "not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn rows(house: &House) -> u64 {
    house.issuance.ledger.count().await.unwrap()
}

fn status(status: u16) -> Act {
    Act::Status(status, String::new(), "not now")
}

#[tokio::test]
async fn a_certificate_is_not_logged_where_the_configuration_says() {
    let log = Stub::start([Act::Answer(|it| {
        let extensions = leaf_index_extension(258);
        it.answer(&it.signer, &it.body, it.now_ms, &extensions)
            .to_string()
    })])
    .await;
    let house = house_with(&[&log], 10).await;
    assert_eq!(issued(&house).await, (log.log_id(), Some(258)));
    assert_eq!(issued(&house).await, (log.log_id(), None));
    let found = Query::Identity("one@example.com".to_owned());
    let rows = house.issuance.ledger.find(&found, 9).await.unwrap();
    let recorded: Vec<_> = rows.iter().map(|row| (row.log_id, row.log_index)).collect();
    assert!(
        recorded.contains(&(log.log_id(), Some(258))),
        "{recorded:?}"
    );
    assert!(recorded.contains(&(log.log_id(), None)), "{recorded:?}");
    assert_eq!(log.hosts()[0], log.address().to_string());

    // There is no log of its own beside it.
    for path in ["/log/checkpoint", "/log/ct/v1/get-roots", "/log/tile/0/000"] {
        assert_eq!(house.get(path).await.status, 404, "{path}");
    }
    let ready = house.get("/readyz?verbose").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert_eq!(condition(&house, &log).await, "good");
}

#[tokio::test]
async fn a_fault_that_passes_costs_the_certificate_or_changes_what_is_sent() {
    let after = |seconds| Act::Status(429, format!("Retry-After: {seconds}\r\n"), "");
    for (place, (script, attempts, least)) in [
        (vec![status(500)], 2, 0),
        (vec![status(502)], 2, 0),
        (vec![status(408), status(408)], 3, 0),
        (vec![status(503), status(429), status(503)], 4, 0),
        (vec![after(1)], 2, 1000),
        // The date is in whole seconds, so the pause is between one and two.
        (vec![Act::Later(2)], 2, 900),
        (vec![Act::Reset], 2, 0),
        (vec![Act::Half], 2, 0),
        (vec![Act::Reset, after(0)], 3, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let log = Stub::start(script).await;
        let house = house_with(&[&log], 10).await;
        let began = Instant::now();
        issued(&house).await;
        assert!(
            began.elapsed() >= Duration::from_millis(least),
            "case {place}"
        );
        let received = log.received();
        assert_eq!(received.len(), attempts, "case {place}");
        assert!(
            received.iter().all(|one| *one == received[0]),
            "case {place}"
        );
        assert_eq!(rows(&house).await, 1, "case {place}: one certificate left");
        assert_eq!(condition(&house, &log).await, "good", "case {place}");
    }
}

#[tokio::test]
async fn a_log_that_cannot_is_asked_for_longer_than_the_deadline() {
    let elsewhere = Stub::start([]).await;
    let moved = format!("Location: {}/ct/v1/add-pre-chain\r\n", elsewhere.url());
    let later = "Retry-After: 60\r\n".to_owned();
    for (place, (script, attempts)) in [
        (vec![Act::Hang], 1),
        (vec![Act::Drip], 1),
        (vec![status(500), status(500)], 2),
        (vec![Act::Reset, Act::Half], 2),
        (vec![Act::Status(429, later, "")], 1),
        (vec![Act::Status(307, moved, "")], 1),
        (vec![status(400)], 1),
        (vec![status(404)], 1),
        (vec![status(413)], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let log = Stub::start(script).await;
        let house = house_with(&[&log], 1).await;
        let began = Instant::now();
        is_refused(&house).await;
        // Twice what there is for the log; everything else takes milliseconds.
        assert!(began.elapsed() < Duration::from_secs(2), "case {place}");
        assert_eq!(log.received().len(), attempts, "case {place}");
        assert_eq!(rows(&house).await, 0, "case {place}: no certificate left");
        // One is not enough to be left alone, and the next one is good.
        assert_eq!(condition(&house, &log).await, "good", "case {place}");
        issued(&house).await;
    }
    assert_eq!(elsewhere.received().len(), 0, "a redirect was followed");
}

#[tokio::test]
async fn what_a_log_says_reaches_the_caller() {
    let text = "your root \u{1b}[31mis secret-7";
    let log = Stub::start([Act::Status(400, String::new(), text)]).await;
    let house = house_with(&[&log], 5).await;
    let answer = is_refused(&house).await;
    assert!(!answer.text().contains("secret-7"), "{}", answer.text());
    assert!(!answer.text().contains(&log.url()), "{}", answer.text());
}

#[tokio::test]
async fn a_wrong_answer_gets_into_a_certificate() {
    type Lie = fn(&super::stub::Submitted) -> String;
    let lies: [(&str, Lie); 10] = [
        ("a page", |_| {
            "<!doctype html><title>Log in</title>".to_owned()
        }),
        ("no end", |_| " ".repeat(1 << 20)),
        ("another key", |it| {
            it.answer(&signer(0x77), &it.body, it.now_ms, &[])
                .to_string()
        }),
        ("another key under its name", |it| {
            let mut told = it.answer(&signer(0x77), &it.body, it.now_ms, &[]);
            told["id"] = it.honest()["id"].clone();
            told.to_string()
        }),
        ("another certificate", |it| {
            let other = EntryBody::precertificate(&[7; 32], b"another").unwrap();
            it.answer(&it.signer, &other, it.now_ms, &[]).to_string()
        }),
        ("the future", |it| {
            let then = it.now_ms + 120_000;
            it.answer(&it.signer, &it.body, then, &[]).to_string()
        }),
        ("the past", |it| {
            let then = it.now_ms - 660_000;
            it.answer(&it.signer, &it.body, then, &[]).to_string()
        }),
        ("version 2", |it| {
            let mut told = it.honest();
            told["sct_version"] = 1.into();
            told.to_string()
        }),
        ("garbage in extensions", |it| {
            it.answer(&it.signer, &it.body, it.now_ms, b"garbage")
                .to_string()
        }),
        ("two places at once", |it| {
            let two = [leaf_index_extension(1), leaf_index_extension(2)].concat();
            it.answer(&it.signer, &it.body, it.now_ms, &two).to_string()
        }),
    ];
    for (what, lie) in lies {
        let log = Stub::start([Act::Answer(lie)]).await;
        let house = house_with(&[&log], 5).await;
        is_refused(&house).await;
        assert_eq!(
            log.received().len(),
            1,
            "{what}: a lie is not asked for again"
        );
        assert_eq!(condition(&house, &log).await, "suspect", "{what}");
        let ready = house.get("/readyz").await;
        assert_eq!(ready.status, 503, "{what}: {}", ready.text());
        assert_eq!(ready.text(), "not ready: log\n", "{what}");
        is_refused(&house).await;
        assert_eq!(log.received().len(), 1, "{what}: a suspect is asked");
        assert_eq!(rows(&house).await, 0, "{what}");
    }
}

#[tokio::test]
async fn a_lying_or_failing_log_stops_issuance_although_there_is_another() {
    let lie: fn(&super::stub::Submitted) -> String = |_| "{}".to_owned();
    let first = Stub::start([Act::Answer(lie)]).await;
    let second = Stub::start_at((Ipv4Addr::LOCALHOST, 0).into(), 0x52, []).await;
    let house = house_with(&[&first, &second], 5).await;
    assert_eq!(issued(&house).await.0, second.log_id());
    assert_eq!(condition(&house, &first).await, "suspect");
    assert_eq!(issued(&house).await.0, second.log_id());
    assert_eq!((first.received().len(), second.received().len()), (1, 2));
    assert_eq!(house.get("/readyz").await.status, 200);

    // A log that hangs has its share of the time and not all of it.
    let hanging = Stub::start(vec![Act::Hang; 3]).await;
    let second = Stub::start_at((Ipv4Addr::LOCALHOST, 0).into(), 0x52, []).await;
    let house = house_with(&[&hanging, &second], 2).await;
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(issued(&house).await.0, second.log_id());
        let took = began.elapsed();
        assert!(took > Duration::from_millis(900), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert_eq!(condition(&house, &hanging).await, "down");
    let began = Instant::now();
    assert_eq!(issued(&house).await.0, second.log_id());
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "it is asked while it is left alone"
    );
    // Its roots can be read, so it is tried, and this time it is good.
    becomes(&house, &hanging, "tried").await;
    assert_eq!(issued(&house).await.0, hanging.log_id());
    becomes(&house, &hanging, "good").await;
    assert_eq!(rows(&house).await, 5);
}

/// The log stored the certificate and died before it answered.
#[tokio::test]
async fn a_lost_answer_leads_to_a_second_certificate() {
    let log = Stub::start([Act::Reset]).await;
    let house = house_with(&[&log], 5).await;
    issued(&house).await;
    let received = log.received();
    assert_eq!(received.len(), 2);
    assert_eq!(
        received[0], received[1],
        "a log knows it again by its bytes"
    );
    assert_eq!(rows(&house).await, 1);

    let dying = Stub::start([Act::Reset, Act::Reset]).await;
    let other = Stub::start_at((Ipv4Addr::LOCALHOST, 0).into(), 0x52, []).await;
    let house = house_with(&[&dying, &other], 5).await;
    assert_eq!(issued(&house).await.0, other.log_id());
    assert_eq!(dying.received()[0], other.received()[0]);
    assert_eq!(rows(&house).await, 1, "one timestamp, one certificate");
}

#[tokio::test]
async fn a_log_that_comes_late_keeps_the_server_from_starting_or_from_issuing() {
    let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let url = format!("http://{address}/shard");
    let mut deployment = None;
    let house = House::open_at(Transport::Plain, |at, settings| {
        deployment = Some(at.to_owned());
        with_external(&settings, &[described(&url, 0x51, at)], "")
    })
    .await;
    let ready = house.get("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), ready.text()),
        (503, "not ready: log\n")
    );
    is_refused(&house).await;

    // It does not accept the root at first.
    let log = Stub::start_at(address, 0x51, []).await;
    let began = Instant::now();
    while log.hosts().is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is not looked at"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(condition(&house, &log).await, "down");
    is_refused(&house).await;
    log.accept_root_of(&deployment.unwrap());
    becomes(&house, &log, "tried").await;
    assert_eq!(house.get("/readyz").await.status, 200);
    assert_eq!(issued(&house).await.0, log.log_id());
    assert_eq!(log.received().len(), 1);
}

/// The start of a deployment whose log is described by `ctlog`; the sentence with which it ends.
async fn refused_start(ctlog: impl FnOnce(&std::path::Path) -> String) -> String {
    let _cryptography = vouchsafe::client::http_client().unwrap();
    let provider = Provider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = deploy(directory.path(), "http://127.0.0.1:1", &provider).await;
    let settings = std::fs::read_to_string(&file).unwrap();
    let described = ctlog(file.parent().unwrap());
    let settings = with_external(&settings, &[described], "");
    std::fs::write(&file, settings).unwrap();
    let config = match Config::read(&file) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    match config.open(OffsetDateTime::now_utc()).await {
        Ok(_) => "it starts".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_server_starts_although_no_certificate_could_be_issued() {
    let log = Stub::start([]).await;
    let told = refused_start(|at| log.described(at)).await;
    assert!(
        told.contains("does not accept the root of this authority"),
        "{told}"
    );
    assert!(
        told.contains("vouchsafe trust bundle"),
        "what to do: {told}"
    );

    let told = refused_start(|at| described("ftp://log.example", 1, at)).await;
    assert!(
        told.contains("\"ftp://log.example\" cannot be a log's address"),
        "{told}"
    );
    let told = refused_start(|at| described("https://log.example/ct/v1", 1, at)).await;
    assert!(told.contains("leave out /ct/v1"), "{told}");
    let told = refused_start(|_| "url: https://log.example".to_owned()).await;
    assert!(told.contains("missing field `public-key`"), "{told}");
    let told = refused_start(|_| "url: https://log.example, public-kay: a.pem".to_owned()).await;
    assert!(told.contains("unknown field `public-kay`"), "{told}");
    let told = refused_start(|_| "url: https://log.example, public-key: none.pem".to_owned()).await;
    assert!(told.contains("none.pem"), "{told}");
    let told = refused_start(|at| {
        std::fs::copy(at.join("ca/intermediate.key.pem"), at.join("wrong.pem")).unwrap();
        "url: https://log.example, public-key: wrong.pem".to_owned()
    })
    .await;
    assert!(told.contains("the PEM block is not a PUBLIC KEY"), "{told}");
    let told = refused_start(|at| {
        use p384::pkcs8::EncodePublicKey as _;
        let key = p384::SecretKey::from_slice(&[1; 48]).unwrap().public_key();
        let key = key.to_public_key_der().unwrap();
        let pem = super::caller::pem("PUBLIC KEY", key.as_bytes());
        std::fs::write(at.join("p384.pem"), pem).unwrap();
        "url: https://log.example, public-key: p384.pem".to_owned()
    })
    .await;
    assert!(told.contains("not an ECDSA key on P-256"), "{told}");
    let told = refused_start(|at| {
        let one = described("https://log.example", 1, at);
        let again = described("https://log.example/2", 1, at);
        format!("{one}}}\n  - {{{again}")
    })
    .await;
    assert!(told.contains("another log with the same key"), "{told}");
}

#[tokio::test]
async fn both_logs_or_none_are_configured() {
    let provider = Provider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = deploy(directory.path(), "http://127.0.0.1:1", &provider).await;
    let settings = std::fs::read_to_string(&file).unwrap();
    let refused = |settings: String| {
        std::fs::write(&file, settings).unwrap();
        Config::read(&file).unwrap_err().to_string()
    };
    let both = format!("{settings}\nctlog: {{url: https://log.example, public-key: a.pem}}\n");
    let told = refused(both);
    assert!(told.contains("a certificate goes into one log"), "{told}");
    let none = with_external(&settings, &[], "").replace("\nctlog:\n", "\n");
    let told = refused(none);
    assert!(told.contains("every certificate goes into a log"), "{told}");
    let none = with_external(
        &settings,
        &["url: a, public-key: b".to_owned()],
        "ctlog-seconds: 16\n",
    );
    let told = refused(none);
    assert!(told.contains("ctlog-seconds is 1 to 15"), "{told}");
}

/// One of our servers logs for another one.
#[tokio::test]
async fn our_own_log_is_another_log_than_the_others() {
    let first = House::open().await;
    let chain = first.directory().join("ca/chain.pem");
    assert!(chain.exists());
    let house = House::open_at(Transport::Plain, |at, settings| {
        // The same authority, since a built-in log accepts its own root.
        for file in ["ca/chain.pem", "ca/intermediate.key.pem", "passphrase"] {
            std::fs::copy(first.directory().join(file), at.join(file)).unwrap();
        }
        let key = super::caller::pem("PUBLIC KEY", first.log().public_key_der());
        std::fs::write(at.join("first.pem"), key).unwrap();
        let log = format!("url: '{}/log/', public-key: first.pem", first.url());
        with_external(&settings, &[log], "")
    })
    .await;
    for index in 0..3 {
        assert_eq!(issued(&house).await, (first.log().log_id(), Some(index)));
    }
    assert_eq!(first.issued().await, (0, 3));
    assert_eq!(rows(&house).await, 3);
}
