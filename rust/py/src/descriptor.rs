//! Descriptors from Python: each is duplicated for the duration of one call, so that other code cannot close it meanwhile.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use steelyard_core::sys::{Fd, Naming, outside};

/// A duplicate of a descriptor, given by its number. Both refer to the same open file.
pub(crate) struct Descriptor(pub(crate) Fd);

impl FromPyObject<'_, '_> for Descriptor {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let number: i32 = object.extract()?;
        if number < 0 {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        // SAFETY: the descriptor is borrowed only for the system call that duplicates it. This thread is attached to Python
        // meanwhile, so Python code cannot close the descriptor. A number without an open file only makes that call fail.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(Self(borrowed.try_clone_to_owned()?.into()))
    }
}

/// Whether a file that was given a name in this directory must be synced after that, before the directory is synced.
#[pyfunction]
#[pyo3(signature = (directory, /))]
#[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over arguments")]
pub(crate) fn needs_file_synced(directory: Descriptor) -> bool {
    outside().naming(directory.0.as_fd()).map_or(true, |naming| naming != Naming::Directory)
}
