//! `Walk`: a cursor over the blobs of a store.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::walk;

use crate::errors::{Failure, Result};
use crate::page::page;

/// The most blobs of a page.
const MOST: usize = 1024;

/// A walk under way.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Walk(walk::Ahead<Vec<u8>>);

impl Walk {
    pub(crate) fn new(core: walk::Walk) -> Self {
        Self(walk::Ahead::new(core, MOST, page))
    }
}

#[pymethods]
impl Walk {
    /// The next matching blobs as a page, which is empty at the end.
    fn next<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let page = py.detach(|| self.0.next()).map_err(Failure::from)?;
        Ok(PyBytes::new(py, &page.unwrap_or_default()))
    }

    /// The same if it is there by now, or None.
    fn ready<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyBytes>>> {
        let page = self.0.ready().transpose().map_err(Failure::from)?;
        Ok(page.map(|page| PyBytes::new(py, &page.unwrap_or_default())))
    }
}
