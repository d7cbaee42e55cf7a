//! Ledger and logs compared where a deployment has several: somebody else's beside its own earlier ones.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::alone::{Alone, vouchsafe};
use super::shards::Deployment;
use super::stub::with_external;

/// One certificate in the first log, one in the second, two in somebody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_compared_with_somebody_elses_log_and_with_our_own_of_before() {
    let deployment = Deployment::make().await;
    let place = deployment.config.parent().unwrap().to_owned();
    let program = deployment.serve();
    deployment.issue_leaf().await;
    deployment.rotate(&["--prefix", "/log-2"]).unwrap();
    drop(program);
    let program = deployment.serve();
    deployment.issue_leaf().await;
    drop(program);
    is_content(&deployment, 2, 2);

    let root = fs::read_to_string(place.join("ca/root.pem")).unwrap();
    let other = Alone::make_for(&root, "/other");
    for (config, file) in [
        (other.config(), "other.pub"),
        (deployment.config.clone(), "log-2.pub"),
    ] {
        let config = config.to_str().unwrap();
        let export = [
            "log",
            "export-key",
            "--format",
            "public",
            "--config",
            config,
        ];
        fs::write(place.join(file), vouchsafe(&export).stdout).unwrap();
    }
    let settings = fs::read_to_string(&deployment.config).unwrap();
    let described = format!("url: \"{}\", public-key: other.pub", other.url);
    let external = with_external(&settings, &[described], "");
    // What took entries until now takes none any more.
    let retired = "  - {prefix: /log-2, database: log-2/log.sqlite, public-key: log-2.pub, until: 2027-01-01T00:00:00Z}";
    let external = external.replacen(
        "\nretired-logs:\n",
        &format!("\nretired-logs:\n{retired}\n"),
        1,
    );
    assert!(external.contains(retired), "{external}");
    fs::write(&deployment.config, &external).unwrap();
    let elsewhere = other.serve();
    let program = deployment.serve();
    for _ in 0..2 {
        deployment.issue_leaf().await;
    }
    // Beside a server, and without any.
    is_content(&deployment, 4, 2);
    drop(program);
    drop(elsewhere);
    is_content(&deployment, 4, 2);

    let ledger = place.join("ledger.sqlite");
    change(&ledger, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let whole = fs::read(&ledger).unwrap();
    let unlogged = "UPDATE certificates SET certificate = (SELECT certificate FROM certificates WHERE id = 4) WHERE id = 3";
    for (what, statement, expected) in [
        (
            "a row of the first log",
            "DELETE FROM certificates WHERE id = 1",
            &["rows-missing", "never-recorded"][..],
        ),
        (
            "a row of the second",
            "DELETE FROM certificates WHERE id = 2",
            &["rows-missing", "never-recorded"],
        ),
        (
            "an index of the second",
            "UPDATE certificates SET log_index = 9 WHERE id = 2",
            &["row-differs", "no-entry"],
        ),
        (
            "an index elsewhere",
            "UPDATE certificates SET log_index = 9 WHERE id = 3",
            &["row-differs"],
        ),
        ("another's certificate", unlogged, &["row-differs"]),
        (
            "a row of somebody else's log",
            "DELETE FROM certificates WHERE id = 3",
            &["rows-missing"],
        ),
    ] {
        fs::write(&ledger, &whole).unwrap();
        change(&ledger, statement).await;
        let (is_well, found) = audit(&deployment);
        assert!(!is_well, "{what}: found, and content");
        assert_eq!(names(&found), expected, "{what}: {found:?}");
    }
    fs::write(&ledger, &whole).unwrap();
    is_content(&deployment, 4, 2);

    // Another log's key: nobody promised what stands in the rows.
    let key = fs::read(place.join("log-2.pub")).unwrap();
    fs::write(place.join("other.pub"), key).unwrap();
    let (is_well, found) = audit(&deployment);
    assert!(!is_well);
    assert_eq!(names(&found), ["unknown-log", "unknown-log"], "{found:?}");
}

fn is_content(deployment: &Deployment, rows: u64, entries: u64) {
    let (is_well, found) = audit(deployment);
    let [sums] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(is_well, "{found:?}");
    assert_eq!(
        (&sums["rows"], &sums["entries"]),
        (&rows.into(), &entries.into())
    );
}

fn audit(deployment: &Deployment) -> (bool, Vec<Value>) {
    let config = deployment.config.to_str().unwrap();
    let output = vouchsafe(&[
        "ledger",
        "audit",
        "--json",
        "--strict",
        "--grace-seconds",
        "0",
        "--config",
        config,
    ]);
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let found: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!found.is_empty(), "{output:?}");
    (output.status.success(), found)
}

fn names(found: &[Value]) -> Vec<&str> {
    found
        .iter()
        .filter_map(|line| line["difference"].as_str())
        .collect()
}

/// Changes the ledger as somebody can who may write the file.
async fn change(ledger: &Path, statement: &str) {
    let options = SqliteConnectOptions::new().filename(ledger);
    let mut connection: SqliteConnection = options.connect().await.unwrap();
    let statement = format!(
        "DROP TRIGGER IF EXISTS certificates_are_not_changed;
         DROP TRIGGER IF EXISTS certificates_are_not_deleted; {statement}"
    );
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
