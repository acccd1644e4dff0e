//! The open ingests of one store object: to find the holder of a ref in this process, and the writer that an abort must fence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The refs held through this store. The entry of an ingest that is being opened has no ingest yet.
pub(super) struct Live<T>(Mutex<HashMap<String, Weak<T>>>);

/// Reserves a ref for an ingest that is being opened. If this is dropped unfilled, the ref is free again.
pub(super) struct Reservation<'a, T> {
    live: &'a Live<T>,
    name: &'a str,
    filled: bool,
}

impl<T> Default for Live<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Live<T> {
    /// Reserve a ref for an ingest that will be opened; `None` if the ref is taken.
    pub(super) fn reserve<'a>(&'a self, name: &'a str) -> Option<Reservation<'a, T>> {
        let mut entries = self.entries();
        if entries.contains_key(name) {
            return None;
        }
        entries.insert(name.to_owned(), Weak::new());
        Some(Reservation { live: self, name, filled: false })
    }

    /// The open ingest with this ref.
    pub(super) fn get(&self, name: &str) -> Option<Arc<T>> {
        self.entries().get(name).and_then(Weak::upgrade)
    }

    /// Free the ref; only its holder may do that.
    pub(super) fn remove(&self, name: &str) {
        self.entries().remove(name);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Reservation<'_, T> {
    /// Assign the ref to this ingest, which frees it when it is closed.
    pub(super) fn fill(mut self, ingest: &Arc<T>) {
        self.live.entries().insert(self.name.to_owned(), Arc::downgrade(ingest));
        self.filled = true;
    }
}

impl<T> Drop for Reservation<'_, T> {
    fn drop(&mut self) {
        if !self.filled {
            self.live.remove(self.name);
        }
    }
}
