//! A call as its caller sees it: requests go in, answers and the outcome come out.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use steelyard_core::store::ingest::Notify;
use tokio::sync::Notify as Signal;

use crate::client::messages::Method;
use crate::client::outcome::Outcome;
use crate::grpc::code::Code;

/// The most bytes of answers that are received ahead of the caller.
pub(super) const WINDOW_BYTES: u32 = 4 << 20;

/// A request: the bytes before its data, and the data.
pub(super) type Request = Vec<Bytes>;

/// A call, in progress or ended.
pub struct Call {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Option<Duration>,
    state: Mutex<State>,
    /// Signalled at new answers and at the end of the call, for callers that block a thread.
    changed: Condvar,
    /// Signals for the thread of the channel.
    requested: Signal,
    taken: Signal,
    cancelled: Signal,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    /// The caller has sent its last request.
    is_sent: bool,
    /// The first request that was taken from the queue, as long as it may have to be sent again.
    first: Option<Request>,
    /// The number of requests that were taken from the queue.
    begun: usize,
    answers: VecDeque<Bytes>,
    /// Bytes in `answers`.
    held: usize,
    /// Grows with each answer: the bytes of all answers so far, plus the number of messages.
    progress: u64,
    outcome: Option<Outcome>,
    waiting: Vec<(Until, Notify)>,
    /// Wakes that no wait has used yet: a wait may begin after the wake that is meant for it.
    wakes: usize,
}

/// The condition that ends a wait. The outcome of the call ends every wait.
#[derive(Clone, Copy)]
pub enum Until {
    /// At least this many bytes of answers can be taken.
    Held(usize),
    /// The progress is greater than this value.
    Beyond(u64),
}

impl State {
    fn is_ready(&self, until: Until) -> bool {
        self.outcome.is_some()
            || match until {
                Until::Held(wanted) => self.held >= wanted,
                Until::Beyond(seen) => self.progress > seen,
            }
    }

    fn ready(&mut self) -> Vec<Notify> {
        let all = take(&mut self.waiting);
        let (ready, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|(until, _)| self.is_ready(*until));
        self.waiting = waiting;
        ready.into_iter().map(|(_, notify)| notify).collect()
    }
}

impl Call {
    pub(super) fn new(method: Method, headers: HeaderMap, timeout: Option<Duration>) -> Self {
        Self {
            method,
            headers,
            timeout,
            state: Mutex::default(),
            changed: Condvar::new(),
            requested: Signal::new(),
            taken: Signal::new(),
            cancelled: Signal::new(),
        }
    }

    /// Queue a request: a message as JSON and, for a Write, its data.
    pub fn send(&self, request: &[u8], data: Vec<Bytes>) -> Result<(), String> {
        let request = self.method.encode(request, data)?;
        self.state().requests.push_back(request);
        self.requested.notify_one();
        Ok(())
    }

    /// Declare that there are no more requests.
    pub fn finish(&self) {
        self.state().is_sent = true;
        self.requested.notify_one();
    }

    /// Start a wait: `notify` is called when the condition holds or at a `wake`, possibly before this returns.
    pub fn when_ready(&self, until: Until, notify: Notify) {
        let mut state = self.state();
        if state.wakes > 0 || state.is_ready(until) {
            state.wakes = state.wakes.saturating_sub(1);
            drop(state);
            notify();
        } else {
            state.waiting.push((until, notify));
        }
    }

    /// End all current waits, and the next one, because the wait that is meant may not have begun. A caller that is woken without need
    /// finds its condition unmet and waits again.
    pub fn wake(&self) {
        let mut state = self.state();
        state.wakes += 1;
        let waiting = take(&mut state.waiting);
        drop(state);
        for (_, notify) in waiting {
            notify();
        }
    }

    /// Whether a wait would end at once.
    pub fn is_ready(&self, until: Until) -> bool {
        self.state().is_ready(until)
    }

