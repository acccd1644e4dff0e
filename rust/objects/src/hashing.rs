//! A hash of arriving bytes, computed on another thread than that of the task that receives them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::hash::Hasher;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// The bytes for which hashing starts on a thread. Fewer bytes wait for more.
const ENOUGH: usize = 512 << 10;

/// The bytes beyond which the receiving task waits for the hash.
const MOST: usize = 4 << 20;

/// The hash of bytes in order.
pub(crate) struct Hashing {
    state: Mutex<State>,
    /// Notifies when fewer bytes wait, or when the thread has ended.
    progress: Notify,
}

struct State {
    /// None while a thread updates it.
    hasher: Option<Hasher>,
    waiting: VecDeque<Bytes>,
    size: usize,
}

impl Hashing {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let state = State { hasher: Some(Hasher::new(algorithm)), waiting: VecDeque::new(), size: 0 };
        Self { state: Mutex::new(state), progress: Notify::new() }
    }

    /// Add the next bytes. They may wait for more before they are hashed.
    pub(crate) fn feed(self: &Arc<Self>, bytes: Bytes) {
        let mut state = self.state();
        state.size += bytes.len();
        state.waiting.push_back(bytes);
        if state.size >= ENOUGH {
            self.start(state);
        }
    }

    /// Wait until at most `MOST` bytes wait for their hash.
    pub(crate) async fn has_room(self: &Arc<Self>) {
        while self.state().size > MOST {
            self.progress.notified().await;
        }
    }

    /// Wait until all bytes are hashed.
    pub(crate) async fn finish(self: &Arc<Self>) {
        self.start(self.state());
        while !self.state().is_at_rest() {
            self.progress.notified().await;
        }
    }

    /// The digest of all bytes, when they are hashed.
    pub(crate) fn digest(&self) -> Option<Digest> {
        Some(self.state().hasher.as_ref()?.digest())
    }

    fn start(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.waiting.is_empty() {
            return;
        }
        let Some(hasher) = state.hasher.take() else { return };
        drop(state);
        let this = Arc::clone(self);
        // It fails to run only when the runtime ends, and then the task that would wait for it ends, too.
        drop(spawn_blocking(move || this.run(hasher)));
    }

    fn run(&self, mut hasher: Hasher) {
        loop {
            let mut state = self.state();
            let Some(bytes) = state.waiting.pop_front() else {
                state.hasher = Some(hasher);
                break;
            };
            drop(state);
            hasher.update(&bytes);
            self.state().size -= bytes.len();
            self.progress.notify_one();
        }
        self.progress.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && self.hasher.is_some()
    }
}
