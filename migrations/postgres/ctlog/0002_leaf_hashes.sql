-- The hashes of the growing tile at the bottom stand with their entries. A tile's row, which may have
-- 8 kB, is not written again with every batch: at level 0 it is written once, when the tile is full.
ALTER TABLE ctlog.entry ADD COLUMN
    -- The leaf's hash in the tree (RFC 6962 section 2.1). Read for as long as the row of its tile does not
    -- hold it. Null for entries from before there was this column, or that were moved here: the tile's row
    -- holds theirs.
    leaf_hash BYTEA;
-- "Not valid": rows that are there already are not looked at, nor does anybody wait for that.
ALTER TABLE ctlog.entry ADD CONSTRAINT entry_leaf_hash CHECK (length(leaf_hash) = 32) NOT VALID;
