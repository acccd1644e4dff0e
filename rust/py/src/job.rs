//! `Job`: a long call, watched and stopped from outside.

use std::sync::Arc;

use pyo3::prelude::*;
use steelyard_core::pipe;

/// Given to a long call; other threads look at it meanwhile.
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
