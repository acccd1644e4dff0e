//! The time of one step.

use crate::sys::Sys;

/// The most time that a step takes, if no part of it takes longer by itself.
const STEP_NS: i64 = 4_000_000;

/// The most time for which blobs are condemned in one transaction.
const BATCH_NS: i64 = 2_000_000;

/// A length of time from now on.
pub(super) struct Slice<'a> {
    sys: &'a dyn Sys,
    end_ns: i64,
}

impl<'a> Slice<'a> {
    /// The time of a step.
    pub fn step(sys: &'a dyn Sys) -> Self {
        Self { sys, end_ns: sys.boot_ns().saturating_add(STEP_NS) }
    }

    /// The time of a batch that holds locks.
    pub fn batch(sys: &'a dyn Sys) -> Self {
        Self { sys, end_ns: sys.boot_ns().saturating_add(BATCH_NS) }
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.sys.boot_ns() >= self.end_ns
    }
}
