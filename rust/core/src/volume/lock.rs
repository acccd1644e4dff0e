//! Locks: one writer per ref and one publisher per digest, across threads and processes.
//!
//! The kernel locks single bytes of the file `lock` for an open file description, and frees them when its last descriptor
//! is closed, however the process ends. All threads of a store share one description, so a table in memory separates them;
//! the kernel separates two stores on one root, in one process or in two.
//!
//! | Byte (`format/lock_bytes.rs`) | Gives the right |
//! | --- | --- |
//! | of a ref | to write to its ingest, as long as it is open |
//! | of a digest | to publish, delete or label that blob, for a moment |
//! | of all digests | to do so with any blob: to publish, delete or label many at once |
//! | of a lease | to protect the entries of the lease, as long as the process lives |
//! | of the collector | to collect garbage |
//! | of the waiting threads | to write to the metadata before a collection does |
//! | of a kind of service | shared: to serve the store so; exclusive: to change who collects |
//! | of the store | shared: to have the store open for writing; exclusive: to rebuild its metadata |
//!
//! A forked child closes the file at once (`sys/fork.rs`), so it neither keeps nor releases its parent's locks.

mod look;
mod part;
mod waiting;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::format::lock_bytes::{self, STORE};
use crate::format::names::{LOCK, PRIVATE_MODE};
use crate::sys::{Fd, FileId, Hold, Process, Sys, found, open_unshared};
use crate::waiting::Patience;

pub use look::DigestLook;
use part::Part;
pub(crate) use part::Service;

/// The locks of one open store.
#[derive(Clone)]
pub struct Locks(Arc<Table>);

struct Table {
    process: Process,
    sys: Arc<dyn Sys>,
    path: PathBuf,
    /// `None` in a read-only store, which takes no locks.
    file: Option<Fd>,
    /// The identity of this file.
    id: Option<FileId>,
    held: Mutex<Held>,
    freed: Condvar,
    /// Whether the byte of the waiting threads is held.
    is_waiting: AtomicBool,
}

/// The locks that the threads of this store hold.
#[derive(Default)]
struct Held {
    /// Single bytes.
    bytes: HashSet<u64>,
    /// The number of these bytes that are digests.
    digests: usize,
    /// Whether one thread has all digests.
    all: bool,
    /// The number of threads that wait for all digests. Threads that want a single digest let them go first; otherwise they might wait forever.
    wanting_all: usize,
    /// The services whose bytes are held shared, until the file is closed.
    services: Vec<Service>,
}

/// The right to write to a ref's ingest; released on drop.
pub struct RefLock {
    _guard: Guard,
}

/// The right to publish, delete or label a blob, or any blob; released on drop.
pub struct DigestLock {
    _guard: Guard,
}

/// The sign that the process of a lease lives; released on drop, and by the kernel when the process ends.
pub struct LeaseLock {
    _guard: Guard,
}

/// The right to collect garbage; released on drop.
pub(crate) struct CollectorLock {
    _guard: Guard,
}

/// The sign that there is no service of a kind; released on drop.
pub(crate) struct NoService {
    _guard: Guard,
}

/// Exclusive use of the store; released on drop.
pub struct StoreLock {
    _guard: Guard,
}

impl Locks {
    /// Open the lock file in `root`, create it if necessary, and hold the store open for writing.
    pub fn open(sys: Arc<dyn Sys>, root: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let file = open_unshared(|| open_file(sys.as_ref(), root)).at("open", || path.join(LOCK))?;
        let id = sys.stat(file.as_fd()).at("stat", || path.join(LOCK))?.id;
        let locks = Self::new(sys, path, Some(file), Some(id));
        if !locks.0.set(Part::Store.bytes(), Hold::Shared)? {
            return Err(locks.busy());
        }
        Ok(locks)
    }

    /// Return the locks of a read-only store: there are none.
    pub fn none(sys: Arc<dyn Sys>, path: &Path) -> Self {
        Self::new(sys, path, None, None)
    }

    fn new(sys: Arc<dyn Sys>, path: &Path, file: Option<Fd>, id: Option<FileId>) -> Self {
        let path = path.join(LOCK);
        let process = Process::current();
        let (held, freed, is_waiting) = Default::default();
        Self(Arc::new(Table { process, sys, path, file, id, held, freed, is_waiting }))
    }

    /// The identity of the lock file; `None` in a read-only store.
    pub(crate) fn identity(&self) -> Option<FileId> {
        self.0.id
    }

    /// Fail if the file is not the one that other processes find in `root`: they lock that file, so the locks in this one would not
    /// exclude them.
    pub(crate) fn check_file(&self, root: BorrowedFd<'_>) -> Result<()> {
        let there = found(self.0.sys.stat_at(root, LOCK)).at("stat", || &self.0.path)?;
        if there.map(|stat| stat.id) == self.0.id {
            return Ok(());
        }
        let path = self.0.path.display();
        let message =
            format!("{path}: removed or replaced while the store was open; close the store and open it again");
        Err(Error::FailedPrecondition { message })
    }

