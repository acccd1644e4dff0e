//! A running request: it notifies its owner once, when its outcome is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::error::{Error, Kind, Result};
use crate::operation::Outcome;

/// Called when the outcome is there.
pub type Notify = Box<dyn FnOnce() + Send>;

/// A running request, or its outcome.
#[derive(Default)]
pub struct Request {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    notify: Option<Notify>,
    outcome: Option<Result<Outcome>>,
    /// The task that makes the request. The handle keeps descriptors of the runtime open, so it is dropped when the request is over.
    task: Option<AbortHandle>,
    is_over: bool,
}

impl Request {
    /// Have `notify` called when the outcome is there, which may be at once.
    pub fn when_ready(&self, notify: Notify) {
        let mut state = self.state();
        if state.is_over {
            drop(state);
            notify();
        } else {
            state.notify = Some(notify);
        }
    }

    /// Take the outcome. Before the notification, and from the second call on, there is none, and this fails with `Cancelled`.
    pub fn take(&self) -> Result<Outcome> {
        let taken = self.state().outcome.take();
        taken.unwrap_or_else(|| Err(Error::new(Kind::Cancelled, "the outcome was taken already")))
    }

    /// End the request early, and notify its owner. The server may have carried it out.
    pub fn cancel(&self) {
        let task = self.state().task.take();
        self.end(Err(Error::new(Kind::Cancelled, "cancelled")));
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Keep the handle of the task that makes the request. If the request has ended already, abort the task.
    pub(crate) fn made_by(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.is_over {
            drop(state);
            task.abort();
        } else {
            state.task = Some(task);
        }
    }

    /// Set the outcome, unless there is one.
    pub(crate) fn end(&self, outcome: Result<Outcome>) {
        let (notify, task) = {
            let mut state = self.state();
            if state.is_over {
                return;
            }
            state.is_over = true;
            state.outcome = Some(outcome);
            (state.notify.take(), state.task.take())
        };
        drop(task); // not while the state is locked: dropping the last handle drops the task's values, and one of them may end the request
        if let Some(notify) = notify {
            notify();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a request when its task ends, even by a panic, so that the owner never waits in vain.
pub(crate) struct Ending(pub(crate) Arc<Request>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err(Error::unended()));
    }
}

#[cfg(test)]
mod tests;
