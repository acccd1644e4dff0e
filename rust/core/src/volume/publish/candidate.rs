//! The items of a publication, and their results.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Result;
use crate::model::Labels;
use crate::volume::events::Report;
use crate::volume::staged::Staged;
use crate::waiting::Busy;

/// A file that shall be a blob; its bytes are synced.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// The file.
    pub staged: Staged<'a>,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For a new blob only.
    pub labels: Option<&'a Labels>,
    /// When the blob was created at the earliest: its file's own time counts if that is later. ns since the epoch.
    pub created_ns: i64,
}

/// The result of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// No blob of that name: it is stored now.
    New {
        /// When it was created, in ns since the epoch.
        created_ns: i64,
    },
    /// The same bytes; ours were not needed.
    Existed,
    /// Ours are stored now, labels and time of creation are as they were. There were other bytes, and the damaged copy is in
    /// quarantine; or the same bytes, in a file that a collection may remove.
    Healed,
}

/// A name that holds our bytes, and whether that survives a power loss yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The result once it does.
    pub published: Published,
    /// Whether the directory need not be synced for it.
    pub durable: bool,
    /// For subscribers, once it is acknowledged.
    pub report: Option<Arc<Report>>,
}

impl Placed {
    /// The result of a publication that no subscriber asks for.
    pub(crate) fn new(published: Published, durable: bool) -> Self {
        Self { published, durable, report: None }
    }
}

/// The outcome for a file that was to get a name; `Busy` if it has none yet.
pub(crate) type Tried = Result<Result<Placed>, Busy>;
