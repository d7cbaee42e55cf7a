//! Whoever asks too often is told when to come back; nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::caller::Caller;
use super::door::{DOORS, Key, Question};
use super::house::{House, Transport, V2};
use super::provider::with;

/// A house whose peers are not taken for proxies, with these limits.
async fn limited(transport: Transport, limits: &str) -> House {
    House::open_changed(transport, |settings| {
        let (before, _) = settings.split_once("rate-limits:").unwrap();
        let (_, development) = settings.split_once("development:").unwrap();
        format!("{before}{limits}\nlog-format: text\ndevelopment:{development}")
    })
    .await
}

fn question(house: &House, name: &str) -> Question {
    let caller = Caller::new(name);
    Question {
        token: house.provider.token(name),
        key: Key::Public {
            pem: caller.pem().into_bytes(),
            proof: caller.proof(),
        },
    }
}

const FREE: &str = "{per-second: 100000, burst: 1000000}";

#[tokio::test]
async fn an_address_is_stopped_at_every_door_before_its_request_is_read() {
    for transport in [Transport::Plain, Transport::Tls] {
        let limits = format!(
            "rate-limits: {{address: {{per-second: 1, burst: 4}}, issuer: {FREE}, subject: {FREE}}}\ntrusted-proxies: []"
        );
        let house = limited(transport, &limits).await;
        let question = question(&house, "one@example.com");
        // One burst for all doors.
        for door in DOORS {
            house.ask(door, &question).await.unwrap();
        }
        for door in DOORS {
            let nonsense = Question {
                token: String::new(),
                key: Key::Nothing,
            };
            let verdict = house.ask(door, &nonsense).await.unwrap_err();
            let found = (verdict.code, &*verdict.message, &*verdict.reason);
            assert_eq!(found, (8, "Too Many Requests", "RATE_LIMITED"), "{door:?}");
            assert!(verdict.detail.contains("one address"), "{verdict:?}");
        }
        let answer = house.post(V2, &[], "{").await;
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
        // What costs nothing is not counted.
        for path in ["/api/v2/trustBundle", "/healthz", "/log/checkpoint"] {
            assert_eq!(house.get(path).await.status, 200, "{path}");
        }
        // A header changes nothing, since nobody here is a proxy.
        let forged = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(house.post(V2, &forged, "{").await.status, 429);
    }
}

#[tokio::test]
async fn clients_of_our_own_proxy_are_told_apart() {
    let limits = format!(
        "rate-limits: {{address: {{per-second: 1, burst: 2}}, issuer: {FREE}, subject: {FREE}}}\ntrusted-proxies: [127.0.0.0/8]"
    );
    let house = limited(Transport::Plain, &limits).await;
    let statuses = async |forwarded: &str| {
        let headers = [("x-forwarded-for", forwarded)];
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(house.post(V2, &headers, "{").await.status.as_u16());
        }
        statuses
    };
    assert_eq!(statuses("192.0.2.1").await, [400, 400, 429]);
    assert_eq!(statuses("192.0.2.1, 192.0.2.2").await, [400, 400, 429]);
    // Its own invention before the proxy's word does not help.
    assert_eq!(statuses("203.0.113.7, 192.0.2.2").await, [429, 429, 429]);
    // Of one network in IPv6.
    assert_eq!(statuses("2001:db8:7::1").await, [400, 400, 429]);
    assert_eq!(statuses("2001:db8:7::2").await, [429, 429, 429]);
    for _ in 0..9 {
        assert_eq!(house.post(V2, &[], "{").await.status, 400);
    }
}

#[tokio::test]
async fn a_subject_and_an_issuer_are_stopped_before_anything_is_signed() {
    let limits = format!(
        "rate-limits: {{address: {FREE}, issuer: {{per-second: 1, burst: 6}}, subject: {{per-second: 1, burst: 4}}}}"
    );
    let house = limited(Transport::Plain, &limits).await;
    let one = question(&house, "one@example.com");
    for door in DOORS {
        house.ask(door, &one).await.unwrap();
    }
    for door in DOORS {
        let verdict = house.ask(door, &one).await.unwrap_err();
        assert_eq!((verdict.code, &*verdict.reason), (8, "RATE_LIMITED"));
        assert!(verdict.detail.contains("one subject"), "{verdict:?}");
    }
    // Tokens that prove nothing are not counted as the issuer's.
    let bad = with(house.provider.person("x@example.com"), json!({"aud": "x"}));
    let bad = Question {
        token: house.provider.sign(&bad),
        ..one.clone()
    };
    for _ in 0..9 {
        let verdict = house.ask(DOORS[1], &bad).await.unwrap_err();
        assert_eq!(verdict.reason, "AUDIENCE_MISMATCH");
    }
    let mut granted = 0;
    for name in ["two@example.com", "three@example.com", "four@example.com"] {
        match house.ask(DOORS[1], &question(&house, name)).await {
            Ok(_) => granted += 1,
            Err(verdict) => assert!(verdict.detail.contains("one issuer"), "{verdict:?}"),
        }
    }
    assert_eq!(granted, 2);
    // Another issuer is another matter.
    let job = Caller::new(super::provider::JOB);
    let job = Question {
        token: house.provider.sign(&house.provider.job()),
        key: Key::Public {
            pem: job.pem().into_bytes(),
            proof: job.proof(),
        },
    };
    house.ask(DOORS[1], &job).await.unwrap();
    assert_eq!(house.issued().await, (7, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_connections_and_no_more() {
    let house = House::open_changed(Transport::Plain, |settings| {
        let settings =
            settings.replace("connections-per-address: 64", "connections-per-address: 3");
        let (before, after) = settings.split_once("trusted-proxies:").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        format!("{before}trusted-proxies: []\n{after}")
    })
    .await;
    let address = house.url().strip_prefix("http://").unwrap().to_owned();
    let outcome = tokio::task::spawn_blocking(move || {
        let ask = |stream: &mut TcpStream| {
            let sent = write!(stream, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let mut answer = [0; 12];
            let read = sent.and_then(|()| stream.read_exact(&mut answer));
            read.is_ok() && &answer == b"HTTP/1.1 200"
        };
        let connect = || {
            let stream = TcpStream::connect(&address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            stream
        };
        let mut open: Vec<TcpStream> = (0..3).map(|_| connect()).collect();
        for stream in &mut open {
            assert!(ask(stream));
        }
        assert!(!ask(&mut connect()), "a fourth connection was answered");
        open.pop();
        // The server sees the end of a connection soon, and not at once.
        (0..1000).any(|_| ask(&mut connect()))
    });
    assert!(outcome.await.unwrap(), "a place did not come back");
}
