//! The house stands as long as no room reaches up. A Rust crate lets every module see every other;
//! this test does not.

#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room, what it may enter beside itself. Rooms of the craft never enter each other: they meet
/// in `issuance`, `reconciliation` and `config` only.
const ROOMS: [(&str, &[&str]); 19] = [
    ("api", &[]),
    ("database", &[]),
    ("failpoint", &[]),
    ("possession", &[]),
    ("telemetry", &[]),
    ("certificate", &["possession"]),
    ("identity", &["certificate", "possession", "telemetry"]),
    ("authority", &["certificate", "possession"]),
    (
        "ctlog",
        &[
            "certificate",
            "database",
            "failpoint",
            "possession",
            "telemetry",
        ],
    ),
    (
        "ledger",
        &[
            "certificate",
            "database",
            "failpoint",
            "possession",
            "telemetry",
        ],
    ),
    (
        "issuance",
        &[
            "failpoint",
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
        "reconciliation",
        &["ctlog", "ledger", "certificate", "telemetry"],
    ),
    ("trust", &["authority", "ctlog", "certificate"]),
    (
        "config",
        &[
            "issuance",
            "reconciliation",
            "trust",
            "identity",
            "authority",
            "ctlog",
            "ledger",
            "certificate",
            "database",
            "possession",
            "telemetry",
        ],
    ),
    (
        "server",
        &[
            "api",
            "failpoint",
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
            "reconciliation",
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
            "database",
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
            for entered in entered_rooms(code, depth_of(&file)) {
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
fn no_file_is_too_long_to_be_read_in_one_sitting() {
    for (room, _) in ROOMS {
        for file in files_of(room) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code.lines().count();
            assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
        }
    }
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
    let entered = entered_rooms(&issuance, 1);
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
    for (code, room) in [
        ("use crate::{ledger, ctlog::Log};", "ctlog"),
        (
            "use crate::{certificate::{name::{A, B}, sct::Sct}, ctlog::Log};",
            "ctlog",
        ),
        ("let x = crate::server::now();", "server"),
        (
            "use super::super::{possession::SubjectKey, ledger};",
            "ledger",
        ),
    ] {
        assert!(entered_rooms(code, 2).contains(room), "{code}");
    }
    let own = "use super::{ctlog, ledger};";
    assert!(
        entered_rooms(own, 2).is_empty(),
        "a neighbour in the same room"
    );
}

/// The rooms named after `crate::`, or after as many `super::` as lead from a module at `depth` to the
/// crate: `crate::room` and `crate::{room, …}`.
fn entered_rooms(code: &str, depth: usize) -> BTreeSet<String> {
    let climb = "super::".repeat(depth);
    let after_crate = code.split("crate::").skip(1);
    let after_climb = code.split(climb.as_str()).skip(1);
    let mut rooms = BTreeSet::new();
    for after in after_crate.chain(after_climb) {
        for item in members(after) {
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

/// The members of the group that `text` begins with, or the one path that it begins with.
fn members(text: &str) -> Vec<&str> {
    let Some(group) = text.strip_prefix('{') else {
        return vec![text];
    };
    let (mut members, mut open, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' | ',' if open == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => open -= 1,
            _ => {}
        }
    }
    members
}

/// How many modules lie between the crate and what is in `file`, which is one of them.
fn depth_of(file: &Path) -> usize {
    let parts = file.components().count() - 1;
    match file.file_name().is_some_and(|name| name == "mod.rs") {
        true => parts - 1,
        false => parts,
    }
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

/// Lines of a file without its tests.
const LONGEST: usize = 500;
