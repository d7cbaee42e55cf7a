//! Who remembers everything and believes nothing: what clients received, held against the log and the
//! ledger as they are served and stored afterwards.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::harness::deployment::Deployment;
use super::harness::der;
use super::harness::http::Connection;
use super::harness::received::{POISON, Received, SCT_LIST, sha256};
use super::ledger::Ledger;
use super::load::Seen;
use super::log::{Checkpoint, Entry, LogKey, check_hashes, entries, issuer};
use super::promise::Promise;
use super::tree::{Hash, Tree};

/// What a look at everything counted.
#[derive(Debug)]
pub(crate) struct Sums {
    pub(crate) received: usize,
    pub(crate) recorded: usize,
    pub(crate) logged: usize,
    pub(crate) checkpoints: usize,
}

/// Who remembers everything and believes nothing.
pub(crate) struct Witness {
    address: SocketAddr,
    pub(crate) key: Arc<LogKey>,
    ledger: Ledger,
    tree: Tree,
    entries: Vec<Entry>,
    /// Received certificates by the index their timestamp promises.
    received: HashMap<u64, Received>,
    /// Timestamps that submitters were given.
    promises: Vec<Promise>,
    checkpoints: BTreeSet<Checkpoint>,
    unchecked: Vec<u64>,
}

impl Witness {
    pub(crate) async fn new(deployment: &Deployment) -> Self {
        Self {
            address: deployment.address(),
            key: Arc::new(LogKey::fetch(deployment.address())),
            ledger: Ledger::of(deployment).await,
            tree: Tree::new(),
            entries: Vec::new(),
            received: HashMap::new(),
            promises: Vec::new(),
            checkpoints: BTreeSet::new(),
            unchecked: Vec::new(),
        }
    }

    /// Files what clients saw; a certificate must be for the key and the name that asked, with a
    /// timestamp of this log and an index that nobody else was given.
    pub(crate) async fn take(&mut self, seen: Seen, when: &str) {
        self.checkpoints.extend(seen.checkpoints);
        for promise in seen.promises {
            assert!(
                promise.is_kept_by(&self.key),
                "{when}: a submitter's timestamp does not verify"
            );
            self.promises.push(promise);
        }
        for (request, body) in seen.certificates {
            let received = Received::read(&body).unwrap_or_else(|| {
                panic!(
                    "{when}: not a certificate: {}",
                    String::from_utf8_lossy(&body)
                )
            });
            assert_eq!(
                der::spki(&received.certificate),
                Some(&request.spki[..]),
                "{when}: another client's key"
            );
            let names_caller = received
                .certificate
                .windows(request.email.len())
                .any(|part| part == request.email.as_bytes());
            assert!(names_caller, "{when}: {} is not named", request.email);
            assert_eq!(
                received.sct.log_id, self.key.id,
                "{when}: another log's timestamp"
            );
            assert!(
                received.is_promised_by(&self.key.key),
                "{when}: the timestamp's signature does not verify"
            );
            let index = received
                .index()
                .expect("a timestamp of the built-in log tells the index");
            self.unchecked.push(index);
            let twice = self.received.insert(index, received);
            assert!(twice.is_none(), "{when}: index {index} was given out twice");
        }
    }

    /// Reads what the restarted server's log has grown by, and looks up this round's certificates.
    pub(crate) async fn check_what_is_new(&mut self, when: &str) {
        let mut connection = Connection::open(self.address)
            .await
            .expect("the server listens");
        let head = self
            .key
            .checkpoint(&mut connection)
            .await
            .expect("a checkpoint");
        assert!(
            head.size >= self.tree.size(),
            "{when}: the log shrank from {} to {}",
            self.tree.size(),
            head.size
        );
        for entry in entries(&mut connection, self.tree.size(), head.size).await {
            self.tree.push(&entry.merkle_tree_leaf);
            self.entries.push(entry);
        }
        self.checkpoints.insert(head);
        self.check_checkpoints(when);
        for index in std::mem::take(&mut self.unchecked) {
            self.check_entry(index, when);
            self.check_row(index, when).await;
        }
    }

    /// Entries of the log when it was last looked at.
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The high-water mark that a process left is of this tree, not ahead of it, and covers everything
    /// that anybody was answered.
    pub(crate) fn check_mark(&self, mark: Checkpoint, when: &str) {
        let rebuilt = self.tree.root_at(mark.size);
        assert_eq!(
            rebuilt,
            Some(&mark.root),
            "{when}: the mark is ahead, or of another tree"
        );
        let promised = self
            .promises
            .iter()
            .filter_map(|promise| promise.sct.index());
        let answered = self.received.keys().copied().chain(promised).max();
        assert!(
            answered.is_none_or(|index| index < mark.size),
            "{when}: entry {answered:?} was answered and the mark is at {}",
            mark.size
        );
    }

    /// Whether the tree had this root at this size.
    pub(crate) fn had_root(&self, (size, root): &(u64, Hash)) -> bool {
        self.tree.root_at(*size) == Some(root)
    }

    /// Whether the log began with these entries when it was last looked at.
    pub(crate) fn begins_with(&self, entries: &[Entry]) -> bool {
        self.entries.starts_with(entries)
    }

    /// Whether the log has an entry for these to-be-signed bytes.
    pub(crate) fn holds(&self, tbs: &[u8]) -> bool {
        self.entries.iter().any(|entry| entry.tbs == tbs)
    }

