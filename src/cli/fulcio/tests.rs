use super::flags::FLAGS;
use super::*;
use crate::cli::{Cli, Command};
use crate::config::CtLogs;
use clap::Parser as _;
use std::fs;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
const ENTROPY: Entropy = Entropy {
    serials: [[1; 20], [2; 20]],
    passphrase: [3; 32],
};

fn no_file() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    fs::write(&file, "{}").unwrap();
    let path = file.to_str().unwrap().to_owned();
    (directory, path)
}

/// Translates flags, with an issuers' file and an ephemeral authority unless they say otherwise.
fn translated(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
) -> Result<(Settings, Vec<String>), String> {
    let (_directory, issuers) = no_file();
    let mut all = vec![("ca", "ephemeralca"), ("config-path", issuers.as_str())];
    all.retain(|(name, _)| {
        let safe = format!("{PREFIX}{}", name.to_uppercase().replace('-', "_"));
        environment.iter().all(|(variable, _)| *variable != safe)
    });
    all.extend(flags);
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let start = Start::recognise(Flags::of(&all), Own::default(), &environment, None);
    let start = start.map_err(|error| error.to_string())?.unwrap();
    let translated = start.translate(Path::new("/data"), &ENTROPY, NOW);
    translated.map_err(|error| error.to_string())
}

fn refusal(flags: &[(&'static str, &str)]) -> String {
    translated(flags, &[]).expect_err("it is refused")
}

#[test]
fn defaults_are_not_fulcios() {
    let (settings, warnings) = translated(&[], &[]).unwrap();
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.grpc_listen.unwrap().to_string(), "0.0.0.0:8081");
    assert_eq!(settings.metrics_listen.unwrap().to_string(), "0.0.0.0:2112");
    assert_eq!(settings.log_format, LogFormat::Text);
    assert_eq!(settings.public_url, "http://localhost:8080");
    assert_eq!(
        settings.log.unwrap().database,
        Path::new("/data/state/log/log.sqlite")
    );
    assert_eq!(
        settings.ledger.database,
        Path::new("/data/state/ledger.sqlite")
    );
    assert!(settings.ctlog.is_none());
    assert!(settings.grpc_tls.is_none() && settings.tls.is_none());
    assert!(matches!(settings.authority, AuthoritySettings::Memory(_)));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("--public-url"), "{warnings:?}");
}

#[test]
fn a_flag_is_read_and_lost() {
    let (settings, _) = translated(
        &[
            ("ca", "fileca"),
            ("fileca-cert", "/run/cert.pem"),
            ("fileca-key", "/run/key.pem"),
            ("fileca-key-passwd", "open sesame"),
            ("host", "::1"),
            ("port", "5555"),
            ("grpc-host", "[::1]"),
            ("grpc-port", "5554"),
            ("metrics-port", "9090"),
            ("log_type", "prod"),
            ("grpc-tls-certificate", "/run/tls.pem"),
            ("grpc-tls-key", "/run/tls.key"),
            ("fileca-watch", "false"),
        ],
        &[],
    )
    .unwrap();
    let told = format!("{settings:?}");
    assert!(!told.contains("sesame"), "{told}");
    assert_eq!(settings.listen.to_string(), "[::1]:5555");
    assert_eq!(settings.grpc_listen.unwrap().to_string(), "[::1]:5554");
    assert_eq!(settings.metrics_listen.unwrap().port(), 9090);
    assert_eq!(settings.log_format, LogFormat::Json);
    let AuthoritySettings::Files(files) = settings.authority else {
        panic!("{told}");
    };
    assert_eq!(files.chain, Path::new("/run/cert.pem"));
    assert_eq!(files.key, Path::new("/run/key.pem"));
    assert!(matches!(files.passphrase, Some(Secret::Given(secret)) if *secret == "open sesame"));
    let tls = settings.grpc_tls.unwrap();
    assert_eq!(tls.certificate, Path::new("/run/tls.pem"));
    assert_eq!(tls.key, Path::new("/run/tls.key"));
}

