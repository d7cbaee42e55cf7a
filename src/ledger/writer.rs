//! The one task that writes: it gathers rows into group commits and answers each when it is durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::LedgerError;
use super::row::Entry;
use super::store::{Store, Writing};
use crate::failpoint::FailPoint;
use crate::telemetry::metrics;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Message {
    /// Write this row and tell when it is durable. Boxed to keep the queue's slots small.
    Row(Box<Entry>, oneshot::Sender<Answer>),
    /// Take no more, write what waits, and stop.
    Close,
}

/// What became of one row.
pub(super) type Answer = Result<(), LedgerError>;

/// The write connection and the queue before it.
#[derive(Debug)]
pub(super) struct Writer {
    store: Arc<dyn Store>,
    queue: mpsc::Receiver<Message>,
    /// None after a failure, until the database has been opened again.
    connection: Option<Box<dyn Writing>>,
    /// Tells the door whether rows can be written; dropped when the writer ends.
    writable: watch::Sender<bool>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<dyn Store>,
        connection: Box<dyn Writing>,
        queue: mpsc::Receiver<Message>,
        writable: watch::Sender<bool>,
    ) -> Self {
        Self {
            store,
            queue,
            connection: Some(connection),
            writable,
        }
    }

    /// Runs until the queue is closed and empty.
    ///
    /// No timer gathers the batches: whatever arrives while one commit is in flight is the next
    /// batch, so a lone row waits for nothing and a crowd shares one sync.
    pub(super) async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            let received = if self.connection.is_some() {
                self.queue.recv_many(&mut messages, BATCH).await
            } else if let Ok(received) =
                timeout(RETRY, self.queue.recv_many(&mut messages, BATCH)).await
            {
                received
            } else {
                // Without this a server taken out of service for its ledger would never see
                // another row, and so never find out that the ledger is well again.
                self.reopen().await;
                continue;
            };
            if received == 0 {
                break;
            }
            let (mut entries, mut answers) =
                (Vec::with_capacity(received), Vec::with_capacity(received));
            for message in messages.drain(..) {
                match message {
                    Message::Row(entry, answer) => {
                        entries.push(entry);
                        answers.push(answer);
                    }
                    Message::Close => self.queue.close(),
                }
            }
            let entries: Vec<&Entry> = entries.iter().map(Box::as_ref).collect();
            for (answer, result) in answers.into_iter().zip(self.write(&entries).await) {
                // Whoever asked may have gone; the row is written all the same.
                answer.send(result).ok();
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.finish().await
        {
            tracing::warn!(%error, "the ledger's database did not close cleanly; every answered row is saved");
        }
    }

    /// Writes a batch; one answer for each entry, in order.
    async fn write(&mut self, entries: &[&Entry]) -> Vec<Answer> {
        if entries.is_empty() {
            return Vec::new();
        }
        if self.connection.is_none() {
            self.reopen().await;
        }
        let Some(connection) = &mut self.connection else {
            return entries
                .iter()
                .map(|_| Err(LedgerError::Unavailable))
                .collect();
        };
        let insert = connection.insert_all(entries);
        let written = match metrics().ledger.measure(entries.len(), insert).await {
            Ok(()) => {
                FailPoint::LedgerCommitted.reach();
                Ok(entries.iter().map(|_| Ok(())).collect())
            }
            Err(error) if connection.is_refusal(&error) => connection.insert_each(entries).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(answers) => answers,
            Err(error) => self.look_again(error, entries).await,
        }
    }

    /// The fate of a batch whose write ended in an error. A commit that reports an error may have
    /// happened, so nothing is concluded from the error: the database is opened anew and asked.
    async fn look_again(&mut self, error: sqlx::Error, entries: &[&Entry]) -> Vec<Answer> {
        tracing::error!(%error, rows = entries.len(), "the ledger could not be written");
        self.writable.send_replace(false);
        if let Some(connection) = self.connection.take() {
            // Never used again: after a failed sync, a second one may succeed without having saved
            // what the first one lost. An error of closing adds nothing to the one at hand.
            connection.finish().await.ok();
        }
        self.reopen().await;
        // Where the database is a server it may just be starting again.
        let opened = timeout(self.store.patience(), async {
            while self.connection.is_none() {
                sleep(AGAIN).await;
                self.reopen().await;
            }
        });
        // Out of patience; what waits is told so.
        opened.await.ok();
        let error = Arc::new(error);
        let Some(connection) = &mut self.connection else {
            let unknown = entries.iter().map(|_| Err(LedgerError::Unavailable));
            return unknown.collect();
        };
        match connection.look_again(entries).await {
            Ok(found) => {
                let verdict = |found| match found {
                    true => Ok(()),
                    false => Err(LedgerError::NotWritten(Arc::clone(&error))),
                };
                found.into_iter().map(verdict).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "the fate of rows stays unknown");
                let unknown = entries.iter().map(|_| Err(LedgerError::Unavailable));
                unknown.collect()
            }
        }
    }

    /// Opens the database again and proves it sound. On failure the writer stays without a
    /// connection, and tries again with the next batch or after `RETRY`.
    async fn reopen(&mut self) {
        let connection = match self.store.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be opened again"
                );
                return;
            }
        };
        tracing::info!("the ledger can be written again");
        self.connection = Some(connection);
        self.writable.send_replace(true);
    }
}

