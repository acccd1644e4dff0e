//! Worker threads for calls of Python functions, and the ports through which event loops get the results.
//!
//! The core decides which thread is woken and when (`steelyard_core::threads::calls`). This module makes the calls, with the
//! GIL, and notifies event loops: results collect in the inbox of a loop, and one wake-up, which takes about 50 µs, delivers all
//! of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use steelyard_core::error::Error;
use steelyard_core::store::ingest::Ingest;
use steelyard_core::sys::ProcessBound;
use steelyard_core::threads;
use steelyard_core::threads::calls::{self, Done, Work};
use steelyard_core::waiting::for_caller;

use crate::batcher::{Batcher, Queue};
use crate::caller::PythonCaller;
use crate::errors::{Cancelled, Failure, contain};
use crate::inbox::{Inbox, Threads, Unwanted, add, address};
use crate::wait::Wait;

/// How long a thread waits for work before it ends: less than the second that the documentation promises.
const IDLE: Duration = Duration::from_millis(700);

/// Linux's error number for too many threads or processes.
const EAGAIN: i32 = 11;

/// A job of a worker.
pub(crate) enum Job {
    /// A call to make, and the owner of its result.
    Call { function: Py<PyAny>, args: Py<PyTuple>, ticket: Py<PyAny>, port: Arc<Inbox> },
    /// A batch of the items that wait in this queue when the job runs.
    Batch(Arc<Queue>),
    /// Notify the owner of a wait that the wait has ended.
    Notify { ticket: Py<PyAny>, port: Arc<Inbox> },
    /// Write the bytes of this ingest and of others, because no flusher could be started. The ingest notifies its writer.
    Flush(Arc<Ingest>),
}

/// The work of the pool: calls of Python functions.
pub(crate) struct Calls;

/// A set of worker threads. In the child of a fork it has no threads, and the jobs in its queue belong to the parent.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Pool(ProcessBound<Arc<calls::Pool<Calls>>>);

/// The access of one event loop to a pool.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Port(ProcessBound<(Arc<calls::Pool<Calls>>, Arc<Inbox>)>);

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (most, /))]
    fn new(most: usize) -> Self {
        Self(ProcessBound::new(calls::Pool::new(Calls, most, IDLE)))
    }

    /// The current number of threads.
    #[getter]
    fn threads(&self) -> usize {
        self.0.here().map_or(0, |pool| pool.threads())
    }

    /// Counts of submitted calls, started threads, woken idle threads, and wake-ups of event loops.
    fn counts(&self) -> PyResult<(u64, u64, u64, u64)> {
        let counts = bound(&self.0)?.counts();
        Ok((counts.jobs, counts.started, counts.woken, counts.notified))
    }

    #[pyo3(signature = (wake, /))]
    fn port(&self, wake: Py<PyAny>) -> PyResult<Port> {
        let pool = Arc::clone(bound(&self.0)?);
        let threads = Box::new(Arc::clone(&pool));
        let inbox = Inbox { results: calls::Inbox::default(), wake, threads, unwanted: Unwanted::default() };
        Ok(Port(ProcessBound::new((pool, Arc::new(inbox)))))
    }

    /// Finish all submitted calls and end all threads. For the end of the process, after which no thread may call Python.
    fn close(&self, py: Python<'_>) {
        if let Some(pool) = self.0.here() {
            py.detach(|| pool.close());
        }
    }
}

#[pymethods]
impl Port {
    /// Have a worker call `function(*args)`. A `Batcher` is called with the items of other callers too. `take` returns the result with the
    /// ticket.
    ///
    /// A `Wait` uses no worker until it has ended.
    #[pyo3(signature = (function, args, ticket, /))]
    fn submit(&self, py: Python<'_>, function: Py<PyAny>, args: Py<PyTuple>, ticket: Py<PyAny>) -> PyResult<()> {
        let (pool, port) = bound(&self.0)?;
        let port = Arc::clone(port);
        if let Ok(wait) = function.cast_bound::<Wait>(py) {
            let wait = wait.get();
            let job = match wait.next(py) {
                None => Job::Notify { ticket, port },
                Some(function) => Job::Call { function, args: args.clone_ref(py), ticket, port },
            };
            let mut notify = Notifying { pool: Arc::clone(pool), job: Some(job) };
            if let Some(ingest) = wait.begin(args.bind(py), Box::new(move || notify.now()))? {
                pool.submit(Job::Flush(ingest));
            }
            return Ok(());
        }
        let job = match function.cast_bound::<Batcher>(py) {
            Err(_) => Job::Call { function, args, ticket, port },
            Ok(batcher) => match batcher.get().add(args.bind(py), ticket, port)? {
                Some(queue) => Job::Batch(queue),
                None => return Ok(()),
            },
        };
        pool.submit(job);
        Ok(())
    }

