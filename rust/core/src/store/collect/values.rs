//! How to collect, and the results.

use crate::digest::Digest;

/// How to collect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long ago a collection has to have found a blob without a root.
    pub grace_ns: i64,
    /// The most bytes that the blobs are to have; None to remove all garbage.
    pub max_bytes: Option<u64>,
    /// How long ago a collection has to have found an ingest in its present state, without a writer.
    pub ingest_age_ns: i64,
    /// Change nothing.
    pub dry_run: bool,
    /// Collect although roots may be missing.
    pub accept_roots: bool,
    /// Collect although another program collects, which ends with that.
    pub take_back: bool,
}

/// A blob that no root keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The blob.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// When a collection first found that no root keeps it; None if this one did.
    pub since_ns: Option<i64>,
    /// Whether it is removed.
    pub goes: bool,
}

/// The result of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blobs that were removed, or would be.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Abandoned ingests that were removed, or would be.
    pub ingests: u64,
    /// Stored blobs that roots keep, by the kinds of roots in the order of [`Keep`].
    pub kept: [u64; 4],
    /// Garbage that stays.
    pub spared: u64,
    /// Its bytes.
    pub spared_bytes: u64,
    /// How many bytes the blobs have more than they were to have.
    pub missed_bytes: u64,
    /// References and documents that were ignored, in sentences.
    pub warnings: Vec<String>,
}

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether files are being removed: then bytes are counted, before that blobs.
    pub removes: bool,
    /// How much is done.
    pub done: u64,
    /// Of how much.
    pub total: Option<u64>,
}
