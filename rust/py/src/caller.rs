//! The callers of a call: the core asks them, while it waits for another process, whether the result is still wanted.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use steelyard_core::waiting::{Caller, for_caller};

use crate::inbox::Inbox;

/// The Python caller of one call.
pub(crate) struct PythonCaller {
    pub(crate) inbox: Arc<Inbox>,
    /// The address of the call's ticket.
    pub(crate) ticket: usize,
}

/// The callers of a batch. If one of them is cancelled, the batch ends, and the others go into a later batch.
pub(crate) struct BatchCallers(pub(crate) Vec<PythonCaller>);

impl Caller for PythonCaller {
    fn is_cancelled(&self) -> bool {
        self.inbox.unwanted.has(self.ticket) || self.inbox.threads.is_closing()
    }

    fn waits(&self, begins: bool) {
        self.inbox.threads.waits(begins);
    }
}

impl Caller for BatchCallers {
    fn is_cancelled(&self) -> bool {
        self.0.iter().any(Caller::is_cancelled)
    }

    fn waits(&self, begins: bool) {
        if let Some(caller) = self.0.first() {
            caller.waits(begins);
        }
    }
}

/// The main thread of a program, on which Python calls signal handlers.
#[derive(Default)]
struct MainThread {
    /// The exception that a handler raised during the call.
    raised: Mutex<Option<PyErr>>,
}

impl MainThread {
    fn raised(&self) -> Option<PyErr> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Caller for MainThread {
    fn is_cancelled(&self) -> bool {
        // Another thread may work for this caller. Python calls no signal handlers there.
        let Some(error) = Python::attach(|py| py.check_signals().err()) else { return false };
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        true
    }

    fn waits(&self, _begins: bool) {}
}

/// Call a function on the main thread. While it waits for another process, Python's signal handlers are called. An
/// exception from a handler ends the wait, and is raised in place of the function's error.
#[pyfunction]
#[pyo3(signature = (function, *args))]
pub(crate) fn call_interruptibly<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let caller = Arc::new(MainThread::default());
    let result = for_caller(Some(Arc::<MainThread>::clone(&caller)), || function.call1(args));
    caller.raised().map_or(result, Err)
}
