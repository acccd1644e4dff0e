//! `Stream`: reads a blob in order, with read-ahead.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::volume::blob;

use crate::errors::{Failure, Result};
use crate::handle::{Handle, Opened};

/// The bytes of a blob in order. It must be closed explicitly, which waits for a read in progress.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Stream {
    name: String,
    /// Empty once the stream is closed, so that the file of the blob is closed too.
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
    /// Return the next bytes if they are available without waiting; None otherwise. Empty at the end. Copies at most 1 MiB, with the GIL held.
    #[pyo3(signature = (most, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> Result<Option<Bound<'py, PyBytes>>> {
        Ok(self.core()?.take(most, |data| PyBytes::new(py, data)))
    }

    /// Return the next bytes; empty at the end.
    #[pyo3(signature = (most, /))]
    fn next(&self, py: Python<'_>, most: usize) -> Result<Py<PyBytes>> {
        let core = self.core()?;
        let next = || core.next(most, |data| Python::attach(|py| PyBytes::new(py, data).unbind()));
        py.detach(next).map_err(Failure::from)
    }

    /// Return the digest of all bytes. Call this only after all bytes have been returned.
    fn encoded(&self, py: Python<'_>) -> Result<String> {
        let core = self.core()?;
        Ok(py.detach(|| core.finish()).encoded())
    }

    /// Return the digest if it is available without waiting; None otherwise.
    fn encoded_at_once(&self) -> Result<Option<String>> {
        let core = self.core()?;
        Ok(core.is_at_rest().then(|| core.finish().encoded()))
    }

    /// Close the stream if that does not block, and return whether it was closed.
    fn close_at_once(&self) -> bool {
        let waits = self.core().is_ok_and(|core| !core.is_at_rest());
        if !waits && let Some(core) = self.core.take(Error::Closed { name: self.name.clone() }) {
            core.close();
        }
        !waits
    }

    fn close(&self, py: Python<'_>) {
        // In the child of a fork, no thread reads ahead for this stream.
        let core = self.core.take(Error::Closed { name: self.name.clone() });
        py.detach(|| core.inspect(|core| core.close()));
    }
}
