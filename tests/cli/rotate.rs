//! `vouchsafe log rotate` and `log adopt`, where they must change nothing.

use std::collections::BTreeMap;

use super::*;

fn rotate(config: &Path, more: &[&str]) -> Output {
    let config = config.to_str().unwrap();
    let arguments = ["log", "rotate", "--prefix", "/log-2", "--config", config];
    vouchsafe(&[&arguments[..], more].concat())
}

/// Every file below a directory, and what is in it.
fn everything(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(everything(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn a_rotation_that_is_refused_makes_nothing() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let before = everything(&directory);
    let error = error_of(&rotate(&config, &["--until", "2020-01-01T00:00:00Z"]));
    assert!(error.contains("has passed"), "{error}");
    assert_eq!(everything(&directory), before);

    // In flow style it is not changed line by line, and that is found out first.
    let text = fs::read_to_string(&config).unwrap();
    let (head, rest) = text.split_once("\nlog:\n").unwrap();
    let (_, tail) = rest.split_once("\n# What was issued").unwrap();
    let log = "log: {database: log/log.sqlite, key: log/key.pem, passphrase: {file: passphrase}, high-water: high-water}";
    fs::write(&config, format!("{head}\n{log}\n\n# What was issued{tail}")).unwrap();
    assert!(check(&directory).status.success());
    let before = everything(&directory);
    let error = error_of(&rotate(&config, &[]));
    assert!(error.contains("must be written as a block"), "{error}");
    assert_eq!(everything(&directory), before);
}

#[test]
fn a_rotation_writes_over_nobodys_file_and_is_not_stopped_by_one_that_was_cut_short() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    for name in ["vouchsafe.yaml.new", ".vouchsafe.yaml.0.new"] {
        fs::write(directory.join(name), "mine").unwrap();
    }
    let rotated = rotate(&config, &[]);
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    for name in ["vouchsafe.yaml.new", ".vouchsafe.yaml.0.new"] {
        assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), "mine");
    }
    assert!(!directory.join(".vouchsafe.yaml.1.new").exists());
    assert!(directory.join("log-2/key.pem").exists());
    assert!(check(&directory).status.success());
}

#[test]
fn what_belongs_to_another_user_is_left_to_that_user() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    let mark = directory.join("high-water");
    // A user who may give files away gives the mark away, any other one takes a file of root's for it.
    let owner = match std::os::unix::fs::chown(&mark, Some(65_534), None) {
        Ok(()) => "nobody",
        Err(_) => {
            edit(&config, |text| {
                text.replace("high-water: high-water", "high-water: /etc/passwd")
            });
            "root"
        }
    };
    let before = everything(&directory);
    for refused in [
        rotate(&config, &[]),
        vouchsafe(&["log", "adopt", "--config", config.to_str().unwrap()]),
    ] {
        let error = error_of(&refused);
        assert!(
            error.contains(&format!("give the command as {owner}")),
            "{error}"
        );
    }
    assert_eq!(everything(&directory), before);
}

#[test]
fn the_next_log_stands_beside_a_database_that_has_no_directory_of_its_own() {
    let (_place, directory) = deployment();
    let config = directory.join("vouchsafe.yaml");
    fs::create_dir(directory.join("data")).unwrap();
    fs::rename(
        directory.join("log/log.sqlite"),
        directory.join("data/log.sqlite"),
    )
    .unwrap();
    edit(&config, |text| {
        text.replace("database: log/log.sqlite", "database: data/log.sqlite")
    });
    let rotated = rotate(&config, &[]);
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    assert!(directory.join("data/log-2/log.sqlite").exists());
    let arguments = ["log", "rotate", "--prefix", "/log-3", "--config"];
    let again = vouchsafe(&[&arguments[..], &[config.to_str().unwrap()]].concat());
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert!(directory.join("data/log-3/log.sqlite").exists());
    assert!(check(&directory).status.success());
}
