//! The store: a volume that takes in bytes.
//!
//! | File | Does |
//! | --- | --- |
//! | `put.rs` | stores blobs from memory, each in one step |
//! | `batch.rs` | stores many small blobs |
//! | `group_commit.rs` | lets calls that make files durable at the same time share one flush |
//! | `find.rs` | finds out whether a file is stored already |
//! | `collect/` | removes blobs that nothing needs any more |
//! | `stats.rs` | counts blobs, ingests and quarantined copies |
//! | `ingest/` | writes blobs in pieces, resumable |

mod batch;
pub mod collect;
mod find;
mod group_commit;
pub mod ingest;
mod put;
mod stats;

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::sys::{Linux, Sys};
use crate::volume::Volume;
use group_commit::GroupCommit;
use ingest::Ingests;

pub use batch::{BatchItem, Outcome, Source};
pub use put::Put;
pub use stats::Stats;

/// The default memory of write buffers: half a MiB for each of 256 ingests.
const WRITE_BUFFER: usize = 128 << 20;

/// The options for opening a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Change, create and lock nothing. This works on read-only file systems and containerd's content roots too.
    pub read_only: bool,
    /// Whether acknowledged changes survive a power loss, or only the end of the process.
    pub durable: bool,
    /// The most bytes that all open ingests together hold in memory before they are written.
    pub write_buffer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_only: false, durable: true, write_buffer: WRITE_BUFFER }
    }
}

/// An open store. All methods may be called from any thread.
pub struct Store {
    volume: Arc<Volume>,
    ingests: Arc<Ingests>,
    group_commit: GroupCommit,
}

impl Store {
    /// Open the store at this path. The root is created or adopted if necessary.
    pub fn open(path: &Path, options: Options) -> Result<Arc<Self>> {
        Self::open_with(path, options, Arc::new(Linux))
    }

    /// Open a store whose calls all go through `sys`.
    pub fn open_with(path: &Path, options: Options, sys: Arc<dyn Sys>) -> Result<Arc<Self>> {
        let Options { read_only, durable, write_buffer } = options;
        let volume = Arc::new(Volume::open(path, read_only, durable, sys)?);
        let ingests = Ingests::new(&volume, write_buffer);
        Ok(Arc::new(Self { volume, ingests, group_commit: GroupCommit::default() }))
    }

    /// The volume: the root with the blobs and their metadata.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// The ingests: unfinished writes.
    pub fn ingests(&self) -> &Arc<Ingests> {
        &self.ingests
    }

    /// Refuse all later calls, and release the metadata and the store's lock. May be called twice.
    ///
    /// Open blobs can still be read. Open ingests can still be closed, but not committed. In the child of a fork this does nothing,
    /// because the store belongs to the parent.
    pub fn close(&self) {
        if self.volume.close() {
            self.ingests.forget_ended();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.volume.path()).finish()
    }
}