#[test]
fn an_empty_password_is_one() {
    let files = |extra: &[(&'static str, &str)]| {
        let mut flags = vec![("ca", "fileca"), ("fileca-cert", "c"), ("fileca-key", "k")];
        flags.extend(extra);
        let (settings, _) = translated(&flags, &[]).unwrap();
        match settings.authority {
            AuthoritySettings::Files(files) => files.passphrase.is_none(),
            AuthoritySettings::Memory(_) => panic!("not files"),
        }
    };
    assert!(files(&[]));
    assert!(files(&[("fileca-key-passwd", "")]));
}

#[test]
fn one_port_for_both_becomes_two_listeners() {
    let (settings, _) = translated(&[("port", "8081")], &[]).unwrap();
    assert_eq!(settings.listen.port(), 8081);
    assert_eq!(settings.grpc_listen, None);
}

#[test]
fn the_wrong_one_of_two_values_wins() {
    let (directory, _) = no_file();
    let file = directory.path().join("server.yaml");
    fs::write(
        &file,
        "ca: ephemeralca\nport: 1001\ngrpc-port: 1002\nMetrics-Port: 1003\n",
    )
    .unwrap();
    let environment = [
        ("FULCIO_SERVE_PORT".to_owned(), "2001".to_owned()),
        ("FULCIO_SERVE_GRPC-PORT".to_owned(), "2002".to_owned()),
        // Empty is unset.
        ("FULCIO_SERVE_METRICS_PORT".to_owned(), String::new()),
    ];
    let flags = Flags::of(&[("port", "3001")]);
    let start = Start::recognise(flags, Own::default(), &environment, Some(&file));
    let given = start.unwrap().unwrap().given;
    assert_eq!(given.value("port"), "3001");
    assert_eq!(given.value("grpc-port"), "2002");
    assert_eq!(given.value("metrics-port"), "1003");
    assert_eq!(given.value("host"), "0.0.0.0");
    assert_eq!(given.value("ca"), "ephemeralca");
    assert_eq!(given.origin("grpc-port"), "FULCIO_SERVE_GRPC-PORT");
}

#[test]
fn every_setting_has_both_spellings_of_its_variable() {
    for flag in &FLAGS {
        let literal = flag.name.to_uppercase();
        let safe = literal.replace(['-', '.'], "_");
        for name in [literal, safe] {
            let found = flag_of_variable(&name).map(|found| found.name);
            assert_eq!(found, Some(flag.name), "{name}");
        }
    }
    let two = [
        ("FULCIO_SERVE_HTTP-PORT", "1"),
        ("FULCIO_SERVE_CA", "fileca"),
    ];
    let (_, warnings) = translated(&[("ca", "ephemeralca")], &two).unwrap();
    let about = "FULCIO_SERVE_HTTP-PORT is not a setting of Fulcio; it is ignored";
    assert!(warnings.contains(&about.to_owned()), "{warnings:?}");
    let two = [
        ("FULCIO_SERVE_GRPC-PORT", "1"),
        ("FULCIO_SERVE_GRPC_PORT", "2"),
    ];
    let refused = translated(&[], &two).unwrap_err();
    assert!(refused.contains("two values"), "{refused}");
}

#[test]
fn something_that_cannot_be_honoured_is_taken() {
    let other_log = "http://ctlog.ctlog-system.svc/sigstorescaffolding";
    for (flags, expected) in [
        (&[("ca", "")][..], "required flag \"ca\" not set"),
        (
            &[("ca", "vault")],
            "--ca=vault is not a valid selection. Try: fileca, ephemeralca",
        ),
        (&[("ca", "kmsca")], "--ca=kmsca cannot be honoured"),
        (&[("ca", "pkcs11ca")], "--ca=pkcs11ca cannot be honoured"),
        (&[("ca", "googleca")], "--ca=googleca cannot be honoured"),
        (&[("ca", "tinkca")], "--ca=tinkca cannot be honoured"),
        (
            &[("ca", "fileca")],
            "fileca-cert must be set to the path of a certificate chain when using fileca",
        ),
        (
            &[("ca", "fileca"), ("fileca-cert", "c")],
            "fileca-key must be set to the path of a private key when using fileca",
        ),
        (
            &[("ct-log-url", other_log)],
            "--ct-log-url is http://ctlog.ctlog-system.svc/sigstorescaffolding, and --ct-log-public-key-path is not set",
        ),
        (
            &[("ct-log-url", "http://localhost:6962/test")],
            "--ct-log-public-key-path is not set",
        ),
        (
            &[("ct-log-origin", "rome2025h1")],
            "--ct-log-origin is about somebody else's log",
        ),
        (
            &[("ct-log-url", ""), ("ct-log.tls-ca-cert", "/ca.crt")],
            "--ct-log.tls-ca-cert is about somebody else's log",
        ),
        (
            &[("fileca-watch", "true")],
            "--fileca-watch cannot be honoured",
        ),
        (&[("log_type", "verse")], "--log_type is \"verse\""),
        (&[("port", "http")], "--port is \"http\""),
        (&[("host", "no host")], "--host is \"no host\""),
        (&[("grpc-tls-key", "k")], "must be set together"),
        (
            &[
                ("grpc-tls-key", "k"),
                ("grpc-tls-certificate", "c"),
                ("grpc-port", "8080"),
            ],
            "a --grpc-port of its own",
        ),
        (
            &[("config-path", "/nonexistent.yaml")],
            "there is no /nonexistent.yaml",
        ),
        (
            &[("client-signing-algorithms", "ed25519")],
            "leaves out rsa-sign-pkcs1-2048-sha256",
        ),
        (
            &[("client-signing-algorithms", "rot13")],
            "\"rot13\" is not a known algorithm",
        ),
        (
            &[("client-signing-algorithms", "ecdsa-sha2-256-nistp384")],
            "each curve has the hash of its own size",
        ),
    ] {
        let refused = refusal(flags);
        assert!(refused.contains(expected), "{flags:?}: {refused}");
    }
}

#[test]
fn a_log_that_is_ours_is_taken_for_another() {
    for url in [
        "",
        "http://localhost:8080/log",
        "http://localhost:8080/log/",
        "http://127.0.0.1:8080/log",
    ] {
        let (_, warnings) = translated(&[("ct-log-url", url)], &[]).unwrap();
        let said = warnings.iter().any(|one| one.contains("ct-log-url"));
        assert_eq!(said, url.is_empty(), "{url}: {warnings:?}");
    }
    translated(&[("ct-log-origin", "localhost:8080/log")], &[]).unwrap();
}

#[test]
fn something_said_of_somebody_elses_log_is_lost() {
    let (settings, warnings) = translated(
        &[
            ("ct-log-url", "https://log.example.com/2026/"),
            ("ct-log-public-key-path", "/run/log.pem"),
            ("ct-log-origin", "log.example.com/2026"),
            ("ct-log.tls-ca-cert", "/run/ca.pem"),
        ],
        &[],
    )
    .unwrap();
    assert!(settings.log.is_none());
    let CtLogs(logs) = settings.ctlog.unwrap();
    let [log] = logs.as_slice() else {
        panic!("{logs:?}");
    };
    assert_eq!(log.url, "https://log.example.com/2026");
    assert_eq!(log.public_key, Path::new("/run/log.pem"));
    assert_eq!(log.origin.as_deref(), Some("log.example.com/2026"));
    assert_eq!(
        log.ca_certificates.as_deref(),
        Some(Path::new("/run/ca.pem"))
    );
    let about = warnings.iter().find(|one| one.contains("ct-log"));
    assert_eq!(about, None, "nothing is amiss");
}

#[test]
fn what_is_without_effect_is_passed_over_in_silence() {
    for flag in FLAGS
        .iter()
        .filter(|flag| flag.stance == Stance::WithoutEffect)
    {
        let (_, warnings) = translated(&[(flag.name, "7")], &[]).unwrap();
        let about = format!("--{} is without effect: {}", flag.name, flag.becomes);
        assert!(warnings.contains(&about), "{warnings:?}");
    }
}

#[test]
fn the_algorithms_of_other_operators_are_refused() {
    let seven = ALGORITHMS.join(",");
    translated(&[("client-signing-algorithms", &seven)], &[]).unwrap();
    translated(&[("client-signing-algorithms", "")], &[]).unwrap();
    let eight = format!("{seven},ed25519-ph");
    let (_, warnings) = translated(&[("client-signing-algorithms", &eight)], &[]).unwrap();
    let said = warnings.iter().any(|one| one.contains("ed25519-ph"));
    assert!(said, "{warnings:?}");
}

#[test]
fn our_own_file_is_taken_for_fulcios_or_goes_together_with_its_flags() {
    let directory = tempfile::tempdir().unwrap();
    let recognised = |name: &str, text: &str, flags: &[(&'static str, &str)]| {
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        let start = Start::recognise(Flags::of(flags), Own::default(), &[], Some(&file));
        start
            .map(|start| start.is_some())
            .map_err(|e| e.to_string())
    };
    let own = include_str!("../../../config/vouchsafe.yaml");
    assert_eq!(recognised("own.yaml", own, &[]), Ok(false));
    let refused = recognised("own.yaml", own, &[("ca", "fileca")]).unwrap_err();
    assert!(
        refused.contains("with which --ca does not go together"),
        "{refused}"
    );
    // What is wrong with it is told by its own reader, with its line.
    assert_eq!(recognised("own.yaml", "public-url: [\n", &[]), Ok(false));
    assert_eq!(recognised("server.yaml", "port: 5555\n", &[]), Ok(true));
    assert_eq!(
        recognised("server.json", r#"{"ca": "fileca"}"#, &[]),
        Ok(true)
    );
    let refused = recognised("server.toml", "ca = \"fileca\"", &[]).unwrap_err();
    assert!(refused.contains("YAML and JSON only"), "{refused}");
}

#[test]
fn the_file_of_settings_is_read_another_way_than_fulcio_reads_it() {
    let (directory, _) = no_file();
    let file = directory.path().join("server.yaml");
    let algorithms = ALGORITHMS.join(", ");
    let text = format!(
        "CA: fileca\nport: 5555\nfileca-watch: false\nct-log:\n  tls-ca-cert: /ca.crt\nclient-signing-algorithms: [{algorithms}]\nnobody-knows: 1\nhsm-caroot-id: null\n"
    );
    fs::write(&file, text).unwrap();
    let start = Start::recognise(Flags::default(), Own::default(), &[], Some(&file));
    let given = start.unwrap().unwrap().given;
    assert_eq!(given.value("ca"), "fileca");
    assert_eq!(given.value("port"), "5555");
    assert_eq!(given.value("fileca-watch"), "false");
    assert_eq!(given.value("ct-log.tls-ca-cert"), "/ca.crt");
    assert_eq!(
        given.value("client-signing-algorithms"),
        ALGORITHMS.join(",")
    );
    assert_eq!(given.explicit("hsm-caroot-id"), None);
    assert_eq!(given.warnings.len(), 1, "{:?}", given.warnings);
    assert!(given.warnings[0].contains("nobody-knows"));
}

#[test]
fn the_command_line_is_read_another_way_than_fulcio_reads_it() {
    let read = |words: &[&str]| {
        let words = ["vouchsafe", "serve"].iter().chain(words);
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Serve(arguments)) => Ok(format!("{arguments:?}")),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    // As a compose file says it behind an image's entry point.
    let told = read(&[
        "fulcio-server",
        "serve",
        "--http-host=0.0.0.0",
        "--http-port",
        "5555",
        "--ca=fileca",
        "--fileca-key-passwd",
        "",
        "--ct-log-url=",
        "--ct-log.tls-ca-cert",
        "",
        "--fileca-watch",
        "--log_type=prod",
        "--ca",
        "ephemeralca",
        "--client-signing-algorithms",
        "a,b",
        "--client-signing-algorithms=c",
        "-c",
        "server.yaml",
    ])
    .unwrap();
    for expected in [
        r#""host": "0.0.0.0""#,
        r#""port": "5555""#,
        r#""ca": "ephemeralca""#,
        r#""fileca-key-passwd": """#,
        r#""ct-log-url": """#,
        r#""fileca-watch": "true""#,
        r#""client-signing-algorithms": "a,b,c""#,
        r#"Some("server.yaml")"#,
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    assert!(
        read(&["--fileca-watch=false"])
            .unwrap()
            .contains(r#""fileca-watch": "false""#)
    );
    let told = read(&["--fileca-key-passwd", "open sesame"]).unwrap();
    assert!(!told.contains("sesame"), "{told}");
    let refused = read(&["--ca", "fileca", "sreve"]).unwrap_err();
    assert!(refused.contains("sreve"), "{refused}");
}

#[test]
fn settings_of_ours_stand_beside_our_own_file() {
    let own = Own {
        data_dir: Some("/data".into()),
        ..Own::default()
    };
    let refused = Start::recognise(Flags::default(), own, &[], None);
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("--data-dir"), "{refused}");
}

#[test]
fn data_goes_elsewhere_than_said() {
    let own = |data: Option<&str>| Own {
        data_dir: data.map(PathBuf::from),
        ..Own::default()
    };
    let given = |data, state| own(data).data_directory(state);
    assert_eq!(given(Some("/a"), Some("/b")), Path::new("/a"));
    assert_eq!(given(None, Some("/b:/c")), Path::new("/b"));
    assert_eq!(given(None, Some("")), Path::new("/var/lib/vouchsafe"));
    assert_eq!(given(None, None), Path::new("/var/lib/vouchsafe"));
}

#[test]
fn the_document_has_another_table_than_the_program() {
    let document = include_str!("../../../docs/fulcio.md");
    let told: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .collect();
    let known: Vec<String> = FLAGS.iter().map(row).collect();
    assert_eq!(
        told,
        known,
        "docs/fulcio.md should have:\n{}",
        known.join("\n")
    );
}

fn row(flag: &flags::Flag) -> String {
    let aliases: String = flag
        .aliases
        .iter()
        .map(|alias| format!(", `--{alias}`"))
        .collect();
    let default = match flag.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    format!(
        "| `--{}`{aliases} | {default} | {} | {} |",
        flag.name,
        flag.stance.word(),
        flag.becomes
    )
}
