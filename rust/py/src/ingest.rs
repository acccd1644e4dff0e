//! `Ingest`: an open ingest.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use steelyard_core::digest::Algorithm;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::store::ingest::{self, COPY_BELOW, Pushed};
use steelyard_core::sys::ProcessBound;

use crate::buffer::{Input, lasting};
use crate::descriptor::Descriptor;
use crate::errors::{Failure, Result};
use crate::handle::{End, Opened};
use crate::hasher::Hasher;
use crate::job::Job;
use crate::rows::{InfoRow, StatusRow, info_row, optional_digest, status_row};
use crate::wait::{Until, Wait};

/// An open ingest. It must be closed explicitly: dropping it only frees the ref.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Ingest {
    name: String,
    /// A closed writer to which Python still refers keeps nothing of the store open.
    core: ProcessBound<Arc<Slot>>,
}

struct Slot(Mutex<State>);

/// An open ingest, or the values of a closed one that remain available.
enum State {
    Open(Arc<ingest::Ingest>),
    Ended { offset: u64, algorithm: &'static str, reason: Error },
}

impl Ingest {
    /// Fails, and drops the ingest, if the store was closed meanwhile.
    pub(crate) fn new(core: Arc<ingest::Ingest>, opened: &Opened) -> CoreResult<Self> {
        let name = core.name().to_owned();
        let slot = Arc::new(Slot(Mutex::new(State::Open(core))));
        let entry: Weak<dyn End> = Arc::downgrade(&slot) as _;
        opened.add(entry)?;
        Ok(Self { name, core: ProcessBound::new(slot) })
    }

    fn state(&self) -> CoreResult<MutexGuard<'_, State>> {
        Ok(self.core.get(|| format!("writer of {:?}", self.name))?.state())
    }

    fn core(&self) -> CoreResult<Arc<ingest::Ingest>> {
        match &*self.state()? {
            State::Open(core) => Ok(Arc::clone(core)),
            State::Ended { reason, .. } => Err(reason.clone()),
        }
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End for Slot {
    fn end(&self, reason: &Error) -> CoreResult<()> {
        // The block releases the lock: it must not be held while the ingest is closed.
        let core = {
            let State::Open(core) = &*self.state() else { return Ok(()) };
            Arc::clone(core)
        };
        let result = core.end(reason.clone());
        // The ingest is released in any case; later calls on it return the reason.
        let reason = core.status().err().unwrap_or_else(|| reason.clone());
        *self.state() = State::Ended { offset: core.offset(), algorithm: core.algorithm().name(), reason };
        result
    }
}

#[pymethods]
impl Ingest {
    #[getter]
    fn r#ref(&self) -> &str {
        &self.name
    }

    #[getter]
    fn offset(&self) -> Result<u64> {
        match &*self.state()? {
            State::Open(core) => Ok(core.offset()),
            State::Ended { offset, .. } => Ok(*offset),
        }
    }

    #[getter]
    fn algorithm(&self) -> Result<&'static str> {
        let core = match &*self.state()? {
            State::Open(core) => Arc::clone(core),
            State::Ended { algorithm, .. } => return Ok(algorithm),
        };
        // The lock above is released first, because another call may use the ingest for long.
        Ok(core.algorithm().name())
    }

    /// Accept bytes to be written later. Returns whether they were accepted; None if only `write` can take them.
    ///
    /// The GIL is kept: this copies at most a few hundred KiB and makes no system call. `bytes` are kept by reference in place of
    /// a copy, because they cannot change.
    #[pyo3(signature = (data, /))]
    fn push(&self, data: &Bound<'_, PyAny>) -> Result<Option<bool>> {
        let input: Input<'_> = data.extract()?;
        let octets = input.as_slice();
        let bytes = if octets.len() < COPY_BELOW { None } else { lasting(data, &input) };
        let pushed = match bytes {
            Some(bytes) => self.core()?.hold(bytes)?,
            None => self.core()?.push(octets)?,
        };
        Ok(match pushed {
            Pushed::Taken => Some(true),
            Pushed::Full => Some(false),
            Pushed::Short => None,
        })
    }

    /// A wait until there is room for the number of bytes in its argument.
    #[getter]
    fn room(&self) -> Result<Wait> {
        Ok(Wait::new(&self.core()?, Until::Room))
    }

