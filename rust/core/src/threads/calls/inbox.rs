//! Results that are finished and not yet taken.

use std::mem;
use std::sync::PoisonError;

use super::sync::{Mutex, MutexGuard};

/// The results for an owner that has to be woken to take them.
///
/// However many arrive before they are taken, the owner is notified once.
pub struct Inbox<R>(Mutex<Content<R>>);

struct Content<R> {
    results: Vec<R>,
    /// The owner is about to be notified, or was notified and has not come yet.
    is_notified: bool,
    /// The owner is gone.
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

    /// Everything that has arrived since the last call.
    pub fn take(&self) -> Vec<R> {
        let mut content = self.content();
        content.is_notified = false;
        mem::take(&mut content.results)
    }

    /// The owner is gone: all results, also later ones, are dropped.
    pub fn close(&self) {
        let dropped = {
            let mut content = self.content();
            content.closed = true;
            mem::take(&mut content.results)
        };
        drop(dropped);
    }
}
