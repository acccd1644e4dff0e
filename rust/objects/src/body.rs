//! The body of an object, received by one request for as long as that goes well, and given in pieces.
//!
//! The task of a body receives ahead of its reader, up to `AHEAD` bytes, and has them hashed meanwhile. Where the connection
//! breaks it asks for the rest. It ends, and gives its connection back, when the reader rests for `REST`, or when the
//! reader is behind and other bodies wait: the next call of the reader starts it again.

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

/// Bytes that are received ahead of the reader.
const AHEAD: usize = 4 << 20;

/// Bytes that are worth a wake of the reader.
const PIECE: usize = 1 << 20;

/// Bytes after which all attempts are allowed again, and the deadline is a new one.
const STEP: u64 = 4 << 20;

/// How long a connection waits for a reader that is behind.
const REST: Duration = Duration::from_secs(5);

/// How often it looks meanwhile whether other bodies wait for a connection.
const LOOK: Duration = Duration::from_secs(1);

/// The body of an object, for its reader. Its connection and its memory go when it is dropped.
pub struct Body(Arc<Shared>);

pub(crate) struct Shared {
    key: String,
    end: u64,
    hashing: Option<Arc<Hashing>>,
    state: Mutex<State>,
    /// There is room again, of which the task is notified.
    room: Notify,
}

struct State {
    /// Received, and not yet taken.
    ready: VecDeque<Bytes>,
    size: usize,
    /// Where to receive on.
    offset: u64,
    /// The object has ended, perhaps before `end`.
    is_whole: bool,
    /// A task receives, or is about to.
    is_receiving: bool,
    task: Option<AbortHandle>,
    /// Notified when there is something to take.
    reader: Option<Arc<Request>>,
    /// Why the last task ended, until the reader has it.
    failure: Option<Error>,
    is_closed: bool,
}

/// How a request for the rest has ended.
enum Ended {
    /// The object has ended.
    Whole,
    /// More can be asked for at once.
    Again,
    /// The reader is behind.
    Rests,
}

impl Body {
    /// These bytes of an object, hashed if there is an algorithm. No request is made before `Client::receive`.
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

    /// At most `most` of the next bytes, none at the end; None if the reader must wait for them.
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
        let has_room = was > AHEAD / 2 && state.size <= AHEAD / 2;
        drop(state);
        if has_room {
            self.0.room.notify_one();
        }
        Some(taken)
    }

    /// The digest of all bytes, if they are hashed, at the end.
    pub fn digest(&self) -> Option<Digest> {
        self.0.hashing.as_ref()?.digest()
    }

    /// End it: nothing more is received or given.
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
    /// Notify the reader by the request when there is something to take. Return whether a task must be started for that.
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

    /// Note the task, which may have ended already.
    pub(crate) fn received_by(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            task.abort();
        } else if state.is_receiving {
            state.task = Some(task);
        }
    }

    /// Receive until the object ends, the reader rests or nothing helps.
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

    /// Ask for the rest, and receive what one connection gives.
    async fn receive_rest(&self, bucket: &Bucket, limits: &Limits, tag: Option<String>, seconds: u64) -> Result<Ended> {
        let (Ok(_body), Ok(_bytes), Ok(_place)) = (
            limits.bodies.acquire().await,
            limits.bytes.acquire_many(Limits::units(AHEAD)).await,
            limits.requests.acquire().await,
        ) else {
            return Err(Error::late(seconds));
        };
        let offset = self.state().offset;
        // Where others wait, a connection is kept for as much as the reader has room for.
        let end = if limits.is_crowded() { self.end.min(offset + AHEAD as u64) } else { self.end };
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
            if waiting >= AHEAD && offset < end && !self.has_room(limits).await {
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
        // Of an object that is shorter, or has more bytes in a range than belong there, the reader sees too few or too many.
        state.is_whole = is_short || state.offset > end || state.offset == self.end;
        Ok(if state.is_whole { Ended::Whole } else { Ended::Again })
    }

    /// Add bytes; return how many the reader has not taken, and where to receive on.
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
        if size >= PIECE {
            self.notify(Ok(Outcome::Done));
        }
        (size, offset)
    }

    /// Wait until half of the room is free; false if the connection is better given back.
    async fn has_room(&self, limits: &Limits) -> bool {
        let began = Instant::now();
        while self.state().size > AHEAD / 2 {
            if limits.is_crowded() || began.elapsed() >= REST {
                return false;
            }
            drop(timeout(LOOK, self.room.notified()).await);
        }
        true
    }

    /// The task has ended.
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
                // What was received comes first.
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

    /// Notify the reader, if it waits.
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

/// Ends the wait of the reader whatever happens to the task.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stop(Some(Error::unended()));
    }
}

/// The time that is left for the next bytes: as much as for a request of `STEP` bytes.
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
