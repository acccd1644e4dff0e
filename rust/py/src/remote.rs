//! Calls to a server of containerd's protocol. An event loop waits for them without a thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use steelyard_core::sys::ProcessBound;
use steelyard_service::{Channel, Outcome, RemoteCall as Call, RemoteMethod, RemoteUntil, headers as to_headers};

use crate::buffer::{filled, owned};
use crate::errors::{Failure, Result, not_started};
use crate::hasher::Hasher;
use crate::wait::Wait;

/// From this size on, data is copied without the GIL.
const LARGE: usize = 64 << 10;

/// A channel to a server. It connects with the first call.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct RemoteChannel(ProcessBound<Channel>);

/// A call, in progress or ended.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct RemoteCall(ProcessBound<Arc<Call>>);

#[pymethods]
impl RemoteChannel {
    /// A channel to the server at a Unix socket.
    #[new]
    #[pyo3(signature = (path, /))]
    fn new(path: PathBuf) -> Self {
        Self(ProcessBound::new(Channel::new(path)))
    }

    /// Start a call with these headers. `timeout` is in seconds; None means no limit.
    #[pyo3(signature = (method, headers, timeout, /))]
    fn call(&self, method: &str, headers: Vec<(String, String)>, timeout: Option<f64>) -> PyResult<RemoteCall> {
        let channel = self.0.get(|| "remote store".to_owned()).map_err(Failure::from)?;
        let known = RemoteMethod::of(method).ok_or_else(|| PyValueError::new_err(format!("no method {method}")))?;
        let headers = to_headers(headers).map_err(PyValueError::new_err)?;
        let timeout = timeout.map(|timeout| Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX));
        let call = channel.call(known, headers, timeout);
        let call = call.map_err(|error| Failure::from(not_started(&error, "start a channel")))?;
        Ok(RemoteCall(ProcessBound::new(call)))
    }

    /// End all calls and the connection. A later call connects again.
    fn close(&self, py: Python<'_>) {
        if let Some(channel) = self.0.here() {
            py.detach(|| channel.close());
        }
    }
}

impl RemoteCall {
    fn core(&self) -> Result<&Arc<Call>> {
        Ok(self.0.get(|| "call".to_owned())?)
    }
}

#[pymethods]
impl RemoteCall {
    /// Send a request: a message as JSON and, for a Write, its data. `bytes` are not copied.
    #[pyo3(signature = (request, pieces, /))]
    fn send(&self, request: &[u8], pieces: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let data = pieces.iter().map(owned).collect::<PyResult<_>>()?;
        self.core()?.send(request, data).map_err(PyValueError::new_err)
    }

    /// Declare that there are no more requests.
    fn finish(&self) -> Result<()> {
        self.core()?.finish();
        Ok(())
    }

    /// A wait until the number of bytes in its argument can be taken, or the call has ended.
    #[getter]
    fn ready(&self) -> Result<Wait> {
        Ok(Wait::for_call(Arc::clone(self.core()?), false))
    }

    /// A wait until the progress exceeds its argument, or the call has ended.
    #[getter]
    fn changed(&self) -> Result<Wait> {
        Ok(Wait::for_call(Arc::clone(self.core()?), true))
    }

    /// Whether `ready` would end at once.
    #[pyo3(signature = (wanted, /))]
    fn is_ready(&self, wanted: usize) -> Result<bool> {
        Ok(self.core()?.is_ready(RemoteUntil::Held(wanted)))
    }

    /// End the waits, not the call.
    fn wake(&self) -> Result<()> {
        self.core()?.wake();
        Ok(())
    }

    /// Take at most `most` answers, each as JSON.
    #[pyo3(signature = (most, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> Result<Vec<Bound<'py, PyBytes>>> {
        Ok(self.core()?.take(most).iter().map(|answer| PyBytes::new(py, answer)).collect())
    }

    /// Take at most `most` bytes of the data of a Read.
    #[pyo3(signature = (most, /))]
    fn take_data<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        joined(py, &self.core()?.take_data(most))
    }

    /// Block until `most` bytes of a Read are available or the call has ended. Take and hash up to `most` bytes; none at the end.
    #[pyo3(signature = (most, hasher=None, /))]
    fn load<'py>(&self, py: Python<'py>, most: usize, hasher: Option<&Hasher>) -> PyResult<Bound<'py, PyBytes>> {
        let core = self.core()?;
        let pieces = py.detach(|| {
            core.wait(most);
            let pieces = core.take_data(most);
            if let Some(hasher) = hasher {
                hasher.with_detached(|inner| {
                    for piece in &pieces {
                        inner.update(piece);
                    }
                });
            }
            pieces
        });
        joined(py, &pieces)
    }

    /// Bytes of answers that can be taken.
    #[getter]
    fn held(&self) -> Result<usize> {
        Ok(self.core()?.held())
    }

    /// A number that grows with each answer.
    #[getter]
    fn progress(&self) -> Result<u64> {
        Ok(self.core()?.progress())
    }

    /// The outcome: the number of the gRPC code, a message, and the error of Steelyard's service as JSON. None if the call has not ended.
    #[getter]
    fn outcome(&self) -> Result<Option<(u8, String, Vec<u8>)>> {
        let outcome = self.core()?.outcome();
        Ok(outcome.map(|Outcome { code, message, details }| (code as u8, message, details)))
    }

    /// Cancel the call.
    fn cancel(&self) {
        if let Some(core) = self.0.here() {
            core.cancel();
        }
    }
}

impl Drop for RemoteCall {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Join `bytes` objects as Python's `join` does, but without the GIL.
#[pyfunction]
#[pyo3(signature = (pieces, /))]
#[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over a list")]
pub(crate) fn join_bytes(py: Python<'_>, pieces: Vec<PyBackedBytes>) -> PyResult<Bound<'_, PyBytes>> {
    joined(py, &pieces)
}

/// Join the pieces to one `bytes` object.
fn joined<'py>(py: Python<'py>, pieces: &[impl AsRef<[u8]> + Sync]) -> PyResult<Bound<'py, PyBytes>> {
    let size = pieces.iter().map(|piece| piece.as_ref().len()).sum();
    let fill = |buffer: &mut [u8]| {
        let mut rest = buffer;
        for piece in pieces {
            let (part, after) = rest.split_at_mut(piece.as_ref().len());
            part.copy_from_slice(piece.as_ref());
            rest = after;
        }
    };
    if size < LARGE {
        return PyBytes::new_with(py, size, |buffer| {
            fill(buffer);
            Ok(())
        });
    }
    filled(py, size, |buffer| {
        fill(buffer);
        Ok(())
    })
}
