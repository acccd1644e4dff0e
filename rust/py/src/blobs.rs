//! Operations that read many blobs in one call.

use std::os::fd::AsFd;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use steelyard_core::digest::Digest;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::store::Store;
use steelyard_core::volume::blob::{Hashed, Wanted};

use crate::descriptor::Descriptor;
use crate::errors::{Failure, Result};
use crate::job::Job;
use crate::rows::{InfoRow, info_row, parse_all};

/// A requested copy: the digest, the size, the index of its directory, the name of the file, its permissions, and its modification time (ns).
pub(crate) type Copy = (String, u64, usize, String, u32, Option<i64>);

/// See `Store.infos`.
pub(crate) fn infos(py: Python<'_>, store: &Store, digests: &[String]) -> Result<Vec<InfoRow>> {
    let found = py.detach(|| store.volume().infos(&parse_all(digests)?));
    found.map(|found| found.into_iter().map(info_row).collect()).map_err(Failure::from)
}

/// See `Store.sizes`.
pub(crate) fn sizes(py: Python<'_>, store: &Store, digests: &[String]) -> Result<Vec<Option<u64>>> {
    py.detach(|| store.volume().sizes(&parse_all(digests)?)).map_err(Failure::from)
}

/// See `Store.hash_many`.
pub(crate) fn hash<'py>(
    py: Python<'py>,
    store: &Store,
    digests: &[String],
    job: &Job,
) -> Result<Vec<Bound<'py, PyAny>>> {
    let job = job.core();
    let digests = parse_all(digests)?;
    let found = py.detach(|| store.volume().hash_many(&digests, job));
    let to_python = |found| match found {
        Some(Ok(Hashed { digest, size })) => (size, digest.encoded()).into_bound_py_any(py),
        Some(Err(error)) => Ok(failed(py, error)),
        None => Ok(py.None().into_bound(py)),
    };
    found.into_iter().map(to_python).collect::<PyResult<_>>().map_err(Failure::from)
}

/// See `Store.write_copies`.
pub(crate) fn write_copies<'py>(
    py: Python<'py>,
    store: &Store,
    folders: &[Descriptor],
    files: Vec<Copy>,
) -> Result<Vec<Bound<'py, PyAny>>> {
    if files.iter().any(|(_, _, folder, ..)| *folder >= folders.len()) {
        return Err(PyIndexError::new_err("a copy refers to a directory that was not passed").into());
    }
    let found = py.detach(|| {
        let wanted = files.into_iter().map(|(digest, size, folder, name, mode, mtime_ns)| {
            Ok(Wanted { digest: Digest::parse(&digest)?, size, folder, name, mode, mtime_ns })
        });
        let wanted = wanted.collect::<CoreResult<Vec<_>>>()?;
        let folders: Vec<_> = folders.iter().map(|folder| folder.0.as_fd()).collect();
        Ok::<_, Error>(store.volume().write_copies(&folders, &wanted))
    })?;
    let to_python = |found| match found {
        Ok(is_written) => bool::into_bound_py_any(is_written, py),
        Err(error) => Ok(failed(py, error)),
    };
    found.into_iter().map(to_python).collect::<PyResult<_>>().map_err(Failure::from)
}

fn failed(py: Python<'_>, error: Error) -> Bound<'_, PyAny> {
    PyErr::from(Failure::from(error)).into_value(py).into_bound(py).into_any()
}
