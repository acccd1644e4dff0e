//! Flushers: threads that write buffered bytes, and hash the bytes of several ingests in parallel.
//!
//! An ingest that has a full flush unit waits in a queue for a flusher, a thread that takes up to sixteen ingests at once:
//! it writes each, hashes all in lanes, and puts an ingest that has more bytes at the end of the queue. So all ingests make
//! the same progress.
//! A single ingest is written at once, and hashed on another thread if a processor is free.
//!
//! A second flusher is called only when there is enough work for all lanes, or when a writer waits: until then the threads
//! that produce bytes need the processor more.
//!
//! An ingest is locked while its bytes are taken and written. A flusher does not wait for an ingest that its caller uses:
//! the ingest is queued again when the caller is done.
//!
//! If the system refuses a thread, the ingests stay in the queue, and each waiting writer is notified: it writes the bytes
//! itself (`Ingest::flush_here`), on a thread that may block. An event loop never writes.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use super::budget::Segment;
use super::inner::{Inner, Phase};
use super::write_buffer::{FLUSH_UNIT, Notify, Until};
use super::{Ingest, Ingests};
use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::hash::lanes::update_many;
use crate::pipe::{FLUSHING, HASHING, PIECE};
use crate::volume::Volume;

/// The bytes of each ingest that are hashed in one round: those of all ingests together fit into a processor's cache.
const CHUNK: usize = 64 << 10;

/// A flusher thread, counted until this is dropped.
struct Flusher(Arc<Ingests>);

/// An ingest that is locked, and the bytes that were taken from its write buffer.
struct Flush<'a> {
    ingest: &'a Ingest,
    inner: MutexGuard<'a, Inner>,
    segments: Vec<Segment>,
    hasher: Option<Hasher>,
}

impl Ingests {
    /// Release the ingests that have ended and were not written by a thread.
    pub(crate) fn forget_ended(&self) {
        let ready = mem::take(&mut self.flushers.queue().ready);
        // The ingests are dropped without the lock, because the drop of an ingest may need it.
        let open = ready.into_iter().filter(|ingest| !ingest.write_buffer.has_ended()).collect::<Vec<_>>();
        self.flushers.queue().ready.extend(open);
    }

    /// Call a thread if there is enough work for it. Returns false if there is work, but no thread runs or can be started.
    fn call_flusher_if_worth(self: &Arc<Self>) -> bool {
        let writer_waits = self.flushers.budget.has_waiters();
        // A separate statement, so that the lock is released before the thread is called.
        let call = self.flushers.queue().call(writer_waits);
        !call || self.call_flusher()
    }

    /// Call a thread that has been counted. Returns false if it could not be started and there is no other.
    fn call_flusher(self: &Arc<Self>) -> bool {
        let ingests = Arc::clone(self);
        if FLUSHING.hire().try_run(move || Flusher(ingests).work()) {
            return true;
        }
        let mut queue = self.flushers.queue();
        queue.threads -= 1;
        queue.threads > 0 || queue.ready.is_empty()
    }

    /// Wake the waiting callers, which then find that they have to write themselves.
    fn wake_waiters(&self) {
        let ready: Vec<_> = self.flushers.queue().ready.iter().cloned().collect();
        for ingest in ready {
            ingest.write_buffer.wake();
        }
    }

    /// Write the bytes of a batch of ingests.
    fn flush_batch(self: &Arc<Self>, batch: Vec<Arc<Ingest>>) {
        let notified = catch_unwind(AssertUnwindSafe(|| match &*batch {
            [only] => Vec::from_iter(only.lock_to_flush(PIECE).and_then(|flush| flush.write_single(&self.volume))),
            _ => self.flush_many(&batch),
        }));
        // After a panic it is unknown which of the taken bytes were written.
        let notified = notified.unwrap_or_else(|_| batch.iter().filter_map(|ingest| ingest.lose()).collect());
        // The batch is dropped before the writers are notified: a writer may be the last owner of its ingest, and expects the ref to be
        // free once it drops the ingest.
        drop(batch);
        for notify in notified {
            notify();
        }
    }

    fn flush_many(self: &Arc<Self>, batch: &[Arc<Ingest>]) -> Vec<Notify> {
        let _user = HASHING.enter();
        let mut flushes: Vec<_> = batch.iter().filter_map(|ingest| ingest.lock_to_flush(FLUSH_UNIT)).collect();
        for flush in &mut flushes {
            flush.write(&self.volume);
        }
        hash(&mut flushes);
        // Ingests that have to wait for the disk come last, so that no other ingest waits for them.
        flushes.sort_by_key(|flush| flush.inner.is_checkpoint_due());
        flushes.into_iter().filter_map(|flush| flush.finish(&self.volume)).collect()
    }
}

