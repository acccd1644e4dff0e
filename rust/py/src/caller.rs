//! The callers of a job, as the core sees them while it waits for another process.

use std::sync::Arc;

use steelyard_core::waiting::Caller;

use crate::inbox::Inbox;

/// The Python caller of one call.
pub(crate) struct PythonCaller {
    pub(crate) inbox: Arc<Inbox>,
    /// The address of the call's ticket.
    pub(crate) ticket: usize,
}

/// The callers of a batch. When one gives up the batch ends, and the others form the next.
pub(crate) struct BatchCallers(pub(crate) Vec<PythonCaller>);

impl Caller for PythonCaller {
    fn is_cancelled(&self) -> bool {
        self.inbox.unwanted.has(self.ticket) || self.inbox.threads.is_closing()
    }

    fn waits(&self, begins: bool) {
        self.inbox.threads.waits(begins);
    }
}

impl Caller for BatchCallers {
    fn is_cancelled(&self) -> bool {
        self.0.iter().any(Caller::is_cancelled)
    }

    fn waits(&self, begins: bool) {
        if let Some(caller) = self.0.first() {
            caller.waits(begins);
        }
    }
}