    /// Every checkpoint ever seen is a prefix of the tree as it is, and none is older than its
    /// entries or than a smaller one.
    fn check_checkpoints(&self, when: &str) {
        let mut size = 0;
        for checkpoint in &self.checkpoints {
            let rebuilt = self.tree.root_at(checkpoint.size);
            assert_eq!(
                rebuilt,
                Some(&checkpoint.root),
                "{when}: the tree of {} leaves",
                checkpoint.size
            );
            assert!(
                checkpoint.size >= size,
                "{when}: a smaller tree was signed later: {checkpoint:?}"
            );
            size = checkpoint.size;
            let youngest = size
                .checked_sub(1)
                .and_then(|last| self.entries.get(usize::try_from(last).ok()?));
            let in_time =
                youngest.is_none_or(|entry| entry.timestamp_ms <= checkpoint.timestamp_ms);
            assert!(
                in_time,
                "{when}: an entry is younger than the checkpoint over it: {checkpoint:?}"
            );
        }
    }

    fn check_entry(&self, index: u64, when: &str) {
        let received = &self.received[&index];
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index));
        let entry = entry.unwrap_or_else(|| {
            panic!(
                "{when}: entry {index} was promised and the log has {}",
                self.tree.size()
            )
        });
        assert_eq!(
            entry.tbs, received.tbs,
            "{when}: entry {index} is of another certificate"
        );
        let promised = received.merkle_tree_leaf().expect("the parts of a leaf");
        assert_eq!(
            entry.merkle_tree_leaf, promised,
            "{when}: entry {index} is not what was signed"
        );
        let (tbs, poison) = der::without_extension(&entry.precertificate, &POISON)
            .expect("a poisoned precertificate");
        assert_eq!(
            (tbs, &poison[..]),
            (received.tbs.clone(), &[5, 0][..]),
            "{when}: precertificate {index}"
        );
        assert_eq!(
            entry.chain.first(),
            Some(&sha256(&received.issuer)),
            "{when}: the chain of entry {index}"
        );
    }

    async fn check_row(&self, index: u64, when: &str) {
        let received = &self.received[&index];
        let row = self.ledger.row(&received.serial).await;
        let row = row.unwrap_or_else(|| {
            panic!("{when}: the ledger does not know the certificate of entry {index}")
        });
        assert_eq!(
            row.certificate, received.certificate,
            "{when}: the ledger's certificate of entry {index}"
        );
        assert_eq!(
            (row.index, row.timestamp_ms),
            (index, received.sct.timestamp_ms),
            "{when}: the ledger's index and time"
        );
    }

    /// The whole once more from nothing: the log as served now, every tile of hashes, every
    /// certificate and timestamp, every row.
    pub(crate) async fn check_everything(&mut self, when: &str) -> Sums {
        let mut connection = Connection::open(self.address)
            .await
            .expect("the server listens");
        let head = self
            .key
            .checkpoint(&mut connection)
            .await
            .expect("a checkpoint");
        let served = entries(&mut connection, 0, head.size).await;
        assert!(
            served == self.entries,
            "{when}: an entry changed after it was first read"
        );
        let mut tree = Tree::new();
        served
            .iter()
            .for_each(|entry| tree.push(&entry.merkle_tree_leaf));
        assert_eq!(
            tree.root_at(head.size),
            Some(&head.root),
            "{when}: the tree as served"
        );
        self.tree = tree;
        check_hashes(&mut connection, &served, when).await;
        self.check_checkpoints(when);
        for index in self.received.keys() {
            self.check_entry(*index, when);
            self.check_row(*index, when).await;
        }
        for promise in &self.promises {
            self.check_promise(promise, when);
        }
        let distinct: HashSet<&[u8]> = served.iter().map(|entry| &entry.tbs[..]).collect();
        assert_eq!(
            distinct.len(),
            served.len(),
            "{when}: something was logged twice"
        );
        let issuers: HashSet<_> = served.iter().flat_map(|entry| &entry.chain).collect();
        for fingerprint in issuers {
            issuer(&mut connection, fingerprint).await;
        }
        let recorded = self.check_rows(&served).await;
        let (logged, received) = (served.len(), self.received.len());
        assert!(
            received <= recorded && recorded <= logged,
            "{when}: {received} received, {recorded} recorded, {logged} logged"
        );
        Sums {
            received,
            recorded,
            logged,
            checkpoints: self.checkpoints.len(),
        }
    }

    /// A timestamp that a submitter was given: the leaf it promises stands where it says.
    fn check_promise(&self, promise: &Promise, when: &str) {
        let index = promise
            .sct
            .index()
            .expect("a timestamp of the built-in log tells the index");
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index));
        let entry = entry
            .unwrap_or_else(|| panic!("{when}: entry {index} was promised and the log is shorter"));
        assert_eq!(
            entry.merkle_tree_leaf,
            promise.merkle_tree_leaf(),
            "{when}: entry {index} is not what was promised"
        );
    }

    /// Every row of the ledger stands in the log where the row says.
    async fn check_rows(&self, served: &[Entry]) -> usize {
        let rows = self.ledger.rows().await;
        for row in &rows {
            let index = row.index;
            let (tbs, _) = der::without_extension(&row.certificate, &SCT_LIST)
                .expect("a certificate with a timestamp");
            let entry = served
                .get(usize::try_from(index).expect("an index"))
                .unwrap_or_else(|| panic!("row of index {index} is beyond the log"));
            assert_eq!(
                entry.tbs, tbs,
                "the row of index {index} is not what the log has there"
            );
        }
        rows.len()
    }
}
