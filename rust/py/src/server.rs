//! `ContentServer`: serves a store over containerd's protocol. Calls on a local store do not run any Python code.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pyo3::prelude::*;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::sys::ProcessBound;
use steelyard_service::store::{LocalStore, Store as ServedStore};
use steelyard_service::{Level, Note, Server, Settings};

use crate::descriptor::Descriptor;
use crate::errors::{Result, not_started};
use crate::handle::End;
use crate::python_store::PythonStore;
use crate::store::Store;
use crate::wait::Wait;

/// level, message, method, subject, code, and for a call that has ended its seconds, bytes received and bytes sent
type LogRow = (&'static str, String, &'static str, String, &'static str, Option<(f64, u64, u64)>);

/// method, open calls, bytes received, bytes sent, calls by code, calls by duration, seconds, refused calls by limit
type MethodRow = (&'static str, i64, u64, u64, Vec<(&'static str, u64)>, Vec<u64>, f64, BTreeMap<&'static str, u64>);

/// A running server.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct ContentServer(ProcessBound<Arc<Server>>);

impl ContentServer {
    fn core(&self) -> CoreResult<&Arc<Server>> {
        self.0.get(|| "server".to_owned())
    }
}

#[pymethods]
impl ContentServer {
    /// Serve a local store, or an object with the methods of `_loop_store.LoopStore` for a store that is written in Python. `refuse` converts
    /// its exceptions to rows.
    #[new]
    #[pyo3(signature = (store, refuse, listener, /, *, read_bytes, message_bytes, calls, idle, leases))]
    #[allow(clippy::too_many_arguments, reason = "the keywords of a Python call")]
    fn new(
        py: Python<'_>,
        store: &Bound<'_, PyAny>,
        refuse: Py<PyAny>,
        listener: Descriptor,
        read_bytes: usize,
        message_bytes: usize,
        calls: usize,
        idle: f64,
        leases: bool,
    ) -> Result<Self> {
        let idle = Duration::try_from_secs_f64(idle).unwrap_or(Duration::MAX);
        let settings = Settings { read_bytes, message_bytes, calls, idle, leases };
        let local = store.cast::<Store>().ok();
        let backing: Arc<dyn ServedStore> = match &local {
            Some(store) => Arc::new(LocalStore::new(store.get().core()?)),
            None => Arc::new(PythonStore::new(store.clone().unbind(), refuse)),
        };
        let started = py.detach(|| Server::start(backing, &listener.0, settings));
        let server = Arc::new(started.map_err(|error| not_started(&error, "start a server"))?);
        if let Some(store) = local {
            let entry: Weak<dyn End> = Arc::downgrade(&server) as _;
            store.get().opened.add(entry)?;
        }
        Ok(Self(ProcessBound::new(server)))
    }

    /// Accept no further calls.
    fn drain(&self) -> Result<()> {
        self.core()?.drain();
        Ok(())
    }

    /// Shut down: give open calls `grace` seconds to finish, then cancel them, and wait until their work on the store has ended.
    #[pyo3(signature = (grace, /))]
    fn finish(&self, py: Python<'_>, grace: f64) {
        if let Some(server) = self.0.here() {
            py.detach(|| server.finish(Duration::try_from_secs_f64(grace).unwrap_or(Duration::MAX)));
        }
    }

    /// Log the end of every call, or only of those that an operator should see.
    #[pyo3(signature = (all, /))]
    fn log_all(&self, all: bool) -> Result<()> {
        self.core()?.log_all(all);
        Ok(())
    }

    /// A wait for entries or refs to take.
    #[getter]
    fn noted(&self) -> Result<Wait> {
        Ok(Wait::for_server(Arc::clone(self.core()?)))
    }

    /// Take the entries for the log, and the refs that have become free; None when there will be no more.
    fn take(&self) -> Result<Option<(Vec<LogRow>, Vec<String>)>> {
        let Some(notes) = self.core()?.take_notes() else { return Ok(None) };
        let (mut logs, mut released) = (Vec::new(), Vec::new());
        for note in notes {
            match note {
                Note::Released(name) => released.push(name),
                Note::Log(record) => {
                    let level = match record.level {
                        Level::Debug => "debug",
                        Level::Warning => "warning",
                        Level::Error => "error",
                    };
                    let ended =
                        record.ended.map(|(took, bytes_in, bytes_out)| (took.as_secs_f64(), bytes_in, bytes_out));
                    logs.push((level, record.message, record.method, record.subject, record.code, ended));
                }
            }
        }
        Ok(Some((logs, released)))
    }

    /// The counts of each method that was called, and the number of ingests that are being written.
    fn metrics(&self) -> Result<(Vec<MethodRow>, i64)> {
        let snapshot = self.core()?.metrics();
        let row = |method: steelyard_service::MethodMetrics| {
            (
                method.method,
                method.open,
                method.received,
                method.sent,
                method.codes,
                method.buckets,
                method.seconds,
                method.refused.into_iter().collect(),
            )
        };
        Ok((snapshot.methods.into_iter().map(row).collect(), snapshot.ingests))
    }
}

/// Ends the server when its store is closed.
impl End for Server {
    fn end(&self, _reason: &Error) -> CoreResult<()> {
        self.finish(Duration::ZERO);
        Ok(())
    }
}

impl Drop for ContentServer {
    fn drop(&mut self) {
        if let Some(server) = self.0.here() {
            server.drain();
        }
    }
}