/// Hash the written bytes of all ingests, side by side.
fn hash(flushes: &mut [Flush<'_>]) {
    let hashed = catch_unwind(AssertUnwindSafe(|| {
        let mut lanes: Vec<_> = flushes.iter_mut().filter_map(Flush::lane).collect();
        loop {
            let next = lanes.iter_mut().filter_map(|(hasher, chunks)| Some((&mut **hasher, chunks.next()?)));
            let mut updates: Vec<_> = next.collect();
            if updates.is_empty() {
                break;
            }
            update_many(&mut updates);
        }
    }));
    if hashed.is_err() {
        // After a panic, the ingests keep their earlier hashes, without these bytes.
        for flush in flushes {
            flush.hasher = None;
        }
    }
}

impl Flusher {
    fn work(self) {
        while let Some(batch) = self.next() {
            self.0.flush_batch(batch);
        }
    }

    /// Take the next ingests. If there are none, this thread is no longer counted, and `None` is returned.
    fn next(&self) -> Option<Vec<Arc<Ingest>>> {
        let writer_waits = self.0.flushers.budget.has_waiters();
        let mut queue = self.0.flushers.queue();
        let batch = queue.take(writer_waits);
        let call = queue.call(writer_waits);
        drop(queue);
        if call {
            // If it cannot be started, this one continues alone.
            self.0.call_flusher();
        }
        (!batch.is_empty()).then_some(batch)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.0.flushers.queue().threads -= 1;
        // Ingests may have been queued after the last look, while this thread was still counted.
        if !self.0.call_flusher_if_worth() {
            self.0.wake_waiters();
        }
    }
}

impl Ingest {
    /// Call `notify` when there is room for `size` further bytes or the ingest has ended, possibly before this returns, and possibly
    /// too early. Returns false if no flusher can be started: the caller must then have `flush_here` called.
    #[must_use]
    pub fn when_room(&self, size: usize, notify: Notify) -> bool {
        self.wait(Until::Room(size), notify)
    }

    /// Like `when_room`, for the time when all bytes are written.
    #[must_use]
    pub fn when_written(&self, notify: Notify) -> bool {
        self.wait(Until::Empty, notify)
    }

    /// Write the waiting bytes of this ingest, and of others of its store, on the caller's thread.
    pub fn flush_here(&self) {
        self.ingests.flushers.queue().threads += 1;
        Flusher(Arc::clone(&self.ingests)).work();
    }

    /// Notify the writer that waits for the ingest, although its wait is not over.
    pub fn wake(&self) {
        self.write_buffer.wake();
    }

    /// Whether a call that needs all bytes written should first wait by `when_written`, together with other ingests.
    pub fn has_company(&self) -> bool {
        self.write_buffer.has_company()
    }

    fn wait(&self, until: Until, notify: Notify) -> bool {
        let is_ready = self.write_buffer.wait(until, notify);
        self.queue_if(is_ready);
        self.ingests.call_flusher_if_worth()
    }

    /// Call a flusher for bytes that are ready.
    pub(super) fn call_if(&self, is_ready: bool) {
        if self.queue_if(is_ready) && !self.ingests.call_flusher_if_worth() {
            self.ingests.wake_waiters();
        }
    }

    fn queue_if(&self, is_ready: bool) -> bool {
        let Some(this) = is_ready.then(|| self.this.upgrade()).flatten() else { return false };
        self.ingests.flushers.queue().ready.push_back(this);
        true
    }

    /// Poison an ingest after a panic has lost its bytes; return the writer to notify.
    fn lose(&self) -> Option<Notify> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let path = Some(inner.data_path(self.volume()));
        let lost: Result<()> = Err(Error::Io { errno: libc::EIO, path, operation: "write" });
        inner.poisoning(lost).ok();
        drop(inner);
        self.leave_queue()
    }

    /// Lock the ingest and take about `size` bytes; `None` if it is in use or has ended.
    fn lock_to_flush(&self, size: usize) -> Option<Flush<'_>> {
        let inner = self.try_lock().or_else(|| {
            if let Some(notify) = self.leave_queue() {
                notify();
            }
            // The thread that had the lock has either released it by now, or will check the write buffer when it does.
            self.try_lock()
        })?;
        let mut flush = Flush { ingest: self, inner, segments: Vec::new(), hasher: None };
        // An ingest that has failed has an empty write buffer.
        if flush.inner.rejoin_if_done().is_ok() {
            flush.segments = self.write_buffer.take_ready(size);
            flush.inner.updated_ns = flush.inner.updated_ns.max(self.write_buffer.updated_ns());
        }
        Some(flush)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(inner) => Some(inner),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn leave_queue(&self) -> Option<Notify> {
        let (call, notified) = self.write_buffer.leave_queue();
        self.call_if(call);
        notified
    }
}

impl Flush<'_> {
    /// Write the taken bytes as a caller would.
    fn write_single(mut self, volume: &Arc<Volume>) -> Option<Notify> {
        // A failure poisons the ingest, and the next call on it raises the failure.
        self.inner.append_all(volume, mem::take(&mut self.segments)).ok();
        self.unlock()
    }

    /// Write the taken bytes, and keep a hasher for them if they are the next ones of the hash.
    fn write(&mut self, volume: &Volume) {
        if self.segments.is_empty() || self.inner.check_own(volume).is_err() {
            return;
        }
        self.inner.approach(volume);
        let is_next = self.inner.unhashed() == 0;
        let result = self.segments.iter().try_for_each(|segment| self.inner.write_out(volume, segment));
        if self.inner.poisoning(result).is_ok() && is_next {
            self.hasher = Some(self.inner.hashing.with(|hasher| hasher.clone()));
        }
    }

    /// The bytes to hash, in chunks.
    fn lane(&mut self) -> Option<(&mut Hasher, impl Iterator<Item = &[u8]>)> {
        let Self { hasher, segments, .. } = self;
        Some((hasher.as_mut()?, segments.iter().flat_map(|segment| segment.chunks(CHUNK))))
    }

    fn finish(mut self, volume: &Arc<Volume>) -> Option<Notify> {
        if let Some(hasher) = self.hasher.take() {
            self.inner.hashing.set(hasher);
        }
        if let Phase::Open = self.inner.phase {
            let result: Result<()> = self.inner.make_headway(volume);
            self.inner.poisoning(result).ok();
        }
        self.unlock()
    }

    /// Unlock the ingest. Returns the writer to be notified.
    fn unlock(self) -> Option<Notify> {
        let Self { ingest, mut inner, segments, .. } = self;
        // The memory is released first, so that a writer that is notified of room finds it.
        drop(segments);
        if ingest.write_buffer.is_short() {
            inner.complete_note();
        }
        drop(inner);
        ingest.leave_queue()
    }
}
