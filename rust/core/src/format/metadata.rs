//! The tables of `meta.db`, and the numbers that distinguish it from other files and other releases.
//!
//! Labels are kept twice on purpose: together in the blob's row, where a listing finds them without a join, and one by one in
//! an index that answers `label == value`. Both change in one transaction, and a rebuild reads the one that is left.

/// SQLite's `application_id` of these files: "Stly".
pub(crate) const APPLICATION_ID: i32 = 0x5374_6c79;

/// The newest `user_version` that this release reads and the one it writes.
pub(crate) const VERSION: i32 = 2;

/// Blobs of at least this size get a row when they are published. A second `put` of the same large file then finds a blob of
/// its size, and so knows that hashing the file first may save the write.
pub const LARGE: u64 = 8 << 20;

/// The setting with the start time, in ns since the epoch, of a verification of all blobs that is in progress.
pub(crate) const VERIFY_STARTED: &str = "verify_started_ns";

/// The setting that identifies `meta.db` and `steelyard.json` as belonging together: a random ID, from the first collection on.
pub(crate) const STORE_ID: &str = "store_id";

/// The setting that says that image names, labels or leases may have been lost: the file was missing, or was rebuilt.
pub(crate) const ROOTS_LOST: &str = "roots_lost";

/// The setting that identifies the `index.json` that was accepted as naming no blobs to keep.
pub(crate) const ACCEPTED_INDEX: &str = "accepted_index";

/// The setting that says that a containerd collects this store's garbage.
pub(crate) const FOREIGN_COLLECTOR: &str = "foreign_collector";

/// The setting with the default grace time of collections, in ns.
pub(crate) const GRACE: &str = "grace_ns";

/// The setting with the default age of abandoned ingests for collections, in ns.
pub(crate) const INGEST_AGE: &str = "ingest_age_ns";

/// The setting that counts the collections.
pub(crate) const COLLECTIONS: &str = "collections";

/// The setting that exists while a collection is in progress.
pub(crate) const COLLECTING: &str = "collecting";

/// The setting with the ID of a boot, and the wall clock and the clock since the boot at the first collection of that boot.
pub(crate) const BOOT_CLOCK: &str = "boot_clock";

/// The setting with the process that began the latest collection.
pub(crate) const COLLECTOR_PROCESS: &str = "collector_process";

/// Counts the tables and indexes with these names: 4 in a file of version 1, 5 in version 2.
pub(crate) const COUNT_TABLES: &str =
    "SELECT count(*) FROM sqlite_schema WHERE name IN ('blobs', 'blobs_by_size', 'labels', 'settings', 'images')";

/// The tables of a file of version 1. `size` is indexed only from [`LARGE`] on, so that the index does not slow down small blobs.
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

/// The tables of leases: a file of any version gets them with its first lease. Older releases neither read nor change them, but
/// a rebuild by an older release loses them. `kind` is [`BLOB`] or [`INGEST`], `name` a digest or a ref.
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

/// The tables of collections: a file gets them with its first collection.
///
/// While a collection is in progress, triggers record each newly protected blob in the collection's log, `protected`, in the
/// same transaction. So no statement that sets an image name, a label or an entry of a lease can bypass the log.
pub(crate) const COLLECTION: &str = "
    CREATE TABLE IF NOT EXISTS notes (
        digest TEXT NOT NULL PRIMARY KEY,
        inode INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        wall_ns INTEGER NOT NULL,
        boot TEXT,
        boot_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS documents (
        digest TEXT NOT NULL PRIMARY KEY,
        whole INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS edges (
        document TEXT NOT NULL,
        blob TEXT NOT NULL,
        role INTEGER NOT NULL,
        PRIMARY KEY (document, blob, role)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS protected (
        number INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TRIGGER IF NOT EXISTS protect_image AFTER INSERT ON images
    WHEN EXISTS (SELECT 1 FROM settings WHERE name = 'collecting') BEGIN
        INSERT OR IGNORE INTO protected (digest) VALUES (NEW.digest);
    END;
    CREATE TRIGGER IF NOT EXISTS protect_changed_image AFTER UPDATE ON images
    WHEN EXISTS (SELECT 1 FROM settings WHERE name = 'collecting') BEGIN
        INSERT OR IGNORE INTO protected (digest) VALUES (NEW.digest);
    END;
    CREATE TRIGGER IF NOT EXISTS protect_root AFTER INSERT ON labels
    WHEN NEW.key = 'containerd.io/gc.root' AND EXISTS (SELECT 1 FROM settings WHERE name = 'collecting') BEGIN
        INSERT OR IGNORE INTO protected (digest) VALUES (NEW.digest);
    END;
    CREATE TRIGGER IF NOT EXISTS protect_reference AFTER INSERT ON labels
    WHEN NEW.key >= 'containerd.io/gc.ref.content' AND NEW.key < 'containerd.io/gc.ref.content0'
    AND EXISTS (SELECT 1 FROM settings WHERE name = 'collecting') BEGIN
        INSERT OR IGNORE INTO protected (digest) VALUES (NEW.value);
    END;
    CREATE TRIGGER IF NOT EXISTS protect_leased AFTER INSERT ON lease_resources
    WHEN NEW.kind = 'blob' AND EXISTS (SELECT 1 FROM settings WHERE name = 'collecting') BEGIN
        INSERT OR IGNORE INTO protected (digest) VALUES (NEW.name);
    END;
";

/// The beginning of the key of a note of an ingest. No digest begins with it.
const INGEST_NOTE: &str = "ingest/";

/// The pattern of the keys of all notes of ingests.
pub(crate) const INGEST_NOTES: &str = "ingest/%";

/// The key of the note of an ingest, from the name of its directory.
pub(crate) fn ingest_note(name: &str) -> String {
    format!("{INGEST_NOTE}{name}")
}

/// The label of a blob that is kept although nothing refers to it.
pub(crate) const GC_ROOT: &str = "containerd.io/gc.root";

/// The label with the digest of a blob that the labelled blob needs. Labels that begin with it and a dot or a slash have the same meaning.
pub(crate) const GC_REFERENCE: &str = "containerd.io/gc.ref.content";

/// The first key after all that begin with [`GC_REFERENCE`] and a dot or a slash.
pub(crate) const GC_REFERENCE_END: &str = "containerd.io/gc.ref.content0";

/// The label with the time at which an image name, or the `gc.root` of a blob, stops protecting blobs.
pub(crate) const GC_EXPIRE: &str = "containerd.io/gc.expire";

/// The label of a lease that protects its blobs, but not the blobs that they name.
pub(crate) const GC_FLAT: &str = "containerd.io/gc.flat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_index_begins_at_large() {
        assert!(TABLES.contains(&format!("WHERE size >= {LARGE}")));
    }
}
