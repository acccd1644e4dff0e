//! The tables of `meta.db`, and the numbers that distinguish it from other files and other releases.
//!
//! Labels are kept twice on purpose: whole in the blob's row, where listing finds them without a join, and one by one in
//! an index that answers `label == value`. Both change in one transaction, and a rebuild reads whichever is left.

/// SQLite's `application_id` of our files: "Stly".
pub(crate) const APPLICATION_ID: i32 = 0x5374_6c79;

/// The newest `user_version` that this release reads and the one it writes.
pub(crate) const VERSION: i32 = 2;

/// Blobs of at least this size get a row when they are published, so that a second `put` of the same large file can
/// find by its size that hashing it first is worth while.
pub const LARGE: u64 = 8 << 20;

/// The setting that says when the verification of all blobs that is under way was begun, in ns since the epoch.
pub(crate) const VERIFY_STARTED: &str = "verify_started_ns";

/// How many tables and indexes of these names a file has: 4 in version 1, 5 in version 2.
pub(crate) const COUNT_TABLES: &str =
    "SELECT count(*) FROM sqlite_schema WHERE name IN ('blobs', 'blobs_by_size', 'labels', 'settings', 'images')";

/// Tables a file of version 1 has. `size` is indexed only from [`LARGE`] on: that many rows do not slow the small ones down.
pub(crate) const TABLES: &str = "
    CREATE TABLE blobs (
        digest TEXT NOT NULL PRIMARY KEY,
        size INTEGER NOT NULL CHECK (size >= 0),
        created_ns INTEGER NOT NULL,
        updated_ns INTEGER NOT NULL,
        verified_ns INTEGER,
        labels TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX blobs_by_size ON blobs (size) WHERE size >= 8388608;
    CREATE TABLE labels (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (key, value, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE settings (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The table that version 2 added.
pub(crate) const IMAGES: &str = "
    CREATE TABLE images (
        name TEXT NOT NULL PRIMARY KEY,
        digest TEXT NOT NULL,
        size INTEGER CHECK (size >= 0),
        media_type TEXT,
        annotations TEXT,
        created_ns INTEGER NOT NULL,
        updated_ns INTEGER NOT NULL,
        labels TEXT
    ) STRICT, WITHOUT ROWID;
";

/// The tables of leases: a file of any version gets them with its first lease. Older releases neither read nor change them, and
/// lose them in a rebuild. `kind` is one of [`BLOB`] and [`INGEST`], `name` a digest or a ref.
pub(crate) const LEASES: &str = "
    CREATE TABLE IF NOT EXISTS leases (
        id TEXT NOT NULL PRIMARY KEY,
        created_ns INTEGER NOT NULL,
        expires_ns INTEGER,
        boot TEXT,
        boot_expires_ns INTEGER,
        process INTEGER,
        labels TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS lease_resources (
        lease TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (lease, kind, name)
    ) STRICT, WITHOUT ROWID;
";

/// A resource that is a blob.
pub(crate) const BLOB: &str = "blob";

/// A resource that is an ingest.
pub(crate) const INGEST: &str = "ingest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_index_begins_at_large() {
        assert!(TABLES.contains(&format!("WHERE size >= {LARGE}")));
    }
}
