//! The time of one step.

use std::cell::Cell;

use crate::sys::Sys;

/// The longest time of a step, unless one part of it takes longer by itself.
const STEP_NS: i64 = 1_000_000;

/// The longest time for which blobs are condemned in one transaction.
const BATCH_NS: i64 = 1_500_000;

/// A limited time, from now on.
pub(super) struct Slice<'a> {
    sys: &'a dyn Sys,
    end_ns: i64,
    /// Whether a part of the work has been done.
    has_begun: Cell<bool>,
}

impl<'a> Slice<'a> {
    /// The time of a step.
    pub fn step(sys: &'a dyn Sys) -> Self {
        Self::new(sys, STEP_NS)
    }

    /// The time of a batch that holds locks.
    pub fn batch(sys: &'a dyn Sys) -> Self {
        Self::new(sys, BATCH_NS)
    }

    fn new(sys: &'a dyn Sys, time_ns: i64) -> Self {
        Self { sys, end_ns: sys.boot_ns().saturating_add(time_ns), has_begun: Cell::new(false) }
    }

    /// Whether the time has been checked before.
    pub fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.has_begun.set(true);
        self.sys.boot_ns() >= self.end_ns
    }
}
