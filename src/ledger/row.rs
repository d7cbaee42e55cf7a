//! A row on its way into a database, and on its way out of one.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{LedgerError, Record};

/// A record whose numbers fit the database and whose extension values are JSON text already, so
/// that the one writer does not spend its time on either.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) extensions: String,
    pub(super) log_index: Option<i64>,
    pub(super) sct_timestamp_ms: i64,
}

impl Entry {
    pub(super) fn new(record: Record) -> Result<Self, LedgerError> {
        let out_of_range = |field| move |_| LedgerError::OutOfRange { field };
        Ok(Self {
            extensions: serde_json::to_string(&record.extensions)
                .map_err(LedgerError::Extensions)?,
            log_index: record
                .log_index
                .map(i64::try_from)
                .transpose()
                .map_err(out_of_range("log index"))?,
            sct_timestamp_ms: i64::try_from(record.sct_timestamp_ms)
                .map_err(out_of_range("SCT timestamp"))?,
            record,
        })
    }
}

/// A row as every database gives it.
#[derive(sqlx::FromRow)]
pub(super) struct Stored {
    pub(super) id: i64,
    serial: Vec<u8>,
    sha256: Vec<u8>,
    identity: String,
    identity_kind: String,
    issuer: String,
    subject: String,
    extensions: String,
    not_before: i64,
    not_after: i64,
    log_id: Vec<u8>,
    log_index: Option<i64>,
    sct_timestamp_ms: i64,
    token_sha256: Vec<u8>,
    key_sha256: Vec<u8>,
    issued_at: i64,
    certificate: Vec<u8>,
}

impl Stored {
    pub(super) fn into_record(self) -> Result<Record, LedgerError> {
        let id = self.id;
        let damaged = |column| LedgerError::Damaged { id, column };
        let extensions: Option<BTreeMap<String, String>> =
            serde_json::from_str(&self.extensions).ok();
        let log_index = self.log_index.map(u64::try_from).transpose();
        Ok(Record {
            serial: bytes(&self.serial).ok_or_else(|| damaged("serial"))?,
            sha256: bytes(&self.sha256).ok_or_else(|| damaged("sha256"))?,
            identity: self.identity,
            identity_kind: self.identity_kind,
            issuer: self.issuer,
            subject: self.subject,
            extensions: extensions.ok_or_else(|| damaged("extensions"))?,
            not_before: moment(self.not_before).ok_or_else(|| damaged("not_before"))?,
            not_after: moment(self.not_after).ok_or_else(|| damaged("not_after"))?,
            log_id: bytes(&self.log_id).ok_or_else(|| damaged("log_id"))?,
            log_index: log_index.map_err(|_| damaged("log_index"))?,
            sct_timestamp_ms: u64::try_from(self.sct_timestamp_ms)
                .map_err(|_| damaged("sct_timestamp_ms"))?,
            token_sha256: bytes(&self.token_sha256).ok_or_else(|| damaged("token_sha256"))?,
            key_sha256: bytes(&self.key_sha256).ok_or_else(|| damaged("key_sha256"))?,
            issued_at: moment(self.issued_at).ok_or_else(|| damaged("issued_at"))?,
            certificate: self.certificate,
        })
    }
}

fn bytes<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn moment(seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

pub(super) const COLUMNS: &str = "serial, sha256, identity, identity_kind, issuer, subject, extensions, not_before, \
    not_after, log_id, log_index, sct_timestamp_ms, token_sha256, key_sha256, issued_at, certificate";
