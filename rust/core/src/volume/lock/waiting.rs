//! A byte of the lock file that is held while a thread waits to write to the metadata.
//!
//! A thread that finds another process writing tries again after a pause. A collection writes again and again, so the thread could
//! miss the moments between. So it holds the byte while it waits, and a collection does not write while the byte is held.
//!
//! The byte is only a hint. A thread releases it when it has written or no longer waits, and another waiting thread of the store takes
//! it again. A suspended process keeps the byte, so a collection gives way only for a bounded time.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::{Locks, Table};
use crate::error::{At, Result};
use crate::format::lock_bytes::WAITING;
use crate::sys::Hold;
use crate::waiting::{self, Sign};

impl Locks {
    /// Show that this thread waits, with [`waiting::Patience`], to write to the metadata. A failure only makes the wait longer.
    pub(crate) fn begin_waiting(&self) {
        let table: Weak<Table> = Arc::downgrade(&self.0);
        waiting::show(table);
        if self.0.is_waiting.swap(true, Ordering::Relaxed) {
            return;
        }
        // Another store object may hold the byte: its thread writes first, and this thread tries to take the byte again.
        if !self.0.set(WAITING..WAITING + 1, Hold::Exclusive).unwrap_or_default() {
            self.0.is_waiting.store(false, Ordering::Relaxed);
        }
    }

    /// Release the byte after a thread of this store has written. Another waiting thread takes it again at its next attempt.
    pub(crate) fn end_waiting(&self) {
        self.0.end_waiting();
    }

    /// Whether a thread of this store waits, or one of another store object.
    pub(crate) fn is_waited_for(&self) -> Result<bool> {
        let table = &*self.0;
        let Some(file) = &table.file else { return Ok(false) };
        if table.is_waiting.load(Ordering::Relaxed) {
            return Ok(true);
        }
        Ok(table.sys.find_lock(file.as_fd(), WAITING..WAITING + 1).at("lock", || &table.path)?.is_some())
    }
}

impl Table {
    fn end_waiting(&self) {
        if self.is_waiting.load(Ordering::Relaxed) && self.is_waiting.swap(false, Ordering::Relaxed) {
            self.set(WAITING..WAITING + 1, Hold::Free).ok();
        }
    }
}

impl Sign for Table {
    fn take_back(&self) {
        // In the child of a fork, the byte belongs to the parent.
        if self.process.is_current() {
            self.end_waiting();
        }
    }
}
