//! The house stands as long as no room reaches up. A Rust crate lets every module see every other;
//! this test does not.

#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room, what it may enter beside itself. Rooms of the craft never enter each other: they meet
/// in `issuance` and `config` only.
const ROOMS: [(&str, &[&str]); 15] = [
    ("possession", &[]),
    ("telemetry", &[]),
    ("certificate", &["possession"]),
    ("identity", &["certificate", "possession"]),
    ("authority", &["certificate", "possession"]),
    ("ctlog", &["certificate", "possession"]),
    ("ledger", &["certificate", "possession"]),
    (
        "issuance",
        &[
            "identity",
            "authority",
            "ctlog",
            "ledger",
            "certificate",
            "possession",
        ],
    ),
    ("trust", &["authority", "ctlog", "certificate"]),
    (
        "config",
        &[
            "issuance",
            "trust",
            "identity",
            "authority",
            "ctlog",
            "ledger",
            "certificate",
            "possession",
            "telemetry",
        ],
    ),
    (
        "server",
        &[
            "config",
            "issuance",
            "trust",
            "identity",
            "authority",
            "ctlog",
            "ledger",
            "certificate",
            "possession",
            "telemetry",
        ],
    ),
    ("client", &["trust", "ctlog", "certificate", "possession"]),
    (
        "dev",
        &[
            "server",
            "config",
            "issuance",
            "trust",
            "identity",
            "authority",
            "ctlog",
            "ledger",
            "certificate",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "dev",
            "client",
            "server",
            "config",
            "issuance",
            "trust",
            "identity",
            "authority",
            "ctlog",
            "ledger",
            "certificate",
            "possession",
            "telemetry",
        ],
    ),
    ("main", &["cli"]),
];

#[test]
fn no_room_enters_one_that_is_closed_to_it() {
    let mut trespasses = Vec::new();
    for (room, open) in ROOMS {
        for file in files_of(room) {
            let text = fs::read_to_string(&file).unwrap();
            // A room's tests may use what they like to make their point.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for entered in entered_rooms(code) {
                if entered != room && !open.contains(&entered.as_str()) {
                    trespasses.push(format!(
                        "{} enters {entered}, which is closed to {room}",
                        file.display()
                    ));
                }
            }
        }
    }
    assert!(trespasses.is_empty(), "{}", trespasses.join("\n"));
}

#[test]
fn the_table_has_every_room_of_the_house() {
    let of_table: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let of_house: BTreeSet<String> = fs::read_dir("src")
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "lib")
        .collect();
    assert_eq!(of_table, of_house);
}

#[test]
fn nobody_below_the_street_knows_status_codes_or_serves() {
    for (room, _) in ROOMS {
        if ["server", "client", "dev", "cli", "main"].contains(&room) {
            continue;
        }
        for file in files_of(room) {
            let text = fs::read_to_string(&file).unwrap();
            for forbidden in ["axum", "clap::Parser", "println!"] {
                let line = text
                    .lines()
                    .find(|line| line.contains(forbidden) && !line.trim_start().starts_with("//"));
                assert!(line.is_none(), "{}: {}", file.display(), line.unwrap());
            }
        }
    }
}

#[test]
fn a_scan_that_sees_nothing_would_be_worth_nothing() {
    let issuance = fs::read_to_string("src/issuance.rs").unwrap();
    let entered = entered_rooms(&issuance);
    for room in [
        "identity",
        "authority",
        "ctlog",
        "ledger",
        "certificate",
        "possession",
    ] {
        assert!(entered.contains(room), "{room}");
    }
    assert!(entered_rooms("use crate::{ledger, ctlog::Log};").contains("ctlog"));
    assert!(entered_rooms("let x = crate::server::now();").contains("server"));
}

/// The rooms named in `crate::room` and `crate::{room, …}`.
fn entered_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default(),
            None => after
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default(),
        };
        for item in list.split(',') {
            let name: String = item
                .trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if ROOMS.iter().any(|(room, _)| *room == name) {
                rooms.insert(name);
            }
        }
    }
    rooms
}

fn files_of(room: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let one = PathBuf::from(format!("src/{room}.rs"));
    if one.exists() {
        files.push(one);
    }
    collect(Path::new(&format!("src/{room}")), &mut files);
    // Test modules in files of their own are tests all the same.
    files.retain(|file| {
        let name = file.to_string_lossy();
        !name.ends_with("tests.rs") && !name.contains("/tests/") && !name.ends_with("testing.rs")
    });
    assert!(!files.is_empty(), "{room} has no files");
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