    /// Declare that the result of a submitted call is no longer wanted. If the call waits for another process or in the queue of a batcher,
    /// it ends with `Cancelled` and without an effect. After the end of the call, `forget` must be called with the ticket.
    #[pyo3(signature = (function, ticket, /))]
    fn cancel(&self, py: Python<'_>, function: &Bound<'_, PyAny>, ticket: Py<PyAny>) -> PyResult<()> {
        let (_, inbox) = bound(&self.0)?;
        inbox.unwanted.add(address(&ticket));
        if let Ok(batcher) = function.cast::<Batcher>() {
            let withdrawn = batcher.get().withdraw(&ticket)?;
            if let Some((port, ticket)) = withdrawn {
                // The exception is created, not raised: its context would then be the exception that the caller handles, with all frames.
                let error = PyErr::from_value(py.get_type::<Cancelled>().call0()?);
                for port in add([(port, ticket, Err(error))]) {
                    port.wake.call0(py)?;
                }
            }
        }
        Ok(())
    }

    /// Declare that the cancelled call with this ticket has ended.
    #[pyo3(signature = (ticket, /))]
    fn forget(&self, ticket: Py<PyAny>) -> PyResult<()> {
        let (_, inbox) = bound(&self.0)?;
        inbox.unwanted.remove(address(&ticket));
        Ok(())
    }

    /// The results since the last call: a list of (ticket, value, None) and (ticket, None, error).
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let (_, inbox) = bound(&self.0)?;
        let rows = inbox.results.take().into_iter().map(|(ticket, result)| match result {
            Ok(value) => (ticket, value, py.None()),
            Err(error) => (ticket, py.None(), error.into_value(py).into_any()),
        });
        PyList::new(py, rows.collect::<Vec<_>>())
    }
}

/// Notifies the owner of a wait, at the latest when this is dropped, for example by a panic.
struct Notifying {
    pool: Arc<calls::Pool<Calls>>,
    job: Option<Job>,
}

impl Notifying {
    fn now(&mut self) {
        if let Some(job) = self.job.take() {
            self.pool.submit(job);
        }
    }
}

impl Drop for Notifying {
    fn drop(&mut self) {
        self.now();
    }
}

impl Work for Calls {
    type Job = Job;
    type Notified = Arc<Inbox>;

    fn start(&self, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        threads::start("steelyard", life).map(drop)
    }

    fn attached(&self, serve: &mut dyn FnMut()) -> bool {
        // `None` means that the interpreter has ended, and with it all callers.
        Python::try_attach(|_| serve()).is_some()
    }

    fn detached(&self, wait: &mut (dyn FnMut() + Send)) {
        // This runs within `attached`, so the thread keeps its Python state: creating a new one takes some system calls.
        Python::attach(|py| py.detach(wait));
    }

    fn run(&self, job: Job) -> Done<Self> {
        match job {
            Job::Call { function, args, ticket, port } => {
                let caller = Arc::new(PythonCaller { inbox: Arc::clone(&port), ticket: address(&ticket) });
                let call = || Python::attach(|py| contain(|| function.call1(py, args)));
                let result = for_caller(Some(caller), call);
                // The function is dropped before the caller gets the result: its owner may be the last that keeps a descriptor open.
                drop(function);
                Done { notified: add([(port, ticket, result)]), rest: None }
            }
            Job::Notify { ticket, port } => {
                Python::attach(|py| Done { notified: add([(port, ticket, Ok(py.None()))]), rest: None })
            }
            Job::Flush(ingest) => {
                Python::attach(|py| {
                    py.detach(|| {
                        ingest.flush_here();
                        drop(ingest);
                    });
                });
                Done { notified: Vec::new(), rest: None }
            }
            Job::Batch(queue) => {
                let (outcomes, more) = Python::attach(|py| queue.work(py));
                let rest = if more {
                    Some(Job::Batch(queue))
                } else {
                    drop(queue); // as above
                    None
                };
                Done { notified: add(outcomes), rest }
            }
        }
    }

    fn refuse(&self, job: Job, error: &io::Error) -> Vec<Arc<Inbox>> {
        let errno = error.raw_os_error().unwrap_or(EAGAIN);
        let error = PyErr::from(Failure::from(Error::Io { errno, path: None, operation: "start a thread" }));
        match job {
            Job::Call { ticket, port, .. } | Job::Notify { ticket, port } => add([(port, ticket, Err(error))]),
            Job::Batch(queue) => add(Python::attach(|py| queue.refuse(py, &error))),
            Job::Flush(ingest) => {
                // A notification needs a thread too. If there is none, the waiting callers get an error.
                ingest.wake();
                Vec::new()
            }
        }
    }

    fn notify(&self, port: Arc<Inbox>) {
        // A closed event loop cannot be woken. No task waits there any more.
        if Python::attach(|py| port.wake.call0(py)).is_err() {
            port.results.close();
        }
    }
}

impl Threads for Arc<calls::Pool<Calls>> {
    fn waits(&self, begins: bool) {
        calls::Pool::waits(self, begins);
    }

    fn is_closing(&self) -> bool {
        calls::Pool::is_closing(self)
    }
}

/// Return the value if it belongs to this process. Fails in the child of a fork.
fn bound<T>(value: &ProcessBound<T>) -> PyResult<&T> {
    Ok(value.get(|| "event loop".to_owned()).map_err(Failure::from)?)
}
