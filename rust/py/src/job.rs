//! `Job`: progress and cancellation of a long call.

use std::sync::Arc;

use pyo3::prelude::*;
use steelyard_core::pipe;

/// Passed to a long call. Other threads read its progress and can cancel it.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Job(Arc<pipe::Job>);

impl Job {
    pub(crate) fn core(&self) -> &pipe::Job {
        &self.0
    }
}

#[pymethods]
impl Job {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    #[getter]
    fn done(&self) -> u64 {
        self.0.done()
    }
}
