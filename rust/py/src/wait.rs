//! Waits that use no thread: native code notifies the waiter.

use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use steelyard_core::store::ingest::{Ingest, Notify};
use steelyard_core::sys::ProcessBound;
use steelyard_core::volume::events::Subscription;
use steelyard_objects::Request;
use steelyard_service::{RemoteCall, RemoteUntil, Server};

use crate::errors::Failure;

/// A wait for an ingest, for events, for a request to an object store, for a call to a server, or for notes of a server.
///
/// A wait that is submitted to a pool uses no worker. A call of it blocks.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Wait {
    on: ProcessBound<On>,
    /// A function that is called after the wait, in the same hop and with the arguments of the wait.
    then: Option<Py<PyAny>>,
}

/// The object that notifies.
enum On {
    Ingest(Weak<Ingest>, Until),
    Events(Arc<Subscription>),
    Request(Arc<Request>),
    /// The flag: the argument of the wait is a progress if it is set, otherwise a number of bytes.
    Call(Arc<RemoteCall>, bool),
    Server(Arc<Server>),
}

/// The condition that ends a wait for an ingest.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// There is room for the number of bytes in the argument.
    Room,
    /// All bytes are written.
    Written,
}

impl Wait {
    pub(crate) fn new(ingest: &Arc<Ingest>, until: Until) -> Self {
        Self { on: ProcessBound::new(On::Ingest(Arc::downgrade(ingest), until)), then: None }
    }

    /// A wait until there are events to take, or the subscription is woken.
    pub(crate) fn for_events(subscription: Arc<Subscription>) -> Self {
        Self { on: ProcessBound::new(On::Events(subscription)), then: None }
    }

    /// A wait for the outcome of a request.
    pub(crate) fn for_request(request: Arc<Request>) -> Self {
        Self { on: ProcessBound::new(On::Request(request)), then: None }
    }

    /// A wait until a call has ended, or its progress (`is_progress`) exceeds the argument, or it has the argument's number of bytes.
    pub(crate) fn for_call(call: Arc<RemoteCall>, is_progress: bool) -> Self {
        Self { on: ProcessBound::new(On::Call(call, is_progress)), then: None }
    }

    /// A wait until a server has notes to take.
    pub(crate) fn for_server(server: Arc<Server>) -> Self {
        Self { on: ProcessBound::new(On::Server(server)), then: None }
    }

    pub(crate) fn then(self, function: Py<PyAny>) -> Self {
        Self { then: Some(function), ..self }
    }

    /// The function to call after the wait.
    pub(crate) fn next(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.then.as_ref().map(|function| function.clone_ref(py))
    }

    /// Begin the wait: `notify` is called at its end. If this returns an ingest, the caller must have its `flush_here` called on a thread that
    /// may block.
    pub(crate) fn begin(&self, args: &Bound<'_, PyTuple>, notify: Notify) -> PyResult<Option<Arc<Ingest>>> {
        let (ingest, until) = match self.on.get(|| "writer".to_owned()).map_err(Failure::from)? {
            On::Ingest(ingest, until) => (ingest, *until),
            On::Events(subscription) => {
                subscription.when_ready(notify);
                return Ok(None);
            }
            On::Request(request) => {
                request.when_ready(notify);
                return Ok(None);
            }
            On::Call(call, is_progress) => {
                let until = if *is_progress {
                    RemoteUntil::Beyond(args.extract::<(u64,)>()?.0)
                } else {
                    RemoteUntil::Held(args.extract::<(usize,)>()?.0)
                };
                call.when_ready(until, notify);
                return Ok(None);
            }
            On::Server(server) => {
                server.when_noted(notify);
                return Ok(None);
            }
        };
        let Some(ingest) = ingest.upgrade() else {
            // The ingest has ended, perhaps with its store.
            notify();
            return Ok(None);
        };
        let is_served = match until {
            Until::Room => ingest.when_room(args.extract::<(usize,)>()?.0, notify),
            Until::Written => ingest.when_written(notify),
        };
        Ok((!is_served).then_some(ingest))
    }
}

#[pymethods]
impl Wait {
    #[pyo3(signature = (*args))]
    fn __call__(&self, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let (notify, notified) = channel();
        let unserved = self.begin(args, Box::new(move || notify.send(()).unwrap_or_default()))?;
        args.py().detach(move || {
            if let Some(ingest) = unserved {
                ingest.flush_here();
            }
            // If there is no notification, the sender is dropped, which ends this wait too.
            notified.recv().unwrap_or_default();
        });
        self.then.as_ref().map_or_else(|| Ok(args.py().None()), |function| function.call1(args.py(), args))
    }
}
