//! A request under way: it notifies its owner once, when its outcome is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::error::{Error, Kind, Result};
use crate::operation::Outcome;

/// Called when the outcome is there.
pub type Notify = Box<dyn FnOnce() + Send>;

/// A request under way, or its outcome.
#[derive(Default)]
pub struct Request {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    notify: Option<Notify>,
    outcome: Option<Result<Outcome>>,
    /// The task that makes the request, until it is over: it keeps descriptors of the runtime open.
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

    /// Take the outcome. There is none before the notification, and none a second time.
    pub fn take(&self) -> Result<Outcome> {
        let taken = self.state().outcome.take();
        taken.unwrap_or_else(|| Err(Error::new(Kind::Cancelled, "the outcome was taken already")))
    }

    /// End it early; its owner is notified. The server may have done what it was asked.
    pub fn cancel(&self) {
        let task = self.state().task.take();
        self.end(Err(Error::new(Kind::Cancelled, "cancelled")));
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Note the task that makes the request, which is then the caller's to let run.
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
        drop(task); // not while the state is locked: the last handle of a task ends what the task owns, which may end the request
        if let Some(notify) = notify {
            notify();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a request whatever happens to the task that makes it: a panic must not leave its owner waiting.
pub(crate) struct Ending(pub(crate) Arc<Request>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err(Error::unended()));
    }
}

#[cfg(test)]
mod tests;
