//! The store: a root that is open, with its locks and its metadata.
//!
//! | File | Does |
//! | --- | --- |
//! | `store/put.rs` | blobs from memory, in one go |
//! | `store/batch.rs` | many small ones |
//! | `round.rs` | who makes something durable at the same time shares the flush |
//! | `store/find.rs` | files that are stored already |
//! | `store/remove.rs` | delete, quarantine |
//! | `store/stats.rs` | how much there is |
//! | `publish.rs` | the way by which all bytes become blobs |
//! | `ingest/` | blobs in pieces, resumable |
//! | `labels.rs`, `walk.rs`, `meta/` | what is known of blobs |

mod batch;
mod find;
mod put;
mod remove;
mod stats;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::digest::Algorithm;
use crate::error::{At, Error, Result};
use crate::format::names::BLOB_MODE;
use crate::ingest::{Drains, Live};
use crate::layout::Root;
use crate::lock::Locks;
use crate::meta::{Meta, Mode};
use crate::round::Rounds;
use crate::sys::{Layer, Linux, Policy, Process, Sys, watch};
use crate::temp::{self, Temp};
use crate::users::{User, Users};

pub use batch::{BatchItem, Outcome, Source};
pub use put::Put;
pub use stats::Stats;

/// Half a MiB for each of 256 ingests.
const WRITE_BUFFER: usize = 128 << 20;

/// How a store is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Change nothing, make nothing, lock nothing: also for read-only file systems and containerd's content roots.
    pub read_only: bool,
    /// Whether what was acknowledged survives a power loss, or only the end of the process.
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
    pub(crate) process: Process,
    pub(crate) sys: Arc<dyn Sys>,
    pub(crate) root: Root,
    pub(crate) locks: Locks,
    pub(crate) meta: Meta,
    pub(crate) options: Options,
    pub(crate) ingests: Live,
    pub(crate) drains: Drains,
    pub(crate) rounds: Rounds,
    notes: Vec<String>,
    closed: AtomicBool,
    users: Arc<Users>,
    pub(crate) user: User,
}

impl Store {
    /// Open the store at that path; its root is made or adopted if need be.
    pub fn open(path: &Path, options: Options) -> Result<Arc<Self>> {
        Self::open_with(path, options, Arc::new(Linux))
    }

    /// Open a store whose calls all go through `sys`.
    pub fn open_with(path: &Path, options: Options, sys: Arc<dyn Sys>) -> Result<Arc<Self>> {
        let Options { read_only, durable, write_buffer } = options;
        watch().at("prepare for a fork", || path)?;
        let sys: Arc<dyn Sys> = Arc::new(Layer::new(sys, Policy { durable }));
        let root = Root::open(Arc::clone(&sys), path, read_only)?;
        let locks = if read_only {
            Locks::none(Arc::clone(&sys), root.path())
        } else {
            Locks::open(Arc::clone(&sys), root.dir(), root.path())?
        };
        if !read_only {
            temp::sweep(&root);
        }
        let fresh = root.is_new();
        let mode = Mode { read_only, durable, fresh };
        let (meta, notes) = Meta::open(Arc::clone(&sys), &root.dir(), root.path(), mode)?;
        if !read_only {
            root.mark()?;
        }
        let users = Arc::<Users>::default();
        let user = users.enter();
        Ok(Arc::new(Self {
            process: Process::current(),
            sys,
            root,
            locks,
            meta,
            options,
            ingests: Live::default(),
            drains: Drains::new(write_buffer),
            rounds: Rounds::default(),
            notes,
            closed: AtomicBool::new(false),
            users,
            user,
        }))
    }

    /// The root's absolute path.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Whether the store was opened to change nothing.
    pub fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// What people should know of this store: that labels were lost, for example.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        // Damage may have been found since.
        notes.extend(self.meta.damage().filter(|note| !self.notes.contains(note)));
        notes
    }

    /// Refuse all later calls, and let go of the metadata and of the store's lock. May be called twice.
    ///
    /// Blobs that are open can still be read. Ingests that are open can still be closed, but not committed. In a child of a
    /// fork it does nothing: the store is the parent's.
    pub fn close(&self) {
        if self.process.is_current() && !self.closed.swap(true, Ordering::AcqRel) {
            self.meta.close();
            self.locks.leave();
            self.drains.forget_ended();
        }
    }

    /// Who has files of the store open: the store itself, until the last of its ingests and walks is dropped, and its blobs.
    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users)
    }

    /// Refuse a call to a closed store, and one of a child of the process that opened it.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.process.check(|| format!("store {}", self.path().display()))?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::store_closed(self.path().display()));
        }
        Ok(())
    }

    /// Refuse a call that would change a closed or read-only store.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.options.read_only {
            return Err(Error::Io {
                errno: libc::EROFS,
                path: Some(self.path().to_owned()),
                operation: "write to a store that is open read-only",
            });
        }
        Ok(())
    }

    /// Make a file without a name, for a blob of that algorithm: read-only from the start, but for its maker.
    pub(crate) fn temp(&self, algorithm: Algorithm) -> Result<Temp> {
        let dir = self.root.make_blob_dir(algorithm)?;
        Temp::create(&self.root, dir.fd(), BLOB_MODE)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.path()).finish()
    }
}