    /// Take a ref; `None` if another writer has it, in this process or another.
    pub fn try_ref(&self, ref_: &str) -> Result<Option<RefLock>> {
        Ok(self.try_byte(Part::Ref(lock_bytes::of_ref(ref_)))?.map(|guard| RefLock { _guard: guard }))
    }

    /// Take the ref of an ingest, given the name of its directory; `None` if a writer has it, or if the name is not that of an ingest.
    pub(crate) fn try_ingest(&self, name: &str) -> Result<Option<RefLock>> {
        let guard = lock_bytes::of_ingest(name).map(|byte| self.try_byte(Part::Ref(byte))).transpose()?.flatten();
        Ok(guard.map(|guard| RefLock { _guard: guard }))
    }

    /// Take a digest, and wait for its holder: a digest is only held for a moment, unless the holder is suspended. A thread must not
    /// take two. Fails with `Cancelled` if the caller no longer wants the result.
    pub fn digest(&self, digest: &Digest) -> Result<DigestLock> {
        Patience::until(|| self.try_digest(digest))
    }

    /// Take a digest, and wait for threads of this process only; `None` if another process has it.
    pub(crate) fn try_digest(&self, digest: &Digest) -> Result<Option<DigestLock>> {
        let byte = lock_bytes::of_digest(digest);
        let mut held = self.0.held();
        let mut patience = Patience::new();
        while held.all || held.wanting_all > 0 || held.bytes.contains(&byte) {
            held = self.0.wait(held, &mut patience)?;
        }
        held.bytes.insert(byte);
        held.digests += 1;
        drop(held);
        self.try_hold(Part::Digest(byte))
    }

    /// Take a digest if no thread and no process has it, and no thread waits for all digests. A thread that never waits may hold
    /// several.
    pub(crate) fn try_free_digest(&self, digest: &Digest) -> Result<Option<DigestLock>> {
        let byte = lock_bytes::of_digest(digest);
        let mut held = self.0.held();
        if held.all || held.wanting_all > 0 || !held.bytes.insert(byte) {
            return Ok(None);
        }
        held.digests += 1;
        drop(held);
        self.try_hold(Part::Digest(byte))
    }

    /// Take the digests of many blobs; `None` if another process has one of them. This thread must not hold a digest.
    ///
    /// This takes the lock of all digests. A lock for each would cost two calls each, which become slower with the number of locks in the
    /// kernel's list. A single lock is good enough, because no thread holds a digest longer than it takes to compare and to link: the
    /// long waits, for bytes and names to reach the disk, are outside. The lock of all digests includes the single ones, so no guarantee
    /// is lost. A thread waits for all of them at once while it holds none, so there is no deadlock.
    pub fn try_digests(&self, digests: &[Digest]) -> Result<Option<DigestLock>> {
        if let [only] = digests {
            return self.try_digest(only);
        }
        let mut held = self.0.none_held()?;
        held.all = true;
        drop(held);
        self.try_hold(Part::AllDigests)
    }

    /// Take the kernel's lock of a part that the table has given to this thread; `None` if another process has it.
    fn try_hold(&self, part: Part) -> Result<Option<DigestLock>> {
        // From here on, if the kernel refuses, the guard releases the part.
        let guard = self.guard(part);
        let is_held = self.0.set(part.bytes(), Hold::Exclusive)?;
        Ok(is_held.then_some(DigestLock { _guard: guard }))
    }

    /// Take the byte of a lease; `None` if another holder has it.
    pub(crate) fn try_lease(&self, lease: &str) -> Result<Option<LeaseLock>> {
        let guard = self.try_byte(Part::Lease(lock_bytes::of_lease(lease)))?;
        Ok(guard.map(|guard| LeaseLock { _guard: guard }))
    }

    /// Whether the byte of a lease is held: by this store, or by another one in this process or in another process.
    ///
    /// The table is checked first, because the kernel does not report locks of the same open file description. A store that takes no locks
    /// finds the file in `root`.
    pub(crate) fn is_lease_held(&self, lease: &str, root: BorrowedFd<'_>) -> Result<bool> {
        let Table { sys, path, file, .. } = &*self.0;
        let byte = lock_bytes::of_lease(lease);
        if self.0.held().bytes.contains(&byte) {
            return Ok(true);
        }
        let ask = |file: &Fd| Ok(sys.find_lock(file.as_fd(), byte..byte + 1).at("lock", || path)?.is_some());
        match file {
            Some(file) => ask(file),
            None => found(sys.open(root, LOCK, false)).at("open", || path)?.map_or(Ok(false), |file| ask(&file)),
        }
    }

    /// Take the right to collect; None if another collector has it.
    pub(crate) fn try_collector(&self) -> Result<Option<CollectorLock>> {
        let guard = self.try_byte(Part::Collector)?;
        Ok(guard.map(|guard| CollectorLock { _guard: guard }))
    }

