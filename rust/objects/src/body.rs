//! The body of an object, received by as few requests as possible, and returned in pieces.
//!
//! The task of a body receives up to `READ_AHEAD_BYTES` bytes ahead of its reader, which are hashed meanwhile. If the connection breaks, the
//! task requests the rest. The task ends, and returns its connection, when the reader takes nothing for `REST`, or when the reader
//! is behind and other bodies wait. The next call of the reader starts it again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::{GetOptions, GetRange, ObjectStore as _};
use steelyard_core::digest::{Algorithm, Digest};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::bucket::{Bucket, path};
use crate::error::{Error, Kind, Result};
use crate::hashing::Hashing;
use crate::operation::Outcome;
use crate::request::Request;
use crate::runtime::{Limits, SLOWEST};

/// The most bytes that are received ahead of the reader.
const READ_AHEAD_BYTES: usize = 4 << 20;

/// The least bytes for which a waiting reader is notified, unless the task ends.
const WAKE_BYTES: usize = 1 << 20;

/// The bytes after which all attempts are allowed again, and the deadline starts again.
const STEP: u64 = 4 << 20;

/// How long a connection waits for a reader that is behind.
const REST: Duration = Duration::from_secs(5);

/// How often the task checks meanwhile whether other bodies wait for a connection.
const LOOK: Duration = Duration::from_secs(1);

/// The body of an object, for its reader. A drop releases its connection and its memory.
pub struct Body(Arc<Shared>);

pub(crate) struct Shared {
    key: String,
    end: u64,
    hashing: Option<Arc<Hashing>>,
    state: Mutex<State>,
    /// Notifies the task when there is room again.
    room: Notify,
}

struct State {
    /// The bytes that were received and not yet taken.
    ready: VecDeque<Bytes>,
    size: usize,
    /// The position of the next byte to receive.
    offset: u64,
    /// The object has ended, perhaps before `end`.
    is_whole: bool,
    /// A task is receiving, or is about to.
    is_receiving: bool,
    task: Option<AbortHandle>,
    /// Notified when there is something to take.
    reader: Option<Arc<Request>>,
    /// The failure that ended the last task, until the reader has taken it.
    failure: Option<Error>,
    is_closed: bool,
}

/// The end of a request for the rest.
enum Ended {
    /// The object has ended.
    Whole,
    /// More can be requested at once.
    Again,
    /// The reader is behind.
    Rests,
}

