//! The time of one step.

use std::time::{Duration, Instant};

/// The most time that a step takes, if nothing in it takes longer by itself.
const STEP: Duration = Duration::from_millis(5);

/// The most time for which blobs are condemned in one transaction.
const BATCH: Duration = Duration::from_millis(2);

/// A length of time from now on.
pub(super) struct Slice(Instant);

impl Slice {
    /// The time of a step.
    pub fn step() -> Self {
        Self(Instant::now() + STEP)
    }

    /// The time of a batch that holds locks.
    pub fn batch() -> Self {
        Self(Instant::now() + BATCH)
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}
