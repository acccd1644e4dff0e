//! `Stream`: a blob in order, read ahead.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::blob;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::sys::ProcessBound;

use crate::errors::{Failure, Result};

/// A blob's bytes in order; closing is explicit and waits for the read under way.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Stream {
    name: String,
    /// None once it is closed, so that the blob's file is, too.
    core: ProcessBound<Mutex<Option<Arc<blob::Stream>>>>,
}

impl Stream {
    pub(crate) fn new(blob: Arc<blob::Blob>, name: String) -> Self {
        Self { name, core: ProcessBound::new(Mutex::new(Some(Arc::new(blob::Stream::new(blob))))) }
    }

    fn core(&self) -> CoreResult<Arc<blob::Stream>> {
        let core = self.core.get(|| self.name.clone())?;
        let core = core.lock().unwrap_or_else(PoisonError::into_inner).clone();
        core.ok_or_else(|| Error::Closed { name: self.name.clone() })
    }
}

#[pymethods]
impl Stream {
    /// The next bytes if they are at hand; at most 1 MiB is copied, with the GIL held.
    #[pyo3(signature = (most, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> Result<Option<Bound<'py, PyBytes>>> {
        Ok(self.core()?.take(most, |data| PyBytes::new(py, data)))
    }

    /// The next bytes, none at the end.
    #[pyo3(signature = (most, /))]
    fn next(&self, py: Python<'_>, most: usize) -> Result<Py<PyBytes>> {
        let core = self.core()?;
        let next = || core.next(most, |data| Python::attach(|py| PyBytes::new(py, data).unbind()));
        py.detach(next).map_err(Failure::from)
    }

    /// The digest of all bytes, when all were given.
    fn encoded(&self, py: Python<'_>) -> Result<String> {
        let core = self.core()?;
        Ok(py.detach(|| core.finish()).encoded())
    }

    fn close(&self, py: Python<'_>) {
        // In a child of a fork no thread reads for it.
        let Some(core) = self.core.here() else { return };
        let core = core.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| core.inspect(|core| core.close()));
    }
}
