//! Memory for bytes that wait to be written: a limit for all ingests of a store together, and a fair share for each.

use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a buffer into which small writes are copied, one after the other.
pub(super) const BUFFER: usize = 64 << 10;

/// The smallest share: it should hold the bytes of one typical write.
const LEAST: usize = 64 << 10;

/// The largest share: a few of the largest pieces, so that a stream need not wait after each piece. More would not help, because
/// hashing is slower than copying.
const MOST: usize = 4 << 20;

/// The most unused buffers that are kept: used memory is cheaper than new memory, whose pages the kernel must provide first.
const SPARE: usize = 32;

/// Immutable bytes of another owner.
pub type Lasting = Box<dyn AsRef<[u8]> + Send + Sync>;

/// The memory of one store.
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// How many write buffers there are bytes in.
    in_use: AtomicUsize,
    /// How many writers wait.
    waiters: AtomicUsize,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// Counts a waiting writer until this is dropped.
pub(super) struct Waiter(Arc<Budget>);

/// Bytes in memory. They count against the budget until this is dropped.
pub(super) struct Segment {
    bytes: Bytes,
    /// The number of valid bytes, from the start.
    size: usize,
    cost: usize,
    budget: Arc<Budget>,
}

enum Bytes {
    Copied(Vec<u8>),
    Lasting(Lasting),
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let (used, in_use, waiters) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { limit, used, in_use, waiters, spare: Mutex::default() })
    }

    /// The bytes that each write buffer may hold, given the present number of write buffers.
    pub(super) fn share(&self) -> usize {
        // A part of it is for bytes that were taken and are being written.
        ((self.limit - self.limit / 8) / self.buffers_in_use().max(1)).clamp(LEAST, MOST)
    }

    /// How many write buffers there are bytes in.
    pub(super) fn buffers_in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Count a write buffer that gets its first bytes, or no longer count one that is empty.
    pub(super) fn count_buffer(&self, has_bytes: bool) {
        if has_bytes {
            self.in_use.fetch_add(1, Ordering::Relaxed);
        } else {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Count a writer that waits.
    pub(super) fn waiter(self: &Arc<Self>) -> Waiter {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter(Arc::clone(self))
    }

    /// Whether a writer waits.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Return a buffer for copies; `None` if no memory is left.
    pub(super) fn buffer(self: &Arc<Self>) -> Option<Segment> {
        let budget = self.spend(BUFFER)?;
        let spare = self.spare().pop();
        let bytes = Bytes::Copied(spare.unwrap_or_else(|| Vec::with_capacity(BUFFER)));
        Some(Segment { bytes, size: 0, cost: BUFFER, budget })
    }

    /// Hold bytes. If no memory is left for them, they are dropped, and `None` is returned.
    pub(super) fn hold(self: &Arc<Self>, bytes: Lasting) -> Option<Segment> {
        let size = (*bytes).as_ref().len();
        let budget = self.spend(size)?;
        Some(Segment { bytes: Bytes::Lasting(bytes), size, cost: size, budget })
    }

    fn spend(self: &Arc<Self>, cost: usize) -> Option<Arc<Self>> {
        let admit = |used: usize| used.checked_add(cost).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).ok()?;
        Some(Arc::clone(self))
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Segment {
    /// The bytes that can still be copied to its end.
    pub(super) fn room(&self) -> usize {
        match &self.bytes {
            Bytes::Copied(_) => BUFFER - self.size,
            Bytes::Lasting(_) => 0,
        }
    }

    /// Copy as many bytes as fit. Returns the rest.
    pub(super) fn fill<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let (now, rest) = data.split_at(data.len().min(self.room()));
        if let Bytes::Copied(bytes) = &mut self.bytes {
            bytes.extend_from_slice(now);
            self.size += now.len();
        }
        rest
    }

    /// Drop all bytes but the first `size`.
    pub(super) fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
        if let Bytes::Copied(bytes) = &mut self.bytes {
            bytes.truncate(size);
        }
    }
}

impl Deref for Segment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Copied(bytes) => bytes,
            Bytes::Lasting(bytes) => &(**bytes).as_ref()[..self.size],
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Bytes::Copied(bytes) = &mut self.bytes {
            let mut bytes = mem::take(bytes);
            let mut spare = self.budget.spare();
            if spare.len() < SPARE {
                bytes.clear();
                spare.push(bytes);
            }
        }
        self.budget.used.fetch_sub(self.cost, Ordering::Relaxed);
    }
}
