//! A database that speaks TLS: who it has to be, and who it lets in.

use std::fs;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use super::harness::deployment::Deployment;
use super::harness::issuer::Issuer;
use super::harness::postgres::Cluster;
use super::harness::request::prepare;
use super::issue;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_believed_in_its_name_and_from_its_root_only() {
    let root = authority("root of the databases");
    let (certificate, key) = certified(&root, "localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let (client, client_key) = certified(&root, "vouchsafe", ExtendedKeyUsagePurpose::ClientAuth);
    let cluster = Cluster::start();
    for (name, text) in [
        ("server.crt", &certificate),
        ("server.key", &key),
        ("root.crt", &root.pem()),
    ] {
        cluster.write(name, text);
    }
    cluster.set("ssl_ca_file", "root.crt");
    cluster.set("ssl", "on");
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("root.pem", root.pem()),
        ("other.pem", authority("another root").pem()),
        ("client.pem", client),
        ("client.key", client_key),
    ] {
        fs::write(directory.path().join(name), text).expect("a file");
    }
    let plain = cluster.database();
    let named = plain.replace("127.0.0.1", "localhost");

    // From the directory in which they are given, relative names are found from there.
    let init = |address: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_vouchsafe"))
            .current_dir(&directory)
            .args(["init", "--dir", "refused", "--database", address])
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let wrong_root = "invalid peer certificate: UnknownIssuer";
    let wrong_name = "not valid for name";
    let wrong = [
        (format!("{named}?sslrootcert=other.pem"), wrong_root),
        (format!("{named}?sslmode=verify-full"), wrong_root),
        (format!("{plain}?sslrootcert=root.pem"), wrong_name),
    ];
    for (address, why) in &wrong {
        let (made, said) = init(address);
        assert!(!made && said.contains(why), "{address}: {said}");
    }
    let tables = "SELECT to_regnamespace('ctlog') IS NULL AND to_regnamespace('ledger') IS NULL";
    assert_eq!(cluster.sql("test_0", tables), "t", "something was made");

    let good = format!("{named}?sslmode=verify-full&sslrootcert=root.pem");
    let (made, said) = init(&good.replace("test_0", "nowhere"));
    assert!(
        !made && said.contains("\"nowhere\" does not exist"),
        "{said}"
    );

    // From here on the database lets in nobody without a certificate.
    cluster.write(
        "pg_hba.conf",
        "hostssl all all 127.0.0.1/32 cert\nhostssl all all ::1/128 cert\n",
    );
    let root = directory.path().join("root.pem");
    let client = format!(
        "&sslcert={at}/client.pem&sslkey={at}/client.key",
        at = directory.path().display()
    );
    let address = format!("{named}?sslmode=verify-full&sslrootcert={}", root.display());
    let certified = format!("{address}{client}");
    cluster.stop();
    cluster.start_again();
    let (made, said) = init(&address);
    assert!(!made && said.contains("certificate"), "{said}");

    let issuer = Issuer::start();
    let deployment = Deployment::create_in(&certified, &issuer);
    let server = deployment.start();
    issue(&deployment, prepare(&issuer, 0, 3)).await;
    let find = ["ledger", "find", "--identity", "signer-1@example.com"];
    let (found, said) = deployment.run(&find);
    assert!(found && said.contains("signer-1@example.com"), "{said}");
    drop(server);
    let settings = deployment.configuration();
    for (address, why) in [
        (certified.replace("root.pem", "other.pem"), wrong_root),
        (certified.replace("localhost", "127.0.0.1"), wrong_name),
    ] {
        let text = fs::read_to_string(&settings).expect("a configuration");
        fs::write(&settings, text.replace(&certified, &address)).expect("it is written");
        for command in [&["serve"][..], &find] {
            let (done, said) = deployment.run(command);
            assert!(!done && said.contains(why), "{command:?}: {said}");
        }
        fs::write(&settings, text).expect("it is written");
    }
}

/// An authority for servers and clients of a database.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

/// A certificate for a name and its key, both PEM.
fn certified(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}
