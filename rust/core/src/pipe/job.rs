//! The progress and cancellation of a long call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Observes and stops a long call from another thread: one hop processes a whole blob, and the waiting task only observes it.
#[derive(Debug, Default)]
pub struct Job {
    cancelled: AtomicBool,
    done: AtomicU64,
}

impl Job {
    /// Make the call end soon, as if its input had ended at that point.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether the call must end.
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