/// The most rows of one commit.
const BATCH: usize = 256;
/// How long a writer without a database waits for rows before it tries to open it again.
const RETRY: Duration = Duration::from_secs(1);
/// Between two attempts while rows wait.
const AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::super::sqlite::SqliteStore;
    use super::super::tests::{execute, record, stranger};
    use super::super::{Ledger, Record};
    use super::*;

    /// A writer that no task runs, on a new ledger.
    async fn writer(dir: &tempfile::TempDir) -> (Writer, watch::Receiver<bool>) {
        let path = dir.path().join("ledger.db");
        Ledger::create(&path).await.unwrap().close().await;
        let (state, writable) = watch::channel(true);
        let store = Arc::new(SqliteStore::new(path));
        let connection = store.connect().await.unwrap();
        (
            Writer::new(store, connection, mpsc::channel(1).1, state),
            writable,
        )
    }

    fn entry(record: Record) -> Entry {
        Entry::new(record).unwrap()
    }

    fn failure() -> sqlx::Error {
        sqlx::Error::Protocol("the commit failed, or so it says".to_owned())
    }

    #[tokio::test]
    async fn a_commit_that_fails_is_answered_by_what_is_in_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, writable) = writer(&dir).await;
        let (written, absent) = (entry(record(1)), entry(record(2)));
        let namesake = entry(Record {
            sha256: [9; 32],
            ..record(1)
        });
        assert!(writer.write(&[&written]).await[0].is_ok());
        let answers = writer
            .look_again(failure(), &[&written, &absent, &namesake])
            .await;
        assert!(answers[0].is_ok(), "{answers:?}");
        assert!(
            matches!(answers[1], Err(LedgerError::NotWritten(_))),
            "{answers:?}"
        );
        assert!(
            matches!(answers[2], Err(LedgerError::NotWritten(_))),
            "another certificate's row: {answers:?}"
        );
        assert!(*writable.borrow());
        assert!(writer.write(&[&absent]).await[0].is_ok());
    }

    #[tokio::test]
    async fn a_row_seen_after_a_failed_commit_is_moved_out_of_the_log_before_it_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, _writable) = writer(&dir).await;
        // With nobody else there, closing the connection would empty the log by itself.
        let mut other = stranger(&dir.path().join("ledger.db")).await;
        execute(&mut other, "SELECT count(*) FROM certificates").await;
        let written = entry(record(1));
        assert!(writer.write(&[&written]).await[0].is_ok());
        assert!(writer.look_again(failure(), &[&written]).await[0].is_ok());
        // The database file alone, without its log, holds the row.
        let image = dir.path().join("image.db");
        std::fs::copy(dir.path().join("ledger.db"), &image).unwrap();
        assert_eq!(
            Ledger::open(&image).await.unwrap().count().await.unwrap(),
            1
        );
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_asked_leaves_the_answer_open_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, writable) = writer(&dir).await;
        let (path, away) = (dir.path().join("ledger.db"), dir.path().join("away.db"));
        std::fs::rename(&path, &away).unwrap();
        let entry = entry(record(1));
        let answers = writer.look_again(failure(), &[&entry]).await;
        assert!(
            matches!(answers[0], Err(LedgerError::Unavailable)),
            "{answers:?}"
        );
        assert!(!*writable.borrow());
        assert!(matches!(
            writer.write(&[&entry]).await[0],
            Err(LedgerError::Unavailable)
        ));
        assert!(
            !path.exists(),
            "a lost ledger must not be replaced by an empty one"
        );
        std::fs::rename(&away, &path).unwrap();
        assert!(writer.write(&[&entry]).await[0].is_ok());
        assert!(*writable.borrow());
    }

    #[tokio::test]
    async fn a_writer_locked_out_by_another_process_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, writable) = writer(&dir).await;
        let mut other = stranger(&dir.path().join("ledger.db")).await;
        execute(&mut other, "BEGIN IMMEDIATE").await;
        let entry = entry(record(1));
        assert!(writer.write(&[&entry]).await[0].is_err());
        assert!(!*writable.borrow());
        execute(&mut other, "ROLLBACK").await;
        assert!(writer.write(&[&entry]).await[0].is_ok());
        assert!(*writable.borrow());
    }
}
