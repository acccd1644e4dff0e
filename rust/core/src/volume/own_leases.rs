//! The leases that end with this process, held by the store that has created them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::volume::lock::LeaseLock;

/// The signs that the process of these leases lives.
#[derive(Default)]
pub(crate) struct OwnLeases(Mutex<HashMap<String, LeaseLock>>);

impl OwnLeases {
    /// Whether the store holds this lease.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.held().contains_key(id)
    }

    /// Hold a lease.
    pub(crate) fn insert(&self, id: &str, lock: LeaseLock) {
        self.held().insert(id.to_owned(), lock);
    }

    /// Release a lease.
    pub(crate) fn remove(&self, id: &str) {
        let ended = self.held().remove(id);
        drop(ended);
    }

    /// Release all leases.
    pub(crate) fn clear(&self) {
        let ended = std::mem::take(&mut *self.held());
        drop(ended);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, LeaseLock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
