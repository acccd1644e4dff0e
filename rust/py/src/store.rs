//! `Store`: the methods of the local store. Each one that may block releases the GIL while the core works.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::store::collect::Options as CollectOptions;
use steelyard_core::store::{self, Options};
use steelyard_core::volume::quarantine::Quarantined;

use crate::batch;
use crate::blob::Blob;
use crate::blobs;
use crate::buffer::Input;
use crate::collect::{Collection, Times, Why};
use crate::descriptor::Descriptor;
use crate::errors::{Failure, Result};
use crate::events::{self, Subscription};
use crate::filter::Filter;
use crate::handle::{Handle, Opened};
use crate::images::Images;
use crate::ingest::Ingest;
use crate::job::Job;
use crate::leases::Leases;
use crate::many::{self, Failures};
use crate::rows::{InfoRow, StatusRow, info_row, optional_algorithm, optional_digest, parse_all, status_row};
use crate::walk::Walk;

/// An open root. The objects that it returns end with it.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Store {
    path: OsString,
    read_only: bool,
    core: Handle<store::Store>,
    /// All open objects of the store.
    pub(crate) opened: Arc<Opened>,
}

impl Store {
    fn new(core: Arc<store::Store>) -> Self {
        let (path, read_only) = (core.volume().path().as_os_str().to_owned(), core.volume().read_only());
        Self { path, read_only, core: Handle::of_store(core), opened: Arc::default() }
    }

    pub(crate) fn core(&self) -> CoreResult<Arc<store::Store>> {
        self.core.get(|| format!("store {}", self.path.display()))
    }
}

#[pymethods]
impl Store {
    #[staticmethod]
    #[pyo3(signature = (path, /, *, read_only, durable, write_buffer))]
    #[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over a path")]
    fn open(py: Python<'_>, path: OsString, read_only: bool, durable: bool, write_buffer: usize) -> Result<Self> {
        let core = py.detach(|| store::Store::open(Path::new(&path), Options { read_only, durable, write_buffer }))?;
        events::share(py, core.volume());
        Ok(Self::new(core))
    }

    #[getter]
    fn path(&self) -> &OsStr {
        &self.path
    }

    #[getter]
    fn read_only(&self) -> bool {
        self.read_only
    }

    fn images(&self) -> Result<Images> {
        Ok(Images::new(Handle::new(&self.opened, self.core()?)?, &self.path))
    }

    fn leases(&self) -> Result<Leases> {
        Ok(Leases::new(Handle::new(&self.opened, self.core()?)?, &self.path))
    }

    #[pyo3(signature = (*, grace, max_bytes, ingest_age, dry_run, accept_roots, take_back))]
    #[allow(clippy::too_many_arguments, reason = "the keywords of a Python call")]
    fn collection(
        &self,
        py: Python<'_>,
        grace: i64,
        max_bytes: Option<u64>,
        ingest_age: i64,
        dry_run: bool,
        accept_roots: bool,
        take_back: bool,
    ) -> Result<Collection> {
        let options =
            CollectOptions { grace_ns: grace, max_bytes, ingest_age_ns: ingest_age, dry_run, accept_roots, take_back };
        py.detach(|| Collection::new(self.core()?.collection(options)?, &self.opened)).map_err(Failure::from)
    }

    #[pyo3(signature = (*, grace = None, ingest_age = None))]
    fn collect_defaults(&self, py: Python<'_>, grace: Option<i64>, ingest_age: Option<i64>) -> Result<Times> {
        py.detach(|| self.core()?.collect_defaults(grace, ingest_age)).map_err(Failure::from)
    }

    #[pyo3(signature = (digests, /))]
    fn why(&self, py: Python<'_>, digests: Vec<String>) -> Result<Why> {
        py.detach(|| Why::new(self.core()?.why(parse_all(&digests)?)?, &self.opened)).map_err(Failure::from)
    }

    #[pyo3(signature = (collector, /))]
    fn serve(&self, py: Python<'_>, collector: Option<&str>) -> Result<()> {
        py.detach(|| self.core()?.serve(collector)).map_err(Failure::from)
    }

