//! The pipeline: passes buffers through one or more hashes, a few at a time.

use std::cmp::Reverse;
use std::mem;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::buffers::{Buffer, PIECE};
use super::pool::{HASHING, processors};
use super::stream::{Bytes, Done, Piece, Stream, Work};
use super::workers::{self, Steps, Task};
use crate::digest::Algorithm;
use crate::error::Result;
use crate::hash::{Hasher, SavedState};

/// The bytes that are filled of a buffer while many pipelines are fed: whole buffers would not fit into the processors' caches.
const SMALL_PIECE: usize = 256 << 10;

/// The most buffers of one pipeline.
const BUFFERS: usize = 6;

/// The most buffers of one pipeline while buffers are scarce.
const FEW_BUFFERS: usize = 2;

/// Hashes that are computed on other threads than the caller's.
///
/// One thread at a time may feed bytes; any thread may wait. A clone is the same pipeline.
#[derive(Clone)]
pub(crate) struct Pipeline(Arc<Shared>);

/// A state that will be saved.
pub(crate) struct Saving {
    shared: Arc<Shared>,
    saved: Receiver<SavedState>,
}

/// The part of a pipeline that its clones and the hash workers share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    streams: Vec<Stream>,
    free: Vec<Buffer>,
    /// Buffers that are being filled, written or hashed.
    out: usize,
    /// Whether a thread waits for a change.
    is_awaited: bool,
}

impl Pipeline {
    /// A pipeline with one hasher.
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self::many(vec![hasher])
    }

    /// A pipeline with several hashers of the same bytes.
    pub(crate) fn many(hashers: Vec<Hasher>) -> Self {
        let streams = hashers.into_iter().map(Stream::new).collect();
        let state = State { streams, free: Vec::new(), out: 0, is_awaited: false };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// The number of bytes to put into each buffer.
    pub(crate) fn stride(&self) -> usize {
        let needs_whole = self.0.lock().streams.iter().any(|stream| stream.algorithm() == Algorithm::Blake3);
        if needs_whole || HASHING.users() <= processors() { PIECE } else { SMALL_PIECE }
    }

    /// Take a buffer to fill; if all are in use, hash or wait until one is free.
    pub(crate) fn buffer(&self) -> Piece {
        let mut state = self.0.lock();
        let mut enough = 1;
        // If nothing is in progress, no buffer will become free.
        while state.free.len() < enough && (state.free.is_empty() || !state.is_quiet()) {
            let most = if Buffer::are_scarce() { FEW_BUFFERS } else { BUFFERS };
            if state.buffers() < most {
                state.free.push(Buffer::take());
                break;
            }
            // Wait for several buffers: a wake-up for each would cost more than it gains.
            enough = state.enough();
            state = self.0.help(state);
        }
        state.out += 1;
        let memory = state.free.pop().unwrap_or_else(Buffer::take);
        Piece { memory, size: 0 }
    }

    /// Hash these bytes after the ones that were fed before.
    ///
    /// They come from `buffer`. The caller returns them by `release` when it no longer needs them.
    pub(crate) fn feed(&self, bytes: &Bytes) {
        let mut state = self.0.lock();
        for stream in &mut state.streams {
            stream.feed(Arc::clone(bytes));
        }
        self.0.run(state);
    }

    /// Feed the bytes that `read` puts into buffers, until it does not fill one, and at most `most`. Returns their number.
    ///
    /// `read` gets a buffer and the number of bytes fed before. If it fails, the bytes before are hashed all the same.
    pub(crate) fn fill(&self, most: u64, mut read: impl FnMut(&mut [u8], u64) -> Result<usize>) -> Result<u64> {
        let mut done = 0;
        while done < most {
            let mut piece = self.buffer();
            let size = usize::try_from(most - done).unwrap_or(PIECE).min(self.stride());
            match read(&mut piece.room()[..size], done) {
                Ok(read) => piece.size = read,
                Err(error) => {
                    self.give_back(piece);
                    return Err(error);
                }
            }
            let read = piece.size;
            done += read as u64;
            let bytes = Arc::new(piece);
            self.feed(&bytes);
            self.release(bytes);
            if read < size {
                break;
            }
        }
        Ok(done)
    }

    /// Return bytes that were fed.
    pub(crate) fn release(&self, bytes: Bytes) {
        let mut state = self.0.lock();
        state.recycle(bytes);
        self.0.notify(&mut state);
    }

    /// Return a buffer that was not used.
    pub(crate) fn give_back(&self, buffer: Piece) {
        self.release(Arc::new(buffer));
    }

    /// Save the state of the first hash after all bytes that have been fed so far.
    pub(crate) fn save(&self) -> Saving {
        let (to, saved) = sync_channel(1);
        let mut state = self.0.lock();
        state.streams[0].save(to);
        self.0.run(state);
        Saving { shared: Arc::clone(&self.0), saved }
    }

    /// Whether all fed bytes are hashed, so that `with` does not wait.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.0.lock().is_quiet()
    }

    /// Wait until all fed bytes are hashed, and use the first hasher.
    ///
    /// If its offset is not the number of bytes fed, its work was lost, and the caller must hash the bytes again.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Hasher) -> T) -> T {
        self.0.quiet().streams[0].with(work)
    }

    /// Add hashers for all bytes that are fed from now on.
    pub(crate) fn join(&self, hashers: Vec<Hasher>) {
        self.0.quiet().streams.extend(hashers.into_iter().map(Stream::new));
    }

    /// Wait for the hashers that were added, and remove and return them.
    pub(crate) fn part(&self) -> Vec<Hasher> {
        self.0.quiet().streams.drain(1..).map(Stream::into_hasher).collect()
    }

    /// Wait for all hashers, and return them.
    pub(crate) fn finish(self) -> Vec<Hasher> {
        self.0.quiet().streams.drain(..).map(Stream::into_hasher).collect()
    }

    /// Free the buffers that are not in use; while buffers are scarce, wait for the others first.
    pub(crate) fn shed(&self) {
        let mut state = if Buffer::are_scarce() { self.0.quiet() } else { self.0.lock() };
        let free = mem::take(&mut state.free);
        drop(state);
        drop(free);
    }
}

