//! Python's descriptors, for one call: a number becomes an owned descriptor, so that it cannot be closed meanwhile.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use steelyard_core::sys::{Fd, Naming, outside};

/// A duplicate of the descriptor of that number; both stand for the same open file.
pub(crate) struct Descriptor(pub(crate) Fd);

impl FromPyObject<'_, '_> for Descriptor {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let number: i32 = object.extract()?;
        if number < 0 {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        // SAFETY: it is borrowed for the one system call that duplicates it, while this thread is attached to Python,
        // whose code thus cannot close it. A number that stands for nothing makes that call fail and does no more.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(Self(borrowed.try_clone_to_owned()?.into()))
    }
}

/// Whether a file that got a name in that directory has to be synced after that, before the directory is.
#[pyfunction]
#[pyo3(signature = (directory, /))]
#[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over arguments")]
pub(crate) fn needs_file_synced(directory: Descriptor) -> bool {
    outside().naming(directory.0.as_fd()).map_or(true, |naming| naming != Naming::Directory)
}