    #[pyo3(signature = (filter, most, /))]
    fn subscribe(&self, filter: &Filter, most: usize) -> Result<Subscription> {
        Ok(Subscription::of_store(self.core()?.volume(), filter, most, &self.opened)?)
    }

    /// Whether there is a subscriber to the events of the root.
    #[getter]
    fn subscribed(&self) -> Result<bool> {
        Ok(self.core()?.volume().events().is_active())
    }

    fn notes(&self) -> Result<Vec<String>> {
        Ok(self.core()?.volume().notes())
    }

    /// Close the store and all its open objects. When this returns, no file of the store is open in this process.
    fn close(&self, py: Python<'_>) -> Result<()> {
        let reason = Error::store_closed(self.path.display());
        py.detach(|| {
            // In the child of a fork, the store belongs to the parent, and none of its files is open.
            let Some(core) = self.core.take(reason.clone()) else { return Ok(()) };
            let users = core.volume().users();
            let result = self.opened.end(&reason);
            core.close();
            drop(core);
            // Wait for calls in progress, which end by themselves.
            users.wait_for_none();
            result
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (data, /, *, algorithm, expected, labels, lease = None))]
    #[allow(clippy::too_many_arguments, reason = "the keywords of a Python call")]
    fn put(
        &self,
        py: Python<'_>,
        data: Input<'_>,
        algorithm: &str,
        expected: Option<&str>,
        labels: Option<BTreeMap<String, String>>,
        lease: Option<&str>,
    ) -> Result<(&'static str, String, u64, bool)> {
        let octets = data.as_slice();
        py.detach(|| {
            let algorithm = Algorithm::parse(algorithm)?;
            let expected = optional_digest(expected)?;
            let put = self.core()?.put_under(lease, octets, algorithm, expected.as_ref(), labels.as_ref())?;
            Ok::<_, Error>((put.digest.algorithm().name(), put.digest.encoded(), put.size, put.new))
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (sources, /, *, algorithm, labels, limit, lease = None))]
    #[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over a mapping")]
    fn put_batch<'py>(
        &self,
        py: Python<'py>,
        sources: &Bound<'py, PyList>,
        algorithm: &str,
        labels: Option<BTreeMap<String, String>>,
        limit: u64,
        lease: Option<&str>,
    ) -> Result<Bound<'py, PyList>> {
        batch::put(py, &*self.core()?, lease, sources, algorithm, labels.as_ref(), limit)
    }

