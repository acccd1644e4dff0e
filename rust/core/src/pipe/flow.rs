//! Buffers on their way through one or more hashes, a few at a time.

use std::mem;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::line::{Bytes, Line, Piece};
use super::pool::HASHING;
use super::spare;
use crate::error::Result;
use crate::hash::{Hasher, SavedState};

/// The size of a buffer: a subtree of BLAKE3, and large enough that handing it on costs nothing.
pub(crate) const PIECE: usize = 1 << 20;

/// The most buffers of one flow.
const BUFFERS: usize = 6;

/// Who has waited for a buffer is woken when so many are free: waking costs the thread that hashes.
const ENOUGH: usize = BUFFERS / 2;

/// Hashes that run beside their caller when a processor is free for them, and in the caller's thread when none is.
///
/// One thread at a time may feed it; any may wait.
pub(crate) struct Flow(Arc<Shared>);

/// A state that will be saved.
pub(crate) struct Saving {
    shared: Arc<Shared>,
    saved: Receiver<SavedState>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: Vec<Line>,
    free: Vec<Vec<u8>>,
    /// Buffers that are being filled, written or hashed.
    out: usize,
    /// Whether somebody waits.
    is_awaited: bool,
}

impl Flow {
    /// Make one for a hasher.
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self::many(vec![hasher])
    }

    /// Make one for several hashers, all to be fed the same.
    pub(crate) fn many(hashers: Vec<Hasher>) -> Self {
        let lines = hashers.into_iter().map(Line::new).collect();
        let state = State { lines, free: Vec::new(), out: 0, is_awaited: false };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Whether bytes that are fed now would be hashed beside the caller.
    pub(crate) fn runs_beside(&self) -> bool {
        HASHING.has_room() || self.0.lock().lines.iter().any(|line| line.threads > 0)
    }

    /// A buffer to fill. When all are out, help or wait.
    pub(crate) fn buffer(&self) -> Piece {
        let mut state = self.0.lock();
        let mut enough = 1;
        loop {
            // When nothing is under way, no more will come of themselves.
            if state.free.len() >= enough || (!state.free.is_empty() && state.is_quiet()) {
                break;
            }
            if state.out + state.free.len() < BUFFERS {
                state.free.push(spare::take());
                break;
            }
            // Freed one by one, each would wake this thread; and it would find no more to do than a piece's worth.
            enough = ENOUGH;
            state = self.0.help(state);
        }
        state.out += 1;
        let memory = state.free.pop().unwrap_or_default();
        Piece { memory, size: 0 }
    }

    /// Hash these bytes after those fed before: beside the caller if a processor is free, else before it returns.
    ///
    /// They come from `buffer`, and go back by `release` when the caller has no more use for them.
    pub(crate) fn feed(&self, bytes: &Bytes) {
        let mut state = self.0.lock();
        for line in &mut state.lines {
            line.feed(Arc::clone(bytes));
        }
        self.0.run(state);
    }

    /// Feed what `read` puts into buffers, until it does not fill one, or at most `most` bytes; return how many.
    ///
    /// `read` is told how many were fed before. After its failure those are hashed nonetheless.
    pub(crate) fn fill(&self, most: u64, mut read: impl FnMut(&mut [u8], u64) -> Result<usize>) -> Result<u64> {
        let mut done = 0;
        while done < most {
            let mut piece = self.buffer();
            let size = usize::try_from(most - done).unwrap_or(PIECE).min(PIECE);
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

    /// Give back bytes that were fed.
    pub(crate) fn release(&self, bytes: Bytes) {
        let mut state = self.0.lock();
        state.recycle(bytes);
        self.0.tell(&mut state);
    }

    /// Give back a buffer that was not used.
    pub(crate) fn give_back(&self, buffer: Piece) {
        self.release(Arc::new(buffer));
    }

    /// Have the state of the first hash saved as it is after all that was fed by now.
    pub(crate) fn save(&self) -> Saving {
        let (to, saved) = sync_channel(1);
        let mut state = self.0.lock();
        state.lines[0].save(to);
        self.0.run(state);
        Saving { shared: Arc::clone(&self.0), saved }
    }

    /// Wait for the hashes to be done with what was fed, and use the first one.
    ///
    /// Should it be at another offset than the bytes fed, its work was lost: then it begins anew.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Hasher) -> T) -> T {
        self.0.quiet().lines[0].with(work)
    }

    /// Feed these hashers too from now on.
    pub(crate) fn join(&self, hashers: Vec<Hasher>) {
        self.0.quiet().lines.extend(hashers.into_iter().map(Line::new));
    }

    /// Wait for them, and give them back.
    pub(crate) fn part(&self) -> Vec<Hasher> {
        self.0.quiet().lines.drain(1..).map(Line::into_hasher).collect()
    }

    /// Wait for all hashes, and give them back.
    pub(crate) fn finish(self) -> Vec<Hasher> {
        self.0.quiet().lines.drain(..).map(Line::into_hasher).collect()
    }

    /// Let go of the buffers that are free.
    pub(crate) fn shed(&self) {
        spare::give(mem::take(&mut self.0.lock().free));
    }
}

impl Saving {
    /// Wait for it; None if the hash is lost.
    pub(crate) fn wait(self) -> Option<SavedState> {
        let mut state = self.shared.lock();
        loop {
            match self.saved.try_recv() {
                Ok(saved) => return Some(saved),
                Err(TryRecvError::Disconnected) => return None,
                // Perhaps nobody hashes: the thread that did was wanted elsewhere, and the caller is away.
                Err(TryRecvError::Empty) => state = self.shared.help(state),
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shed();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Get threads for the lines that want one, the slowest first, and do here what is left without.
    fn run<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) {
        while let Some(index) = state.next_to_serve()
            && let Some(lent) = HASHING.lend()
        {
            state.lines[index].threads += 1;
            drop(state);
            let shared = Arc::clone(self);
            lent.run(move || shared.serve(index));
            state = self.lock();
        }
        while let Some(index) = state.stalled() {
            state = self.step(state, index).0;
        }
    }

    /// Work on a line until nothing is left of it, or until the processors are wanted by others.
    fn serve(&self, index: usize) {
        let mut state = self.lock();
        loop {
            let mut made = false;
            if !HASHING.is_crowded() {
                (state, made) = self.step(state, index);
            }
            if !made {
                state.lines[index].threads -= 1;
                self.tell(&mut state);
                return;
            }
        }
    }

    /// Make one step of a line if one can be made; the lock is not held meanwhile.
    fn step<'a>(&'a self, mut state: MutexGuard<'a, State>, index: usize) -> (MutexGuard<'a, State>, bool) {
        let Some(work) = state.lines[index].take() else {
            // It may have told a state.
            self.tell(&mut state);
            return (state, false);
        };
        drop(state);
        let done = work.run();
        let mut state = self.lock();
        let bytes = state.lines[index].put(done);
        state.recycle(bytes);
        self.tell(&mut state);
        (state, true)
    }

    /// Make a step that no thread will make, or one that more hands speed up; else wait for a change.
    fn help<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let apart = state.lines.iter().position(Line::front_is_apart);
        if let Some(index) = state.stalled().or(apart) {
            return self.step(state, index).0;
        }
        state.is_awaited = true;
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until nothing is under way.
    fn quiet(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !state.is_quiet() {
            state = self.help(state);
        }
        state
    }

    /// Wake whoever waits if it may be for what has come about.
    fn tell(&self, state: &mut State) {
        let mut told = false;
        for line in &mut state.lines {
            told |= mem::take(&mut line.told);
        }
        let is_worth = told || state.free.len() >= ENOUGH || state.stalled().is_some() || state.is_quiet();
        if state.is_awaited && is_worth {
            state.is_awaited = false;
            self.changed.notify_all();
        }
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
        self.lines.iter().all(Line::is_quiet)
    }

    fn stalled(&self) -> Option<usize> {
        self.lines.iter().position(Line::is_stalled)
    }

    /// The slowest of the lines that want a thread.
    fn next_to_serve(&self) -> Option<usize> {
        let wanting = (0..self.lines.len()).filter(|index| self.lines[*index].wants_thread());
        wanting.max_by_key(|index| self.lines[*index].algorithm().slowness())
    }
}
