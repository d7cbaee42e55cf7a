//! What the tests of this room share: fixed keys, made-up entries, and a store that fails on demand.

use super::chain::ChainCertificate;
use super::entry::{Entry, EntryBody};
use super::merkle::{HASH_LENGTH, Hash};
use super::signer::LogSigner;
use super::store::{
    Batch, CommitError, Head, State, Store, StoreError, StoredEntry, TilePlace, Turn,
};
use super::{AppendError, Appended, Chains, Config, Database, Log, LogError};
use crate::database::Server;
use crate::database::both::Home;
use crate::database::cluster::Cluster;
use p256::pkcs8::EncodePrivateKey as _;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

pub(super) const ORIGIN: &str = "ca.example/log";

/// One fixed key for each seed.
pub(super) fn signer(seed: u8) -> LogSigner {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    LogSigner::from_private_key(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

/// `milliseconds` after a moment in 2026.
pub(super) fn at(milliseconds: i64) -> OffsetDateTime {
    time::macros::datetime!(2026-11-23 12:00 UTC) + time::Duration::milliseconds(milliseconds)
}

pub(super) fn config(directory: &Path) -> Config {
    Config {
        extended_key_usages: vec!["any".to_owned()],
        ..Config::new(directory.join("log.sqlite"), ORIGIN.to_owned())
    }
}

/// A log of its own in a directory of its own.
pub(super) struct TestLog {
    pub(super) directory: tempfile::TempDir,
    pub(super) config: Config,
}

impl TestLog {
    pub(super) async fn create() -> Self {
        Self::create_in(Home::File).await
    }

    pub(super) async fn create_in(home: Home) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        if home == Home::Server {
            let address = Cluster::shared().database();
            config.database = Server::new(&address, Path::new(""), None).unwrap().into();
        }
        Log::create(&config, &signer(1), at(0)).await.unwrap();
        Self { directory, config }
    }

    pub(super) fn database(&self) -> PathBuf {
        match &self.config.database {
            Database::Sqlite(path) => path.clone(),
            Database::Postgres(_) => panic!("a file was asked for"),
        }
    }

    pub(super) async fn open(&self) -> Log {
        self.try_open(at(0)).await.unwrap()
    }

    pub(super) async fn try_open(&self, now: OffsetDateTime) -> Result<Log, LogError> {
        Log::open(&self.config, signer(1), &Chains::default(), now).await
    }

    pub(super) async fn open_store(&self) -> Arc<dyn Store> {
        let id = signer(1).verifier().log_id();
        self.config.database.open(&id).await.unwrap()
    }

    pub(super) async fn open_faulty(&self) -> (Log, Arc<FaultyStore>) {
        let inner = self.open_store().await;
        let store = Arc::new(FaultyStore::new(inner));
        let chains = Chains::default();
        let log = Log::open_in(store.clone(), &self.config, signer(1), &chains, at(0)).await;
        (log.unwrap(), store)
    }

    /// Changes the database behind the log's back.
    pub(super) async fn tamper(&self, statement: &str) {
        use sqlx::Connection as _;
        if let Database::Postgres(server) = &self.config.database {
            let mut connection = server.connect().await.unwrap();
            // The tables by their names alone, and a function that the other database has.
            let statement = format!(
                "SET search_path = ctlog;
                 CREATE FUNCTION zeroblob(length integer) RETURNS bytea LANGUAGE sql
                     AS $$ SELECT decode(repeat('00', length), 'hex') $$;
                 {statement}"
            );
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::raw_sql(statement)
                .execute(&mut connection)
                .await
                .unwrap();
            return connection.close().await.unwrap();
        }
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.database());
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

/// The precertificate entry number `number`; not DER, which the log does not look at.
pub(super) fn entry(number: u64, length: usize) -> Entry {
    let mut tbs = vec![number as u8; length];
    tbs[..8].copy_from_slice(&number.to_be_bytes());
    let der = [tbs.as_slice(), &[0x5c; 80]].concat();
    let body = EntryBody::precertificate(&[0x1a; HASH_LENGTH], &tbs).unwrap();
    Entry::precertificate(body, &der, Arc::new([])).unwrap()
}

/// Logs entry `number`.
pub(super) async fn log_entry(
    log: &Log,
    number: u64,
    now: OffsetDateTime,
) -> Result<Appended, AppendError> {
    let entry = entry(number, 40);
    let dedup = entry.body().dedup_key();
    log.enqueue(entry, dedup, Vec::new(), now).await
}

/// Logs entries at once, so that they share commits as far as they can.
pub(super) async fn log_entries(
    log: &Log,
    numbers: Range<u64>,
    now: OffsetDateTime,
) -> Vec<Result<Appended, AppendError>> {
    let tasks: Vec<_> = numbers
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log_entry(&log, number, now).await })
        })
        .collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// How the next commit goes.
