//! A count of the values that have files of a store open, so that its close can wait for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The number of values that have files of one store open.
#[derive(Default)]
pub struct Users {
    count: Mutex<usize>,
    left: Condvar,
}

/// Counts its owner. It must be the last field of a struct, so that the files before it are closed before it stops counting.
pub(crate) struct User(Arc<Users>);

impl Users {
    /// Count one more holder.
    pub(crate) fn enter(self: &Arc<Self>) -> User {
        *self.count() += 1;
        User(Arc::clone(self))
    }

    /// Wait until the count is zero.
    pub fn wait_for_none(&self) {
        let left = self.left.wait_while(self.count(), |count| *count > 0);
        drop(left.unwrap_or_else(PoisonError::into_inner));
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for User {
    fn clone(&self) -> Self {
        self.0.enter()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut count = self.0.count();
        *count -= 1;
        if *count == 0 {
            self.0.left.notify_all();
        }
    }
}
