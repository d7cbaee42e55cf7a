//! What no issuance can do without: its signatures, and a commit.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use super::harness::issuer::Issuer;
use super::median;
use super::process::of_this_thread;

/// The yardsticks, measured on this machine in this run.
pub(crate) struct Bare {
    /// One RS256 and one P-256 verification and three P-256 signatures, processor time.
    pub(crate) cryptography: Duration,
    /// The same while every other processor does the same, as under load: processors that share a
    /// core slow each other down.
    pub(crate) cryptography_crowded: Duration,
    /// An append of 3 kB to a file, and `fdatasync`.
    pub(crate) append: Duration,
    /// A transaction of one row of 3 kB.
    pub(crate) sqlite: Duration,
}

impl Bare {
    /// Medians of `samples` batches.
    pub(crate) fn measure(
        issuer: &Issuer,
        directory: &Path,
        samples: usize,
        runtime: &Runtime,
    ) -> Self {
        let cryptography = cryptography(issuer, samples);
        let others = thread::available_parallelism()
            .map_or(1, usize::from)
            .saturating_sub(1);
        let stop = AtomicBool::new(false);
        let cryptography_crowded = thread::scope(|scope| {
            for _ in 0..others {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        black_box(self::cryptography(issuer, 1));
                    }
                });
            }
            let measured = self::cryptography(issuer, samples);
            stop.store(true, Ordering::Relaxed);
            measured
        });
        let append = append(directory, samples * 8);
        let sqlite = runtime
            .block_on(sqlite(directory, samples * 8))
            .expect("a database of our own");
        Self {
            cryptography,
            cryptography_crowded,
            append,
            sqlite,
        }
    }
}

fn cryptography(issuer: &Issuer, samples: usize) -> Duration {
    let message = [0x5a; MESSAGE];
    let random = SystemRandom::new();
    let token_signature = issuer.sign(&message);
    let token_key =
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, issuer.public_key()).expect("an RSA key");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a P-256 key");
    let proof = pair.sign(&random, &message).expect("a signature");
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref())
        .expect("a P-256 key");
    let batch = || {
        let begin = of_this_thread();
        for _ in 0..BATCH {
            token_key
                .verify_sig(&message, &token_signature)
                .expect("the token's signature");
            key.verify_sig(&message, proof.as_ref()).expect("the proof");
            for _ in 0..3 {
                black_box(
                    pair.sign(&random, black_box(&message))
                        .expect("a signature"),
                );
            }
        }
        (of_this_thread() - begin) / BATCH
    };
    median((0..samples).map(|_| batch()).collect())
}

fn append(directory: &Path, samples: usize) -> Duration {
    let path = directory.join("append.scratch");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a scratch file");
    let once = || {
        let begin = Instant::now();
        file.write_all(&[0x5a; ROW]).expect("an append");
        file.sync_data().expect("fdatasync");
        begin.elapsed()
    };
    median(std::iter::repeat_with(once).take(samples).collect())
}

async fn sqlite(directory: &Path, samples: usize) -> sqlx::Result<Duration> {
    let mut database: SqliteConnection = SqliteConnectOptions::new()
        .filename(directory.join("commit.scratch"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::query("CREATE TABLE entry (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT")
        .execute(&mut database)
        .await?;
    let mut took = Vec::with_capacity(samples);
    for _ in 0..samples {
        let begin = Instant::now();
        let mut transaction = database.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO entry (content) VALUES (?)")
            .bind(&[0x5a; ROW][..])
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        took.push(begin.elapsed());
    }
    database.close().await?;
    Ok(median(took))
}

const MESSAGE: usize = 1_400;
const ROW: usize = 3_000;
const BATCH: u32 = 100;
