-- A third kind of name, the username. SQLite cannot change a condition on a column, so the table is
-- written anew, row for row, with everything else as it was.

-- One row for each certificate that was signed, written before the certificate leaves.
CREATE TABLE certificates_with_usernames (
    -- The order in which rows were written; it has no other meaning.
    id INTEGER PRIMARY KEY,
    -- The serial number: 20 bytes, big-endian, leading zeros kept. A second certificate with the
    -- same serial is refused here, whatever the generator of serials does.
    serial BLOB NOT NULL UNIQUE CHECK (length(serial) = 20),
    -- SHA-256 of the certificate's DER: its fingerprint.
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    -- The subject alternative name, exactly as it stands in the certificate.
    identity TEXT NOT NULL,
    -- Which kind of subject alternative name that is.
    identity_kind TEXT NOT NULL CHECK (identity_kind IN ('email', 'uri', 'username')),
    -- The token's issuer (its iss claim).
    issuer TEXT NOT NULL,
    -- The token's subject (its sub claim), which need not be the identity.
    subject TEXT NOT NULL,
    -- Every extension value of the certificate: a JSON object from the extension's name to its value.
    extensions TEXT NOT NULL CHECK (json_type(extensions) = 'object'),
    -- Start of the certificate's validity, seconds since 1970-01-01 UTC.
    not_before INTEGER NOT NULL,
    -- End of the certificate's validity, inclusive, seconds since 1970-01-01 UTC.
    not_after INTEGER NOT NULL CHECK (not_after >= not_before),
    -- The transparency log's identifier: SHA-256 of its public key.
    log_id BLOB NOT NULL CHECK (length(log_id) = 32),
    -- The zero-based index of the precertificate's entry; null when the log did not tell it.
    log_index INTEGER CHECK (log_index >= 0),
    -- The signed certificate timestamp's time, milliseconds since 1970-01-01 UTC.
    sct_timestamp_ms INTEGER NOT NULL CHECK (sct_timestamp_ms >= 0),
    -- SHA-256 of the identity token as it was received. The token itself is never kept.
    token_sha256 BLOB NOT NULL CHECK (length(token_sha256) = 32),
    -- SHA-256 of the certified key's SubjectPublicKeyInfo.
    key_sha256 BLOB NOT NULL CHECK (length(key_sha256) = 32),
    -- When the authority issued the certificate, by its own clock, seconds since 1970-01-01 UTC.
    issued_at INTEGER NOT NULL,
    -- The certificate as it left, DER. Last, because it spills to overflow pages that a search for
    -- the other columns then need not read.
    certificate BLOB NOT NULL
) STRICT;

INSERT INTO certificates_with_usernames (
    id, serial, sha256, identity, identity_kind, issuer, subject, extensions, not_before,
    not_after, log_id, log_index, sct_timestamp_ms, token_sha256, key_sha256, issued_at,
    certificate
)
SELECT
    id, serial, sha256, identity, identity_kind, issuer, subject, extensions, not_before,
    not_after, log_id, log_index, sct_timestamp_ms, token_sha256, key_sha256, issued_at,
    certificate
FROM certificates ORDER BY id;

-- Its indexes and triggers go with it.
DROP TABLE certificates;
ALTER TABLE certificates_with_usernames RENAME TO certificates;

-- Search by fingerprint.
CREATE INDEX certificates_by_sha256 ON certificates (sha256);

-- Search by identity; the row's id follows in the index, so the newest come first without a sort.
CREATE INDEX certificates_by_identity ON certificates (identity);

-- These two stop a mistake, not an intruder, who could drop them: a ledger edited on purpose is
-- found out by comparing it with the transparency log.
CREATE TRIGGER certificates_are_not_changed BEFORE UPDATE ON certificates
BEGIN
    SELECT RAISE(ABORT, 'rows of the ledger are never changed');
END;

CREATE TRIGGER certificates_are_not_deleted BEFORE DELETE ON certificates
BEGIN
    SELECT RAISE(ABORT, 'rows of the ledger are never deleted');
END;