impl Body {
    /// A range of an object, hashed if there is an algorithm. `Client::receive` makes the first request.
    pub fn new(key: String, range: Range<u64>, algorithm: Option<Algorithm>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            size: 0,
            offset: range.start,
            is_whole: range.is_empty(),
            is_receiving: false,
            task: None,
            reader: None,
            failure: None,
            is_closed: false,
        };
        let hashing = algorithm.map(|algorithm| Arc::new(Hashing::new(algorithm)));
        Self(Arc::new(Shared { key, end: range.end, hashing, state: Mutex::new(state), room: Notify::new() }))
    }

    /// Take at most `most` of the next bytes: no bytes at the end, and None if the reader must wait for them.
    pub fn take(&self, most: usize) -> Option<Vec<Bytes>> {
        let mut state = self.0.state();
        if state.ready.is_empty() {
            return state.is_whole.then(Vec::new);
        }
        let (was, mut taken, mut left) = (state.size, Vec::new(), most);
        while left > 0
            && let Some(first) = state.ready.front_mut()
        {
            let bytes = if first.len() <= left { state.ready.pop_front() } else { Some(first.split_to(left)) };
            let bytes = bytes.unwrap_or_default();
            left -= bytes.len();
            taken.push(bytes);
        }
        state.size -= most - left;
        let has_room = was > READ_AHEAD_BYTES / 2 && state.size <= READ_AHEAD_BYTES / 2;
        drop(state);
        if has_room {
            self.0.room.notify_one();
        }
        Some(taken)
    }

    /// The digest of all bytes, at the end, if they are hashed.
    pub fn digest(&self) -> Option<Digest> {
        self.0.hashing.as_ref()?.digest()
    }

    /// End the body: no more bytes are received or returned.
    pub fn close(&self) {
        let (task, ready) = {
            let mut state = self.0.state();
            state.is_closed = true;
            state.size = 0;
            (state.task.take(), std::mem::take(&mut state.ready))
        };
        drop(ready);
        if let Some(task) = task {
            task.abort();
        }
        self.0.notify(Err(cancelled()));
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Have `request` end when there are bytes to take. Return whether the caller must start a task for that.
    pub(crate) fn wait(&self, request: &Arc<Request>) -> bool {
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            request.end(Err(cancelled()));
        } else if state.size > 0 || state.is_whole {
            drop(state);
            request.end(Ok(Outcome::Done));
        } else if let Some(failure) = state.failure.take() {
            drop(state);
            request.end(Err(failure));
        } else {
            state.reader = Some(Arc::clone(request));
            return !std::mem::replace(&mut state.is_receiving, true);
        }
        false
    }

    /// Keep the handle of the task, which may have ended already.
    pub(crate) fn received_by(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            task.abort();
        } else if state.is_receiving {
            state.task = Some(task);
        }
    }

    /// Receive until the object ends, the reader rests or another attempt is useless.
    pub(crate) async fn receive(self: Arc<Self>, bucket: &Bucket, limits: &Limits, tag: Option<String>, seconds: u64) {
        // Dropped when the task is aborted, too: the reader must not be left waiting.
        let stopped = Stopped(self);
        let shared = &stopped.0;
        loop {
            let begun = shared.state().offset;
            match shared.receive_rest(bucket, limits, tag.clone(), seconds).await {
                Ok(Ended::Again) if !shared.has_room(limits).await => return shared.stop(None),
                Ok(Ended::Again) => {}
                Ok(Ended::Whole | Ended::Rests) => return shared.stop(None),
                Err(error) => {
                    let came_far = shared.state().offset - begun >= STEP;
                    if error.kind != Kind::Unreachable || !came_far || bucket.retries() == 0 {
                        return shared.stop(Some(error));
                    }
                }
            }
        }
    }

    /// Request the rest, and receive the bytes of one connection.
    async fn receive_rest(&self, bucket: &Bucket, limits: &Limits, tag: Option<String>, seconds: u64) -> Result<Ended> {
        let (Ok(_body), Ok(_bytes), Ok(_place)) = (
            limits.bodies.acquire().await,
            limits.bytes.acquire_many(Limits::units(READ_AHEAD_BYTES)).await,
            limits.requests.acquire().await,
        ) else {
            return Err(Error::late(seconds));
        };
        let offset = self.state().offset;
        // If other bodies wait, request only as many bytes as the reader has room for.
        let end = if limits.is_crowded() { self.end.min(offset + READ_AHEAD_BYTES as u64) } else { self.end };
        let range = offset..end;
        let mut patience = Patience::new(seconds);
        let options =
            GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match: tag, ..GetOptions::default() };
        let path = path(&self.key)?;
        let got = patience.wait(bucket.store.get_opts(&path, options)).await??;
        let is_short = got.range != range;
        let mut frames = got.into_stream();
        while let Some(frame) = patience.wait(frames.next()).await? {
            let frame = frame?;
            patience.renew(frame.len());
            let (waiting, offset) = self.add(frame);
            if offset > end {
                break;
            }
            if let Some(hashing) = &self.hashing {
                hashing.has_room().await;
            }
            if waiting >= READ_AHEAD_BYTES && offset < end && !self.has_room(limits).await {
                return Ok(Ended::Rests);
            }
        }
        if let Some(hashing) = &self.hashing {
            hashing.finish().await;
        }
        let mut state = self.state();
        if !is_short && state.offset < end {
            return Err(Error::new(Kind::Unreachable, "the answer has ended early"));
        }
        // If the object is shorter, or the server sends more bytes than the range has, the body ends: the reader notices the wrong size.
        state.is_whole = is_short || state.offset > end || state.offset == self.end;
        Ok(if state.is_whole { Ended::Whole } else { Ended::Again })
    }

    /// Add bytes. Return how many the reader has not taken, and the position of the next byte to receive.
    fn add(&self, bytes: Bytes) -> (usize, u64) {
        if let Some(hashing) = &self.hashing {
            hashing.feed(bytes.clone());
        }
        let mut state = self.state();
        if state.is_closed {
            return (0, state.offset); // the task is being aborted
        }
        state.offset += bytes.len() as u64;
        state.size += bytes.len();
        state.ready.push_back(bytes);
        let (size, offset) = (state.size, state.offset);
        drop(state);
        if size >= WAKE_BYTES {
            self.notify(Ok(Outcome::Done));
        }
        (size, offset)
    }

    /// Wait until half of the room is free. Return false if the task should return its connection first.
    async fn has_room(&self, limits: &Limits) -> bool {
        let began = Instant::now();
        while self.state().size > READ_AHEAD_BYTES / 2 {
            if limits.is_crowded() || began.elapsed() >= REST {
                return false;
            }
            drop(timeout(LOOK, self.room.notified()).await);
        }
        true
    }

    /// Note the end of the task.
    fn stop(&self, failure: Option<Error>) {
        let (task, reader, outcome) = {
            let mut state = self.state();
            if !state.is_receiving {
                return;
            }
            state.is_receiving = false;
            let reader = state.reader.take();
            let outcome = match failure {
                Some(failure) if reader.is_some() && state.size == 0 => Err(failure),
                // The reader takes the received bytes first.
                failure => {
                    state.failure = failure;
                    Ok(Outcome::Done)
                }
            };
            (state.task.take(), reader, outcome)
        };
        drop(task); // not while the state is locked: the last handle of a task ends what the task owns
        if let Some(reader) = reader {
            reader.end(outcome);
        }
    }

    /// Notify the reader, if it is waiting.
    fn notify(&self, outcome: Result<Outcome>) {
        let reader = self.state().reader.take();
        if let Some(reader) = reader {
            reader.end(outcome);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the wait of the reader, even if the task panics or is aborted.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stop(Some(Error::unended()));
    }
}

/// The time left until the next `STEP` bytes must have arrived.
struct Patience {
    seconds: u64,
    left: Duration,
    bytes: u64,
}

impl Patience {
    fn new(timeout: u64) -> Self {
        let seconds = timeout + STEP / SLOWEST;
        Self { seconds, left: Duration::from_secs(seconds), bytes: 0 }
    }

    async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let began = Instant::now();
        let done = timeout(self.left, work).await.map_err(|_| Error::late(self.seconds))?;
        self.left = self.left.saturating_sub(began.elapsed());
        Ok(done)
    }

    fn renew(&mut self, received: usize) {
        self.bytes += received as u64;
        if self.bytes >= STEP {
            (self.bytes, self.left) = (0, Duration::from_secs(self.seconds));
        }
    }
}

fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "the stream is closed")
}

#[cfg(test)]
mod tests;
