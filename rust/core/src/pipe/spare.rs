//! Buffers, and those that nobody uses: memory that was written to once is cheaper than new memory.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};

use super::flow::PIECE;

/// The most that are kept; the threads of the pool let go of them when they end.
const MOST: usize = 12;

/// Buffers in use beyond which who can do with fewer does.
const SCARCE: usize = 48;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

static USED: AtomicUsize = AtomicUsize::new(0);

/// Memory of the size of a piece.
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn take() -> Self {
        USED.fetch_add(1, Ordering::Relaxed);
        Self(with(Vec::pop).flatten().unwrap_or_else(|| vec![0; PIECE]))
    }

    /// Whether so many are in use that more would be too many.
    pub(super) fn are_scarce() -> bool {
        USED.load(Ordering::Relaxed) >= SCARCE
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        USED.fetch_sub(1, Ordering::Relaxed);
        let memory = std::mem::take(&mut self.0);
        with(|spare| {
            if spare.len() < MOST {
                spare.push(memory);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Let go of those that nobody uses.
pub(super) fn drop_all() {
    drop(with(std::mem::take));
}

/// Use the list; not at all when another thread does, which after a fork may be one that is no more.
fn with<T>(work: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> Option<T> {
    match SPARE.try_lock() {
        Ok(mut spare) => Some(work(&mut spare)),
        Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}
