//! Buffers of the pipelines. Free buffers are kept for reuse, because the kernel must first provide the pages of new memory.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};

/// The size of a buffer, in bytes: a subtree of BLAKE3, and large enough that passing a buffer on costs little compared to hashing it.
pub(crate) const PIECE: usize = 1 << 20;

/// The most free buffers that are kept; the pool frees them when its last thread ends.
const MOST: usize = 12;

/// When this number of buffers is in use, a pipeline takes fewer.
const SCARCE: usize = 48;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

static USED: AtomicUsize = AtomicUsize::new(0);

/// Memory of `PIECE` bytes.
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn take() -> Self {
        USED.fetch_add(1, Ordering::Relaxed);
        Self(with(Vec::pop).flatten().unwrap_or_else(|| vec![0; PIECE]))
    }

    /// Whether many buffers are in use, so that pipelines should take fewer.
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

/// Free the buffers that are kept.
pub(super) fn drop_all() {
    drop(with(std::mem::take));
}

/// Use the list, unless another thread is using it: in the child of a fork, that thread does not exist.
fn with<T>(work: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> Option<T> {
    match SPARE.try_lock() {
        Ok(mut spare) => Some(work(&mut spare)),
        Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}
