//! Moving a log from a file to a server: the same key, name, entries, timestamps and signatures.
//!
//! One log must not be written in two places, so the order is what matters here. The file's lock is held
//! from the start. The copy on the server is incomplete, and nobody opens it, until everything of it was
//! read back and rebuilt to the signed root. Then the file is marked, durably, and never written again;
//! only then is the copy declared complete. Whatever interrupts this, it can be given again and goes on.

use super::check::{Report, check};
use super::merkle::{TILE_LEVELS, TILE_WIDTH, Tile, level_width};
use super::recovery::{RecoveryError, recover};
use super::signer::LogVerifier;
use super::store::postgres::PostgresStore;
use super::store::sqlite::SqliteStore;
use super::store::{Store as _, StoreError};
use crate::database::Server;
use std::path::Path;

/// A log in a file, held so that nobody else writes to it.
#[derive(Debug)]
pub struct Moving {
    source: SqliteStore,
    server: Server,
}

impl Moving {
    /// Takes the file's lock.
    ///
    /// # Errors
    /// [`StoreError`]: a server is running on it, or it was moved elsewhere.
    pub async fn begin(file: &Path, server: &Server) -> Result<Self, StoreError> {
        Ok(Self {
            source: SqliteStore::open_to_move(file, server.address()).await?,
            server: server.clone(),
        })
    }

    /// Copies, compares and exchanges. `progress` is told how many entries of how many are there.
    ///
    /// # Errors
    /// [`RecoveryError`]: one of the two is not whole, or the server has another log of this name or key.
    pub async fn finish(
        self,
        origin: &str,
        verifier: &LogVerifier,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Report, RecoveryError> {
        let Self { source, server } = self;
        let (head, _) = recover(&source, origin, verifier).await?;
        let created_ms = source.state().await?.created_ms;
        let log_id = verifier.log_id();
        let copy = PostgresStore::receive(&server, origin, &log_id, created_ms).await?;
        if copy.is_complete().await? {
            // It was moved before and has a life of its own there, which nothing here may touch.
            if !source.is_moved().await? {
                let (database, what) = (server.address().to_owned(), "key");
                return Err(StoreError::Taken { database, what }.into());
            }
            return check(&copy, origin, verifier, &mut |_, _| {}).await;
        }

        for fingerprint in source.issuers().await? {
            if let Some(certificate) = source.issuer(&fingerprint).await? {
                copy.add_issuers(&[(fingerprint, certificate)]).await?;
            }
        }
        let mut size = copy.received().await?;
        while size < head.size {
            let end = head.size.min(size + ENTRIES);
            let entries = source.entries(size..end).await?;
            copy.receive_entries(&entries).await?;
            size = end;
            progress(size, head.size);
        }
        for level in 0..TILE_LEVELS {
            for n in 0..level_width(level, head.size).div_ceil(TILE_WIDTH as u64) {
                let hashes = source.tile(level, n).await?;
                let hashes = hashes.ok_or(StoreError::Malformed("a tile is missing"))?;
                copy.receive_tile(&Tile { level, n, hashes }).await?;
            }
        }
        copy.receive_head(&head).await?;

        let report = check(&copy, origin, verifier, &mut |_, _| {}).await?;
        if report.head != head {
            return Err(RecoveryError::HeadDiffers);
        }
        source.mark_moved(server.address()).await?;
        copy.declare_complete().await?;
        copy.close().await;
        source.close().await;
        Ok(report)
    }
}

/// Copied at a time.
const ENTRIES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::super::testing::{TestLog, at, log_entries, log_entry, signer};
    use super::super::{Chains, Config, Log, LogError};
    use super::*;
    use crate::ctlog::testing::ORIGIN;
    use crate::database::cluster::Cluster;

    fn server() -> Server {
        Server::new(&Cluster::shared().database(), Path::new(""), None).unwrap()
    }

    async fn move_to(test: &TestLog, server: &Server) -> Result<Report, RecoveryError> {
        let moving = Moving::begin(&test.database(), server).await?;
        let signer = signer(1);
        moving.finish(ORIGIN, signer.verifier(), |_, _| {}).await
    }

    async fn open(server: &Server) -> Result<Log, LogError> {
        let config = Config {
            extended_key_usages: vec!["any".to_owned()],
            ..Config::new(server.clone(), ORIGIN.to_owned())
        };
        Log::open(&config, signer(1), &Chains::default(), at(20)).await
    }

