//! `Process`: identifies the process that created a Python object. Also marks descriptors that Python has opened.

use pyo3::prelude::*;
use steelyard_core::sys;

use crate::errors::{Failure, Result};

/// The process in which this object was created.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Process(sys::Process);

#[pymethods]
impl Process {
    #[new]
    fn new() -> Self {
        Self(sys::Process::current())
    }

    /// Whether the current process is that process, not a forked child.
    #[getter]
    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// Fail in a forked child; `name` is the object in the message.
    #[pyo3(signature = (name, /))]
    fn check(&self, name: &str) -> Result<()> {
        self.0.check(|| name.to_owned()).map_err(Failure::from)
    }
}

/// Have every child of a fork close this descriptor.
#[pyfunction]
#[pyo3(signature = (number, /))]
pub(crate) fn mark_descriptor(number: i32) {
    sys::mark(number);
}

/// Undo `mark_descriptor`. Call this before the descriptor is closed: afterwards another file may have its number.
#[pyfunction]
#[pyo3(signature = (number, /))]
pub(crate) fn unmark_descriptor(number: i32) {
    sys::unmark(number);
}