    #[pyo3(signature = (items, /, *, limit, lease = None))]
    fn put_each<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyList>,
        limit: u64,
        lease: Option<&str>,
    ) -> Result<Bound<'py, PyList>> {
        batch::put_each(py, &*self.core()?, lease, items, limit)
    }

    #[pyo3(signature = (r#ref, /, *, total, expected, algorithm, lease = None))]
    fn ingest(
        &self,
        py: Python<'_>,
        r#ref: &str,
        total: Option<u64>,
        expected: Option<&str>,
        algorithm: Option<&str>,
        lease: Option<&str>,
    ) -> Result<Ingest> {
        py.detach(|| {
            let expected = optional_digest(expected)?;
            let algorithm = optional_algorithm(algorithm)?;
            let core = self.core()?.ingests().open_under(lease, r#ref, total, expected.as_ref(), algorithm)?;
            Ingest::new(core, &self.opened)
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (*, algorithm, lease = None))]
    fn anonymous(&self, py: Python<'_>, algorithm: &str, lease: Option<&str>) -> Result<Ingest> {
        py.detach(|| {
            let core = self.core()?.ingests().anonymous_under(lease, Algorithm::parse(algorithm)?)?;
            Ingest::new(core, &self.opened)
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (digest, /))]
    fn blob(&self, py: Python<'_>, digest: &str) -> Result<Blob> {
        py.detach(|| Blob::new(self.core()?.volume().blob(&Digest::parse(digest)?)?, &self.opened))
            .map_err(Failure::from)
    }

    /// Open a blob for a check. The time of its last use does not change.
    #[pyo3(signature = (digest, /))]
    fn inspect(&self, py: Python<'_>, digest: &str) -> Result<Blob> {
        py.detach(|| Blob::new(self.core()?.volume().inspect(&Digest::parse(digest)?)?, &self.opened))
            .map_err(Failure::from)
    }

    /// Open a blob if that is possible without blocking; None otherwise. The GIL is kept, as in `Blob.read_cached`.
    #[pyo3(signature = (digest, /))]
    fn blob_cached(&self, digest: &str) -> Result<Option<Blob>> {
        let blob = self.core()?.volume().blob_cached(&Digest::parse(digest)?)?;
        Ok(blob.map(|blob| Blob::new(blob, &self.opened)).transpose()?)
    }

    #[pyo3(signature = (digest, /))]
    fn path_of(&self, py: Python<'_>, digest: &str) -> Result<OsString> {
        py.detach(|| self.core()?.volume().path_of(&Digest::parse(digest)?))
            .map(PathBuf::into_os_string)
            .map_err(Failure::from)
    }

    #[pyo3(signature = (digest, /))]
    fn info(&self, py: Python<'_>, digest: &str) -> Result<InfoRow> {
        py.detach(|| self.core()?.volume().info(&Digest::parse(digest)?)).map(info_row).map_err(Failure::from)
    }

    #[pyo3(signature = (digests, /))]
    fn infos(&self, py: Python<'_>, digests: Vec<String>) -> Result<Vec<InfoRow>> {
        blobs::infos(py, &*self.core()?, &digests)
    }

    #[pyo3(signature = (digests, /))]
    fn sizes(&self, py: Python<'_>, digests: Vec<String>) -> Result<Vec<Option<u64>>> {
        blobs::sizes(py, &*self.core()?, &digests)
    }

    #[pyo3(signature = (digests, labels, keys, /))]
    fn update<'py>(
        &self,
        py: Python<'py>,
        digests: Vec<String>,
        labels: BTreeMap<String, String>,
        keys: Option<Vec<String>>,
    ) -> Result<(Bound<'py, PyBytes>, Failures<'py>)> {
        many::update(py, &*self.core()?, &digests, &labels, keys.as_deref())
    }

    #[pyo3(signature = (filter, /, *, unverified_before = None))]
    fn walk(&self, py: Python<'_>, filter: &Filter, unverified_before: Option<i64>) -> Result<Walk> {
        py.detach(|| Walk::new(self.core()?.volume().walk(filter.compiled(), unverified_before)?, &self.opened))
            .map_err(Failure::from)
    }

    #[pyo3(signature = (digests, /, *, lease = None))]
    fn delete<'py>(&self, py: Python<'py>, digests: Vec<String>, lease: Option<&str>) -> Result<Failures<'py>> {
        many::delete(py, &*self.core()?, &digests, lease)
    }

    #[pyo3(signature = (r#ref, /))]
    fn status(&self, py: Python<'_>, r#ref: &str) -> Result<StatusRow> {
        py.detach(|| self.core()?.ingests().status(r#ref)).map(status_row).map_err(Failure::from)
    }

    #[pyo3(signature = (filter, /))]
    fn statuses(&self, py: Python<'_>, filter: &Filter) -> Result<Vec<StatusRow>> {
        py.detach(|| {
            let mut statuses = self.core()?.ingests().statuses()?;
            statuses.retain(|status| filter.compiled().matches(status));
            Ok::<_, Error>(statuses.into_iter().map(status_row).collect())
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (r#ref, /, *, lease = None))]
    fn abort(&self, py: Python<'_>, r#ref: &str, lease: Option<&str>) -> Result<()> {
        py.detach(|| self.core()?.ingests().abort_under(lease, r#ref)).map_err(Failure::from)
    }

    /// Protect blobs from removal. Callers do this before they check whether the blobs exist.
    #[pyo3(signature = (digests, /, *, lease = None))]
    #[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over a list")]
    fn protect(&self, py: Python<'_>, digests: Vec<String>, lease: Option<&str>) -> Result<()> {
        py.detach(|| self.core()?.volume().protect(lease, &parse_all(&digests)?)).map_err(Failure::from)
    }

    /// Return the digest of a file whose bytes are stored already; None if the file must be stored.
    #[pyo3(signature = (file, size, algorithm, job, /, *, lease = None))]
    #[allow(clippy::needless_pass_by_value, reason = "the descriptor is closed when the call ends")]
    fn find(
        &self,
        py: Python<'_>,
        file: Descriptor,
        size: u64,
        algorithm: &str,
        job: &Job,
        lease: Option<&str>,
    ) -> Result<Option<(&'static str, String)>> {
        py.detach(|| self.core()?.find_under(lease, file.0.as_fd(), size, Algorithm::parse(algorithm)?, job.core()))
            .map(|found| found.map(|digest| (digest.algorithm().name(), digest.encoded())))
            .map_err(Failure::from)
    }

    #[pyo3(signature = (size, /))]
    fn has_size(&self, py: Python<'_>, size: u64) -> Result<bool> {
        py.detach(|| self.core()?.volume().has_size(size)).map_err(Failure::from)
    }

    #[pyo3(signature = (digest, /))]
    fn quarantine(&self, py: Python<'_>, digest: &str) -> Result<String> {
        py.detach(|| self.core()?.volume().quarantine(&Digest::parse(digest)?))
            .map(|path| path.display().to_string())
            .map_err(Failure::from)
    }

    #[pyo3(signature = (empty, /))]
    fn quarantined(&self, py: Python<'_>, empty: bool) -> Result<Vec<(String, OsString, u64, i64)>> {
        let found = py.detach(|| {
            let store = self.core()?;
            let volume = store.volume();
            if empty { volume.empty_quarantine() } else { volume.quarantined() }
        })?;
        let row = |copy: Quarantined| (copy.digest.to_string(), copy.path.into_os_string(), copy.size, copy.moved_ns);
        Ok(found.into_iter().map(row).collect())
    }

    /// Return for each blob its size and its actual digest, or the error, or None if the job was cancelled before it.
    #[pyo3(signature = (digests, job, /))]
    fn hash_many<'py>(&self, py: Python<'py>, digests: Vec<String>, job: &Job) -> Result<Vec<Bound<'py, PyAny>>> {
        blobs::hash(py, &*self.core()?, &digests, job)
    }

    /// Return for each file whether it was written, or the error.
    #[pyo3(signature = (folders, files, /))]
    fn write_copies<'py>(
        &self,
        py: Python<'py>,
        folders: Vec<Descriptor>,
        files: Vec<blobs::Copy>,
    ) -> Result<Vec<Bound<'py, PyAny>>> {
        blobs::write_copies(py, &*self.core()?, &folders, files)
    }

    #[pyo3(signature = (digests, at, /))]
    fn mark_verified(&self, py: Python<'_>, digests: Vec<String>, at: i64) -> Result<()> {
        py.detach(|| self.core()?.volume().mark_verified(&parse_all(&digests)?, at)).map_err(Failure::from)
    }

    fn verify_started(&self, py: Python<'_>) -> Result<Option<i64>> {
        py.detach(|| self.core()?.volume().verify_started()).map_err(Failure::from)
    }

    #[pyo3(signature = (at, /))]
    fn set_verify_started(&self, py: Python<'_>, at: Option<i64>) -> Result<()> {
        py.detach(|| self.core()?.volume().set_verify_started(at)).map_err(Failure::from)
    }

    fn stats(&self, py: Python<'_>) -> Result<BTreeMap<&'static str, u64>> {
        let stats = py.detach(|| self.core()?.stats())?;
        Ok(BTreeMap::from([
            ("blobs", stats.blobs),
            ("blob_bytes", stats.blob_bytes),
            ("ingests", stats.ingests),
            ("ingest_bytes", stats.ingest_bytes),
            ("quarantined", stats.quarantined),
            ("quarantined_bytes", stats.quarantined_bytes),
        ]))
    }

    fn rebuild(&self, py: Python<'_>) -> Result<Vec<String>> {
        py.detach(|| self.core()?.volume().rebuild()).map_err(Failure::from)
    }
}
