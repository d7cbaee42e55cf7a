-- The built-in Certificate Transparency log: one database, one log. Everything a batch of entries
-- changes is written in one transaction, the signed checkpoint included, so that data and
-- checkpoint cannot disagree after a crash.

-- Whose log this is. One row, written when the log is created and never changed. A process whose
-- key or origin differs does not open the database.
CREATE TABLE log (
    -- Always 1.
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- The log's name: its submission prefix without scheme and trailing slash.
    origin TEXT NOT NULL,
    -- SHA-256 of the SubjectPublicKeyInfo of the log's key.
    log_id BLOB NOT NULL CHECK (length(log_id) = 32),
    -- When the log was created, in milliseconds since 1970.
    created_ms INTEGER NOT NULL
) STRICT;

-- The tree head. One row; every batch replaces it, on the condition that size and root are still
-- those the batch was built on.
CREATE TABLE head (
    -- Always 1.
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- Number of leaves. NOT NULL is load-bearing: a batch built on another head computes NULL here
    -- and fails as a whole.
    size INTEGER NOT NULL CHECK (size BETWEEN 0 AND 1099511627776),
    -- Root hash over all leaves.
    root BLOB NOT NULL CHECK (length(root) = 32),
    -- When this head was signed, in milliseconds since 1970; no entry is younger.
    timestamp_ms INTEGER NOT NULL,
    -- The signed note that says so, as it is served.
    checkpoint TEXT NOT NULL
) STRICT;

-- The entries, in order and without gaps.
CREATE TABLE entry (
    -- Zero-based leaf index.
    leaf_index INTEGER PRIMARY KEY CHECK (leaf_index >= 0),
    -- SHA-256 of the entry's body (its type, issuer key hash and certificate, without time and
    -- index): the same certificate is logged once and answered with the same timestamp ever after.
    dedup BLOB NOT NULL UNIQUE CHECK (length(dedup) = 32),
    -- What a data tile says of the entry: time, body, leaf index, precertificate, chain. The body of
    -- a precertificate is left out where cutting the poison out of the precertificate restores it.
    leaf BLOB NOT NULL,
    -- The signature of the timestamp that was answered, DER: a second signature over the same leaf
    -- would be another one.
    sct_signature BLOB NOT NULL
) STRICT;

-- Tiles of the Merkle tree. The rightmost of each level grows in place, full ones never change.
CREATE TABLE tile (
    -- level * 2^40 + n, for tile level 0 to 5 and the zero-based position n in it.
    id INTEGER PRIMARY KEY CHECK (id >= 0),
    -- 1 to 256 hashes of 32 bytes, concatenated.
    hashes BLOB NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192)
) STRICT;

-- Certificates above the entries: intermediates and roots, each stored once.
CREATE TABLE issuer (
    -- SHA-256 of the certificate.
    fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
    -- The certificate in DER, exactly as it was submitted.
    certificate BLOB NOT NULL
) STRICT;
