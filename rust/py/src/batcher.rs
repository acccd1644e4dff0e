//! The batcher: one call of a Python function for all items that wait. The core decides which items form a batch.

use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use steelyard_core::sys::ProcessBound;
use steelyard_core::threads::calls::{self, Bounds};
use steelyard_core::waiting::{Caller, for_caller};

use crate::caller::{BatchCallers, PythonCaller};
use crate::errors::{Cancelled, Failure, contain};
use crate::inbox::{Inbox, Outcome, address};

/// Wraps a function that takes a list of items and returns a list of as many results, each a value or the error of that item.
///
/// When a batcher is submitted to a pool with the arguments (item, bytes), each caller gets the result of its own item.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Batcher(ProcessBound<Arc<Queue>>);

/// The items that wait for a batch, and the function.
pub(crate) struct Queue {
    function: Py<PyAny>,
    waiting: calls::Queue<Waiting>,
}

/// A submitted item that waits for its batch.
struct Waiting {
    item: Py<PyAny>,
    bytes: usize,
    ticket: Py<PyAny>,
    port: Arc<Inbox>,
}

#[pymethods]
impl Batcher {
    /// A batch has at most `most` items, and at most `most_bytes` bytes without its last item. At most `at_once` batches run at a time.
    #[new]
    #[pyo3(signature = (function, /, *, most, most_bytes, at_once))]
    fn new(function: Py<PyAny>, most: usize, most_bytes: usize, at_once: usize) -> Self {
        let waiting = calls::Queue::new(Bounds { most, most_bytes, at_once });
        Self(ProcessBound::new(Arc::new(Queue { function, waiting })))
    }

    /// Call the function with one item, immediately, on this thread.
    #[pyo3(signature = (item, bytes, /))]
    fn __call__(&self, py: Python<'_>, item: Py<PyAny>, bytes: usize) -> PyResult<Py<PyAny>> {
        let _ = bytes;
        self.queue()?.call(py, [item])?.pop().expect("one result for one item")
    }
}

impl Batcher {
    /// Queue an item. Returns the queue if the caller must start a batch.
    pub(crate) fn add(
        &self,
        args: &Bound<'_, PyTuple>,
        ticket: Py<PyAny>,
        port: Arc<Inbox>,
    ) -> PyResult<Option<Arc<Queue>>> {
        let (item, bytes): (Py<PyAny>, usize) = args.extract()?;
        let queue = self.queue()?;
        let begin = queue.waiting.add(Waiting { item, bytes, ticket, port }, bytes);
        Ok(begin.then(|| Arc::clone(queue)))
    }

    /// Remove a waiting item from the queue; None if it no longer waits.
    pub(crate) fn withdraw(&self, ticket: &Py<PyAny>) -> PyResult<Option<(Arc<Inbox>, Py<PyAny>)>> {
        let withdrawn = self.queue()?.waiting.withdraw(|waiting| waiting.ticket.is(ticket));
        Ok(withdrawn.map(|waiting| (waiting.port, waiting.ticket)))
    }

    fn queue(&self) -> PyResult<&Arc<Queue>> {
        Ok(self.0.get(|| "store".to_owned()).map_err(Failure::from)?)
    }
}

impl Waiting {
    fn caller(&self) -> PythonCaller {
        PythonCaller { inbox: Arc::clone(&self.port), ticket: address(&self.ticket) }
    }
}

impl Queue {
    /// Run the next batch. Returns the results, and whether there is another batch to run.
    pub(crate) fn work(&self, py: Python<'_>) -> (Vec<Outcome>, bool) {
        let batch = self.waiting.take();
        let items: Vec<_> = batch.iter().map(|one| one.item.clone_ref(py)).collect();
        let callers = BatchCallers(batch.iter().map(Waiting::caller).collect());
        let results = match items.len() {
            0 => Vec::new(),
            count => for_caller(Some(Arc::new(callers)), || self.call(py, items)).unwrap_or_else(|error| {
                // The whole batch has failed: each caller gets the error.
                (0..count).map(|_| Err(error.clone_ref(py))).collect()
            }),
        };
        let (mut outcomes, mut again) = (Vec::new(), Vec::new());
        for (one, result) in batch.into_iter().zip(results) {
            let is_cancelled = result.as_ref().is_err_and(|error| error.is_instance_of::<Cancelled>(py));
            if is_cancelled && !one.caller().is_cancelled() {
                // Another caller of the batch was cancelled, which ended the batch. This item goes into a later one.
                again.push(one);
            } else {
                outcomes.push((one.port, one.ticket, result));
            }
        }
        self.waiting.put_back(again.into_iter().map(|one| {
            let bytes = one.bytes;
            (one, bytes)
        }));
        (outcomes, self.waiting.end())
    }

    /// Give the error to each waiting caller, because no batch can be started.
    pub(crate) fn refuse(&self, py: Python<'_>, error: &PyErr) -> Vec<Outcome> {
        let waiting = self.waiting.give_up().into_iter();
        waiting.map(|one| (one.port, one.ticket, Err(error.clone_ref(py)))).collect()
    }

    fn call(&self, py: Python<'_>, items: impl IntoIterator<Item = Py<PyAny>>) -> PyResult<Vec<PyResult<Py<PyAny>>>> {
        let items: Vec<_> = items.into_iter().collect();
        let count = items.len();
        let results = contain(|| self.function.bind(py).call1((PyList::new(py, items)?,)))?;
        let results = results.cast::<PyList>()?;
        if results.len() != count {
            let message = format!("{} results for {count} items", results.len());
            return Err(PyRuntimeError::new_err(message));
        }
        let outcome = |result: Bound<'_, PyAny>| {
            if result.is_instance_of::<PyBaseException>() {
                Err(PyErr::from_value(result))
            } else {
                Ok(result.unbind())
            }
        };
        Ok(results.iter().map(outcome).collect())
    }
}