impl Saving {
    /// Return the state if it is saved, `None` if the hash was lost, or `Err(self)` if the hash has not reached the offset yet.
    pub(crate) fn poll(self) -> std::result::Result<Option<SavedState>, Self> {
        match self.saved.try_recv() {
            Ok(saved) => Ok(Some(saved)),
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => Err(self),
        }
    }

    /// Wait for the state; None if the hash was lost.
    pub(crate) fn wait(self) -> Option<SavedState> {
        let mut state = self.shared.lock();
        loop {
            match self.saved.try_recv() {
                Ok(saved) => return Some(saved),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => state = self.shared.help(state),
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pass the steps that can be made now to the hash workers.
    fn run(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut tasks = Vec::new();
        for (index, stream) in state.streams.iter_mut().enumerate() {
            while stream.wants_task() {
                stream.tasks += 1;
                tasks.push(Task { pipeline: Arc::<Self>::clone(self), stream: index, algorithm: stream.algorithm() });
            }
        }
        drop(state);
        // The slowest algorithm comes first, because all others wait for it.
        tasks.sort_by_key(|task| Reverse(task.algorithm.slowness()));
        workers::add(tasks);
    }

    /// Make a step that can be computed separately, or wait for a change if there is none.
    fn help<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(index) = state.streams.iter().position(Stream::front_is_apart) else {
            state.is_awaited = true;
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let Some(work) = state.streams[index].take() else { return state };
        drop(state);
        let done = work.run();
        let mut state = self.lock();
        let bytes = state.streams[index].put(done);
        state.recycle(bytes);
        self.notify(&mut state);
        self.run(state);
        self.lock()
    }

    /// Wait until nothing is in progress.
    fn quiet(self: &Arc<Self>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !state.is_quiet() {
            state = self.help(state);
        }
        state
    }

    /// Wake the waiting threads if there is something for them.
    fn notify(&self, state: &mut State) {
        let mut answered = false;
        for stream in &mut state.streams {
            answered |= mem::take(&mut stream.answered);
        }
        let is_worth = answered || state.free.len() >= state.enough() || state.is_quiet();
        if state.is_awaited && is_worth {
            state.is_awaited = false;
            self.changed.notify_all();
        }
    }
}

impl Steps for Shared {
    fn begin(&self, stream: usize) -> Option<Work> {
        let mut state = self.lock();
        let work = state.streams[stream].take();
        if work.is_none() {
            state.streams[stream].tasks -= 1;
            // The step may have saved a state.
            self.notify(&mut state);
        }
        work
    }

    fn end(&self, stream: usize, done: Done) -> bool {
        let mut state = self.lock();
        let bytes = state.streams[stream].put(done);
        state.recycle(bytes);
        state.streams[stream].tasks -= 1;
        let goes_on = state.streams[stream].wants_task();
        state.streams[stream].tasks += usize::from(goes_on);
        self.notify(&mut state);
        goes_on
    }
}

impl State {
    fn recycle(&mut self, bytes: Bytes) {
        if let Some(piece) = Arc::into_inner(bytes) {
            self.out -= 1;
            self.free.push(piece.memory);
        }
    }

    fn is_quiet(&self) -> bool {
        self.streams.iter().all(Stream::is_quiet)
    }

    fn buffers(&self) -> usize {
        self.out + self.free.len()
    }

    /// The number of buffers that must be free before a waiting thread is woken: a wake-up costs the hash worker time.
    fn enough(&self) -> usize {
        (self.buffers() / 2).max(1)
    }
}
