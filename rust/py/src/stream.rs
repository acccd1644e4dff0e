//! `Stream`: a blob in order, read ahead.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::blob;

use crate::errors::{Failure, Result};

/// A blob's bytes in order; closing is explicit and waits for the read under way.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Stream(blob::Stream);

impl Stream {
    pub(crate) fn new(core: Arc<blob::Blob>) -> Self {
        Self(blob::Stream::new(core))
    }
}

#[pymethods]
impl Stream {
    /// The next bytes if they are at hand; at most 1 MiB is copied, with the GIL held.
    #[pyo3(signature = (most, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> Option<Bound<'py, PyBytes>> {
        self.0.take(most, |data| PyBytes::new(py, data))
    }

    /// The next bytes, none at the end.
    #[pyo3(signature = (most, /))]
    fn next(&self, py: Python<'_>, most: usize) -> Result<Py<PyBytes>> {
        let next = || self.0.next(most, |data| Python::attach(|py| PyBytes::new(py, data).unbind()));
        py.detach(next).map_err(Failure::from)
    }

    /// The digest of all bytes, when all were given.
    fn encoded(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.finish()).encoded()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}
