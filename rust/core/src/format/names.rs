//! The names of files and directories, and the modes of files.
//!
//! Every name is fixed, or comes from a parsed [`Digest`] or from the hash of a ref, so untrusted text is never part of a path.

use std::fmt::Write as _;

use sha2::Digest as _;

use crate::digest::{Algorithm, Digest};

/// The directory of the blobs, with a directory for each algorithm.
pub(crate) const BLOBS: &str = "blobs";
/// The directory of the ingests, with a directory for each.
pub(crate) const INGESTS: &str = "ingest";
/// The directory of damaged copies, with a directory for each algorithm.
pub(crate) const QUARANTINE: &str = "quarantine";
/// The directory of blobs that a collection took out of `blobs/`, with a directory for each algorithm.
pub(crate) const CONDEMNED: &str = "condemned";
/// The index of an image layout; a root that was a layout has it.
pub(crate) const LAYOUT_INDEX: &str = "index.json";
/// The directory of temporary files, where the file system has no unnamed ones.
pub(crate) const TMP: &str = "tmp";
/// The marker, which a complete root has.
pub(crate) const MARKER: &str = "steelyard.json";
/// The file that keeps room on the disk for collections.
pub(crate) const RESERVE: &str = "reserve";
/// The file whose bytes are locked.
pub(crate) const LOCK: &str = "lock";

/// The metadata.
pub(crate) const META: &str = "meta.db";
/// The write-ahead log of the metadata.
pub(crate) const META_WAL: &str = "meta.db-wal";
/// The index of that log.
pub(crate) const META_SHM: &str = "meta.db-shm";
/// The prefix of the names of metadata files under construction.
pub(crate) const META_NEW: &str = "meta.db.new-";
/// The suffix of SQLite's write-ahead log.
pub(crate) const WAL_SUFFIX: &str = "-wal";
/// The suffix of the index of SQLite's log.
pub(crate) const SHM_SUFFIX: &str = "-shm";
/// The suffix of SQLite's rollback journal.
pub(crate) const JOURNAL_SUFFIX: &str = "-journal";

/// The bytes of an ingest. containerd uses the same name.
pub(crate) const DATA: &str = "data";
/// The state file of an ingest.
pub(crate) const STATE: &str = "state";
/// The notes of a writer about bytes after the last checkpoint.
pub(crate) const TAIL: &str = "tail";

/// The mode of every blob.
pub(crate) const BLOB_MODE: u32 = 0o444;
/// The mode of every other file.
pub(crate) const PRIVATE_MODE: u32 = 0o600;
/// The mode of the directories of blobs.
pub(crate) const BLOBS_MODE: u32 = 0o755;
/// The mode of every other directory.
pub(crate) const PRIVATE_DIR_MODE: u32 = 0o700;

/// The name of a file that SQLite creates beside a metadata file.
pub(crate) fn beside(meta: &str, suffix: &str) -> String {
    format!("{meta}{suffix}")
}

/// The name of an ingest's directory: the hash of its ref, as in containerd.
pub(crate) fn ingest_name(ref_: &str) -> String {
    let mut name = String::with_capacity(64);
    for byte in sha2::Sha256::digest(ref_) {
        // Writing to a string cannot fail.
        write!(name, "{byte:02x}").unwrap_or_default();
    }
    name
}

/// The name in quarantine of a damaged copy of a blob; copies are numbered.
pub(crate) fn quarantine_name(digest: &Digest, number: u64) -> String {
    format!("{}.{number}", digest.encoded())
}

/// The digest of the blob whose damaged copy has this name in quarantine.
pub(crate) fn quarantined_blob(algorithm: Algorithm, name: &str) -> Option<Digest> {
    let (encoded, number) = name.split_once('.')?;
    number.parse::<u64>().ok()?;
    Digest::parse(&format!("{algorithm}:{encoded}")).ok()
}

/// The name of a condemned blob, with the number of the collection.
pub(crate) fn condemned_name(digest: &Digest, number: u64) -> String {
    format!("{}.{number}", digest.encoded())
}

/// The name of a temporary file: the `count`th of a process, created at `now_ns`.
pub(crate) fn temp_name(pid: u32, now_ns: i64, count: u64) -> String {
    format!("{pid}-{now_ns}-{count}")
}

/// The name of a metadata file under construction.
pub(crate) fn new_meta_name(pid: u32, now_ns: i64) -> String {
    format!("{META_NEW}{pid}-{now_ns}")
}

/// The name of a damaged metadata file that was moved aside; such files are numbered.
pub(crate) fn damaged_meta_name(number: u64) -> String {
    format!("{META}.damaged-{number}")
}
