//! What the caller hears when something of ours fails, and that no certificate leaves then.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use super::caller::Caller;
use super::house::{House, V1, V2};

/// A second connection to the ledger's database, behind the program's back.
async fn ledger(house: &House) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(house.ledger());
    SqlitePool::connect_with(options).await.unwrap()
}

const RECORD: &str = "Error recording the certificate";

#[tokio::test]
async fn a_certificate_that_cannot_be_recorded_does_not_leave() {
    let house = House::open().await;
    let behind = ledger(&house).await;
    sqlx::query(
        "CREATE TRIGGER marked BEFORE INSERT ON certificates WHEN NEW.identity = 'marked@example.com'
         BEGIN SELECT RAISE(ABORT, 'marked'); END",
    )
    .execute(&behind)
    .await
    .unwrap();
    let marked = Caller::new("marked@example.com");
    let token = house.provider.token(&marked.name);
    let answer = house.post(V2, &[], marked.v2(Some(&token)).to_string());
    let answer = answer.await;
    answer.is_refused(503, 14, RECORD, "LEDGER_UNAVAILABLE");
    assert!(!answer.text().contains("CERTIFICATE"), "{}", answer.text());
    assert!(!answer.text().contains("marked"), "{}", answer.text());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let answer = house.post(V1, &headers, marked.v1().to_string()).await;
    answer.is_refused(503, 14, RECORD, "LEDGER_UNAVAILABLE");

    // It is in the log, where it does no harm, and the next caller is served.
    assert_eq!(house.issued().await, (0, 2));
    let other = Caller::new("other@example.com");
    let token = house.provider.token(&other.name);
    let body = other.v2(Some(&token)).to_string();
    house.post(V2, &[], body).await.leaf();
    sqlx::query("DROP TRIGGER marked")
        .execute(&behind)
        .await
        .unwrap();
    let token = house.provider.token(&marked.name);
    let body = marked.v2(Some(&token)).to_string();
    house.post(V2, &[], body).await.leaf();
    assert_eq!(house.issued().await, (2, 4));
}

#[tokio::test]
async fn a_ledger_without_its_table_is_a_refusal_and_not_a_certificate() {
    let house = House::open().await;
    let behind = ledger(&house).await;
    sqlx::query("DROP TABLE certificates")
        .execute(&behind)
        .await
        .unwrap();
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    for _ in 0..2 {
        let answer = house.post(V2, &[], body.to_string()).await;
        answer.is_refused(503, 14, RECORD, "LEDGER_UNAVAILABLE");
        assert!(!answer.text().contains("CERTIFICATE"), "{}", answer.text());
    }
    let ready = house.get("/readyz").await;
    let told = (ready.status.as_u16(), ready.text());
    assert_eq!(told, (503, "not ready: ledger\n"));
    // Everything that issues nothing goes on.
    for path in ["/healthz", "/api/v2/trustBundle", "/log/checkpoint"] {
        assert_eq!(house.get(path).await.status, 200, "{path}");
    }
}

/// The log goes with its store closed: nothing is signed a second time for it.
#[tokio::test]
async fn a_log_that_has_stopped_is_a_refusal_that_may_be_tried_again() {
    let house = House::open().await;
    house.issuance.log.close().await;
    let caller = Caller::new("one@example.com");
    let body = caller.v2(Some(&house.provider.token(&caller.name)));
    let answer = house.post(V2, &[], body.to_string()).await;
    let message = "Error entering certificate in CTL";
    answer.is_refused(503, 14, message, "LOG_UNAVAILABLE");
    assert!(!answer.text().contains("CERTIFICATE"), "{}", answer.text());
    let ready = house.get("/readyz").await;
    let told = (ready.status.as_u16(), ready.text());
    assert_eq!(told, (503, "not ready: log\n"));
    assert_eq!(house.issuance.ledger.count().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_half_a_header_is_put_out() {
    let house = House::open().await;
    let address = house.url().strip_prefix("http://").unwrap().to_owned();
    let waited = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .unwrap();
        let begun = Instant::now();
        write!(stream, "POST {V2} HTTP/1.1\r\nhost: loca").unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        let is_closed = match &ended {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(is_closed, "still open: {ended:?}");
        begun.elapsed()
    });
    let waited = waited.await.unwrap();
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    house.get("/livez").await;
}
