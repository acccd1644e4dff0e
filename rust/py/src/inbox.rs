//! The results for an event loop, and the calls whose results are no longer wanted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use steelyard_core::threads::calls;

/// The interface of a call to the threads that make calls.
pub(crate) trait Threads: Send + Sync {
    /// Report that this thread begins to wait for another process, or has finished waiting.
    fn waits(&self, begins: bool);
    /// Whether the threads are about to end.
    fn is_closing(&self) -> bool;
}

/// The results for one event loop that it has not taken yet.
pub(crate) struct Inbox {
    pub(crate) results: calls::Inbox<(Py<PyAny>, PyResult<Py<PyAny>>)>,
    /// Called by a worker, without arguments, after the first result since the last `take`.
    pub(crate) wake: Py<PyAny>,
    pub(crate) threads: Box<dyn Threads>,
    pub(crate) unwanted: Unwanted,
}

/// A result, with its ticket and its inbox.
pub(crate) type Outcome = (Arc<Inbox>, Py<PyAny>, PyResult<Py<PyAny>>);

/// The calls of one event loop whose callers no longer want a result, by their tickets.
///
/// The code that adds a ticket keeps it alive, and removes it when the call has ended.
#[derive(Default)]
pub(crate) struct Unwanted {
    count: AtomicUsize,
    tickets: Mutex<HashSet<usize>>,
}

/// The address of a ticket, which identifies it without keeping it alive.
pub(crate) fn address(ticket: &Py<PyAny>) -> usize {
    ticket.as_ptr() as usize
}

impl Unwanted {
    pub(crate) fn add(&self, ticket: usize) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.insert(ticket);
        self.count.store(tickets.len(), Ordering::Release);
    }

    pub(crate) fn remove(&self, ticket: usize) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.remove(&ticket);
        self.count.store(tickets.len(), Ordering::Release);
    }

    pub(crate) fn has(&self, ticket: usize) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.tickets.lock().unwrap_or_else(PoisonError::into_inner).contains(&ticket)
    }
}

/// Add results to their inboxes. Returns the inboxes whose event loops must be notified.
pub(crate) fn add(results: impl IntoIterator<Item = Outcome>) -> Vec<Arc<Inbox>> {
    let added = |(port, ticket, result): Outcome| port.results.push((ticket, result)).then_some(port);
    results.into_iter().filter_map(added).collect()
}
