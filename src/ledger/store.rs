//! Where a ledger keeps its rows. The writer does not know which of them it writes to.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Duration;

use super::row::Entry;
use super::search::Condition;
use super::{LedgerError, Row};

/// A row with its number in the order of writing.
pub type Numbered = (i64, Result<Row, LedgerError>);

/// A ledger's database. Reads may run at any time, beside each other and beside the writer.
#[async_trait::async_trait]
pub(super) trait Store: Debug + Send + Sync {
    /// Opens the connection that writes, and proves that what can be seen over it is kept.
    async fn connect(&self) -> Result<Box<dyn Writing>, LedgerError>;

    /// How long it is worth trying to connect again after a failure, while rows wait.
    fn patience(&self) -> Duration;

    /// At most `limit` rows that keep all of the conditions, the newest first.
    async fn find(&self, conditions: &[Condition<'_>], limit: u32)
    -> Result<Vec<Row>, LedgerError>;

    /// The number of the newest row; 0, where there is none.
    async fn newest(&self) -> Result<i64, LedgerError>;

    /// See [`Reader::rows_after`](super::Reader::rows_after).
    async fn rows_after(&self, id: i64, limit: u32) -> Result<Vec<Numbered>, LedgerError>;

    /// See [`Reader::recorded`](super::Reader::recorded).
    async fn recorded(&self, serials: &[[u8; 20]]) -> Result<HashSet<[u8; 20]>, LedgerError>;

    /// See [`Reader::numbers_are_dense`](super::Reader::numbers_are_dense).
    fn numbers_are_dense(&self) -> bool;

    /// See [`Reader::count`](super::Reader::count).
    async fn count(&self) -> Result<u64, LedgerError>;

    /// Whether it can be read now.
    async fn ping(&self) -> Result<(), LedgerError>;

    /// Closes what reads.
    async fn close(&self);
}

/// The connection that writes. After an error that is no [refusal](Self::is_refusal) it is not used any
/// more.
#[async_trait::async_trait]
pub(super) trait Writing: Debug + Send {
    /// Inserts rows, all or none; `Ok` means durable.
    async fn insert_all(&mut self, entries: &[&Entry]) -> Result<(), sqlx::Error>;

    /// Inserts rows one by one, for a batch that holds a bad one: the answers tell which rows the
    /// database refused. The rest are durable.
    async fn insert_each(
        &mut self,
        entries: &[&Entry],
    ) -> Result<Vec<Result<(), LedgerError>>, sqlx::Error>;

    /// Whether the error is the database's verdict on a row, after which nothing is left behind and the
    /// connection is sound.
    fn is_refusal(&self, error: &sqlx::Error) -> bool;

    /// Whether these very certificates, whose writing ended in an error over another connection, are in
    /// the ledger now, one word for each; a database may write them again to find that out.
    async fn look_again(&mut self, entries: &[&Entry]) -> Result<Vec<bool>, sqlx::Error>;

    /// Closes it.
    async fn finish(self: Box<Self>) -> Result<(), sqlx::Error>;
}
