//! Ledger and log are compared, and whoever changed one of them is found out.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::harness::deployment::{Deployment, free_address};
use super::harness::http::Connection;
use super::harness::issuer::Issuer;
use super::harness::request::prepare;

#[tokio::test]
async fn a_certificate_that_a_crash_kept_from_the_ledger_is_told_apart_from_trouble() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let server = deployment.start_with(&[("VOUCHSAFE_FAIL_POINT", "certificate-signed:3")]);
    issue(&deployment, &provider, 0, 2).await;
    let mut connection = Connection::open(deployment.address())
        .await
        .expect("a server");
    let request = prepare(&provider, 2, 1).remove(0);
    assert!(connection.exchange(&request.http).await.is_err());
    server.end();
    // Also beside a server, and as the next run of one sees it.
    let server = deployment.start();
    issue(&deployment, &provider, 3, 1).await;

    let (is_well, found) = audit(&deployment, &["--grace-seconds", "0"]);
    assert!(is_well, "{found:?}");
    let [only, sums] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(only["difference"], "never-recorded");
    assert_eq!(
        (&only["innocent"], &only["logIndex"]),
        (&true.into(), &2.into())
    );
    assert_eq!((&sums["rows"], &sums["entries"]), (&3.into(), &4.into()));
    assert_eq!(
        (&sums["differences"], &sums["neverRecorded"]),
        (&0.into(), &1.into())
    );
    let (is_well, _) = audit(&deployment, &["--grace-seconds", "0", "--strict"]);
    assert!(!is_well, "strict and yet content");
    // Their rows may be on their way, for all that anybody knows.
    let (is_well, found) = audit(&deployment, &["--strict"]);
    assert!(is_well && found.len() == 1, "{found:?}");
    assert_eq!(found[0]["entries"], 0);
    server.kill();
}

