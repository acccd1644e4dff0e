//! `Process`: what an object of Python remembers of the process that made it; and descriptors that Python has opened.

use pyo3::prelude::*;
use steelyard_core::sys;

use crate::errors::{Failure, Result};

/// The process in which this was made.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Process(sys::Process);

#[pymethods]
impl Process {
    #[new]
    fn new() -> Self {
        Self(sys::Process::current())
    }

    /// Whether this is still that process, not a child that was forked from it.
    #[getter]
    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// Refuse a use of `name` in a child.
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

/// Undo that, before the descriptor is closed: its number may be used again afterwards.
#[pyfunction]
#[pyo3(signature = (number, /))]
pub(crate) fn unmark_descriptor(number: i32) {
    sys::unmark(number);
}
