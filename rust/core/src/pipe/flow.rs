//! Buffers on their way through one or more hashes, a few at a time.

use std::cmp::Reverse;
use std::mem;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::crew::{self, Turn};
use super::line::{Bytes, Done, Line, Piece, Work};
use super::pool::{HASHING, processors};
use super::spare::Buffer;
use crate::digest::Algorithm;
use crate::error::Result;
use crate::hash::{Hasher, SavedState};

/// The size of a buffer: a subtree of BLAKE3, and large enough that handing it on costs nothing.
pub(crate) const PIECE: usize = 1 << 20;

/// How much of a buffer is filled when so many fill some that all of them would not fit into the processors' caches.
const SMALL_PIECE: usize = 256 << 10;

/// The most buffers of one flow…
const BUFFERS: usize = 6;

/// …and the most while buffers are scarce.
const FEW_BUFFERS: usize = 2;

/// Hashes that run beside their caller.
///
/// One thread at a time may feed it; any may wait. A clone is the same flow.
#[derive(Clone)]
pub(crate) struct Flow(Arc<Shared>);

/// A state that will be saved.
pub(crate) struct Saving {
    shared: Arc<Shared>,
    saved: Receiver<SavedState>,
}

/// A flow, as the threads that hash see it.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: Vec<Line>,
    free: Vec<Buffer>,
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

    /// How many bytes to put into a buffer.
    pub(crate) fn stride(&self) -> usize {
        let needs_whole = self.0.lock().lines.iter().any(|line| line.algorithm() == Algorithm::Blake3);
        if needs_whole || HASHING.users() <= processors() { PIECE } else { SMALL_PIECE }
    }

    /// A buffer to fill. When all are out, help or wait.
    pub(crate) fn buffer(&self) -> Piece {
        let mut state = self.0.lock();
        let mut enough = 1;
        // When nothing is under way, no more will come of themselves.
        while state.free.len() < enough && (state.free.is_empty() || !state.is_quiet()) {
            let most = if Buffer::are_scarce() { FEW_BUFFERS } else { BUFFERS };
            if state.buffers() < most {
                state.free.push(Buffer::take());
                break;
            }
            // Freed one by one, each would wake this thread; and it would find no more to do than a piece's worth.
            enough = state.enough();
            state = self.0.help(state);
        }
        state.out += 1;
        let memory = state.free.pop().unwrap_or_else(Buffer::take);
        Piece { memory, size: 0 }
    }

    /// Hash these bytes after those fed before.
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

    /// Let go of the buffers that are free; and, while buffers are scarce, wait for the others to be.
    pub(crate) fn shed(&self) {
        let mut state = if Buffer::are_scarce() { self.0.quiet() } else { self.0.lock() };
        let free = mem::take(&mut state.free);
        drop(state);
        drop(free);
    }
}

impl Saving {
    /// The state if it is there, and None if the hash is lost; itself if the hash has not come so far.
    pub(crate) fn poll(self) -> std::result::Result<Option<SavedState>, Self> {
        match self.saved.try_recv() {
            Ok(saved) => Ok(Some(saved)),
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => Err(self),
        }
    }

    /// Wait for it; None if the hash is lost.
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

    /// Have the threads that hash make the steps that can be made.
    fn run(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut turns = Vec::new();
        for (index, line) in state.lines.iter_mut().enumerate() {
            while line.wants_turn() {
                line.turns += 1;
                turns.push(Turn { flow: Arc::clone(self), line: index, algorithm: line.algorithm() });
            }
        }
        drop(state);
        // The slowest first, as all have to wait for it.
        turns.sort_by_key(|turn| Reverse(turn.algorithm.slowness()));
        crew::add(turns);
    }

    /// Take the step of a line whose turn it is; None if there is none any more.
    pub(super) fn begin(&self, line: usize) -> Option<Work> {
        let mut state = self.lock();
        let work = state.lines[line].take();
        if work.is_none() {
            state.lines[line].turns -= 1;
            // It may have told a state.
            self.tell(&mut state);
        }
        work
    }

    /// Take note of a step that was made in its turn; whether the line goes on with that turn.
    pub(super) fn end(&self, line: usize, done: Done) -> bool {
        let mut state = self.lock();
        let bytes = state.lines[line].put(done);
        state.recycle(bytes);
        state.lines[line].turns -= 1;
        let goes_on = state.lines[line].wants_turn();
        state.lines[line].turns += usize::from(goes_on);
        self.tell(&mut state);
        goes_on
    }

    /// Make a step that more hands speed up, or else wait for a change.
    fn help<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(index) = state.lines.iter().position(Line::front_is_apart) else {
            state.is_awaited = true;
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let Some(work) = state.lines[index].take() else { return state };
        drop(state);
        let done = work.run();
        let mut state = self.lock();
        let bytes = state.lines[index].put(done);
        state.recycle(bytes);
        self.tell(&mut state);
        self.run(state);
        self.lock()
    }

    /// Wait until nothing is under way.
    fn quiet(self: &Arc<Self>) -> MutexGuard<'_, State> {
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
        let is_worth = told || state.free.len() >= state.enough() || state.is_quiet();
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

    fn buffers(&self) -> usize {
        self.out + self.free.len()
    }

    /// Who has waited for a buffer is woken when so many are free: waking costs the thread that hashes.
    fn enough(&self) -> usize {
        (self.buffers() / 2).max(1)
    }
}
