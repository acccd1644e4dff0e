//! A long call, seen from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Watches and stops a long call from another thread: one hop carries a whole blob, and the waiting task only watches.
#[derive(Debug, Default)]
pub struct Job {
    cancelled: AtomicBool,
    done: AtomicU64,
}

impl Job {
    /// Have the call end soon, as if its input had ended there.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether the call is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The bytes that are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Count bytes that are done.
    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::AcqRel);
    }
}
