//! The options and the results of a collection.

use crate::digest::Digest;

/// The options of a collection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The time that must have passed since a collection first found that no root keeps a blob.
    pub grace_ns: i64,
    /// The most bytes of blobs to leave; None to remove all garbage.
    pub max_bytes: Option<u64>,
    /// The time that must have passed since a collection first found an ingest in its present state, without a writer.
    pub ingest_age_ns: i64,
    /// Change nothing.
    pub dry_run: bool,
    /// Collect although roots may be missing.
    pub accept_roots: bool,
    /// Collect although another program has the right to; from now on this store has it.
    pub take_back: bool,
}

/// A blob that no root keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The blob.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// The time at which a collection first found that no root keeps it; `None` if this collection did.
    pub since_ns: Option<i64>,
    /// Whether it is removed.
    pub goes: bool,
}

/// The result of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blobs that were removed, or would be removed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Abandoned ingests that were removed, or would be removed.
    pub ingests: u64,
    /// Stored blobs that roots keep, by the kinds of roots in the order of [`Keep`].
    pub kept: [u64; 4],
    /// Garbage that stays.
    pub spared: u64,
    /// Its bytes.
    pub spared_bytes: u64,
    /// The bytes that remain above the limit.
    pub missed_bytes: u64,
    /// References and documents that were ignored, in sentences.
    pub warnings: Vec<String>,
}

/// The progress of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether files are being removed. Then the amounts are in bytes; before that, in blobs.
    pub removes: bool,
    /// The amount that is done.
    pub done: u64,
    /// The total amount, if it is known.
    pub total: Option<u64>,
}
