//! The directory of one algorithm's blobs, and the durability of its names.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use super::access_time::named_by_ns;
use super::kept::KeptListing;
use crate::error::{At, Result};
use crate::sys::{Fd, Naming, Stat, Sys};

/// The kernel's clock for file times lags by up to a tick. This is ten times the longest tick.
const CLOCK_LAG_NS: i64 = 100_000_000;

/// The directory of one algorithm's blobs.
pub struct BlobDir {
    fd: Fd,
    path: PathBuf,
    /// Whether this store has made its own name survive a power loss.
    linked: AtomicBool,
    /// The time at which the last successful sync began: older names survive a power loss.
    synced_ns: AtomicI64,
    /// See [`Sys::naming`]; the root asks once for all its directories.
    naming: Arc<OnceLock<Naming>>,
    names: KeptListing,
}

impl BlobDir {
    pub(super) fn new(fd: Fd, path: PathBuf, naming: Arc<OnceLock<Naming>>) -> Self {
        let (linked, synced_ns) = (AtomicBool::new(false), AtomicI64::new(i64::MIN));
        Self { fd, path, linked, synced_ns, naming, names: KeptListing::default() }
    }

    /// The directory.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last listing of its names.
    pub(crate) fn names(&self) -> &KeptListing {
        &self.names
    }

    /// Make all its names survive a power loss.
    pub(crate) fn sync(&self, sys: &dyn Sys) -> Result<()> {
        self.synced_by(sys, || {
            // DURABILITY: a power cut before this sync loses names that were not acknowledged, and nothing else.
            sys.sync_dir(self.fd()).at("fsync", || &self.path)
        })
    }

    /// Make all its names survive a power loss by a sync of the whole file system, through a file that was opened before any of the
    /// names was made. Returns `None`, without a sync, if the system does not support that.
    pub(crate) fn sync_whole(&self, sys: &dyn Sys, file: BorrowedFd<'_>) -> Option<Result<()>> {
        let mut supported = true;
        let synced = self.synced_by(sys, || {
            // DURABILITY: as in `sync`.
            let synced = sys.sync_fs(file);
            supported = !synced.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported);
            synced.at("syncfs", || &self.path)
        });
        supported.then_some(synced)
    }

    fn synced_by(&self, sys: &dyn Sys, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = sys.now_ns();
        sync()?;
        self.synced_ns.fetch_max(began, Ordering::Relaxed);
        Ok(())
    }

    /// The syncs that are needed after a file was given a name here; all of them if that is unknown.
    pub(crate) fn naming(&self, sys: &dyn Sys) -> Naming {
        *self.naming.get_or_init(|| sys.naming(self.fd()).unwrap_or(Naming::Everything))
    }

    /// Whether a file was given its name here before the last sync, and so survives a power loss.
    pub(crate) fn covers(&self, file: &Stat) -> bool {
        before(named_by_ns(file), self.synced_ns.load(Ordering::Relaxed))
    }

    /// Whether its own name survives a power loss.
    pub(super) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Relaxed)
    }

    /// Record that its own name survives a power loss.
    pub(super) fn set_linked(&self) {
        self.linked.store(true, Ordering::Relaxed);
    }
}

/// Whether `ctime_ns` was certainly set before `moment_ns`: a change after that moment would have a later time.
pub(crate) fn before(ctime_ns: i64, moment_ns: i64) -> bool {
    ctime_ns < moment_ns.saturating_sub(CLOCK_LAG_NS)
}
