//! The ingests that have bytes to be written, and the number of threads that write them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::Budget;
use crate::pipe::processors;
use crate::sys::Process;

/// The most ingests that are flushed together: as many as the widest registers have lanes.
const LANES: usize = 16;

/// The ingests of one store that have bytes to be written.
pub(super) struct Flushers<T> {
    pub(super) budget: Arc<Budget>,
    queue: Mutex<Queue<T>>,
}

pub(super) struct Queue<T> {
    /// The process of the threads: a child that is forked later does not have them.
    process: Process,
    pub(super) threads: usize,
    pub(super) ready: VecDeque<Arc<T>>,
}

impl<T> Flushers<T> {
    /// At most `limit` bytes will wait to be written.
    pub(super) fn new(limit: usize) -> Self {
        let queue = Queue { process: Process::current(), threads: 0, ready: VecDeque::new() };
        Self { budget: Budget::new(limit), queue: Mutex::new(queue) }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.process.is_current() {
            (queue.process, queue.threads) = (Process::current(), 0);
        }
        queue
    }
}

impl<T> Queue<T> {
    /// If there is enough work for another thread, count it and tell the caller to call it.
    pub(super) fn call(&mut self, writer_waits: bool) -> bool {
        let is_worth = match self.ready.len() {
            0 => false,
            ready => self.threads == 0 || ready >= LANES || writer_waits,
        };
        let call = is_worth && self.threads < processors();
        self.threads += usize::from(call);
        call
    }

    /// Take the next ingests that are flushed together.
    pub(super) fn take(&mut self, writer_waits: bool) -> Vec<Arc<T>> {
        let count = match self.ready.len() {
            // Few lanes on one processor are no faster than the same number of processors.
            few if few < LANES && writer_waits => few.div_ceil(processors()),
            many => many.min(LANES),
        };
        self.ready.drain(..count).collect()
    }
}