/// Each change alone, on a copy of its own.
#[tokio::test]
async fn whoever_changes_adds_or_takes_away_a_row_is_found_out() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let server = deployment.start();
    issue(&deployment, &provider, 0, 5).await;
    server.kill();
    let other = Deployment::create(&provider);
    let server = other.start();
    issue(&other, &provider, 5, 1).await;
    server.kill();

    let database = deployment.path().join("ledger.sqlite");
    // What the killed process left in the journal comes home, so that a copy is one file.
    change(&deployment, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    change(&other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let whole = fs::read(&database).expect("a ledger");
    let foreign = format!(
        "ATTACH '{}' AS other; INSERT INTO certificates SELECT 6, {COLUMNS} FROM other.certificates",
        other.path().join("ledger.sqlite").display()
    );
    let copied = format!(
        "INSERT INTO certificates SELECT 6, {} FROM certificates WHERE id = 5",
        COLUMNS.replacen("serial", "randomblob(20)", 1)
    );
    // Octets are joined as text, which a strict table does not take for octets.
    let flip = |column: &str| {
        format!(
            "UPDATE certificates SET {column} = CAST(
                 substr({column}, 1, length({column}) - 1) ||
                 CASE substr({column}, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB
             ) WHERE id = 3"
        )
    };
    let set = |assignment: &str| format!("UPDATE certificates SET {assignment} WHERE id = 3");
    let cases: [(&str, String, &[&str]); 15] = [
        ("a fingerprint", flip("sha256"), &["row-differs"]),
        (
            "a serial number",
            flip("serial"),
            &["row-differs", "never-recorded"],
        ),
        (
            "an identity",
            set("identity = 'somebody@example.com'"),
            &["row-differs"],
        ),
        ("a kind", set("identity_kind = 'uri'"), &["row-differs"]),
        (
            "an extension",
            set("extensions = json_set(extensions, '$.issuer', 'x')"),
            &["row-differs"],
        ),
        (
            "a begin",
            set("not_before = not_before - 1"),
            &["row-differs"],
        ),
        ("an end", set("not_after = not_after + 1"), &["row-differs"]),
        ("a key", flip("key_sha256"), &["row-differs"]),
        ("a log", flip("log_id"), &["row-differs"]),
        (
            "a time",
            set("sct_timestamp_ms = sct_timestamp_ms + 1"),
            &["row-differs"],
        ),
        (
            "an index",
            set("log_index = 99"),
            &["row-differs", "no-entry"],
        ),
        ("a certificate", flip("certificate"), &["row-differs"]),
        (
            "a row taken away",
            "DELETE FROM certificates WHERE id = 3".to_owned(),
            &["rows-missing", "never-recorded"],
        ),
        ("a row added", copied, &["row-differs"]),
        ("another authority's row", foreign, &["unknown-log"]),
    ];
    for (what, statement, expected) in cases {
        fs::write(&database, &whole).expect("the ledger as it was");
        change(&deployment, &statement).await;
        let (is_well, found) = audit(&deployment, &["--grace-seconds", "0"]);
        let names: Vec<&str> = found
            .iter()
            .filter_map(|line| line["difference"].as_str())
            .collect();
        assert_eq!(names, expected, "{what}: {found:?}");
        assert!(!is_well, "{what}: found, and content");
        let row = found[0]["row"].as_i64();
        let changed = if statement.starts_with("INSERT") || statement.starts_with("ATTACH") {
            6
        } else {
            3
        };
        assert_eq!(row, Some(changed), "{what}: {found:?}");
    }
    // The last row leaves no gap; the log still knows.
    fs::write(&database, &whole).expect("the ledger as it was");
    change(&deployment, "DELETE FROM certificates WHERE id = 5").await;
    let (is_well, found) = audit(&deployment, &["--grace-seconds", "0", "--strict"]);
    assert!(!is_well);
    assert_eq!(found[0]["difference"], "never-recorded", "{found:?}");
    fs::write(&database, &whole).expect("the ledger as it was");
    let (is_well, found) = audit(&deployment, &["--grace-seconds", "0", "--strict"]);
    assert!(is_well && found.len() == 1, "{found:?}");
}

#[tokio::test]
async fn a_running_server_tells_that_its_ledger_was_changed() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let metrics = free_address();
    let settings = fs::read_to_string(deployment.configuration()).expect("a configuration");
    let settings = settings.replace(
        "database: ledger.sqlite",
        "database: ledger.sqlite\n  audit-seconds: 1",
    ) + &format!("metrics-listen: {metrics}\n");
    fs::write(deployment.configuration(), settings).expect("the configuration");
    let server = deployment.start();
    issue(&deployment, &provider, 0, 3).await;
    let shows = |series: &str| {
        let answer = Connection::get_once(metrics, "/metrics").expect("metrics");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        text.lines().any(|line| line == series)
    };
    // A comparison has been made, and found nothing.
    let begin = Instant::now();
    let compared = "vouchsafe_ledger_audit_last_success_timestamp_seconds ";
    loop {
        let answer = Connection::get_once(metrics, "/metrics").expect("metrics");
        if String::from_utf8_lossy(&answer.body)
            .lines()
            .any(|line| line.starts_with(compared))
        {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "no comparison was made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(shows("vouchsafe_ledger_audit_differences 0"));
    // Old enough to be looked at, and another name.
    change(
        &deployment,
        "UPDATE certificates SET issued_at = issued_at - 3600;
         UPDATE certificates SET identity = 'somebody@example.com' WHERE id = 2",
    )
    .await;
    let begin = Instant::now();
    while !shows("vouchsafe_ledger_audit_differences 1") {
        assert!(
            begin.elapsed() < PATIENCE,
            "nobody noticed: {}",
            deployment.talk()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(shows("vouchsafe_ledger_audit_failing 0"));
    assert!(
        deployment.talk().contains("row 2 says in identity"),
        "{}",
        deployment.talk()
    );
    server.kill();
}

/// A new issuing certificate under a new root, with another key, and a new log before it.
#[tokio::test]
async fn what_a_replaced_authority_and_a_retired_log_hold_is_still_known_for_ours() {
    let provider = Issuer::start();
    let deployment = Deployment::create(&provider);
    let server = deployment.start();
    issue(&deployment, &provider, 0, 2).await;
    server.kill();
    let (is_done, said) = deployment.run(&["log", "rotate", "--prefix", "/log-2"]);
    assert!(is_done, "{said}");
    let server = deployment.start();
    issue(&deployment, &provider, 2, 2).await;
    server.kill();

    let other = Deployment::create(&provider);
    let (at, next) = (deployment.path(), other.path());
    fs::rename(at.join("ca"), at.join("ca-1")).expect("the authority's files");
    fs::rename(next.join("ca"), at.join("ca")).expect("the other authority's files");
    fs::copy(next.join("passphrase"), at.join("ca/passphrase")).expect("the other passphrase");
    let settings = fs::read_to_string(deployment.configuration()).expect("a configuration");
    let settings = settings.replacen("\"passphrase\"", "ca/passphrase", 1);
    fs::write(deployment.configuration(), &settings).expect("the configuration");
    let server = deployment.start();
    issue(&deployment, &provider, 4, 2).await;

    server.kill();
    let (is_well, found) = audit(&deployment, &["--grace-seconds", "0", "--strict"]);
    let [sums] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(is_well);
    assert_eq!((&sums["rows"], &sums["entries"]), (&6.into(), &6.into()));

    // Somebody takes a row away. Unsaid, the earlier authority's entry is a stranger's.
    change(&deployment, "DELETE FROM certificates WHERE id = 2").await;
    let differences = |deployment: &Deployment| {
        let (is_well, found) = audit(deployment, &["--grace-seconds", "0"]);
        assert!(!is_well, "{found:?}");
        let told = found
            .iter()
            .filter_map(|found| found["difference"].as_str());
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(differences(&deployment), ["rows-missing"]);
    let retired =
        "retired-authorities:\n  - {chain: ca-1/chain.pem, until: 2098-01-01T00:00:00.5Z}\n";
    fs::write(deployment.configuration(), settings + retired).expect("the configuration");
    assert_eq!(differences(&deployment), ["rows-missing", "never-recorded"]);

    let server = deployment.start();
    issue(&deployment, &provider, 6, 1).await;
    let answer = Connection::get_once(deployment.address(), "/trust/trusted-root");
    let root: Value = serde_json::from_slice(&answer.expect("an answer").body).expect("JSON");
    let authorities = root["certificateAuthorities"].as_array().expect("a list");
    let [present, earlier] = &authorities[..] else {
        panic!("{root}");
    };
    assert!(present["validFor"]["end"].is_null(), "{present}");
    assert_eq!(earlier["validFor"]["end"], "2098-01-01T00:00:01Z");
    let leaf = &earlier["certChain"]["certificates"][0]["rawBytes"];
    let chain = fs::read_to_string(at.join("ca-1/chain.pem")).expect("a chain");
    assert_eq!(
        leaf.as_str(),
        chain
            .split("-----")
            .nth(2)
            .map(|text| text.replace('\n', ""))
            .as_deref()
    );
    server.kill();
}

/// What `vouchsafe ledger audit --json` says, and whether it is content.
fn audit(deployment: &Deployment, arguments: &[&str]) -> (bool, Vec<Value>) {
    let command = [&["ledger", "audit", "--json"], arguments].concat();
    let (is_well, said) = deployment.run(&command);
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let found: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(!found.is_empty(), "{said}");
    (is_well, found)
}

/// Changes the ledger behind the server's back, as somebody can who may write the file.
pub(crate) async fn change(deployment: &Deployment, statement: &str) {
    let options = SqliteConnectOptions::new().filename(deployment.path().join("ledger.sqlite"));
    let mut ledger: SqliteConnection = options.connect().await.expect("the ledger");
    let statement = format!(
        "DROP TRIGGER IF EXISTS certificates_are_not_changed;
         DROP TRIGGER IF EXISTS certificates_are_not_deleted; {statement}"
    );
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(&mut ledger)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    ledger.close().await.expect("the ledger is closed");
}

async fn issue(deployment: &Deployment, provider: &Issuer, first: u64, count: usize) {
    let mut connection = Connection::open(deployment.address())
        .await
        .expect("the server listens");
    for request in prepare(provider, first, count) {
        let answer = connection.exchange(&request.http).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", deployment.talk());
    }
}

const COLUMNS: &str = "serial, sha256, identity, identity_kind, issuer, subject, extensions, \
    not_before, not_after, log_id, log_index, sct_timestamp_ms, token_sha256, key_sha256, issued_at, \
    certificate";
/// For what comes within a second or two.
const PATIENCE: Duration = Duration::from_secs(20);
