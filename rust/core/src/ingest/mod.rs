//! Ingests: unfinished writes under a caller's ref, resumable, fenced, and published by commit.
//!
//! What is promised is written in `python/steelyard/content.py` (`Writer`, `Ingester`, `IngestManager`); what is on the
//! disk in `format/state.rs`. One invariant carries everything here: **a whole slot never claims bytes that a power cut could
//! take or that a later write replaced**. So data is synced before a slot that counts it is written, and when the ingest
//! goes back behind a slot's offset both slots are rewritten, durably, before the first byte is touched.
//!
//! | File | Owns |
//! | --- | --- |
//! | `mod.rs` | the struct, its phases, closing |
//! | `open.rs` | beginning and resuming |
//! | `control.rs` | an ingest's directory and state file |
//! | `ring.rs` | bytes accepted and not written yet |
//! | `budget.rs` | the memory for those |
//! | `drain.rs` | who writes them behind the caller, and hashes those of several ingests side by side |
//! | `shared.rs` | an ingest that is not this writer's alone |
//! | `tail.rs` | bytes after the last checkpoint that outlive a crash of the process |
//! | `write.rs` | bytes in, and back by truncation |
//! | `copy.rs` | whole files in |
//! | `hashing.rs` | the hash, beside the writes or behind them |
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
mod drain;
mod foreign;
mod hashing;
mod live;
mod manage;
mod open;
mod ring;
mod shared;
mod tail;
mod write;

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::format::names::DATA;
use crate::hash::Hasher;
use crate::lock::RefLock;
use crate::model::Status;
use crate::own::Own;
use crate::store::Store;
use crate::sys::Fd;
use crate::temp::{Staged, Temp};
use crate::waiting::Patience;

pub use budget::Lasting;
use checkpoint::Away;
use control::Control;
pub use copy::Source;
pub(crate) use drain::Drains;
use hashing::Hashing;
pub(crate) use live::Live;
use ring::Ring;
pub use ring::{Pushed, SMALL, Tell};
use tail::Notes;

/// An open ingest. One task at a time may use it; `abort` may come from any.
pub struct Ingest {
    store: Arc<Store>,
    /// The ref; empty for an anonymous ingest.
    name: String,
    since_ns: i64,
    /// The ingest itself, for those who write behind the caller.
    this: Weak<Self>,
    /// That of `inner`, which can be used while another thread writes.
    ring: Arc<Ring>,
    /// Held while `inner` is waited for, so that who comes between two steps of a long copy is next.
    turn: Mutex<()>,
    is_copying: AtomicBool,
    /// Whether a commit has `inner`: it may wait for another process. Set while the turn is held.
    is_committing: AtomicBool,
    inner: Mutex<Inner>,
}

/// What an ingest can still do.
enum Phase {
    Open,
    /// With the error of what is asked of it later.
    Closed(Error),
    Aborted,
    /// A write or sync failed. What the disk holds is unknown and a repeated sync may lie, so nothing is tried again.
    Poisoned(Error),
}

struct Inner {
    phase: Phase,
    /// None once the ingest is closed, aborted or committed.
    backing: Option<Backing>,
    hashing: Hashing,
    /// A hash of what the file holds, from its first byte on; only where the commit shall verify.
    recheck: Option<Hasher>,
    /// Bytes accepted but not yet written.
    ring: Arc<Ring>,
    /// Bytes in the data file.
    written: u64,
    /// Bytes for which the kernel was asked to begin writing.
    written_back: u64,
    /// Bytes that the last checkpoint covers.
    durable: u64,
    /// Whether anything differs from the last checkpoint.
    dirty: bool,
    total: Option<u64>,
    expected: Option<Digest>,
    started_ns: i64,
    updated_ns: i64,
}

/// What an open ingest holds of the system.
enum Backing {
    /// That of a ref.
    Named(Box<Named>),
    /// An anonymous one: a file that nobody else sees.
    Unnamed(Temp),
}

/// What the ingest of a ref holds; given back in this order, the ref last.
struct Named {
    data: Arc<Fd>,
    own: Own,
    notes: Notes,
    /// Whether the data may only be published as a copy, because another process had it open for writing.
    is_shared: bool,
    path: PathBuf,
    /// None while a checkpoint is under way, which has it.
    control: Option<Control>,
    away: Option<Away>,
    _lock: RefLock,
}

impl Ingest {
    /// The caller's name of the ingest; empty for an anonymous one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes accepted so far.
    pub fn offset(&self) -> u64 {
        self.ring.offset()
    }

    /// What `digest` computes.
    pub fn algorithm(&self) -> Algorithm {
        self.lock().hashing.algorithm()
    }

    /// What is known of the ingest.
    pub fn status(&self) -> Result<Status> {
        Ok(self.open()?.status(&self.name))
    }

    /// Make the bytes durable, keep the ingest for a resume, and free the ref. A second call does nothing.
    ///
    /// Everything is released whatever happens; an error says that not all accepted bytes are durable.
    pub fn close(&self) -> Result<()> {
        self.end(self.closed())
    }