    /// Hold the byte of a service until the store is closed. Returns false while [`Self::try_alone`] holds it.
    pub(crate) fn serve(&self, service: Service) -> Result<bool> {
        let bytes = Part::Service(service).bytes();
        let mut held = self.0.held();
        if held.services.contains(&service) {
            return Ok(true);
        }
        let is_held = !held.bytes.contains(&bytes.start) && self.0.set(bytes, Hold::Shared)?;
        if is_held {
            held.services.push(service);
        }
        Ok(is_held)
    }

    /// Prevent services of this kind from starting; `None` if one is running, of this store object or another.
    pub(crate) fn try_alone(&self, service: Service) -> Result<Option<NoService>> {
        let guard = self.try_byte(Part::Service(service))?;
        Ok(guard.map(|guard| NoService { _guard: guard }))
    }

    /// Take exclusive use of the store. Fails if another store object has it open for writing.
    pub fn exclusive_store(&self) -> Result<StoreLock> {
        match self.try_byte(Part::Store)? {
            Some(guard) => Ok(StoreLock { _guard: guard }),
            None => Err(self.busy()),
        }
    }

    /// Stop holding the store open for writing. Refs and digests that are held stay held.
    pub(crate) fn release_store(&self) {
        self.end_waiting();
        // While the metadata is being rebuilt, the rebuild owns the lock.
        if !self.0.held().bytes.contains(&STORE) {
            self.0.set(Part::Store.bytes(), Hold::Free).ok();
        }
    }

    /// Take a byte without waiting.
    fn try_byte(&self, part: Part) -> Result<Option<Guard>> {
        let bytes = part.bytes();
        let mut held = self.0.held();
        // The kernel would grant the byte to a description that already shares it.
        let is_served = matches!(part, Part::Service(service) if held.services.contains(&service));
        if is_served || held.bytes.contains(&bytes.start) || !self.0.set(bytes.clone(), Hold::Exclusive)? {
            return Ok(None);
        }
        held.bytes.insert(bytes.start);
        Ok(Some(self.guard(part)))
    }

    fn guard(&self, part: Part) -> Guard {
        Guard { table: Arc::clone(&self.0), part }
    }

    fn busy(&self) -> Error {
        let root = self.0.path.parent().unwrap_or(&self.0.path);
        Error::Unavailable {
            name: root.display().to_string(),
            holder: "another store object".to_owned(),
            since_ns: None,
            local: false,
        }
    }
}

impl Table {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until no thread has a digest. Threads that want one meanwhile wait until the guard is dropped.
    fn none_held(&self) -> Result<MutexGuard<'_, Held>> {
        let mut held = self.held();
        let mut patience = Patience::new();
        held.wanting_all += 1;
        while held.all || held.digests > 0 {
            held = self.wait(held, &mut patience).inspect_err(|_| {
                self.held().wanting_all -= 1;
                self.freed.notify_all();
            })?;
        }
        held.wanting_all -= 1;
        Ok(held)
    }

    /// Wait until a part is released, or for a moment: its holder may be waiting for another process.
    fn wait<'a>(&'a self, held: MutexGuard<'a, Held>, patience: &mut Patience) -> Result<MutexGuard<'a, Held>> {
        if patience.is_to_be_notified() {
            // The mutex is released first, because a notification may start threads.
            drop(held);
            patience.next()?;
            return Ok(self.held());
        }
        let moment = patience.next()?;
        Ok(self.freed.wait_timeout(held, moment).unwrap_or_else(PoisonError::into_inner).0)
    }

    fn set(&self, bytes: Range<u64>, hold: Hold) -> Result<bool> {
        let read_only = || io::Error::from_raw_os_error(libc::EROFS);
        let file = self.file.as_ref().ok_or_else(read_only);
        file.and_then(|file| self.sys.lock(file.as_fd(), bytes, hold)).at("lock", || &self.path)
    }
}

/// A part, held by a thread of this store.
struct Guard {
    table: Arc<Table>,
    part: Part,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.table.process.is_current() {
            // The parent still has the part, and a thread of the parent may hold the table's mutex.
            return;
        }
        let bytes = self.part.bytes();
        let after = if self.part == Part::Store { Hold::Shared } else { Hold::Free };
        // Both steps need the table's mutex: otherwise another thread could take the part between them, and lose it.
        let mut held = self.table.held();
        self.table.set(bytes.clone(), after).ok();
        match self.part {
            Part::AllDigests => held.all = false,
            Part::Digest(_) => held.digests -= 1,
            Part::Ref(_) | Part::Lease(_) | Part::Store | Part::Collector | Part::Service(_) => {}
        }
        held.bytes.remove(&bytes.start);
        self.table.freed.notify_all();
    }
}

/// Open the lock file, or create it. If two callers do this at the same time, both get the same file.
fn open_file(sys: &dyn Sys, root: BorrowedFd<'_>) -> io::Result<Fd> {
    match sys.open(root, LOCK, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match sys.create(root, LOCK, PRIVATE_MODE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sys.open(root, LOCK, true),
        other => other,
    }
}
