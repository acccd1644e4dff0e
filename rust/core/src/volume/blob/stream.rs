//! A stream over a whole blob: it reads ahead and hashes while the caller processes earlier bytes.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Blob, Cache};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::pipe::{Bytes, HASHING, PIECE, Pipeline, WAITING};

/// The most pieces that are read ahead.
const READ_AHEAD_PIECES: usize = 3;

/// A blob of at most this size is read and hashed on the caller's thread if the page cache has it: that takes less time than a
/// call on another thread.
const AT_ONCE: u64 = 16 << 10;

/// A blob's bytes in order. They are provisional until `finish` has verified all of them.
pub struct Stream(Arc<Shared>);

struct Shared {
    blob: Arc<Blob>,
    pipeline: Pipeline,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Pieces that were read and not returned yet.
    ready: VecDeque<Bytes>,
    /// The number of bytes of the first piece that were returned.
    given: usize,
    /// The offset of the next read.
    offset: u64,
    /// Whether a thread is reading. Only that thread uses the pipeline.
    is_reading: bool,
    /// The error after which nothing more is read.
    failure: Option<Error>,
    is_closed: bool,
}

impl Stream {
    /// Begin at the first byte.
    pub fn new(blob: Arc<Blob>) -> Self {
        blob.sys.expect_sequential(blob.file.as_fd());
        let pipeline = Pipeline::new(Hasher::new(blob.digest.algorithm()));
        let state =
            State { ready: VecDeque::new(), given: 0, offset: 0, is_reading: false, failure: None, is_closed: false };
        Self(Arc::new(Shared { blob, pipeline, state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Pass at most `most` of the next bytes to `to`, none at the end, if that is possible without waiting.
    pub fn take<T>(&self, most: usize, to: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut state = self.0.lock();
        if state.ready.is_empty() {
            self.0.read_cached(&mut state);
        }
        if !state.ready.is_empty() {
            return Some(self.0.give(state, most, to));
        }
        let is_at_end = state.failure.is_none() && state.offset >= self.0.blob.size();
        drop(state);
        is_at_end.then(|| to(&[]))
    }

    /// Pass at most `most` of the next bytes to `to`, none at the end. Waits for them if necessary.
    pub fn next<T>(&self, most: usize, to: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let mut state = self.0.lock();
        loop {
            if !state.ready.is_empty() {
                return Ok(self.0.give(state, most, to));
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.offset >= self.0.blob.size() {
                drop(state);
                return Ok(to(&[]));
            }
            state = if state.is_reading {
                self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                state.is_reading = true;
                let reading = Reading(&self.0);
                drop(self.0.read_one(state));
                drop(reading);
                self.0.lock()
            };
        }
    }

    /// Whether nothing is being read or hashed, so that `finish` and `close` do not wait.
    pub fn is_at_rest(&self) -> bool {
        !self.0.lock().is_reading && self.0.pipeline.is_at_rest()
    }

    /// The digest of all bytes, after all have been returned.
    pub fn finish(&self) -> Digest {
        drop(self.0.quiet());
        self.0.pipeline.with(|hasher| hasher.digest())
    }

    /// Close the stream: wait until no thread reads any more.
    pub fn close(&self) {
        self.0.lock().is_closed = true;
        let mut state = self.0.quiet();
        state.failure = Some(Error::Closed { name: self.0.blob.digest.to_string() });
        for bytes in state.ready.drain(..) {
            self.0.pipeline.release(bytes);
        }
        drop(state);
        self.0.pipeline.with(|_| ());
        self.0.pipeline.shed();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The thread that reads ahead stops after the current piece.
        self.0.lock().is_closed = true;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until no thread reads.
    fn quiet(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.is_reading {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn give<T>(self: &Arc<Self>, mut state: MutexGuard<'_, State>, most: usize, to: impl FnOnce(&[u8]) -> T) -> T {
        let given = state.given;
        let bytes = Arc::clone(&state.ready[0]);
        let end = bytes.size.min(given.saturating_add(most));
        if end == bytes.size {
            state.given = 0;
            state.ready.pop_front();
        } else {
            state.given = end;
        }
        self.read_ahead(state);
        let result = to(&bytes[given..end]);
        self.pipeline.release(bytes);
        result
    }

    /// Let a thread read ahead, if one is free and there is enough work for it.
    fn read_ahead(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.is_reading || !state.wants(&self.blob) || state.ready.len() > READ_AHEAD_PIECES / 2 {
            return;
        }
        let Some(lent) = WAITING.lend() else { return };
        state.is_reading = true;
        drop(state);
        let shared = Arc::clone(self);
        let reading = Arc::clone(self);
        // An event loop may be the caller: it does not read itself. The thread that waits for the next bytes reads them.
        let started = lent.try_run(move || {
            let (_user, _reading) = (HASHING.enter(), Reading(&shared));
            let mut state = shared.lock();
            while state.wants(&shared.blob) && state.ready.len() < READ_AHEAD_PIECES {
                state = shared.read_one(state);
                shared.changed.notify_all();
            }
        });
        if !started {
            drop(Reading(&reading));
        }
    }

    /// Read and hash a small blob if that is possible without waiting. All other cases, including errors, are left to `next`.
    fn read_cached(&self, state: &mut State) {
        let size = self.blob.size();
        if state.offset > 0 || size > AT_ONCE || state.is_reading || !state.wants(&self.blob) {
            return;
        }
        let mut piece = self.pipeline.buffer();
        let size = usize::try_from(size).unwrap_or(PIECE);
        if !self.blob.read_cached(&mut piece.room()[..size], 0).unwrap_or(false) {
            self.pipeline.give_back(piece);
            return;
        }
        piece.size = size;
        self.pipeline.with(|hasher| hasher.update(&piece));
        state.offset = size as u64;
        state.ready.push_back(Arc::new(piece));
    }

    /// Read one piece and pass it to the hash. The lock is not held meanwhile.
    fn read_one<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let offset = state.offset;
        drop(state);
        let mut piece = self.pipeline.buffer();
        let size = usize::try_from(self.blob.size() - offset).unwrap_or(PIECE).min(PIECE);
        let read = self.blob.read_some(&mut piece.room()[..size], offset, Cache::Keep);
        if let Err(error) = read {
            self.pipeline.give_back(piece);
            let mut state = self.lock();
            state.failure = Some(error);
            return state;
        }
        piece.size = size;
        let bytes = Arc::new(piece);
        self.pipeline.feed(&bytes);
        let mut state = self.lock();
        state.offset += size as u64;
        state.ready.push_back(bytes);
        state
    }
}

/// Marks that a thread reads, until it is dropped.
struct Reading<'a>(&'a Shared);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.lock().is_reading = false;
        self.0.changed.notify_all();
    }
}

impl State {
    /// Whether there is more to read, and a reader for it.
    fn wants(&self, blob: &Blob) -> bool {
        !self.is_closed && self.failure.is_none() && self.offset < blob.size()
    }
}
