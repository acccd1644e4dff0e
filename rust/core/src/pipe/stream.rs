//! The stream of bytes to one hash: a queue of buffers in order, and the hash of the bytes before them.

use std::collections::VecDeque;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::buffers::Buffer;
use crate::digest::Algorithm;
use crate::hash::lanes::update_many;
use crate::hash::{Hasher, SavedState, Subtree};

/// A buffer of `PIECE` bytes, of which the first `size` are valid.
pub(crate) struct Piece {
    pub(super) memory: Buffer,
    pub(crate) size: usize,
}

/// Bytes that several hashes and a writer may read at once.
pub(crate) type Bytes = Arc<Piece>;

impl Piece {
    /// The whole buffer, to be filled.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    pub(crate) fn is_full(&self) -> bool {
        self.size == self.memory.len()
    }

    /// Add as many bytes as fit. Returns the rest.
    pub(crate) fn add<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let room = &mut self.memory[self.size..];
        let (now, rest) = data.split_at(data.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        self.size += now.len();
        rest
    }

    /// Fill with these bytes, as many as fit.
    pub(crate) fn fill(&mut self, data: &[u8]) {
        self.size = data.len().min(self.memory.len());
        self.memory[..self.size].copy_from_slice(&data[..self.size]);
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.size]
    }
}

/// An entry of the queue.
enum Item {
    Bytes(Bytes),
    /// Send the state of the hash at this point.
    Save(SyncSender<SavedState>),
}

/// A hash in progress. The hasher is taken out while it is updated, so that the lock of the stream is free.
pub(super) struct Stream {
    algorithm: Algorithm,
    /// `None` while a thread updates it.
    hasher: Option<Hasher>,
    queue: VecDeque<Item>,
    /// The offset of the first byte in the queue.
    position: u64,
    /// Subtrees that are hashed before earlier bytes, in order; `None` for one that is not ready.
    ahead: VecDeque<Option<Subtree>>,
    first_ahead: u64,
    /// The number of its tasks: waiting for a hash worker, or in progress.
    pub(super) tasks: usize,
    /// Set after an update has panicked. Further bytes are dropped, and the hasher is replaced by one that has hashed nothing.
    lost: bool,
    /// Whether a saved state was sent, or can no longer be, since this was last cleared.
    pub(super) answered: bool,
}

/// A step that can be made now.
pub(super) enum Work {
    /// The next bytes, and the hasher for them.
    Next(Hasher, Bytes),
    /// Bytes that can be hashed separately from earlier bytes, with their offset and their ordinal.
    Apart(u64, u64, Bytes),
}

/// A step that was made.
pub(super) struct Done {
    bytes: Bytes,
    result: Outcome,
}

enum Outcome {
    Next(Hasher),
    Apart(u64, Subtree),
    Lost,
}

impl Stream {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self {
            algorithm: hasher.algorithm(),
            position: hasher.offset(),
            hasher: Some(hasher),
            queue: VecDeque::new(),
            ahead: VecDeque::new(),
            first_ahead: 0,
            tasks: 0,
            lost: false,
            answered: false,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn feed(&mut self, bytes: Bytes) {
        if !self.lost {
            self.queue.push_back(Item::Bytes(bytes));
        }
    }

    pub(super) fn save(&mut self, to: SyncSender<SavedState>) {
        if !self.lost {
            self.queue.push_back(Item::Save(to));
            // The request is answered at once if nothing is before it in the queue: no worker is needed.
            self.answer_saves();
        }
    }

    /// Whether nothing is in progress or waiting, and no worker is about to check the queue.
    pub(super) fn is_quiet(&self) -> bool {
        self.tasks == 0 && self.queue.is_empty() && self.ahead.is_empty() && self.hasher.is_some()
    }

