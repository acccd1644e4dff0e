//! Buffers that nobody uses: memory that was written to once is cheaper than new memory.

use std::sync::{Mutex, TryLockError};

use super::flow::PIECE;

/// The most that are kept; the threads of the pool let go of them when they end.
const MOST: usize = 12;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer of the size of a piece.
pub(super) fn take() -> Vec<u8> {
    with(Vec::pop).flatten().unwrap_or_else(|| vec![0; PIECE])
}

/// Keep these, as far as there is room.
pub(super) fn give(mut buffers: Vec<Vec<u8>>) {
    with(|spare| {
        let room = MOST.saturating_sub(spare.len());
        spare.extend(buffers.drain(..buffers.len().min(room)));
    });
}

/// Let go of all.
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
