//! Ledger and log, compared: what one says was issued, the other must say too.
//!
//! They are written one after the other by the same process, the log first, and each is durable before
//! the certificate leaves. So every row has its entry, and an entry without a row is what a crash
//! between the two leaves behind: a certificate that nobody received. Everything else is a mistake or
//! somebody's work, and is told as such.
//!
//! It reads beside whoever writes, a page at a time, and writes nothing.

mod difference;
mod periodic;

pub use difference::Difference;
pub use periodic::Periodic;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;

use crate::certificate::readback::{ReadBack, serial_of, to_be_signed};
use crate::ctlog::Records;
use crate::ctlog::entry::{Certified, EntryBody, TileLeaf, read_leaf_index};
use crate::ctlog::merkle::Hash;
use crate::ctlog::signer::LogVerifier;
use crate::ctlog::store::StoreError;
use crate::ledger::{LedgerError, Numbered, Reader, Row};

/// The two books and what is known about them.
#[derive(Clone, Debug)]
pub struct Books {
    /// What was issued.
    pub ledger: Reader,
    /// The deployment's own logs: the one that takes entries, if it is built in, and the earlier ones. Of
    /// somebody else's there are only the signatures that rows carry.
    pub logs: Vec<Records>,
    /// Keys of the logs whose timestamps rows may carry.
    pub keys: Vec<LogVerifier>,
    /// The authority's issuing certificates: the present one, and those it replaced.
    pub issuers: Vec<IssuerHashes>,
}

/// By what an entry is known to be under an issuing certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerHashes {
    /// SHA-256 of the key, which a precertificate's entry names.
    pub key: [u8; 32],
    /// SHA-256 of the certificate, which is first in the chain of every entry.
    pub certificate: [u8; 32],
}

/// Up to where books were compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the last row.
    pub row: i64,
    /// The index of the next entry of each log, in the order of [`Books::logs`]; 0 where there is none.
    pub indices: Vec<u64>,
}

/// What is old enough to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows issued later are left to the next time. Where several processes write, a row may appear
    /// before one with a smaller number.
    pub rows_until: OffsetDateTime,
    /// Entries logged later are left to the next time: their rows may be on their way.
    pub entries_until: OffsetDateTime,
    /// A rest after each page, for whoever works beside.
    pub rest: Duration,
}

/// What a comparison went through and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Rows looked at.
    pub rows: u64,
    /// Entries looked at, of whatever authority.
    pub entries: u64,
    /// Differences that nothing innocent explains.
    pub trouble: u64,
    /// Certificates that were logged and never recorded.
    pub unrecorded: u64,
}

/// A comparison that could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum ReconciliationError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] StoreError),
}

/// Told each difference as it is found.
pub type Found<'a> = &'a mut (dyn FnMut(Difference) + Send);

impl Books {
    /// Compares both ways from where `from` says, and tells what differs. Returns up to where it came.
    ///
    /// # Errors
    /// [`ReconciliationError`]; what was told until then stands.
    pub async fn compare(
        &self,
        from: &Progress,
        bounds: Bounds,
        found: Found<'_>,
    ) -> Result<(Sums, Progress), ReconciliationError> {
        let mut sums = Sums::default();
        let mut tell = |difference: Difference| {
            if difference.is_innocent() {
                sums.unrecorded += 1;
            } else {
                sums.trouble += 1;
            }
            found(difference);
        };
        let (row, rows) = self.compare_rows(from.row, bounds, &mut tell).await?;
        let mut indices = Vec::with_capacity(self.logs.len());
        let mut entries = 0;
        for (at, log) in self.logs.iter().enumerate() {
            let from = from.indices.get(at).copied().unwrap_or_default();
            let (next, read) = self.compare_entries(log, from, bounds, &mut tell).await?;
            indices.push(next);
            entries += read;
        }
        (sums.rows, sums.entries) = (rows, entries);
        Ok((sums, Progress { row, indices }))
    }

