//! Calls that go together: those that come while a batch is under way wait and are the next, one call for all of them.
//!
//! A call that comes alone goes at once. Nobody waits for company: a batch is whatever is there when a worker is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::pool::{Inbox, Told};

/// A function of a list of items, which returns a list of as many results: each a value, or the error of that item.
///
/// Submitted to a pool with the arguments (item, bytes), it gives each caller what became of its own item.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Gather(Arc<Line>);

/// Who waits for a batch.
pub(crate) struct Line {
    function: Py<PyAny>,
    most: usize,
    most_bytes: usize,
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Batches under way, or begun and not yet taken.
    running: usize,
}

/// One call.
struct Waiting {
    item: Py<PyAny>,
    bytes: usize,
    ticket: Py<PyAny>,
    port: Arc<Inbox>,
}

#[pymethods]
impl Gather {
    /// At most `most` items or, but for the last one, `most_bytes` bytes go together; `at_once` batches at a time.
    #[new]
    #[pyo3(signature = (function, /, *, most, most_bytes, at_once))]
    fn new(function: Py<PyAny>, most: usize, most_bytes: usize, at_once: usize) -> Self {
        let (most, at_once) = (most.max(1), at_once.max(1));
        Self(Arc::new(Line { function, most, most_bytes, at_once, state: Mutex::default() }))
    }

    /// Call the function with one item, at once and in this thread.
    #[pyo3(signature = (item, bytes, /))]
    fn __call__(&self, py: Python<'_>, item: Py<PyAny>, bytes: usize) -> PyResult<Py<PyAny>> {
        let _ = bytes;
        self.0.call(py, [item])?.pop().expect("one result for one item")
    }
}

impl Gather {
    /// Have an item wait; the line, if a batch is to be begun for it.
    pub(crate) fn add(
        &self,
        args: &Bound<'_, PyTuple>,
        ticket: Py<PyAny>,
        port: Arc<Inbox>,
    ) -> PyResult<Option<Arc<Line>>> {
        let (item, bytes): (Py<PyAny>, usize) = args.extract()?;
        let mut state = self.0.state();
        state.waiting.push_back(Waiting { item, bytes, ticket, port });
        if state.running == self.0.at_once {
            return Ok(None);
        }
        state.running += 1;
        drop(state);
        Ok(Some(Arc::clone(&self.0)))
    }
}

impl Line {
    /// Do the next batch: what there is to tell, and whether there is one more to be done.
    pub(crate) fn work(&self, py: Python<'_>) -> (Vec<Told>, bool) {
        let batch = self.take();
        let (items, callers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.item, (one.ticket, one.port))).unzip();
        let results = match items.len() {
            0 => Vec::new(),
            count => self.call(py, items).unwrap_or_else(|error| {
                // It is everybody's.
                (0..count).map(|_| Err(error.clone_ref(py))).collect()
            }),
        };
        let told = callers.into_iter().zip(results).map(|((ticket, port), result)| (port, ticket, result)).collect();
        let mut state = self.state();
        let more = !state.waiting.is_empty();
        if !more {
            state.running -= 1;
        }
        (told, more)
    }

    /// Do no batch, because of that error: it is everybody's who waits.
    pub(crate) fn refuse(&self, py: Python<'_>, error: &PyErr) -> Vec<Told> {
        let mut state = self.state();
        state.running -= 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().map(|one| (one.port, one.ticket, Err(error.clone_ref(py)))).collect()
    }

    fn take(&self) -> Vec<Waiting> {
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.most
            && bytes < self.most_bytes
            && let Some(next) = state.waiting.pop_front()
        {
            bytes += next.bytes;
            batch.push(next);
        }
        batch
    }

    fn call(&self, py: Python<'_>, items: impl IntoIterator<Item = Py<PyAny>>) -> PyResult<Vec<PyResult<Py<PyAny>>>> {
        let items: Vec<_> = items.into_iter().collect();
        let count = items.len();
        let results = self.function.bind(py).call1((PyList::new(py, items)?,))?;
        let results = results.cast::<PyList>()?;
        if results.len() != count {
            let message = format!("{} results for {count} items", results.len());
            return Err(PyRuntimeError::new_err(message));
        }
        let told = |result: Bound<'_, PyAny>| {
            if result.is_instance_of::<PyBaseException>() {
                Err(PyErr::from_value(result))
            } else {
                Ok(result.unbind())
            }
        };
        Ok(results.iter().map(told).collect())
    }

    /// Only ever held for a few instructions, and never while waiting for the GIL or letting go of an object.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
