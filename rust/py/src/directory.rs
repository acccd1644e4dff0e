//! `DirectoryWalk`: a walk through a directory of sources.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Mutex, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use steelyard_core::directory::{self, Found, FoundKind};

/// A walk in progress. It holds no descriptor between two calls, so the child of a fork can continue its own copy.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct DirectoryWalk(Mutex<directory::DirectoryWalk>);

#[pymethods]
impl DirectoryWalk {
    #[new]
    #[pyo3(signature = (top, leave_out, /))]
    fn new(top: OsString, leave_out: Option<(u64, u64)>) -> Self {
        Self(Mutex::new(directory::DirectoryWalk::new(top.into_vec(), leave_out)))
    }

    /// The next entries, at most `most`; an empty list at the end.
    #[pyo3(signature = (most, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let found = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).take(most));
        found.into_iter().map(|each| row(py, each)).collect()
    }
}

/// Convert an entry to a tuple; see `_SourceRow` in `_native.pyi`.
fn row(py: Python<'_>, found: Found) -> PyResult<Bound<'_, PyTuple>> {
    let path = text(py, &found.path)?;
    let none = || py.None().into_bound(py);
    let plain = |kind, detail| (path.clone(), kind, none(), 0, none(), detail).into_pyobject(py);
    match found.kind {
        FoundKind::File(status) => {
            let identity = (status.device, status.inode, status.size, status.mtime_ns, status.ctime_ns);
            (path, pyo3::intern!(py, "file"), identity, status.mode, status.owner, none()).into_pyobject(py)
        }
        FoundKind::Link(target) => plain(pyo3::intern!(py, "link"), text(py, &target)?),
        FoundKind::Empty => plain(pyo3::intern!(py, "directory"), none()),
        FoundKind::Special => plain(pyo3::intern!(py, "special"), none()),
        FoundKind::LeftOut => plain(pyo3::intern!(py, "left out"), none()),
        FoundKind::Failed(error) => {
            plain(pyo3::intern!(py, "error"), error.raw_os_error().unwrap_or_default().into_bound_py_any(py)?)
        }
    }
}

/// Convert a path to text in the way Python decodes paths.
fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => OsStr::from_bytes(bytes).into_bound_py_any(py),
    }
}
