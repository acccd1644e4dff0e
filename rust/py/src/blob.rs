//! `Blob`: an open blob.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::pipe::MultiHasher;
use steelyard_core::volume::blob::{self, Cache};

use crate::buffer::{Output, filled};
use crate::errors::{Failure, Result};
use crate::handle::{Handle, Opened};
use crate::hasher::Hasher;
use crate::job::Job;
use crate::stream::Stream;

/// An open blob. If a thread closes it during a read on another thread, the file stays open until the read has ended.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Blob {
    size: u64,
    name: String,
    open: Handle<blob::Blob>,
    opened: Arc<Opened>,
}

impl Blob {
    pub(crate) fn new(core: blob::Blob, opened: &Arc<Opened>) -> CoreResult<Self> {
        Ok(Self {
            size: core.size(),
            name: core.digest().to_string(),
            open: Handle::new(opened, Arc::new(core))?,
            opened: Arc::clone(opened),
        })
    }

    fn core(&self) -> CoreResult<Arc<blob::Blob>> {
        self.open.get(|| self.name.clone())
    }
}

#[pymethods]
impl Blob {
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    #[pyo3(signature = (offset, size, job, /))]
    fn read_at<'py>(&self, py: Python<'py>, offset: u64, size: usize, job: &Job) -> Result<Bound<'py, PyBytes>> {
        let core = self.core()?;
        let job = job.core();
        filled(py, size.min(rest(&core, offset)), |buffer| core.read_bulk(buffer, offset, job)).map_err(Failure::from)
    }

    /// Return the bytes if they are in memory, without waiting; None otherwise. The GIL is kept: releasing and reacquiring it may take
    /// longer than the copy.
    #[pyo3(signature = (offset, size, /))]
    fn read_cached<'py>(&self, py: Python<'py>, offset: u64, size: usize) -> Result<Option<Bound<'py, PyBytes>>> {
        let core = self.core()?;
        let mut there = false;
        let bytes = PyBytes::new_with(py, size.min(rest(&core, offset)), |buffer| {
            there = core.read_cached(buffer, offset).map_err(|error| PyErr::from(Failure::from(error)))?;
            Ok(())
        })?;
        Ok(there.then_some(bytes))
    }

    /// Fill the buffer if the bytes are in memory, without waiting. Returns their number; None if nothing was done.
    #[pyo3(signature = (offset, buffer, /))]
    fn readinto_cached(&self, offset: u64, mut buffer: Output) -> Result<Option<usize>> {
        let core = self.core()?;
        let target = buffer.as_mut_slice();
        let size = target.len().min(rest(&core, offset));
        Ok(core.read_cached(&mut target[..size], offset)?.then_some(size))
    }

    #[pyo3(signature = (offset, buffer, job, /))]
    fn readinto_at(&self, py: Python<'_>, offset: u64, mut buffer: Output, job: &Job) -> Result<usize> {
        let core = self.core()?;
        let target = buffer.as_mut_slice();
        let size = target.len().min(rest(&core, offset));
        py.detach(|| core.read_bulk(&mut target[..size], offset, job.core()))?;
        Ok(size)
    }

    /// Read all bytes, and hash them with `hasher`.
    #[pyo3(signature = (hasher, job, /))]
    fn read_and_hash<'py>(&self, py: Python<'py>, hasher: &Hasher, job: &Job) -> Result<Bound<'py, PyBytes>> {
        let core = self.core()?;
        let job = job.core();
        let fill = |buffer: &mut [u8]| hasher.with_detached(|hasher| core.read_and_hash(hasher, buffer, 0, job));
        filled(py, rest(&core, 0), fill).map_err(Failure::from)
    }

    /// Hash all bytes without returning them: the page cache is left as it was.
    #[pyo3(signature = (hasher, job, /))]
    fn hash(&self, py: Python<'_>, hasher: &Hasher, job: &Job) -> Result<u64> {
        let core = self.core()?;
        let hash = |hasher: &mut MultiHasher| core.hash_at(hasher, 0, u64::MAX, job.core(), Cache::Spare);
        py.detach(|| hasher.with_detached(hash)).map_err(Failure::from)
    }

    fn stream(&self) -> Result<Stream> {
        Ok(Stream::new(self.core()?, self.name.clone(), &self.opened)?)
    }

    fn fileno(&self) -> Result<i32> {
        Ok(self.core()?.as_fd().as_raw_fd())
    }

    /// Close the blob if that does not block. Returns whether it was closed. The last close of a deleted file frees its space, which may
    /// block.
    fn close_at_once(&self) -> bool {
        let waits = self.core().is_ok_and(|core| !core.closes_at_once());
        if !waits {
            self.close();
        }
        !waits
    }

    fn close(&self) {
        // In the child of a fork, the blob is closed already.
        drop(self.open.take(Error::Closed { name: self.name.clone() }));
    }
}

/// The number of bytes from `offset` to the end.
fn rest(blob: &blob::Blob, offset: u64) -> usize {
    usize::try_from(blob.size().saturating_sub(offset)).unwrap_or(usize::MAX)
}