    #[tokio::test]
    async fn a_moved_log_is_the_same_log_and_its_file_takes_nothing_more() {
        for size in [0, 1, 256, 700] {
            let test = TestLog::create().await;
            let log = test.open().await;
            let mut logged = Vec::new();
            for result in log_entries(&log, 0..size, at(10)).await {
                logged.push(result.unwrap());
            }
            let head = log.head();
            let server = server();
            let running = Moving::begin(&test.database(), &server).await;
            assert!(matches!(running, Err(StoreError::Locked(_))), "{running:?}");
            log.close().await;

            let report = move_to(&test, &server).await.unwrap();
            assert_eq!(report.head, *head);
            let moved = test.try_open(at(20)).await.unwrap_err();
            assert!(
                matches!(moved, LogError::Store(StoreError::Moved { .. })),
                "{moved}"
            );
            let log = open(&server).await.unwrap();
            assert_eq!(*log.head(), *head);
            for (number, appended) in (0..).zip(&logged) {
                let again = log_entry(&log, number, at(20)).await;
                assert_eq!(again.unwrap(), *appended, "another timestamp for {number}");
            }
            let next = log_entry(&log, size, at(30)).await.unwrap();
            assert_eq!(next.index, Some(size));
            log.check().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_program_that_does_not_look_for_the_mark_cannot_write_either() {
        let test = TestLog::create().await;
        let log = test.open().await;
        let other = server();
        let path = test.database();
        log.close().await;
        move_to(&test, &other).await.unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        let statement = "REPLACE INTO head SELECT * FROM head";
        let refused = sqlx::query(statement).execute(&mut connection).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("moved"), "{refused}");
    }

    #[tokio::test]
    async fn a_move_that_was_interrupted_goes_on_and_is_no_log_before() {
        let test = TestLog::create().await;
        let log = test.open().await;
        for result in log_entries(&log, 0..300, at(10)).await {
            result.unwrap();
        }
        log.close().await;
        let server = server();
        let source = SqliteStore::open_read_only(&test.database()).await.unwrap();
        let log_id = signer(1).verifier().log_id();
        let copy = PostgresStore::receive(&server, ORIGIN, &log_id, 0)
            .await
            .unwrap();
        let entries = source.entries(0..100).await.unwrap();
        copy.receive_entries(&entries).await.unwrap();
        let unfinished = open(&server).await.unwrap_err();
        let is_right = matches!(unfinished, LogError::Store(StoreError::Unfinished(_)));
        assert!(is_right, "{unfinished}");
        // The file is still the log, and grows.
        let log = test.open().await;
        log_entry(&log, 300, at(20)).await.unwrap();
        log.close().await;
        assert_eq!(move_to(&test, &server).await.unwrap().head.size, 301);
        // Given again it says the same; to another place it does not go.
        assert_eq!(move_to(&test, &server).await.unwrap().head.size, 301);
        let elsewhere = move_to(&test, &self::server()).await.unwrap_err();
        let is_right = matches!(elsewhere, RecoveryError::Store(StoreError::Moved { .. }));
        assert!(is_right, "{elsewhere}");
        // Nor does it touch a log that has gone on since.
        let log = open(&server).await.unwrap();
        log_entry(&log, 301, at(30)).await.unwrap();
        assert_eq!(move_to(&test, &server).await.unwrap().head.size, 302);
        log_entry(&log, 302, at(30)).await.unwrap();
        log.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_copy_that_differs_never_becomes_the_log() {
        let test = TestLog::create().await;
        let log = test.open().await;
        for result in log_entries(&log, 0..10, at(10)).await {
            result.unwrap();
        }
        log.close().await;
        let server = server();
        let source = SqliteStore::open_read_only(&test.database()).await.unwrap();
        let log_id = signer(1).verifier().log_id();
        let copy = PostgresStore::receive(&server, ORIGIN, &log_id, 0)
            .await
            .unwrap();
        let mut entries = source.entries(0..3).await.unwrap();
        entries[1].sct_signature[10] ^= 1;
        copy.receive_entries(&entries).await.unwrap();
        let refused = move_to(&test, &server).await.unwrap_err();
        assert!(
            matches!(&refused, RecoveryError::Inconsistent { name } if name == "entry 1"),
            "{refused}"
        );
        assert!(open(&server).await.is_err());
        test.open().await;
    }
}
