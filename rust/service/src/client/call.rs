//! A call as its caller sees it. Nothing in here waits.

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

/// Bytes of answers that are received before the caller takes them.
pub(super) const AHEAD: u32 = 4 << 20;

/// A request: the bytes before its data, and the data.
pub(super) type Request = Vec<Bytes>;

/// A call under way, or its outcome.
pub struct Call {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Option<Duration>,
    state: Mutex<State>,
    /// Something to take, or the end: for callers that wait on a thread.
    changed: Condvar,
    /// Signals to the thread of the channel.
    requested: Signal,
    taken: Signal,
    cancelled: Signal,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    /// The caller has sent its last request.
    is_sent: bool,
    /// The requests that were taken from the queue: the first one, and how many. It may have to be sent again.
    first: Option<Request>,
    begun: usize,
    answers: VecDeque<Bytes>,
    /// Bytes of the answers.
    held: usize,
    /// Bytes of all answers so far, and their number: a sign of progress.
    progress: u64,
    outcome: Option<Outcome>,
    waiting: Vec<(Until, Notify)>,
    /// Wakes that no wait has used: a wait may begin after the wake that is to end it.
    wakes: usize,
}

/// The end of a wait, beside the outcome of the call.
#[derive(Clone, Copy)]
pub enum Until {
    /// So many bytes of answers can be taken.
    Held(usize),
    /// There was progress since it was this.
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

    /// Send a request: a message as JSON, and of a Write its data.
    pub fn send(&self, request: &[u8], data: Vec<Bytes>) -> Result<(), String> {
        let request = self.method.encode(request, data)?;
        self.state().requests.push_back(request);
        self.requested.notify_one();
        Ok(())
    }

    /// Say that there are no more requests.
    pub fn finish(&self) {
        self.state().is_sent = true;
        self.requested.notify_one();
    }

    /// Have `notify` called at the end of a wait, or at a `wake`; perhaps at once.
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

    /// End all waits, and the next one: one that is to end may not have begun. A caller that was not meant looks, and waits again.
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

    /// Wait on this thread until there are `wanted` bytes of answers to take, or the outcome.
    pub fn wait(&self, wanted: usize) {
        let mut state = self.state();
        while !state.is_ready(Until::Held(wanted)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Take at most so many answers.
    pub fn take(&self, most: usize) -> Vec<Bytes> {
        let mut state = self.state();
        let count = state.answers.len().min(most);
        let answers: Vec<_> = state.answers.drain(..count).collect();
        state.held -= answers.iter().map(Bytes::len).sum::<usize>();
        drop(state);
        self.taken.notify_one();
        answers
    }

    /// Take at most so many bytes of the data of answers; of the last one a part, if it has more.
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

    /// Bytes and number of all answers so far: if it has not grown, there was no progress.
    pub fn progress(&self) -> u64 {
        self.state().progress
    }

    /// Bytes that `take` or `take_data` would give.
    pub fn held(&self) -> usize {
        self.state().held
    }

    /// How it ended; answers may still be there to be taken.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state().outcome.clone()
    }

    /// End it early. The server may have done what it was asked.
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
        // What was to be sent may hold memory of the caller.
        let unsent = (take(&mut state.requests), state.first.take());
        self.notify(state);
        drop(unsent);
    }

    pub(super) async fn until_cancelled(&self) {
        self.cancelled.notified().await;
    }

    /// The next request, and whether it is the last one; None: there are no more.
    pub(super) async fn next_request(&self) -> Option<(Request, bool)> {
        loop {
            {
                let mut state = self.state();
                if let Some(request) = state.requests.pop_front() {
                    state.begun += 1;
                    // A second request makes the first one impossible to repeat alone.
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

    /// Prepare to send all requests again; false: that is not possible any more.
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

    /// Wait until the caller has taken enough of the answers.
    pub(super) async fn room(&self) {
        while self.state().held >= AHEAD as usize {
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

/// Ends a call whatever happens to the task that makes it.
pub(super) struct Ending(pub(super) Arc<Call>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Outcome::new(Code::Cancelled, "the connection was closed"));
    }
}
