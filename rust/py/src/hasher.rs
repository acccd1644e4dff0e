//! `Hasher`: one or more hashes over the same bytes.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::pipe::MultiHasher;
use steelyard_core::sys::outside;

use crate::buffer::Input;
use crate::descriptor::Descriptor;
use crate::errors::{Failure, Result};
use crate::job::Job;

/// From this size on, the GIL is released. For fewer bytes, releasing it costs more time than it gives other threads (as in hashlib).
const DETACH_FROM: usize = 2048;

/// The class is frozen and the state has its own lock, so calls from several threads wait for each other and never fail with a borrow error.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Hasher {
    inner: Mutex<MultiHasher>,
}

impl Hasher {
    fn wrap(inner: MultiHasher) -> Self {
        Self { inner: Mutex::new(inner) }
    }

    /// Call `work` with the state. While another thread holds the state, the GIL is released.
    fn with<T>(&self, py: Python<'_>, work: impl FnOnce(&mut MultiHasher) -> T) -> T {
        // A poisoned lock is ignored: an update does not panic, and even after a panic the state would be the state of some input.
        work(&mut self.inner.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }

    /// Call `work` with the state, for callers that have released the GIL.
    pub(crate) fn with_detached<T>(&self, work: impl FnOnce(&mut MultiHasher) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Hasher {
    #[new]
    #[pyo3(signature = (algorithms, /))]
    #[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over a list")]
    fn new(algorithms: Vec<String>) -> Result<Self> {
        let parsed: steelyard_core::error::Result<Vec<_>> =
            algorithms.iter().map(|name| Algorithm::parse(name)).collect();
        Ok(Self::wrap(MultiHasher::new(&parsed?)?))
    }

    #[getter]
    fn algorithms(&self, py: Python<'_>) -> Vec<&'static str> {
        self.with(py, |inner| inner.algorithms().map(Algorithm::name).collect())
    }

    #[getter]
    fn offset(&self, py: Python<'_>) -> u64 {
        self.with(py, |inner| inner.offset())
    }

    #[pyo3(signature = (data, /))]
    #[allow(clippy::needless_pass_by_value, reason = "the buffer is released when the call ends")]
    fn update(&self, py: Python<'_>, data: Input<'_>) {
        let bytes = data.as_slice();
        if bytes.len() < DETACH_FROM {
            self.with(py, |inner| inner.update(bytes));
        } else {
            py.detach(|| self.with_detached(|inner| inner.update(bytes)));
        }
    }

    /// Hash at most `most` bytes of a file from `start` on.
    #[pyo3(signature = (file, start, most, job, /))]
    #[allow(clippy::needless_pass_by_value, reason = "the descriptor is closed when the call ends")]
    fn update_from(&self, py: Python<'_>, file: Descriptor, start: u64, most: Option<u64>, job: &Job) -> Result<u64> {
        let (file, most) = (file.0.as_fd(), most.unwrap_or(u64::MAX));
        let update = |inner: &mut MultiHasher| inner.update_from(outside(), file, start, most, job.core());
        py.detach(|| self.with_detached(update)).map_err(Failure::from)
    }

    /// Copy at most `most` bytes between two files, each given with an offset, and hash the written bytes.
    #[pyo3(signature = (source, target, most, job, /))]
    #[allow(clippy::needless_pass_by_value, reason = "the descriptors are closed when the call ends")]
    fn copy_from(
        &self,
        py: Python<'_>,
        source: (Descriptor, u64),
        target: (Descriptor, u64),
        most: u64,
        job: &Job,
    ) -> Result<u64> {
        let (source, target) = ((source.0.0.as_fd(), source.1), (target.0.0.as_fd(), target.1));
        let copy = |inner: &mut MultiHasher| inner.copy_from(outside(), source, target, most, job.core());
        py.detach(|| self.with_detached(copy)).map_err(Failure::from)
    }

    fn encoded(&self, py: Python<'_>) -> Vec<String> {
        self.with(py, |inner| inner.digests().iter().map(Digest::encoded).collect())
    }

    fn copy(&self, py: Python<'_>) -> Self {
        Self::wrap(self.with(py, |inner| inner.clone()))
    }

    fn state<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let bytes = self.with(py, |inner| inner.save())?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[staticmethod]
    #[pyo3(signature = (state, /))]
    #[allow(clippy::needless_pass_by_value, reason = "the buffer is released when the call ends")]
    fn from_state(state: Input<'_>) -> Result<Self> {
        Ok(Self::wrap(MultiHasher::restore(state.as_slice())?))
    }
}
