-- The built-in Certificate Transparency log, for any number of processes that write to it at once.
-- It is the schema of SQLite with one difference: a database may hold several logs, so every row
-- says whose it is. Everything that a batch of entries changes is written in one transaction, the
-- signed checkpoint included, so that data and checkpoint cannot disagree after a crash.
--
-- Only "log" is referenced by a foreign key: a check for each of a thousand entries would find the
-- same row a thousand times.

-- The logs, one row each, written when a log is created or moved here.
CREATE TABLE ctlog.log (
    -- A short name for the log within this database, in every other table.
    id INTEGER PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    -- The log's name: its submission prefix without scheme and trailing slash. No two logs share one.
    origin TEXT NOT NULL UNIQUE,
    -- SHA-256 of the SubjectPublicKeyInfo of the log's key: what the log is found by.
    log_id BYTEA NOT NULL UNIQUE CHECK (length(log_id) = 32),
    -- When the log was created, in milliseconds since 1970.
    created_ms BIGINT NOT NULL,
    -- False while the log is being moved here from another database. Nobody opens it until then.
    is_complete BOOLEAN NOT NULL
);

-- The tree heads, one a log. Every batch replaces its log's head on the condition that it is still the
-- one the batch was built on; whoever holds the row's lock has the turn to write to the log.
CREATE TABLE ctlog.head (
    -- Whose.
    log INTEGER PRIMARY KEY REFERENCES ctlog.log (id),
    -- Number of leaves.
    size BIGINT NOT NULL CHECK (size BETWEEN 0 AND 1099511627776),
    -- Root hash over all leaves.
    root BYTEA NOT NULL CHECK (length(root) = 32),
    -- When this head was signed, in milliseconds since 1970; no entry is younger. It grows with every
    -- batch, even an empty one, so that no two heads of a log are the same.
    timestamp_ms BIGINT NOT NULL,
    -- The signed note that says so, as it is served.
    checkpoint TEXT NOT NULL
-- One row, rewritten all the time: room for its versions on its own page.
) WITH (fillfactor = 10);

-- The entries, in order and without gaps.
CREATE TABLE ctlog.entry (
    -- Whose.
    log INTEGER NOT NULL,
    -- Zero-based leaf index.
    leaf_index BIGINT NOT NULL CHECK (leaf_index >= 0),
    -- SHA-256 of the entry's body (its type, issuer key hash and certificate, without time and
    -- index): the same certificate is logged once and answered with the same timestamp ever after,
    -- whichever process is asked.
    dedup BYTEA NOT NULL CHECK (length(dedup) = 32),
    -- What a data tile says of the entry: time, body, leaf index, precertificate, chain. The body of
    -- a precertificate is left out where cutting the poison out of the precertificate restores it.
    leaf BYTEA NOT NULL,
    -- The signature of the timestamp that was answered, DER: a second signature over the same leaf
    -- would be another one.
    sct_signature BYTEA NOT NULL,
    CONSTRAINT entry_place PRIMARY KEY (log, leaf_index),
    CONSTRAINT entry_once UNIQUE (log, dedup)
);
-- Keys and signatures do not compress; an entry of usual size stays in its row.
ALTER TABLE ctlog.entry ALTER COLUMN leaf SET STORAGE EXTERNAL;
ALTER TABLE ctlog.entry SET (toast_tuple_target = 8160);

-- Tiles of the Merkle tree. The rightmost of each level grows in place, full ones never change.
CREATE TABLE ctlog.tile (
    -- Whose.
    log INTEGER NOT NULL,
    -- Tile level, 0 to 5; level 0 holds the leaves' hashes.
    level SMALLINT NOT NULL CHECK (level BETWEEN 0 AND 5),
    -- Zero-based position in the level.
    n BIGINT NOT NULL CHECK (n BETWEEN 0 AND 1099511627775),
    -- 1 to 256 hashes of 32 bytes, concatenated.
    hashes BYTEA NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    CONSTRAINT tile_place PRIMARY KEY (log, level, n)
);
-- Hashes do not compress.
ALTER TABLE ctlog.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Certificates above the entries: intermediates and roots, each stored once for each log.
CREATE TABLE ctlog.issuer (
    -- Whose.
    log INTEGER NOT NULL,
    -- SHA-256 of the certificate.
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    -- The certificate in DER, exactly as it was submitted.
    certificate BYTEA NOT NULL,
    CONSTRAINT issuer_once PRIMARY KEY (log, fingerprint)
);
