//! Ingests: unfinished writes under a caller's ref, resumable, fenced, and published by commit.
//!
//! `python/steelyard/content/` (`Writer`, `Ingester`, `IngestManager`) has the promises to callers, `format/state.rs` the layout
//! on the disk. Everything here relies on one invariant: **an intact slot never claims bytes that a power cut could lose or that
//! a later write has replaced**. So data is synced before a slot that counts it is written. Before an ingest is truncated to less
//! than a slot's offset, both slots are rewritten durably.
//!
//! | File | Owns |
//! | --- | --- |
//! | `mod.rs` | the ingests of a store; an open ingest: its lock, closing |
//! | `inner.rs` | the resources of an open ingest, its phases |
//! | `open.rs` | beginning and resuming |
//! | `control.rs` | an ingest's directory and state file |
//! | `write_buffer.rs` | bytes accepted and not written yet |
//! | `budget.rs` | the memory for these bytes |
//! | `queue.rs` | the ingests that have bytes to be written |
//! | `flusher.rs` | the threads that write them after the call, and hash those of several ingests side by side |
//! | `shared.rs` | an ingest that its writer shares with other processes |
//! | `tail.rs` | bytes after the last checkpoint that outlive a crash of the process |
//! | `write.rs` | append and truncate |
//! | `copy.rs` | copies of whole files into an ingest |
//! | `hashing.rs`, `digest.rs` | the hash, beside the writes or later |
//! | `own.rs` | checks whether the data belongs only to the writer |
//! | `checkpoint.rs` | checkpoints, beside the writes too |
//! | `commit.rs` | publication |
//! | `manage.rs` | status, list, abort |
//! | `live.rs` | the ingests that this store has open |
//! | `foreign.rs` | containerd's ingests, read-only |

mod budget;
mod checkpoint;
mod commit;
mod control;
mod copy;
mod digest;
mod flusher;
mod foreign;
mod hashing;
mod inner;
mod live;
mod manage;
mod open;
mod own;
mod queue;
mod shared;
mod tail;
mod write;
mod write_buffer;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use crate::digest::Algorithm;
use crate::error::{Error, Result};
use crate::model::Status;
use crate::volume::Volume;
use crate::waiting::Patience;
use inner::{Backing, Inner, Phase};
use live::Live;
use queue::Flushers;
use write_buffer::WriteBuffer;

pub use budget::Lasting;
pub use commit::Sealed;
pub use copy::Source;
pub use write_buffer::{COPY_BELOW, Notify, Pushed};

/// The ingests of a store.
pub struct Ingests {
    volume: Arc<Volume>,
    live: Live<Ingest>,
    flushers: Flushers<Ingest>,
}

/// An open ingest. Only one task at a time may use it; `abort` may be called by any task.
pub struct Ingest {
    ingests: Arc<Ingests>,
    /// The ref; empty for an anonymous ingest.
    name: String,
    since_ns: i64,
    /// The lease under which it is written.
    lease: Option<String>,
    /// The ingest itself, for the flushers.
    this: Weak<Self>,
    /// The write buffer of `inner`, which can be used while another thread writes.
    write_buffer: Arc<WriteBuffer>,
    /// Held during the wait for `inner`, so that a call between two steps of a long copy gets `inner` before the next step.
    wait_lock: Mutex<()>,
    is_copying: AtomicBool,
    /// Whether a commit has `inner`: it may wait for another process. Set while `wait_lock` is held.
    is_committing: AtomicBool,
    /// Whether the ingest is being closed: then a commit that waits for another process gives up.
    is_closing: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

impl Ingests {
    /// The ingests of a volume. At most `write_buffer` bytes of them wait to be written.
    pub(crate) fn new(volume: &Arc<Volume>, write_buffer: usize) -> Arc<Self> {
        let (volume, flushers) = (Arc::clone(volume), Flushers::new(write_buffer));
        Arc::new(Self { volume, live: Live::default(), flushers })
    }
}

impl Ingest {
    fn volume(&self) -> &Arc<Volume> {
        &self.ingests.volume
    }

    /// The caller's name of the ingest; empty for an anonymous one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes accepted so far.
    pub fn offset(&self) -> u64 {
        self.write_buffer.offset()
    }

    /// The algorithm of `digest`.
    pub fn algorithm(&self) -> Algorithm {
        self.lock().hashing.algorithm()
    }

    /// The status of the ingest.
    pub fn status(&self) -> Result<Status> {
        Ok(self.open()?.status(&self.name))
    }

