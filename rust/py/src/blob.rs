//! `Blob`: an open blob.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::blob;
use steelyard_core::error::Error;

use crate::buffer::Output;
use crate::errors::{Failure, Result};
use crate::hasher::Hasher;

/// An open blob. A read under way keeps the file open when another thread closes it.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Blob {
    size: u64,
    name: String,
    open: Mutex<Option<Arc<blob::Blob>>>,
}

impl Blob {
    pub(crate) fn new(core: blob::Blob) -> Self {
        Self { size: core.size(), name: core.digest().to_string(), open: Mutex::new(Some(Arc::new(core))) }
    }

    fn core(&self) -> steelyard_core::error::Result<Arc<blob::Blob>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(|| Error::Closed { name: self.name.clone() })
    }
}

#[pymethods]
impl Blob {
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    #[pyo3(signature = (offset, size, /))]
    fn read_at<'py>(&self, py: Python<'py>, offset: u64, size: usize) -> Result<Bound<'py, PyBytes>> {
        let core = self.core()?;
        let rest = usize::try_from(core.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        PyBytes::new_with(py, size.min(rest), |buffer| {
            py.detach(|| core.read_exact_at(buffer, offset)).map_err(|error| PyErr::from(Failure::from(error)))
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (offset, buffer, /))]
    fn readinto_at(&self, py: Python<'_>, offset: u64, mut buffer: Output) -> Result<usize> {
        let core = self.core()?;
        let target = buffer.as_mut_slice();
        let rest = usize::try_from(core.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let size = target.len().min(rest);
        py.detach(|| core.read_exact_at(&mut target[..size], offset))?;
        Ok(size)
    }

    #[pyo3(signature = (hasher, offset, most, /))]
    fn hash_at(&self, py: Python<'_>, hasher: &Hasher, offset: u64, most: u64) -> Result<u64> {
        let core = self.core()?;
        py.detach(|| core.hash_at(offset, most, |data| hasher.update_detached(data))).map_err(Failure::from)
    }

    fn fileno(&self) -> Result<i32> {
        Ok(self.core()?.as_fd().as_raw_fd())
    }

    fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
