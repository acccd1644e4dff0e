//! `Walk`: a cursor over the blobs of a store.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::error::Result as CoreResult;
use steelyard_core::volume::walk;

use crate::errors::{Failure, Result};
use crate::handle::{Handle, Opened};
use crate::page::page;

/// The most blobs of a page.
const MOST: usize = 1024;

/// A walk in progress.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Walk(Handle<walk::Ahead<Vec<u8>>>);

impl Walk {
    pub(crate) fn new(core: walk::Walk, opened: &Opened) -> CoreResult<Self> {
        Handle::new(opened, Arc::new(walk::Ahead::new(core, MOST, page))).map(Self)
    }

    fn core(&self) -> CoreResult<Arc<walk::Ahead<Vec<u8>>>> {
        self.0.get(|| "walk".to_owned())
    }
}

#[pymethods]
impl Walk {
    /// The next matching blobs as a page, which is empty at the end.
    fn next<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let core = self.core()?;
        let page = py.detach(|| core.next()).map_err(Failure::from)?;
        Ok(PyBytes::new(py, &page.unwrap_or_default()))
    }

    /// Return the next page if it is available without waiting; None otherwise.
    fn ready<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyBytes>>> {
        let page = self.core()?.ready().transpose().map_err(Failure::from)?;
        Ok(page.map(|page| PyBytes::new(py, &page.unwrap_or_default())))
    }
}
