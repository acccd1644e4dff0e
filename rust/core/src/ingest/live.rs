//! The ingests that one store object has open: who else in this process could hold a ref, and whom an abort fences.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Ingest;

/// Refs held through this store. An entry without an ingest is one that is being opened.
#[derive(Default)]
pub(crate) struct Live(Mutex<HashMap<String, Weak<Ingest>>>);

/// A ref kept for an ingest that is being opened; dropped unfilled, the ref is free again.
pub(super) struct Reservation<'a> {
    live: &'a Live,
    name: &'a str,
    filled: bool,
}

impl Live {
    /// Keep the ref for an ingest to come; None when it is taken.
    pub(super) fn reserve<'a>(&'a self, name: &'a str) -> Option<Reservation<'a>> {
        let mut entries = self.entries();
        if entries.contains_key(name) {
            return None;
        }
        entries.insert(name.to_owned(), Weak::new());
        Some(Reservation { live: self, name, filled: false })
    }

    /// The open ingest of that ref.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Ingest>> {
        self.entries().get(name).and_then(Weak::upgrade)
    }

    /// Free the ref; only its holder may do that.
    pub(super) fn remove(&self, name: &str) {
        self.entries().remove(name);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Weak<Ingest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// The ref is now this ingest's, which frees it when it is closed.
    pub(super) fn fill(mut self, ingest: &Arc<Ingest>) {
        self.live.entries().insert(self.name.to_owned(), Arc::downgrade(ingest));
        self.filled = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.live.remove(self.name);
        }
    }
}
