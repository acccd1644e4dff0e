//! `Collection` and `Why`: garbage collection in steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::store::collect::{self, Found, Keep, Progress, Reason, Report, RootName};

use crate::errors::{Failure, Result};
use crate::handle::{Close, Handle, Opened};

/// digest, size, since (ns), whether this collection removes it
type FoundRow = (String, u64, Option<i64>, bool);
/// whether files are being removed, work done, total work
type ProgressRow = (bool, u64, Option<u64>);
/// blobs, bytes, ingests, kept by kind of root, spared, spared bytes, missed bytes, warnings
type ReportRow = (u64, u64, u64, [u64; 4], u64, u64, u64, Vec<String>);
/// kind, name, until (ns)
type RootRow = (&'static str, String, Option<i64>);
/// digest, root, chain, since (ns)
type ReasonRow = (String, Option<RootRow>, Vec<String>, Option<i64>);

/// The grace time and the age of abandoned ingests, in ns; None if not set.
pub type Times = (Option<i64>, Option<i64>);

impl Close for Mutex<collect::Collection> {}
impl Close for Mutex<collect::Why> {}

/// A collection in progress; `close` ends it.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Collection(Handle<Mutex<collect::Collection>>);

impl Collection {
    pub(crate) fn new(core: collect::Collection, opened: &Opened) -> CoreResult<Self> {
        Handle::new(opened, Arc::new(Mutex::new(core))).map(Self)
    }

    fn with<T>(&self, run: impl FnOnce(&mut collect::Collection) -> CoreResult<T>) -> CoreResult<T> {
        let core = self.0.get(|| "collection".to_owned())?;
        run(&mut lock(&core))
    }
}

#[pymethods]
impl Collection {
    /// Do a short step. Returns whether it was the last one, the garbage found, and the progress.
    fn step(&self, py: Python<'_>) -> Result<(bool, Vec<FoundRow>, ProgressRow)> {
        py.detach(|| {
            self.with(|core| {
                let has_ended = core.step()?;
                let found = core.take_found().into_iter().map(found_row).collect();
                let Progress { removes, done, total } = core.progress();
                Ok((has_ended, found, (removes, done, total)))
            })
        })
        .map_err(Failure::from)
    }

    /// The result of the collection.
    fn report(&self) -> Result<ReportRow> {
        let report = self.with(|core| Ok(core.report().clone())).map_err(Failure::from)?;
        let Report { blobs, bytes, ingests, kept, spared, spared_bytes, missed_bytes, warnings } = report;
        Ok((blobs, bytes, ingests, kept, spared, spared_bytes, missed_bytes, warnings))
    }

    /// End the collection, finished or not.
    fn close(&self, py: Python<'_>) {
        let reason = Error::Closed { name: "collection".to_owned() };
        py.detach(|| drop(self.0.take(reason)));
    }
}

/// A query for the reasons why blobs are kept; `close` ends it.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Why(Handle<Mutex<collect::Why>>);

impl Why {
    pub(crate) fn new(core: collect::Why, opened: &Opened) -> CoreResult<Self> {
        Handle::new(opened, Arc::new(Mutex::new(core))).map(Self)
    }

    fn with<T>(&self, run: impl FnOnce(&mut collect::Why) -> CoreResult<T>) -> CoreResult<T> {
        let core = self.0.get(|| "question".to_owned())?;
        run(&mut lock(&core))
    }
}

#[pymethods]
impl Why {
    /// Do a short step. Returns whether the query is complete.
    fn step(&self, py: Python<'_>) -> Result<bool> {
        py.detach(|| self.with(collect::Why::step)).map_err(Failure::from)
    }

    /// The reasons for the queried blobs that are stored.
    fn reasons(&self, py: Python<'_>) -> Result<Vec<ReasonRow>> {
        let reasons = py.detach(|| self.with(|core| core.reasons())).map_err(Failure::from)?;
        Ok(reasons.into_iter().map(reason_row).collect())
    }

    /// End the query, complete or not.
    fn close(&self, py: Python<'_>) {
        let reason = Error::Closed { name: "question".to_owned() };
        py.detach(|| drop(self.0.take(reason)));
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn found_row(found: Found) -> FoundRow {
    (found.digest.to_string(), found.size, found.since_ns, found.goes)
}

fn reason_row(reason: Reason) -> ReasonRow {
    let root = reason.root.map(|RootName { kind, name, until_ns }| (kind_of(kind), name, until_ns));
    let chain = reason.chain.iter().map(ToString::to_string).collect();
    (reason.digest.to_string(), root, chain, reason.since_ns)
}

fn kind_of(keep: Keep) -> &'static str {
    match keep {
        Keep::Image => "image name",
        Keep::Label => "label",
        Keep::Lease => "lease",
        Keep::Ingest => "ingest",
        Keep::Spared => "",
    }
}
