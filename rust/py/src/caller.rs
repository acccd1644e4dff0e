//! The callers of a job, as the core sees them while it waits for another process.

use std::sync::Arc;

use steelyard_core::waiting::Caller;

use crate::inbox::Inbox;

/// The caller of a job.
pub(crate) struct One(pub(crate) Arc<Inbox>, pub(crate) usize);

/// The callers of a batch. When one gives up the batch ends, and the others form the next.
pub(crate) struct Many(pub(crate) Vec<One>);

impl One {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.unwanted.has(self.1) || self.0.threads.is_closing()
    }
}

impl Caller for One {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn waits(&self, begins: bool) {
        self.0.threads.waits(begins);
    }
}

impl Caller for Many {
    fn is_cancelled(&self) -> bool {
        self.0.iter().any(One::is_cancelled)
    }

    fn waits(&self, begins: bool) {
        if let Some(one) = self.0.first() {
            one.waits(begins);
        }
    }
}
