//! Bytes that an ingest has accepted and that are not written yet.
//!
//! The lock of a write buffer is held for at most a copy of some bytes, never during a system call. So a thread that adds
//! bytes, such as the thread of an event loop, does not wait for a thread that writes them. A thread that writes takes the
//! ingest's own lock before it takes the first byte, and holds it until all are written. So for any other thread that gets
//! that lock, each accepted byte is either written or in this buffer.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{BUFFER, Budget, Lasting, Segment, Waiter};
use crate::error::{Error, Result};

/// The bytes that are taken for writing at a time: enough that the system call costs little, and few enough that those of
/// several ingests fit into a processor's cache together.
pub(super) const FLUSH_UNIT: usize = 256 << 10;

/// Fewer bytes than this are copied: that is faster than to keep a reference to them.
pub const COPY_BELOW: usize = 16 << 10;

/// The most bytes that are copied, because a copy delays an event loop.
const MOST_COPIED: usize = 256 << 10;

/// The most bytes of one push.
const MOST: usize = 1 << 20;

/// Called when the wait of a writer has ended.
pub type Notify = Box<dyn FnOnce() + Send>;

/// The outcome of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The bytes are accepted.
    Taken,
    /// The bytes are not accepted: there is no room until others have been written.
    Full,
    /// The bytes are not accepted: they are too many, or other ingests use all memory. The caller must use `write`.
    Short,
}

/// The condition for which a writer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Room for this number of further bytes.
    Room(usize),
    /// All bytes are written.
    Empty,
}

struct Waiting {
    until: Until,
    notify: Notify,
    _counted: Waiter,
}

pub(super) struct WriteBuffer {
    budget: Arc<Budget>,
    /// Bytes accepted, whether written or not.
    offset: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The oldest first.
    segments: VecDeque<Segment>,
    bytes: usize,
    updated_ns: i64,
    /// Whether a flusher is taking bytes or will do so. It checks the buffer again afterwards.
    queued: bool,
    waiting: Option<Waiting>,
    /// The reason why nothing is accepted any more.
    end: Option<Error>,
}

impl WriteBuffer {
    pub(super) fn new(budget: &Arc<Budget>, offset: u64) -> Arc<Self> {
        let (budget, offset) = (Arc::clone(budget), AtomicU64::new(offset));
        Arc::new(Self { budget, offset, state: Mutex::default() })
    }

    /// Accept bytes if there is room. Also returns whether a flusher must be called now.
    pub(super) fn push(&self, data: &[u8], now_ns: impl FnOnce() -> i64) -> Result<(Pushed, bool)> {
        self.accept(data.len(), now_ns, |state| {
            if data.len() > MOST_COPIED {
                return false;
            }
            let lacking = data.len().saturating_sub(state.segments.back().map_or(0, Segment::room));
            let new: Option<Vec<_>> = (0..lacking.div_ceil(BUFFER)).map(|_| self.budget.buffer()).collect();
            let Some(mut new) = new else { return false };
            let rest = state.segments.back_mut().map_or(data, |last| last.fill(data));
            let rest = new.iter_mut().fold(rest, |rest, segment| segment.fill(rest));
            debug_assert!(rest.is_empty());
            state.segments.extend(new);
            true
        })
    }

    /// Accept bytes as `push` does, but keep them by reference; a few are copied.
    pub(super) fn hold(&self, data: Lasting, now_ns: impl FnOnce() -> i64) -> Result<(Pushed, bool)> {
        let bytes = (*data).as_ref();
        if bytes.len() < COPY_BELOW {
            return self.push(bytes, now_ns);
        }
        self.accept(bytes.len(), now_ns, |state| {
            let segment = self.budget.hold(data);
            let is_held = segment.is_some();
            state.segments.extend(segment);
            is_held
        })
    }