pub(super) enum Fault {
    /// Does not write and answers with an error.
    NotPersisted(CommitError),
    /// Writes, durably, and answers with an error all the same.
    Persisted(CommitError),
}

/// A store whose commits fail as told and wait for permission when told.
pub(super) struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
    /// A permit for every commit that may run.
    pub(super) gate: Semaphore,
    /// A permit for every commit that has begun.
    pub(super) begun: Semaphore,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Self {
            inner,
            faults: Mutex::default(),
            gate,
            begun: Semaphore::new(0),
        }
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    /// From now on commits wait for [`Self::open_gate`].
    pub(super) fn close_gate(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn open_gate(&self) {
        self.gate.add_permits(1000);
    }
}

#[async_trait::async_trait]
impl Store for FaultyStore {
    async fn commit(&self, expected: &Head, batch: Batch) -> Result<(), CommitError> {
        self.begun.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            None => self.inner.commit(expected, batch).await,
            Some(Fault::NotPersisted(error)) => Err(error),
            Some(Fault::Persisted(error)) => {
                self.inner.commit(expected, batch).await?;
                Err(error)
            }
        }
    }

    async fn take_turn(
        &self,
        dedup: &[Hash],
        also: &[TilePlace],
    ) -> Result<Option<Turn>, StoreError> {
        self.inner.take_turn(dedup, also).await
    }

    async fn end_turn(&self) {
        self.inner.end_turn().await;
    }

    async fn newest_head(&self) -> Result<Option<Head>, StoreError> {
        self.inner.newest_head().await
    }

    async fn find(&self, dedup: &[Hash]) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.find(dedup).await
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.entries(range).await
    }

    async fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        self.inner.leaves(range).await
    }

    async fn tile(&self, level: u8, n: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.tile(level, n).await
    }

    async fn issuer(&self, fingerprint: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.issuer(fingerprint).await
    }

    async fn issuers(&self) -> Result<Vec<Hash>, StoreError> {
        self.inner.issuers().await
    }

    async fn add_issuers(&self, issuers: &[(Hash, Vec<u8>)]) -> Result<(), StoreError> {
        self.inner.add_issuers(issuers).await
    }

    async fn state(&self) -> Result<State, StoreError> {
        self.inner.state().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// A made-up authority: root and intermediate, and what it issues.
pub(super) struct TestAuthority {
    pub(super) root: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    pub(super) intermediate: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl TestAuthority {
    pub(super) fn new() -> Self {
        Self::with_algorithms(
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P256_SHA256,
        )
    }

    pub(super) fn with_algorithms(
        root: &'static rcgen::SignatureAlgorithm,
        intermediate: &'static rcgen::SignatureAlgorithm,
    ) -> Self {
        let key = rcgen::KeyPair::generate_for(root).unwrap();
        let root = rcgen::CertifiedIssuer::self_signed(authority("root"), key).unwrap();
        let key = rcgen::KeyPair::generate_for(intermediate).unwrap();
        let parameters = authority("intermediate");
        let intermediate = rcgen::CertifiedIssuer::signed_by(parameters, key, &root).unwrap();
        Self { root, intermediate }
    }

    pub(super) fn root_der(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    pub(super) fn intermediate_der(&self) -> Vec<u8> {
        self.intermediate.der().to_vec()
    }

    /// The root alone, as a policy's list of roots.
    pub(super) fn roots(&self) -> Vec<ChainCertificate> {
        vec![ChainCertificate::from_der(self.root_der()).unwrap()]
    }

    /// A code-signing leaf with more extensions at its end.
    pub(super) fn leaf(&self, extensions: Vec<rcgen::CustomExtension>) -> Vec<u8> {
        self.leaf_for(
            vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning],
            extensions,
        )
    }

    pub(super) fn leaf_for(
        &self,
        usages: Vec<rcgen::ExtendedKeyUsagePurpose>,
        extensions: Vec<rcgen::CustomExtension>,
    ) -> Vec<u8> {
        let mut parameters =
            rcgen::CertificateParams::new(vec!["leaf.example".to_owned()]).unwrap();
        parameters.extended_key_usages = usages;
        parameters.custom_extensions = extensions;
        let key = rcgen::KeyPair::generate().unwrap();
        parameters
            .signed_by(&key, &self.intermediate)
            .unwrap()
            .der()
            .to_vec()
    }
}

/// The extension that makes a precertificate.
pub(super) fn poison() -> rcgen::CustomExtension {
    let mut poison =
        rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], vec![5, 0]);
    poison.set_criticality(true);
    poison
}

fn authority(name: &str) -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    parameters
}