    /// Block this thread until `wanted` bytes of answers can be taken or the call has ended.
    pub fn wait(&self, wanted: usize) {
        let mut state = self.state();
        while !state.is_ready(Until::Held(wanted)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Take at most `most` answers.
    pub fn take(&self, most: usize) -> Vec<Bytes> {
        let mut state = self.state();
        let count = state.answers.len().min(most);
        let answers: Vec<_> = state.answers.drain(..count).collect();
        state.held -= answers.iter().map(Bytes::len).sum::<usize>();
        drop(state);
        self.taken.notify_one();
        answers
    }

    /// Take at most `most` bytes of answers. The last piece is a part of an answer if the answer has more bytes.
    pub fn take_data(&self, most: usize) -> Vec<Bytes> {
        let (mut state, mut left, mut found) = (self.state(), most, Vec::new());
        while left > 0
            && let Some(answer) = state.answers.front_mut()
        {
            let part = answer.split_to(answer.len().min(left));
            if !answer.has_remaining() {
                state.answers.pop_front();
            }
            left -= part.len();
            state.held -= part.len();
            found.push(part);
        }
        drop(state);
        self.taken.notify_one();
        found
    }

    /// Return a number that grows with each answer.
    pub fn progress(&self) -> u64 {
        self.state().progress
    }

    /// Bytes of answers that can be taken.
    pub fn held(&self) -> usize {
        self.state().held
    }

    /// The outcome, if the call has ended. There may still be answers to take.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state().outcome.clone()
    }

    /// Cancel the call. The server may have carried it out all the same.
    pub fn cancel(&self) {
        self.end(Outcome::new(Code::Cancelled, "the caller has ended the call"));
        self.cancelled.notify_one();
    }

    /// Set the outcome, unless there is one.
    pub(super) fn end(&self, outcome: Outcome) {
        let mut state = self.state();
        if state.outcome.is_some() {
            return;
        }
        state.outcome = Some(outcome);
        // Unsent requests may hold memory of the caller, so they are dropped now.
        let unsent = (take(&mut state.requests), state.first.take());
        self.notify(state);
        drop(unsent);
    }

    pub(super) async fn until_cancelled(&self) {
        self.cancelled.notified().await;
    }

    /// Wait for the next request. Returns it, and whether it is the last one; `None` if there are no more.
    pub(super) async fn next_request(&self) -> Option<(Request, bool)> {
        loop {
            {
                let mut state = self.state();
                if let Some(request) = state.requests.pop_front() {
                    state.begun += 1;
                    // Once a second request is taken, the call cannot be repeated: only the first request is kept.
                    state.first = (state.begun == 1).then(|| request.clone());
                    return Some((request, state.is_sent && state.requests.is_empty()));
                }
                if state.is_sent {
                    return None;
                }
            }
            self.requested.notified().await;
        }
    }

    /// Prepare to send all requests again. Returns false if that is no longer possible.
    pub(super) fn rewind(&self) -> bool {
        let mut state = self.state();
        if state.begun > 1 || state.progress > 0 || state.outcome.is_some() {
            return false;
        }
        if let Some(first) = state.first.take() {
            state.requests.push_front(first);
            state.begun = 0;
        }
        true
    }

    /// Wait until fewer than `WINDOW_BYTES` bytes of answers are held.
    pub(super) async fn room(&self) {
        while self.state().held >= WINDOW_BYTES as usize {
            self.taken.notified().await;
        }
    }

    /// Add answers.
    pub(super) fn push(&self, answers: impl IntoIterator<Item = Bytes>) {
        let mut state = self.state();
        state.progress += 1;
        state.first = None;
        for answer in answers {
            state.held += answer.len();
            state.progress += answer.len() as u64;
            state.answers.push_back(answer);
        }
        self.notify(state);
    }

    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let ready = state.ready();
        drop(state);
        self.changed.notify_all();
        for notify in ready {
            notify();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a call when its task ends in any way, even by a panic or an abort.
pub(super) struct Ending(pub(super) Arc<Call>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Outcome::new(Code::Cancelled, "the connection was closed"));
    }
}
