//! Finished results that have not been taken yet.

use std::mem;
use std::sync::PoisonError;

use super::sync::{Mutex, MutexGuard};

/// The results for an owner that must be woken to take them.
///
/// The owner is notified once, however many results arrive before it takes them.
pub struct Inbox<R>(Mutex<Content<R>>);

struct Content<R> {
    results: Vec<R>,
    /// The owner is about to be notified, or has been notified and has not taken the results yet.
    is_notified: bool,
    /// The owner no longer exists.
    closed: bool,
}

impl<R> Default for Inbox<R> {
    fn default() -> Self {
        Self(Mutex::new(Content { results: Vec::new(), is_notified: false, closed: false }))
    }
}

impl<R> Inbox<R> {
    fn content(&self) -> MutexGuard<'_, Content<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add a result. If this returns true, the caller must make sure that the owner is notified.
    #[must_use]
    pub fn push(&self, result: R) -> bool {
        let mut content = self.content();
        if content.closed {
            drop(content); // the result is dropped outside of the lock: its destructor may run any code
            return false;
        }
        content.results.push(result);
        !mem::replace(&mut content.is_notified, true)
    }

    /// Take all results that have arrived since the last call.
    pub fn take(&self) -> Vec<R> {
        let mut content = self.content();
        content.is_notified = false;
        mem::take(&mut content.results)
    }

    /// Declare that the owner no longer exists: all present and later results are dropped.
    pub fn close(&self) {
        let dropped = {
            let mut content = self.content();
            content.closed = true;
            mem::take(&mut content.results)
        };
        drop(dropped);
    }
}