    fn accept(
        &self,
        size: usize,
        now_ns: impl FnOnce() -> i64,
        take: impl FnOnce(&mut State) -> bool,
    ) -> Result<(Pushed, bool)> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        if size == 0 {
            return Ok((Pushed::Taken, false));
        }
        if state.bytes > 0 && state.bytes + size > self.budget.share() {
            return Ok((Pushed::Full, false));
        }
        let was_empty = state.segments.is_empty();
        if size > MOST || !take(&mut state) {
            return Ok((Pushed::Short, false));
        }
        if was_empty {
            self.budget.count_buffer(true);
        }
        state.bytes += size;
        state.updated_ns = now_ns();
        self.offset.fetch_add(size as u64, Ordering::Release);
        Ok((Pushed::Taken, self.queue(&mut state)))
    }

    /// Call `notify` when the condition holds, at once if it holds now. Returns whether a flusher must be called.
    pub(super) fn wait(&self, until: Until, notify: Notify) -> bool {
        let mut state = self.state();
        if state.end.is_some() || self.has_come(&state, until) {
            drop(state);
            notify();
            return false;
        }
        let replaced = state.waiting.replace(Waiting { until, notify, _counted: Budget::waiter(&self.budget) });
        let call = self.queue(&mut state);
        drop(state);
        if let Some(Waiting { notify, .. }) = replaced {
            notify();
        }
        call
    }

    fn has_come(&self, state: &State, until: Until) -> bool {
        match until {
            // Wait for room for many more than the next bytes: frequent notifications would cost the writer most of its time.
            Until::Room(size) => {
                let share = self.budget.share();
                state.bytes == 0 || state.bytes + size.max(share / 4 * 3) <= share
            }
            Until::Empty => state.bytes == 0 && !state.queued,
        }
    }

    /// Take the oldest bytes, about `size`, if there is a flush unit or a writer waits. For the flusher.
    pub(super) fn take_ready(&self, size: usize) -> Vec<Segment> {
        let state = self.state();
        let size = if self.is_ready(&state) { size } else { 0 };
        self.take_from(state, size)
    }

    /// Take all bytes.
    pub(super) fn take(&self) -> Vec<Segment> {
        self.take_from(self.state(), usize::MAX)
    }

    fn take_from(&self, mut state: MutexGuard<'_, State>, size: usize) -> Vec<Segment> {
        let (mut taken, mut took) = (Vec::new(), 0);
        while took < size
            && let Some(segment) = state.segments.pop_front()
        {
            took += segment.len();
            taken.push(segment);
        }
        if took > 0 && state.segments.is_empty() {
            self.budget.count_buffer(false);
        }
        state.bytes -= took;
        self.notify(state);
        taken
    }

    /// Release the lock, and notify the writer if its wait is over.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let notified = self.answer(&mut state);
        drop(state);
        if let Some(notify) = notified {
            notify();
        }
    }

    /// Whether there are too few bytes for a flusher.
    pub(super) fn is_short(&self) -> bool {
        !self.is_ready(&self.state())
    }

    fn is_ready(&self, state: &State) -> bool {
        // Of a small share, half is enough: one half is written while the other is filled.
        state.bytes >= FLUSH_UNIT.min(self.budget.share() / 2) || (state.bytes > 0 && state.waiting.is_some())
    }

    /// Record that a flusher is called, if there is work for it and none has been called yet.
    fn queue(&self, state: &mut State) -> bool {
        let call = !state.queued && self.is_ready(state);
        state.queued |= call;
        call
    }

    fn answer(&self, state: &mut State) -> Option<Notify> {
        let until = state.waiting.as_ref()?.until;
        if state.end.is_none() && !self.has_come(state, until) {
            return None;
        }
        state.waiting.take().map(|waiting| waiting.notify)
    }

    /// Record that the flusher is done. Returns whether a flusher must be called again, and the writer to be notified.
    pub(super) fn leave_queue(&self) -> (bool, Option<Notify>) {
        let mut state = self.state();
        state.queued = false;
        let call = self.queue(&mut state);
        (call, self.answer(&mut state))
    }

    /// Notify the waiting writer, although its condition does not hold.
    pub(super) fn wake(&self) {
        let waiting = self.state().waiting.take();
        if let Some(Waiting { notify, .. }) = waiting {
            notify();
        }
    }

    /// Queue the ingest if it has something to flush; return whether a flusher must be called.
    pub(super) fn queue_if_ready(&self) -> bool {
        self.queue(&mut self.state())
    }

    /// Keep the first `size` bytes.
    pub(super) fn truncate(&self, size: usize) {
        let mut state = self.state();
        while state.bytes > size
            && let Some(mut last) = state.segments.pop_back()
        {
            state.bytes -= last.len();
            if state.bytes < size {
                last.truncate(size - state.bytes);
                state.bytes += last.len();
                state.segments.push_back(last);
            } else if state.segments.is_empty() {
                self.budget.count_buffer(false);
            }
        }
        self.notify(state);
    }

    /// Accept no more bytes, drop the pending ones, and keep the reason.
    pub(super) fn end(&self, reason: Error) {
        let mut state = self.state();
        if !state.segments.is_empty() {
            self.budget.count_buffer(false);
        }
        let segments = mem::take(&mut state.segments);
        state.bytes = 0;
        state.end = Some(reason);
        let notified = state.waiting.take();
        drop(state);
        drop(segments);
        if let Some(Waiting { notify, .. }) = notified {
            notify();
        }
    }

    /// Whether nothing is accepted any more.
    pub(super) fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    /// Call `see` with the bytes, the oldest first.
    pub(super) fn peek(&self, mut see: impl FnMut(&[u8])) {
        self.state().segments.iter().for_each(|segment| see(segment));
    }

    /// Set the number of written bytes, while no flusher is taking any.
    pub(super) fn set_written(&self, written: u64) {
        let state = self.state();
        self.offset.store(written + state.bytes as u64, Ordering::Release);
    }

    /// Bytes accepted.
    pub(super) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// Bytes in the buffer.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// The time at which bytes were last added, in ns since the epoch; 0 if none were.
    pub(super) fn updated_ns(&self) -> i64 {
        self.state().updated_ns
    }

    /// The number of write buffers of the store that have bytes.
    pub(super) fn buffers_in_use(&self) -> usize {
        self.budget.buffers_in_use()
    }

    /// Whether it is faster to wait until the bytes are written together with those of other ingests.
    pub(super) fn has_company(&self) -> bool {
        const WORTHWHILE: usize = 32 << 10;
        self.budget.buffers_in_use() > 1 && self.bytes() >= WORTHWHILE
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WriteBuffer {
    fn drop(&mut self) {
        if !self.state().segments.is_empty() {
            self.budget.count_buffer(false);
        }
    }
}