    /// Every row against its entry. Returns the number of the last row and how many there were.
    async fn compare_rows(
        &self,
        after: i64,
        bounds: Bounds,
        tell: Found<'_>,
    ) -> Result<(i64, u64), ReconciliationError> {
        let (mut last, mut seen) = (after, 0);
        loop {
            let page = self.ledger.rows_after(last, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            let page: Vec<Looked> = page.into_iter().map(Looked::at).collect();
            let entries = self.entries_of(&page).await?;
            for Looked {
                number,
                row,
                certificate,
            } in page
            {
                let is_young = |row: &Row| row.issued_at > bounds.rows_until;
                if row.as_ref().is_ok_and(is_young) {
                    return Ok((last, seen));
                }
                if self.ledger.numbers_are_dense() && number > last + 1 {
                    let (first, last) = (last + 1, number - 1);
                    tell(Difference::RowsMissing { first, last });
                }
                (last, seen) = (number, seen + 1);
                match row {
                    Ok(row) => self.compare_row(number, &row, certificate, &entries, tell),
                    Err(LedgerError::Damaged { id: _, column }) => {
                        tell(Difference::RowDamaged { number, column });
                    }
                    Err(error) => return Err(error.into()),
                }
                tokio::task::yield_now().await;
            }
            if is_last {
                return Ok((last, seen));
            }
            tokio::time::sleep(bounds.rest).await;
        }
    }

    /// The entries that the rows of a page say are theirs, by the log of the certificate and the index.
    /// Rows are written in nearly the order of their entries, so a few reads of neighbours are enough.
    async fn entries_of(&self, page: &[Looked]) -> Result<Entries, ReconciliationError> {
        let mut entries = Entries::new();
        for log in &self.logs {
            let id = log.verifier().log_id();
            let indices = page.iter().filter_map(|looked| {
                let sct = &looked.certificate.as_ref()?.sct;
                let row = looked.row.as_ref().ok()?;
                row.log_index.filter(|_| sct.log_id == id)
            });
            let mut indices: Vec<u64> = indices.collect();
            indices.sort_unstable();
            for run in indices.chunk_by(|one, next| next - one <= NEIGHBOURS) {
                if let (Some(first), Some(last)) = (run.first(), run.last()) {
                    let range = *first..last.saturating_add(1);
                    let read = log.entries(range).await?;
                    let wanted = read
                        .into_iter()
                        .filter(|(index, _)| run.binary_search(index).is_ok());
                    entries.extend(wanted.map(|(index, leaf)| ((id, index), leaf)));
                }
            }
        }
        Ok(entries)
    }

    fn compare_row(
        &self,
        number: i64,
        row: &Row,
        certificate: Option<ReadBack>,
        entries: &Entries,
        tell: Found<'_>,
    ) {
        let serial = row.serial;
        let Some(certificate) = certificate else {
            return tell(Difference::NoCertificate { number, serial });
        };
        if let Some(column) = differing_column(row, &certificate) {
            tell(Difference::RowDiffers {
                number,
                serial,
                column,
            });
        }
        let sct = &certificate.sct;
        let verifier = self.keys.iter().find(|key| key.log_id() == sct.log_id);
        let Some(verifier) = verifier else {
            return tell(Difference::UnknownLog { number, serial });
        };
        let is_own = |log: &Records| log.verifier().log_id() == sct.log_id;
        if !self.logs.iter().any(is_own) {
            let mut bodies = self
                .issuers
                .iter()
                .map(|issuer| EntryBody::precertificate(&issuer.key, &certificate.logged));
            if !bodies.any(|body| body.is_ok_and(|body| verifier.verifies_sct(sct, &body))) {
                tell(Difference::NotPromised { number, serial });
            }
            return;
        }
        let Some(index) = row.log_index else {
            return tell(Difference::RowDiffers {
                number,
                serial,
                column: "log_index",
            });
        };
        match entries.get(&(sct.log_id, index)) {
            None => tell(Difference::NoEntry {
                number,
                serial,
                index,
            }),
            Some(None) => tell(Difference::EntryUnreadable { index }),
            Some(Some(leaf)) => {
                let is_this = match leaf.body.certified() {
                    Some(Certified::Precertificate { tbs, .. }) => tbs == certificate.logged,
                    Some(Certified::Certificate(_)) | None => false,
                };
                let promise = leaf
                    .body
                    .merkle_tree_leaf_with(sct.timestamp_ms, &sct.extensions);
                if !is_this {
                    tell(Difference::OtherEntry {
                        number,
                        serial,
                        index,
                    });
                } else if leaf.timestamp_ms != sct.timestamp_ms
                    || !verifier.verifies(&promise, &sct.signature)
                {
                    tell(Difference::NotPromised { number, serial });
                }
            }
        }
    }

    /// Every entry of the authority against the rows. Returns the index of the next entry and how many
    /// there were.
    async fn compare_entries(
        &self,
        log: &Records,
        from: u64,
        bounds: Bounds,
        tell: Found<'_>,
    ) -> Result<(u64, u64), ReconciliationError> {
        let size = log.size().await?;
        let mut next = from;
        while next < size {
            let end = size.min(next + u64::from(PAGE));
            let mut ours = Vec::with_capacity(PAGE as usize);
            let mut settled = next;
            let mut read = log.entries(next..end).await?.into_iter().peekable();
            for index in next..end {
                let entry = read.next_if(|(at, _)| *at == index);
                if let Some(leaf) = entry.and_then(|(_, leaf)| leaf) {
                    if is_after(leaf.timestamp_ms, bounds.entries_until) {
                        break;
                    }
                    if let Some((serial, is_final)) = self.issued_by_us(&leaf) {
                        ours.push((index, serial, is_final));
                    }
                } else {
                    tell(Difference::EntryUnreadable { index });
                }
                settled = index + 1;
            }
            let serials: Vec<[u8; 20]> = ours.iter().map(|(_, serial, _)| *serial).collect();
            let recorded = self.ledger.recorded(&serials).await?;
            for (index, serial, is_final) in ours {
                if !recorded.contains(&serial) {
                    tell(match is_final {
                        true => Difference::IssuedUnrecorded { index, serial },
                        false => Difference::NeverRecorded { index, serial },
                    });
                }
            }
            let is_young = settled < end;
            next = settled;
            if is_young {
                break;
            }
            tokio::time::sleep(bounds.rest).await;
        }
        Ok((next, next - from))
    }

    /// The serial number of an entry of this authority, and whether its certificate was signed to the
    /// end. A precertificate is a promise; a certificate that somebody submitted is one that somebody
    /// has.
    fn issued_by_us(&self, leaf: &TileLeaf) -> Option<([u8; 20], bool)> {
        match leaf.body.certified()? {
            Certified::Precertificate {
                issuer_key_hash,
                tbs,
            } => {
                let mut issuers = self.issuers.iter();
                let is_ours = issuers.any(|issuer| *issuer_key_hash == issuer.key);
                Some((serial_of(tbs).filter(|_| is_ours)?, false))
            }
            Certified::Certificate(der) => {
                let above = leaf.chain.first();
                let mut issuers = self.issuers.iter();
                let is_ours = issuers.any(|issuer| above == Some(&issuer.certificate));
                let serial = to_be_signed(der).and_then(serial_of);
                Some((serial.filter(|_| is_ours)?, true))
            }
        }
    }
}

/// Entries by the ID of their log and their index; nothing in the place of one that cannot be read.
type Entries = BTreeMap<(Hash, u64), Option<TileLeaf>>;

/// A row and what its certificate says, if it is one.
struct Looked {
    number: i64,
    row: Result<Row, LedgerError>,
    certificate: Option<ReadBack>,
}

impl Looked {
    fn at((number, row): Numbered) -> Self {
        let certificate = row.as_ref().ok();
        Self {
            number,
            certificate: certificate.and_then(|row| ReadBack::of(&row.certificate)),
            row,
        }
    }
}

/// The first column of a row that says something else than the row's certificate. What a certificate
/// does not say (whose token it was for, and when it came) cannot be compared.
fn differing_column(row: &Row, certificate: &ReadBack) -> Option<&'static str> {
    let Row {
        serial,
        sha256,
        identity,
        identity_kind,
        issuer: _,
        subject: _,
        extensions,
        not_before,
        not_after,
        log_id,
        log_index,
        sct_timestamp_ms,
        token_sha256: _,
        key_sha256,
        issued_at: _,
        certificate: der,
    } = row;
    let ReadBack { sct, .. } = certificate;
    let agreements = [
        ("sha256", digest(&SHA256, der).as_ref() == sha256),
        ("serial", certificate.serial == *serial),
        ("identity", certificate.names(identity_kind, identity)),
        ("extensions", certificate.extensions == *extensions),
        ("not_before", certificate.not_before == *not_before),
        ("not_after", certificate.not_after == *not_after),
        ("key_sha256", certificate.key_sha256 == *key_sha256),
        ("log_id", sct.log_id == *log_id),
        ("log_index", read_leaf_index(&sct.extensions) == *log_index),
        ("sct_timestamp_ms", sct.timestamp_ms == *sct_timestamp_ms),
    ];
    let differing = agreements.into_iter().find(|(_, agrees)| !agrees);
    differing.map(|(column, _)| column)
}

fn is_after(timestamp_ms: u64, moment: OffsetDateTime) -> bool {
    i128::from(timestamp_ms) * 1_000_000 > moment.unix_timestamp_nanos()
}

/// Rows or entries that are read at once.
const PAGE: u32 = 256;
/// Indices no further apart than this are read together.
const NEIGHBOURS: u64 = 16;
/// How long a row may take to follow its entry: far longer than a request lives.
pub const GRACE: Duration = Duration::from_secs(60);
