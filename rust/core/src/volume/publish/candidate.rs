//! The items of a publication, and their results.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Result;
use crate::model::Labels;
use crate::volume::events::Report;
use crate::volume::staged::Staged;
use crate::waiting::Busy;

/// A file that will become a blob; its bytes are synced.
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
    /// The earliest time of the blob's creation, in ns since the epoch: the file's own time counts if it is later.
    pub created_ns: i64,
}

/// The result of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// There was no blob of that name. It is stored now.
    New {
        /// When it was created, in ns since the epoch.
        created_ns: i64,
    },
    /// The same bytes; ours were not needed.
    Existed,
    /// Our bytes are stored now; the labels and the time of creation have not changed. Before, there were other bytes, and the damaged
    /// copy is in quarantine; or the same bytes, in a file that a collection may remove.
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
    /// The result of a publication without a subscriber.
    pub(crate) fn new(published: Published, durable: bool) -> Self {
        Self { published, durable, report: None }
    }
}

/// The outcome for a file that was to get a name; `Busy` if it has none yet.
pub(crate) type Tried = Result<Result<Placed>, Busy>;
