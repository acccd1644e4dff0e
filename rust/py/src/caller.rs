//! Whoever waits for a call, as the core sees it while it waits for another process.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use steelyard_core::waiting::Caller;

use crate::pool::Inbox;

/// The calls of one event loop whose callers no longer want a result, by their tickets.
///
/// Whoever adds a ticket keeps it alive and takes it out again when the call has ended.
#[derive(Default)]
pub(crate) struct Unwanted {
    count: AtomicUsize,
    tickets: Mutex<HashSet<usize>>,
}

/// A ticket, without holding it.
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

/// The caller of a job.
pub(crate) struct One(pub(crate) Arc<Inbox>, pub(crate) usize);

/// The callers of a batch. When one gives up the batch ends, and the others form the next.
pub(crate) struct Many(pub(crate) Vec<One>);

impl One {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.unwanted.has(self.1) || self.0.pool.is_closing()
    }
}

impl Caller for One {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn waits(&self, begins: bool) {
        self.0.pool.waits(begins);
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
