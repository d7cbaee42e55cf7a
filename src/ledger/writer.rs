//! The one task that writes: it gathers rows into group commits and answers each when it is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::LedgerError;
use super::sqlite::{self, Entry};
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
    path: PathBuf,
    queue: mpsc::Receiver<Message>,
    /// None after a failure, until the database has been opened again.
    connection: Option<SqliteConnection>,
    /// Tells the door whether rows can be written; dropped when the writer ends.
    writable: watch::Sender<bool>,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        connection: SqliteConnection,
        queue: mpsc::Receiver<Message>,
        writable: watch::Sender<bool>,
    ) -> Self {
        Self {
            path,
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
                tokio::time::timeout(RETRY, self.queue.recv_many(&mut messages, BATCH)).await
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
            && let Err(error) = connection.close().await
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
        let insert = sqlite::insert_all(connection, entries);
        let written = match metrics().ledger.measure(entries.len(), insert).await {
            Ok(()) => {
                FailPoint::LedgerCommitted.reach();
                Ok(entries.iter().map(|_| Ok(())).collect())
            }
            Err(error) if sqlite::is_refusal(&error) => {
                sqlite::insert_each(connection, entries).await
            }
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
            connection.close().await.ok();
        }
        self.reopen().await;
        let error = Arc::new(error);
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            let found = match &mut self.connection {
                Some(connection) => sqlite::contains(connection, entry).await.ok(),
                None => None,
            };
            answers.push(match found {
                Some(true) => Ok(()),
                Some(false) => Err(LedgerError::NotWritten(Arc::clone(&error))),
                None => Err(LedgerError::Unavailable),
            });
        }
        answers
    }

    /// Opens the database again and proves it sound. On failure the writer stays without a
    /// connection, and tries again with the next batch or after `RETRY`.
    async fn reopen(&mut self) {
        let mut connection = match sqlite::connect_writer(&self.path).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be opened again"
                );
                return;
            }
        };
        if let Err(error) = sqlite::settle(&mut connection).await {
            tracing::error!(%error, "the ledger was opened again but cannot be written");
            connection.close().await.ok();
            return;
        }
        tracing::info!("the ledger can be written again");
        self.connection = Some(connection);
        self.writable.send_replace(true);
    }
}

/// The most rows of one commit.
const BATCH: usize = 256;
/// How long a writer without a database waits for rows before it tries to open it again.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::tests::{execute, record, stranger};
    use super::super::{Ledger, Record};
    use super::*;

    /// A writer that no task runs, on a new ledger.
    async fn writer(dir: &tempfile::TempDir) -> (Writer, watch::Receiver<bool>) {
        let path = dir.path().join("ledger.db");
        Ledger::create(&path).await.unwrap().close().await;
        let (state, writable) = watch::channel(true);
        let connection = sqlite::connect_writer(&path).await.unwrap();
        (
            Writer::new(path, connection, mpsc::channel(1).1, state),
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
