//! Worker threads for Python's calls, and the ports through which event loops hear of their ends.
//!
//! Waking an event loop from another thread is what costs, about 50 µs; so finished calls gather in a queue, and one wake
//! delivers all that are there. Threads start when there is work and nobody idle to do it, and end after `IDLE` without.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::gather::{Gather, Line};

/// How long a thread waits for work before it ends: less than the second that the documents promise.
const IDLE: Duration = Duration::from_millis(700);

/// What a worker has to do.
enum Job {
    /// A call to make, and whom to tell.
    Call { function: Py<PyAny>, args: Py<PyTuple>, ticket: Py<PyAny>, port: Arc<Inbox> },
    /// A batch of those who wait in that line by then.
    Batch(Arc<Line>),
}

/// Threads and the calls that wait for one.
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closing: bool,
}

/// What is finished and not yet taken, of one event loop.
pub(crate) struct Inbox {
    done: Mutex<Done>,
    /// Called by a worker, with no argument, when the first result after a `take` arrives.
    wake: Py<PyAny>,
}

#[derive(Default)]
struct Done {
    results: Vec<(Py<PyAny>, PyResult<Py<PyAny>>)>,
    waking: bool,
}

/// A result, whose it is, and where that is heard of.
pub(crate) type Told = (Arc<Inbox>, Py<PyAny>, PyResult<Py<PyAny>>);

/// A set of worker threads.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Pool(Arc<Shared>);

/// One event loop's way to a pool.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Port {
    pool: Arc<Shared>,
    inbox: Arc<Inbox>,
}

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (most, /))]
    fn new(most: usize) -> Self {
        let (state, work, ended) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self(Arc::new(Shared { state, work, ended, most }))
    }

    /// How many threads there are at this moment.
    #[getter]
    fn threads(&self) -> usize {
        self.0.state().threads
    }

    #[pyo3(signature = (wake, /))]
    fn port(&self, wake: Py<PyAny>) -> Port {
        let inbox = Inbox { done: Mutex::default(), wake };
        Port { pool: Arc::clone(&self.0), inbox: Arc::new(inbox) }
    }

    /// Finish what was submitted and end all threads; for the end of the process, after which no thread may call Python.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let mut state = self.0.state();
            state.closing = true;
            self.0.work.notify_all();
            while state.threads > 0 {
                state = self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        });
    }
}

#[pymethods]
impl Port {
    /// Have `function(*args)` called by a worker, or a `Gather` with others' items; `take` gives its result with the ticket.
    #[pyo3(signature = (function, args, ticket, /))]
    fn submit(&self, py: Python<'_>, function: Py<PyAny>, args: Py<PyTuple>, ticket: Py<PyAny>) -> PyResult<()> {
        let port = Arc::clone(&self.inbox);
        let job = match function.cast_bound::<Gather>(py) {
            Err(_) => Job::Call { function, args, ticket, port },
            Ok(gather) => match gather.get().add(args.bind(py), ticket, port)? {
                Some(line) => Job::Batch(line),
                None => return Ok(()),
            },
        };
        // The mutex is only ever held for a few instructions, and never while waiting for the GIL.
        let mut state = self.pool.state();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= self.pool.most {
            drop(state);
            self.pool.work.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let pool = Arc::clone(&self.pool);
        let started = thread::Builder::new().name("steelyard".to_owned()).spawn(move || pool.serve());
        match started {
            Ok(_) => Ok(()),
            Err(error) => self.pool.without_thread(error),
        }
    }

    /// The results since the last call: a list of (ticket, value, None) and (ticket, None, error).
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let results = {
            let mut done = self.inbox.done();
            done.waking = false;
            std::mem::take(&mut done.results)
        };
        let rows = results.into_iter().map(|(ticket, result)| match result {
            Ok(value) => (ticket, value, py.None()),
            Err(error) => (ticket, py.None(), error.into_value(py).into_any()),
        });
        PyList::new(py, rows.collect::<Vec<_>>())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that could not be started matters only when there is no other one to do the work.
    fn without_thread(&self, error: std::io::Error) -> PyResult<()> {
        let mut state = self.state();
        state.threads -= 1;
        if state.threads > 0 {
            return Ok(());
        }
        let job = state.jobs.pop_back();
        drop(state);
        if let Some(Job::Batch(line)) = &job {
            line.give_up();
        }
        drop(job);
        Err(error.into())
    }

    /// A worker's life.
    fn serve(&self) {
        while let Some(job) = self.next() {
            // None: the interpreter is gone, and with it everybody who could ask for the result.
            if Python::try_attach(|py| self.work_attached(py, job)).is_none() {
                self.leave(&mut self.state());
                return;
            }
        }
    }

    /// Count a thread out, under the same hold of the mutex as its decision to end: no job may be left to it.
    fn leave(&self, state: &mut State) {
        state.threads -= 1;
        self.ended.notify_all();
    }

    /// Do this job and those that wait, under one hold of the GIL; the calls themselves release it for their work.
    fn work_attached(&self, py: Python<'_>, job: Job) {
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Call { function, args, ticket, port } => {
                    let result = function.call1(py, args);
                    // Before anybody hears of it: what the function belongs to may be the last to hold a descriptor open.
                    drop(function);
                    Inbox::finish_all(py, [(port, ticket, result)]);
                }
                Job::Batch(line) => {
                    let (told, more) = line.work(py);
                    if more {
                        // Behind what others wait for.
                        self.state().jobs.push_back(Job::Batch(line));
                    } else {
                        drop(line); // as above
                    }
                    Inbox::finish_all(py, told);
                }
            }
            next = self.state().jobs.pop_front();
        }
    }

    /// Wait for work; None when there was none for long enough, and this thread is counted out.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closing {
                self.leave(&mut state);
                return None;
            }
            state.idle += 1;
            let (woken, timeout) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                self.leave(&mut state);
                return None;
            }
        }
    }
}

impl Inbox {
    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add results, then wake each event loop that has not been woken since its last `take`.
    pub(crate) fn finish_all(py: Python<'_>, results: impl IntoIterator<Item = Told>) {
        let mut sleeping = Vec::new();
        for (port, ticket, result) in results {
            let mut done = port.done();
            done.results.push((ticket, result));
            if !std::mem::replace(&mut done.waking, true) {
                drop(done);
                sleeping.push(port);
            }
        }
        for port in sleeping {
            // A loop that is closed refuses to be woken. Nobody waits there any more; the results go with the port.
            if port.wake.call0(py).is_err() {
                let unheard = std::mem::take(&mut port.done().results);
                drop(unheard);
            }
        }
    }
}
