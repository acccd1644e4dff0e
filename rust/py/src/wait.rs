//! Waits without a thread: native code notifies the waiter.

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

/// A wait for an ingest, for events, for a request to an object store, for a call to a server, or for notes of one. Submitted to a pool it takes no worker; called, it blocks.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Wait {
    on: ProcessBound<On>,
    /// Called afterwards in the same hop, with the arguments of the wait.
    then: Option<Py<PyAny>>,
}

/// The cause of a notification.
enum On {
    Ingest(Weak<Ingest>, Until),
    Events(Arc<Subscription>),
    Request(Arc<Request>),
    /// Whether the argument is a progress, or bytes.
    Call(Arc<RemoteCall>, bool),
    Server(Arc<Server>),
}

/// The end of a wait for an ingest.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// There is room for as many bytes as the argument says.
    Room,
    /// All bytes are written.
    Written,
}

impl Wait {
    pub(crate) fn new(ingest: &Arc<Ingest>, until: Until) -> Self {
        Self { on: ProcessBound::new(On::Ingest(Arc::downgrade(ingest), until)), then: None }
    }

    /// A wait until there is an event to take, or the subscription is woken.
    pub(crate) fn for_events(subscription: Arc<Subscription>) -> Self {
        Self { on: ProcessBound::new(On::Events(subscription)), then: None }
    }

    /// A wait until the outcome of a request is there.
    pub(crate) fn for_request(request: Arc<Request>) -> Self {
        Self { on: ProcessBound::new(On::Request(request)), then: None }
    }

    /// A wait until a call has ended, or has as many bytes of answers as the argument says; or more progress than it says.
    pub(crate) fn for_call(call: Arc<RemoteCall>, is_progress: bool) -> Self {
        Self { on: ProcessBound::new(On::Call(call, is_progress)), then: None }
    }

    /// A wait until a server has something to tell.
    pub(crate) fn for_server(server: Arc<Server>) -> Self {
        Self { on: ProcessBound::new(On::Server(server)), then: None }
    }

    pub(crate) fn then(self, function: Py<PyAny>) -> Self {
        Self { then: Some(function), ..self }
    }

    /// The function to call when the wait is over.
    pub(crate) fn next(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.then.as_ref().map(|function| function.clone_ref(py))
    }

    /// Notify when the wait is over. If an ingest is returned, the caller has its `flush_here` called.
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
            // It has ended, perhaps together with its store.
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
            // Without a notification the sender is dropped.
            notified.recv().unwrap_or_default();
        });
        self.then.as_ref().map_or_else(|| Ok(args.py().None()), |function| function.call1(args.py(), args))
    }
}
