//! `Walk`: a cursor over the blobs of a store.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use steelyard_core::error::Error;
use steelyard_core::walk;

use crate::errors::{Failure, Result};
use crate::rows::{InfoRow, info_row};

/// A walk under way.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Walk(Mutex<walk::Walk>);

impl Walk {
    pub(crate) fn new(core: walk::Walk) -> Self {
        Self(Mutex::new(core))
    }
}

#[pymethods]
impl Walk {
    /// The next matching blobs, at most `most` of them; none at the end.
    #[pyo3(signature = (most, /))]
    fn next(&self, py: Python<'_>, most: usize) -> Result<Vec<InfoRow>> {
        py.detach(|| {
            let mut walk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, Error>(walk.next(most)?.into_iter().map(info_row).collect())
        })
        .map_err(Failure::from)
    }
}