    /// Make the bytes durable, keep the ingest for a resume, and free the ref. A second call does nothing.
    ///
    /// All resources are released in any case. An error means that not all accepted bytes are durable. A commit that waits for
    /// another process ends with [`Error::Closed`], without an effect.
    pub fn close(&self) -> Result<()> {
        self.end(self.closed())
    }

    /// Close the ingest as `close` does. Later calls on it fail with `reason`.
    pub fn end(&self, reason: Error) -> Result<()> {
        self.is_closing.store(true, Ordering::Release);
        let mut inner = self.lock();
        let result = match &inner.phase {
            Phase::Closed(_) | Phase::Aborted => return Ok(()),
            // The ingest belongs to another writer now, or has been removed: there is nothing to keep.
            Phase::Poisoned(Error::Aborted { .. }) => Ok(()),
            Phase::Poisoned(error) => Err(error.clone()),
            Phase::Open => inner.settle(self.volume()),
        };
        self.release(&mut inner, Phase::Closed(reason));
        result
    }

    /// The error of an ingest that its writer has closed.
    fn closed(&self) -> Error {
        Error::Closed { name: self.name.clone() }
    }

    fn lock(&self) -> Locked<'_> {
        let waiting = self.wait_lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock_in(&waiting)
    }

    fn lock_in(&self, _waiting: &MutexGuard<'_, ()>) -> Locked<'_> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { ingest: self, inner: Some(inner) }
    }

    /// Lock for a commit, until the lock is given back.
    fn lock_to_commit(&self) -> Locked<'_> {
        let waiting = self.wait_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = self.lock_in(&waiting);
        self.is_committing.store(true, Ordering::Release);
        locked
    }

    /// Lock for a caller other than the writer. The wait for a commit is like a wait for another process: it ends with `Cancelled` if
    /// the caller no longer wants the result.
    fn lock_from_outside(&self) -> Result<Locked<'_>> {
        Patience::until(|| {
            let waiting = match self.wait_lock.try_lock() {
                Ok(waiting) => waiting,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(None),
            };
            // No commit can begin now, because it needs `wait_lock`.
            let is_committing = self.is_committing.load(Ordering::Acquire);
            Ok((!is_committing).then(|| self.lock_in(&waiting)))
        })
    }

    /// Lock, or return the reason for which the ingest cannot be used any more.
    fn open(&self) -> Result<Locked<'_>> {
        let inner = self.lock();
        inner.phase.reason(&self.name).map_or(Ok(inner), Err)
    }

    /// Use the open ingest when no checkpoint is in progress, and publish its offset afterwards.
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        self.stream(|inner| {
            inner.rejoin()?;
            work(inner)
        })
    }

    /// Like `with`, but even during a checkpoint: for work that only adds bytes.
    fn stream<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let mut inner = self.open()?;
        let result = inner.rejoin_if_done().and_then(|()| work(&mut inner));
        if matches!(inner.phase, Phase::Poisoned(_)) {
            // When the caller gets the error, no checkpoint is running any more.
            inner.rejoin().ok();
        }
        inner.write_buffer.set_written(inner.written);
        result
    }

    /// Release all resources and enter a final phase. The ref becomes free before this store forgets the ingest.
    fn release(&self, inner: &mut Inner, phase: Phase) {
        // The ref must not be released while a thread still writes a checkpoint.
        inner.rejoin().ok();
        inner.write_buffer.end(phase.reason(&self.name).unwrap_or_else(|| self.closed()));
        inner.phase = phase;
        if let Some(backing) = inner.backing.take() {
            let named = matches!(backing, Backing::Named(_));
            drop(backing);
            if named {
                self.ingests.live.remove(&self.name);
            }
        }
    }
}

/// The lock of an ingest. A flusher does not wait for it: a flusher is called again when the lock is released.
struct Locked<'a> {
    ingest: &'a Ingest,
    inner: Option<MutexGuard<'a, Inner>>,
}

impl Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        self.inner.as_ref().unwrap_or_else(|| unreachable!("it is held until the end"))
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        self.inner.as_mut().unwrap_or_else(|| unreachable!("it is held until the end"))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.ingest.is_committing.store(false, Ordering::Release);
        self.inner = None;
        self.ingest.call_if(self.ingest.write_buffer.queue_if_ready());
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.volume().process.is_current() {
            // In the child of a fork, the ingest belongs to the parent, and a thread of the parent may have had its lock.
            return;
        }
        // Dropped without `close`: the state is as after a crash of the process. A drop must not sync.
        let this = &*self;
        this.release(&mut this.lock(), Phase::Closed(this.closed()));
    }
}
