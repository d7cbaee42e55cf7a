//! Moving a ledger from a file to a server: the same rows under the same numbers.

use std::path::Path;

use super::postgres::PostgresStore;
use super::row::Entry;
use super::sqlite::SqliteStore;
use super::store::Store;
use super::{LedgerError, Row, existing, sqlite};
use crate::database::Server;

/// Copies every row and then reads all of them back. Nobody may write to the file meanwhile. It can be
/// given again and goes on. `progress` is told how many rows of how many are there.
///
/// # Errors
/// [`LedgerError::Differs`] where the server has rows that the file does not, and
/// [`LedgerError::StillWritten`] where somebody did write.
pub async fn move_rows(
    file: &Path,
    server: &Server,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, LedgerError> {
    let file = existing(file).await?;
    sqlite::check_is_ledger(&file).await?;
    let source = SqliteStore::new(file);
    super::upgrade(server).await?;
    let copy = PostgresStore::open(server).await?;
    let rows = source.count().await?;

    let mut last = copy.newest().await?;
    // A stranger's rows are not added to.
    let mut checked = compare(&source, &copy, last).await?;
    let mut done = checked;
    loop {
        let batch = numbered(&source, last).await?;
        let Some((newest, _)) = batch.last() else {
            break;
        };
        last = *newest;
        let mut entries = Vec::with_capacity(batch.len());
        for (id, row) in batch {
            entries.push((id, Entry::new(row)?));
        }
        copy.receive(&entries).await?;
        done += entries.len() as u64;
        progress(done, rows);
    }
    copy.finish_receiving().await?;
    checked = checked.max(compare(&source, &copy, last).await?);
    let has_grown = source.count().await? != rows;
    copy.close().await;
    source.close().await;
    if has_grown {
        return Err(LedgerError::StillWritten);
    }
    match checked == rows {
        true => Ok(rows),
        false => Err(LedgerError::Differs { id: last }),
    }
}

/// Compares all rows up to a number, and counts them.
async fn compare(
    source: &SqliteStore,
    copy: &PostgresStore,
    until: i64,
) -> Result<u64, LedgerError> {
    let (mut last, mut count) = (0, 0);
    while last < until {
        let ours = numbered(source, last).await?;
        let theirs = numbered(copy, last).await?;
        let mut pairs = ours.iter().filter(|(id, _)| *id <= until).zip(&theirs);
        let different = pairs.find(|(ours, theirs)| ours != theirs);
        let wanted = ours.iter().filter(|(id, _)| *id <= until).count();
        if different.is_some() || wanted != theirs.len() || wanted == 0 {
            let id = different.map_or(last, |((id, _), _)| *id);
            return Err(LedgerError::Differs { id });
        }
        count += theirs.len() as u64;
        last = theirs.last().map_or(until, |(id, _)| *id);
    }
    Ok(count)
}

async fn numbered(store: &dyn Store, after: i64) -> Result<Vec<(i64, Row)>, LedgerError> {
    let rows = store.rows_after(after, ROWS).await?;
    rows.into_iter().map(|(id, row)| Ok((id, row?))).collect()
}

/// Copied and compared at a time.
const ROWS: u32 = 256;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::record;
    use super::super::{Ledger, Place, Query};
    use super::*;
    use crate::database::cluster::Cluster;

    async fn ledger(directory: &tempfile::TempDir, rows: u64) -> PathBuf {
        let path = directory.path().join("ledger.db");
        let ledger = Ledger::create(&path).await.unwrap();
        for number in 0..rows {
            ledger.record(record(number)).await.unwrap();
        }
        ledger.close().await;
        path
    }

    fn server() -> Server {
        Server::new(&Cluster::shared().database(), Path::new(""), None).unwrap()
    }

    #[tokio::test]
    async fn a_moved_ledger_has_the_same_rows_and_goes_on_after_them() {
        for rows in [0, 1, 256, 300] {
            let directory = tempfile::tempdir().unwrap();
            let (path, server) = (ledger(&directory, rows).await, server());
            for _ in 0..2 {
                let moved = move_rows(&path, &server, |_, _| {}).await;
                assert_eq!(moved.unwrap(), rows);
            }
            let ledger = Ledger::open(Place::Postgres(server)).await.unwrap();
            assert_eq!(ledger.count().await.unwrap(), rows);
            ledger.record(record(rows)).await.unwrap();
            let last = ledger.reader().rows_after(rows as i64, 9).await.unwrap();
            assert_eq!((last.len(), last[0].0), (1, rows as i64 + 1));
            let query = Query::Serial(record(rows / 2).serial);
            assert_eq!(ledger.find(&query, 1).await.unwrap(), [record(rows / 2)]);
        }
    }

    /// Whoever writes on would write where nobody looks any more.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_ledger_is_moved_away_from_under_its_server() {
        let directory = tempfile::tempdir().unwrap();
        let (path, server) = (ledger(&directory, 3).await, server());
        let used = Ledger::open(&path).await.unwrap();
        let moved = move_rows(&path, &server, |done, _| {
            if done == 3 {
                let writes = used.record(record(3));
                let runtime = tokio::runtime::Handle::current();
                tokio::task::block_in_place(|| runtime.block_on(writes)).unwrap();
            }
        });
        let refused = moved.await;
        assert!(
            matches!(refused, Err(LedgerError::StillWritten)),
            "{refused:?}"
        );
        used.close().await;
        // Given again, once nobody writes, it goes on.
        assert_eq!(move_rows(&path, &server, |_, _| {}).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_strangers_ledger_is_not_added_to() {
        let directory = tempfile::tempdir().unwrap();
        let (path, server) = (ledger(&directory, 3).await, server());
        let theirs = Ledger::create(Place::Postgres(server.clone()))
            .await
            .unwrap();
        theirs.record(record(77)).await.unwrap();
        let refused = move_rows(&path, &server, |_, _| {}).await;
        assert!(
            matches!(refused, Err(LedgerError::Differs { .. })),
            "{refused:?}"
        );
        assert_eq!(theirs.count().await.unwrap(), 1);
    }
}
