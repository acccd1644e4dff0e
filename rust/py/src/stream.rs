//! `Stream`: a blob in order, read ahead.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::volume::blob;

use crate::errors::{Failure, Result};
use crate::handle::{Handle, Opened};

/// A blob's bytes in order; closing is explicit and waits for the read under way.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Stream {
    name: String,
    /// Empty once it is closed, so that the blob's file is, too.
    core: Handle<blob::Stream>,
}

impl Stream {
    pub(crate) fn new(blob: Arc<blob::Blob>, name: String, opened: &Opened) -> CoreResult<Self> {
        Ok(Self { name, core: Handle::new(opened, Arc::new(blob::Stream::new(blob)))? })
    }

    fn core(&self) -> CoreResult<Arc<blob::Stream>> {
        self.core.get(|| self.name.clone())
    }
}

#[pymethods]
impl Stream {
    /// The next bytes, none at the end, if no wait is needed; at most 1 MiB is copied, with the GIL held.
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

    /// The same if it needs no waiting.
    fn encoded_at_once(&self) -> Result<Option<String>> {
        let core = self.core()?;
        Ok(core.is_at_rest().then(|| core.finish().encoded()))
    }

    /// Close it if that needs no waiting.
    fn close_at_once(&self) -> bool {
        let waits = self.core().is_ok_and(|core| !core.is_at_rest());
        if !waits && let Some(core) = self.core.take(Error::Closed { name: self.name.clone() }) {
            core.close();
        }
        !waits
    }

    fn close(&self, py: Python<'_>) {
        // In a child of a fork no thread reads for it.
        let core = self.core.take(Error::Closed { name: self.name.clone() });
        py.detach(|| core.inspect(|core| core.close()));
    }
}
