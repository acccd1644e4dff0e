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
    /// A blob with the same bytes exists; the new file was not needed.
    Existed,
    /// The new file has replaced the stored one; labels and creation time have not changed. The stored file was either damaged, and is now
    /// in quarantine, or had the same bytes, but a collection could have removed it.
    Healed,
}

/// A name that leads to the bytes of the candidate, and whether it already survives a power loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The result once the name is durable.
    pub published: Published,
    /// Whether the name is durable without a sync of the directory.
    pub durable: bool,
    /// The report to subscribers, for the time when the result is acknowledged.
    pub report: Option<Arc<Report>>,
}

impl Placed {
    /// The result of a publication without a subscriber.
    pub(crate) fn new(published: Published, durable: bool) -> Self {
        Self { published, durable, report: None }
    }
}

/// The outcome for a file that should get a name; `Busy` if it has none yet.
pub(crate) type Tried = Result<Result<Placed>, Busy>;