    /// Use the hasher of a quiet stream. Further bytes continue at the hasher's offset after that.
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Hasher) -> T) -> T {
        debug_assert!(self.is_quiet());
        let mut hasher = self.hasher.take().unwrap_or_else(|| Hasher::new(self.algorithm));
        let result = work(&mut hasher);
        *self = Self::new(hasher);
        result
    }

    /// The hasher of a quiet stream.
    pub(super) fn into_hasher(self) -> Hasher {
        self.hasher.unwrap_or_else(|| Hasher::new(self.algorithm))
    }

    /// Whether more steps can be made now than it has tasks.
    pub(super) fn wants_task(&self) -> bool {
        let most = if self.front_is_apart() {
            self.queue.len()
        } else {
            // The step after the one in progress gets its task when that one has ended.
            usize::from(!self.queue.is_empty() && self.ahead.is_empty() && self.hasher.is_some())
        };
        self.tasks < most
    }

    /// Whether the next bytes can be hashed separately from earlier bytes.
    pub(super) fn front_is_apart(&self) -> bool {
        let Some(Item::Bytes(bytes)) = self.queue.front() else { return false };
        Subtree::fits(self.algorithm, self.position, bytes.size) && self.hasher.is_some()
    }

    /// Take the next step, if it can be made now.
    pub(super) fn take(&mut self) -> Option<Work> {
        if self.front_is_apart() {
            let bytes = self.next_bytes()?;
            let (ordinal, offset) = (self.first_ahead + self.ahead.len() as u64, self.position);
            self.ahead.push_back(None);
            self.position += bytes.size as u64;
            return Some(Work::Apart(ordinal, offset, bytes));
        }
        if !self.ahead.is_empty() {
            return None;
        }
        self.answer_saves();
        let hasher = self.hasher.take()?;
        let Some(bytes) = self.next_bytes() else {
            self.hasher = Some(hasher);
            return None;
        };
        self.position += bytes.size as u64;
        Some(Work::Next(hasher, bytes))
    }

    /// Take back a finished step. Returns its bytes.
    pub(super) fn put(&mut self, done: Done) -> Bytes {
        match done.result {
            Outcome::Next(hasher) => self.hasher = Some(hasher),
            Outcome::Apart(ordinal, subtree) if ordinal >= self.first_ahead => {
                let index = usize::try_from(ordinal - self.first_ahead).unwrap_or(usize::MAX);
                if let Some(place) = self.ahead.get_mut(index) {
                    *place = Some(subtree);
                }
                self.join_ahead();
            }
            // The stream was lost meanwhile.
            Outcome::Apart(..) => {}
            Outcome::Lost => self.lose(),
        }
        self.answer_saves();
        done.bytes
    }

    fn next_bytes(&mut self) -> Option<Bytes> {
        match self.queue.pop_front()? {
            Item::Bytes(bytes) => Some(bytes),
            other @ Item::Save(_) => {
                self.queue.push_front(other);
                None
            }
        }
    }

    /// Add the finished subtrees to the hash, in their order.
    fn join_ahead(&mut self) {
        let Some(hasher) = &mut self.hasher else { return };
        while let Some(Some(subtree)) = self.ahead.front() {
            hasher.push_subtree(subtree);
            self.ahead.pop_front();
            self.first_ahead += 1;
        }
    }

    /// Answer the requests for a state that are at the front of the queue.
    fn answer_saves(&mut self) {
        let Some(hasher) = &self.hasher else { return };
        while self.ahead.is_empty()
            && let Some(Item::Save(to)) = self.queue.front()
        {
            // The receiver may have been dropped.
            to.send(hasher.save()).ok();
            self.queue.pop_front();
            self.answered = true;
        }
    }

    fn lose(&mut self) {
        (self.lost, self.answered) = (true, true);
        self.queue.clear();
        self.first_ahead += self.ahead.len() as u64;
        self.ahead.clear();
        self.hasher = Some(Hasher::new(self.algorithm));
    }
}

/// Bytes that make a hash panic.
#[cfg(test)]
pub(super) const PANIC: &[u8] = b"panic, as no hash does by itself";

/// Called before bytes are hashed.
#[cfg(test)]
fn trap(bytes: &[u8]) {
    assert!(!bytes.starts_with(PANIC), "on purpose");
}

impl Work {
    /// Make the steps of several streams: side by side, unless one is a separate subtree.
    pub(super) fn run_all(works: Vec<Self>) -> Vec<Done> {
        if works.len() < 2 || works.iter().any(|work| matches!(work, Self::Apart(..))) {
            return works.into_iter().map(Self::run).collect();
        }
        let next = works.into_iter().filter_map(|work| match work {
            Self::Next(hasher, bytes) => Some((hasher, bytes)),
            Self::Apart(..) => None,
        });
        let mut next: Vec<_> = next.collect();
        let before: Vec<_> = next.iter().map(|(hasher, _)| hasher.clone()).collect();
        let is_done = catch_unwind(AssertUnwindSafe(|| {
            let mut updates: Vec<_> = next.iter_mut().map(|(hasher, bytes)| (hasher, &bytes[..])).collect();
            #[cfg(test)]
            for (_, bytes) in &updates {
                trap(bytes);
            }
            update_many(&mut updates);
        }));
        let done = next.into_iter().zip(before).map(|((hasher, bytes), before)| match is_done {
            Ok(()) => Done { bytes, result: Outcome::Next(hasher) },
            // One of them has panicked. Each is tried alone, so that only that one is lost.
            Err(_) => Self::Next(before, bytes).run(),
        });
        done.collect()
    }

    /// Make the step. A panic is caught; the hash is then lost and must be computed again.
    pub(super) fn run(self) -> Done {
        match self {
            Self::Next(mut hasher, bytes) => {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    #[cfg(test)]
                    trap(&bytes);
                    hasher.update(&bytes);
                    hasher
                }));
                let result = result.map_or(Outcome::Lost, Outcome::Next);
                Done { bytes, result }
            }
            Self::Apart(ordinal, offset, bytes) => {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    #[cfg(test)]
                    trap(&bytes);
                    Subtree::hash(offset, &bytes)
                }));
                let result = result.map_or(Outcome::Lost, |subtree| Outcome::Apart(ordinal, subtree));
                Done { bytes, result }
            }
        }
    }
}
