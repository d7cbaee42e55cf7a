//! What the documents say is held against what is there.

#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use std::fs;
use std::path::Path;

#[test]
fn the_readme_names_every_command_and_no_other() {
    let readme = fs::read_to_string("README.md").unwrap();
    let commands = |help: &str| -> Vec<String> {
        let list = help
            .split("Commands:")
            .nth(1)
            .unwrap()
            .split("Options:")
            .next()
            .unwrap();
        list.lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .filter(|c| c != "help")
            .collect()
    };
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for command in commands(&help) {
        assert!(
            readme.contains(&format!("| `vouchsafe {command}")),
            "{command} is not in the README's table"
        );
    }
    for row in readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `vouchsafe "))
    {
        let command = row.split([' ', '`']).next().unwrap();
        assert!(
            help.contains(&format!("  {command} ")),
            "the README promises {command}"
        );
    }
}

#[test]
fn every_file_that_the_documents_link_to_is_there() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ] {
        let text = fs::read_to_string(document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if !target.starts_with("http") {
                assert!(Path::new(target).exists(), "{document} links to {target}");
            }
        }
    }
}

#[test]
fn the_architecture_lists_the_house_as_it_is() {
    let architecture = fs::read_to_string("ARCHITECTURE.md").unwrap();
    for entry in fs::read_dir("src").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            architecture.contains(&name),
            "ARCHITECTURE.md does not mention src/{name}"
        );
    }
}

#[test]
fn main_stays_a_door() {
    assert!(fs::read_to_string("src/main.rs").unwrap().lines().count() <= 60);
}