    /// Return a callable that calls `function` after all bytes are written: a wait if other ingests are written at the same time,
    /// otherwise `function` itself.
    #[pyo3(signature = (function, /))]
    fn when_written(&self, py: Python<'_>, function: Py<PyAny>) -> Result<Py<PyAny>> {
        let core = self.core()?;
        if !core.has_company() {
            return Ok(function);
        }
        Ok(Py::new(py, Wait::new(&core, Until::Written).then(function))?.into_any())
    }

    #[pyo3(signature = (data, /))]
    fn write(&self, py: Python<'_>, data: Input<'_>) -> Result<()> {
        let octets = data.as_slice();
        py.detach(|| self.core()?.write(octets)).map_err(Failure::from)
    }

    /// Append at most `most` bytes of a file from `start` on. The hasher `also` gets the same bytes.
    #[pyo3(signature = (file, start, most, job, also, /))]
    fn copy_from(
        &self,
        py: Python<'_>,
        file: Descriptor,
        start: u64,
        most: Option<u64>,
        job: &Job,
        also: Option<&Hasher>,
    ) -> Result<u64> {
        let file = &file.0;
        py.detach(|| {
            let source = ingest::Source { file: file.as_fd(), from: start, most: most.unwrap_or(u64::MAX) };
            match also {
                None => self.core()?.copy_from(source, job.core(), None),
                Some(also) => also.with_detached(|hasher| self.core()?.copy_from(source, job.core(), Some(hasher))),
            }
        })
        .map_err(Failure::from)
    }

    fn flush(&self, py: Python<'_>) -> Result<()> {
        py.detach(|| self.core()?.flush()).map_err(Failure::from)
    }

    #[pyo3(signature = (most, /))]
    fn catch_up(&self, py: Python<'_>, most: u64) -> Result<u64> {
        py.detach(|| self.core()?.catch_up(most)).map_err(Failure::from)
    }

    #[pyo3(signature = (most, /))]
    fn recheck(&self, py: Python<'_>, most: u64) -> Result<u64> {
        py.detach(|| self.core()?.recheck(most)).map_err(Failure::from)
    }

    #[pyo3(signature = (algorithm, /))]
    fn set_algorithm(&self, py: Python<'_>, algorithm: &str) -> Result<()> {
        py.detach(|| self.core()?.set_algorithm(Algorithm::parse(algorithm)?)).map_err(Failure::from)
    }

    fn digest(&self, py: Python<'_>) -> Result<(&'static str, String)> {
        py.detach(|| self.core()?.digest())
            .map(|digest| (digest.algorithm().name(), digest.encoded()))
            .map_err(Failure::from)
    }

    fn status(&self, py: Python<'_>) -> Result<StatusRow> {
        py.detach(|| self.core()?.status()).map(status_row).map_err(Failure::from)
    }

    #[pyo3(signature = (size, /))]
    fn truncate(&self, py: Python<'_>, size: u64) -> Result<()> {
        py.detach(|| self.core()?.truncate(size)).map_err(Failure::from)
    }

    fn sync(&self, py: Python<'_>) -> Result<()> {
        py.detach(|| self.core()?.sync()).map_err(Failure::from)
    }

    #[pyo3(signature = (size, expected, /))]
    fn seal(
        &self,
        py: Python<'_>,
        size: Option<u64>,
        expected: Option<&str>,
    ) -> Result<((&'static str, String), u64, PathBuf)> {
        py.detach(|| self.core()?.seal(size, optional_digest(expected)?.as_ref()))
            .map(|sealed| ((sealed.digest.algorithm().name(), sealed.digest.encoded()), sealed.size, sealed.path))
            .map_err(Failure::from)
    }

    #[pyo3(signature = (size, expected, labels, /))]
    fn commit(
        &self,
        py: Python<'_>,
        size: Option<u64>,
        expected: Option<&str>,
        labels: Option<BTreeMap<String, String>>,
    ) -> Result<InfoRow> {
        py.detach(|| self.core()?.commit(size, optional_digest(expected)?.as_ref(), labels.as_ref()))
            .map(info_row)
            .map_err(Failure::from)
    }

    fn close(&self, py: Python<'_>) -> Result<()> {
        // In the child of a fork, the ingest belongs to the parent, which still writes to it.
        let Some(slot) = self.core.here() else { return Ok(()) };
        py.detach(|| slot.end(&Error::Closed { name: self.name.clone() })).map_err(Failure::from)
    }
}
