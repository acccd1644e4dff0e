//! `Leases`: the leases of a store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

use pyo3::prelude::*;
use steelyard_core::digest::Digest;
use steelyard_core::error::Result as CoreResult;
use steelyard_core::model::{Lease, Resources};
use steelyard_core::store;

use crate::errors::{Failure, Result};
use crate::filter::Filter;
use crate::handle::Handle;

/// ID, created (ns), expires (ns), process, labels
pub(crate) type LeaseRow = (String, i64, Option<i64>, Option<u32>, BTreeMap<String, String>);

/// The leases of an open root.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Leases {
    path: String,
    core: Handle<store::Store>,
}

impl Leases {
    pub(crate) fn new(core: Handle<store::Store>, path: &OsStr) -> Self {
        Self { path: path.display().to_string(), core }
    }

    fn core(&self) -> CoreResult<Arc<store::Store>> {
        self.core.get(|| format!("store {}", self.path))
    }
}

#[pymethods]
impl Leases {
    /// Create a lease that outlives the process and ends after `expires` ns.
    #[pyo3(signature = (lease, /, *, labels, expires))]
    fn create(&self, py: Python<'_>, lease: &str, labels: BTreeMap<String, String>, expires: i64) -> Result<LeaseRow> {
        py.detach(|| self.core()?.volume().create_lease(lease, &labels, expires)).map(row).map_err(Failure::from)
    }

    /// Create a lease that ends with the process, or after `expires` ns.
    #[pyo3(signature = (lease, /, *, labels, expires))]
    fn begin(
        &self,
        py: Python<'_>,
        lease: &str,
        labels: BTreeMap<String, String>,
        expires: Option<i64>,
    ) -> Result<LeaseRow> {
        py.detach(|| self.core()?.volume().begin_lease(lease, &labels, expires)).map(row).map_err(Failure::from)
    }

    /// End a lease of this process. Does nothing if the store is closed: it has no such leases then.
    #[pyo3(signature = (lease, /))]
    fn end(&self, py: Python<'_>, lease: &str) {
        py.detach(|| {
            if let Ok(core) = self.core() {
                core.volume().end_lease(lease);
            }
        });
    }

    #[pyo3(signature = (lease, /))]
    fn get(&self, py: Python<'_>, lease: &str) -> Result<LeaseRow> {
        py.detach(|| self.core()?.volume().lease(lease)).map(row).map_err(Failure::from)
    }

    #[pyo3(signature = (filter, /))]
    fn list(&self, py: Python<'_>, filter: &Filter) -> Result<Vec<LeaseRow>> {
        py.detach(|| self.core()?.volume().leases(filter.compiled()))
            .map(|leases| leases.into_iter().map(row).collect())
            .map_err(Failure::from)
    }

    #[pyo3(signature = (lease, /, *, digests, refs))]
    fn add(&self, py: Python<'_>, lease: &str, digests: Vec<String>, refs: Vec<String>) -> Result<()> {
        py.detach(|| self.core()?.volume().add_to_lease(lease, &resources(&digests, refs)?)).map_err(Failure::from)
    }

    #[pyo3(signature = (lease, /, *, digests, refs))]
    fn remove(&self, py: Python<'_>, lease: &str, digests: Vec<String>, refs: Vec<String>) -> Result<()> {
        py.detach(|| self.core()?.volume().remove_from_lease(lease, &resources(&digests, refs)?)).map_err(Failure::from)
    }

    #[pyo3(signature = (lease, /))]
    fn resources(&self, py: Python<'_>, lease: &str) -> Result<(Vec<String>, Vec<String>)> {
        py.detach(|| self.core()?.volume().lease_resources(lease))
            .map(|found| (found.digests.iter().map(ToString::to_string).collect(), found.refs))
            .map_err(Failure::from)
    }

    #[pyo3(signature = (lease, /))]
    fn delete(&self, py: Python<'_>, lease: &str) -> Result<()> {
        py.detach(|| self.core()?.volume().delete_lease(lease)).map_err(Failure::from)
    }
}

fn resources(digests: &[String], refs: Vec<String>) -> CoreResult<Resources> {
    let digests = digests.iter().map(|digest| Digest::parse(digest)).collect::<CoreResult<_>>()?;
    Ok(Resources { digests, refs })
}

fn row(lease: Lease) -> LeaseRow {
    (lease.id, lease.created_ns, lease.expires_ns, lease.process, lease.labels)
}