    /// Likewise; whatever is asked of the ingest later fails for that reason.
    pub fn end(&self, reason: Error) -> Result<()> {
        let mut inner = self.lock();
        let result = match &inner.phase {
            Phase::Closed(_) | Phase::Aborted => return Ok(()),
            // The ingest is another writer's now, or gone: nothing of it is left to be kept.
            Phase::Poisoned(Error::Aborted { .. }) => Ok(()),
            Phase::Poisoned(error) => Err(error.clone()),
            Phase::Open => inner.settle(&self.store),
        };
        self.release(&mut inner, Phase::Closed(reason));
        result
    }

    /// The error of an ingest that its writer has closed.
    fn closed(&self) -> Error {
        Error::Closed { name: self.name.clone() }
    }

    fn lock(&self) -> Locked<'_> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock_in(&turn)
    }

    fn lock_in(&self, _turn: &MutexGuard<'_, ()>) -> Locked<'_> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { ingest: self, inner: Some(inner) }
    }

    /// Lock for a commit, until the lock is given back.
    fn lock_to_commit(&self) -> Locked<'_> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = self.lock_in(&turn);
        self.is_committing.store(true, Ordering::Release);
        locked
    }

    /// Lock for a caller who is not the writer. A commit is waited for as another process is; `Cancelled` if the caller no
    /// longer wants the result meanwhile.
    fn lock_from_outside(&self) -> Result<Locked<'_>> {
        Patience::until(|| {
            let turn = match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(None),
            };
            // No commit can begin without the turn.
            let is_committing = self.is_committing.load(Ordering::Acquire);
            Ok((!is_committing).then(|| self.lock_in(&turn)))
        })
    }

    /// Lock, or say why the ingest cannot be used any more.
    fn open(&self) -> Result<Locked<'_>> {
        let inner = self.lock();
        inner.phase.reason(&self.name).map_or(Ok(inner), Err)
    }

    /// Use the open ingest when no checkpoint is under way, and publish its offset afterwards.
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        self.stream(|inner| {
            inner.rejoin()?;
            work(inner)
        })
    }

    /// Likewise, also beside a checkpoint: for what only adds bytes.
    fn stream<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let mut inner = self.open()?;
        let result = inner.rejoin_if_done().and_then(|()| work(&mut inner));
        if matches!(inner.phase, Phase::Poisoned(_)) {
            // When the caller hears of it nothing is under way any more.
            inner.rejoin().ok();
        }
        inner.ring.set_written(inner.written);
        result
    }

    /// Give everything back and enter a final phase. The ref is free for others before this store forgets the ingest.
    fn release(&self, inner: &mut Inner, phase: Phase) {
        // The ref is not given back under a thread that still writes a checkpoint of it.
        inner.rejoin().ok();
        inner.ring.end(phase.reason(&self.name).unwrap_or_else(|| self.closed()));
        inner.phase = phase;
        if let Some(backing) = inner.backing.take() {
            let named = matches!(backing, Backing::Named(_));
            drop(backing);
            if named {
                self.store.ingests.remove(&self.name);
            }
        }
    }
}

impl Phase {
    /// Why the ingest cannot be used, unless it can.
    fn reason(&self, name: &str) -> Option<Error> {
        match self {
            Self::Open => None,
            Self::Aborted => Some(Error::Aborted { name: name.to_owned() }),
            Self::Closed(error) | Self::Poisoned(error) => Some(error.clone()),
        }
    }
}

/// The lock of an ingest. Who writes behind the caller does not wait for it; he is called again when it is given back.
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
        self.ingest.call_if(self.ingest.ring.look());
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.store.process.is_current() {
            // In a child of a fork: the ingest is the parent's, and a thread of the parent may have its lock.
            return;
        }
        // Forgotten without `close`: what a crash of the process leaves counts. A drop is no place for a sync.
        let this = &*self;
        this.release(&mut this.lock(), Phase::Closed(this.closed()));
    }
}

impl Backing {
    fn data(&self) -> BorrowedFd<'_> {
        match self {
            Self::Named(named) => named.data.as_fd(),
            Self::Unnamed(temp) => temp.fd(),
        }
    }

    /// The data as publication takes it.
    fn staged(&self) -> Staged<'_> {
        match self {
            Self::Named(named) => Staged::Ingest { name: DATA, fd: named.data.as_fd(), own: &named.own },
            Self::Unnamed(temp) => temp.staged(),
        }
    }
}

impl Inner {
    fn offset(&self) -> u64 {
        self.written + self.ring.bytes() as u64
    }

    fn status(&self, name: &str) -> Status {
        Status {
            ref_: name.to_owned(),
            offset: self.offset(),
            total: self.total,
            expected: self.expected,
            started_ns: self.started_ns,
            updated_ns: self.updated_ns.max(self.ring.updated_ns()),
        }
    }

    /// Pass on the result of a step after whose failure the disk's content is unknown.
    fn poisoning<T>(&mut self, result: Result<T>) -> Result<T> {
        // The first failure is the one that is told.
        if let (Err(error), Phase::Open) = (&result, &self.phase) {
            self.phase = Phase::Poisoned(error.clone());
            self.ring.end(error.clone());
            let is_lost = matches!(error, Error::Aborted { .. } | Error::FailedPrecondition { .. });
            if let Some(Backing::Named(named)) = &mut self.backing
                && !is_lost
            {
                named.notes.forget();
            }
        }
        result
    }
}
