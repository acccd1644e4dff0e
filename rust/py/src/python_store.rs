//! A store that is written in Python, behind a server: each method calls a method of `steelyard.containerd.service._loop_store`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use steelyard_core::digest::Digest;
use steelyard_core::model::{Image, Info, Labels, Lease, Resources, Status, Target};
use steelyard_core::store::ingest::Notify;
use steelyard_core::volume::events::Item;
use steelyard_service::store::{Blob, Events, Ingest, Opening, Result, Store, Walk};
use steelyard_service::{Code, Refusal};

use crate::errors::contain;
use crate::events::{GivenRow, item};
use crate::images::{ImageRow, TargetRow};
use crate::leases::LeaseRow;

/// digest, size, created (ns), updated (ns), labels
type InfoRow = (String, u64, i64, i64, BTreeMap<String, String>);

/// ref, offset, total, expected, started (ns), updated (ns)
type StatusRow = (String, u64, Option<u64>, Option<String>, i64, i64);

/// code, message, details, text for the log, code of the class
type RefusalRow = (u8, String, Vec<u8>, String, String);

/// A Python object whose methods block.
struct Object {
    object: Py<PyAny>,
    /// Converts an exception to a `RefusalRow`.
    refuse: Arc<Py<PyAny>>,
}

/// A store that is written in Python.
pub(crate) struct PythonStore(Object);

impl PythonStore {
    pub(crate) fn new(object: Py<PyAny>, refuse: Py<PyAny>) -> Self {
        Self(Object { object, refuse: Arc::new(refuse) })
    }
}

impl Object {
    /// Call a method and convert what it returns.
    fn call<A, T>(&self, name: &str, args: A) -> Result<T>
    where
        A: for<'py> IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
        T: for<'a, 'py> FromPyObject<'a, 'py>,
    {
        let called = |py: Python<'_>| {
            let result = contain(|| {
                let args = args.into_pyobject(py).map_err(|_| PyRuntimeError::new_err("arguments"))?;
                let result = self.object.bind(py).call_method1(name, args)?;
                result.extract::<T>().map_err(Into::into)
            });
            result.map_err(|error| self.refused(py, error))
        };
        // `None` means that the interpreter is about to end.
        Python::try_attach(called).unwrap_or_else(|| Err(failed()))
    }

    /// Call a method that returns nothing.
    fn run<A>(&self, name: &str, args: A) -> Result<()>
    where
        A: for<'py> IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    {
        self.call::<A, Py<PyAny>>(name, args).map(drop)
    }

    fn object<A>(&self, name: &str, args: A) -> Result<Self>
    where
        A: for<'py> IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    {
        Ok(Self { object: self.call(name, args)?, refuse: Arc::clone(&self.refuse) })
    }

    fn refused(&self, py: Python<'_>, error: PyErr) -> Refusal {
        let row = self.refuse.bind(py).call1((error,)).and_then(|row| row.extract::<RefusalRow>());
        let Ok((code, message, details, log, class)) = row else { return failed() };
        let code = Code::of(code).unwrap_or(Code::Unknown);
        Refusal { code, message, details, log: Some(log), limit: None, class }
    }

    /// Call the method `end`, which does not block, when the object is no longer used.
    fn end(&self) {
        Python::try_attach(|py| self.object.bind(py).call_method0("end").is_ok());
    }
}

fn failed() -> Refusal {
    let message = "the store failed; the service's log says more: internal".to_owned();
    Refusal { code: Code::Internal, message, details: Vec::new(), log: None, limit: None, class: String::new() }
}

fn text(digest: Option<&Digest>) -> Option<String> {
    digest.map(ToString::to_string)
}

fn info(row: InfoRow) -> Result<Info> {
    let (digest, size, created_ns, updated_ns, labels) = row;
    Ok(Info { digest: Digest::parse(&digest)?, size, created_ns, updated_ns, labels: Arc::new(labels) })
}

fn status(row: StatusRow) -> Result<Status> {
    let (ref_, offset, total, expected, started_ns, updated_ns) = row;
    let expected = expected.map(|text| Digest::parse(&text)).transpose()?;
    Ok(Status { ref_, offset, total, expected, started_ns, updated_ns })
}

fn image(row: ImageRow) -> Result<Image> {
    let (name, (digest, size, media_type, annotations), created_ns, updated_ns, labels) = row;
    let target = Target { digest: Digest::parse(&digest)?, size, media_type, annotations };
    Ok(Image { name, target, created_ns, updated_ns, labels })
}

fn target_row(target: Target) -> TargetRow {
    (target.digest.to_string(), target.size, target.media_type, target.annotations)
}

fn lease((id, created_ns, expires_ns, process, labels): LeaseRow) -> Lease {
    Lease { id, created_ns, expires_ns, process, labels }
}

fn resource_rows(resources: &Resources) -> (Vec<String>, Vec<String>) {
    (resources.digests.iter().map(ToString::to_string).collect(), resources.refs.clone())
}

impl Store for PythonStore {
    fn info(&self, digest: &Digest) -> Result<Info> {
        info(self.0.call("info", (digest.to_string(),))?)
    }

    fn update(&self, digest: &Digest, labels: Labels, paths: &[String]) -> Result<Info> {
        info(self.0.call("update", (digest.to_string(), labels, paths.to_vec()))?)
    }

    fn walk(&self, filters: &[String]) -> Result<Box<dyn Walk>> {
        Ok(Box::new(PythonWalk(self.0.object("walk", (filters.to_vec(),))?)))
    }

    fn delete(&self, lease: Option<&str>, digest: &Digest) -> Result<()> {
        self.0.run("delete", (lease, digest.to_string()))
    }

    fn blob(&self, digest: &Digest) -> Result<Arc<dyn Blob>> {
        let (object, size): (Py<PyAny>, u64) = self.0.call("blob", (digest.to_string(),))?;
        Ok(Arc::new(PythonBlob { object: Object { object, refuse: Arc::clone(&self.0.refuse) }, size }))
    }

    fn ingest(&self, lease: Option<&str>, opening: &Opening) -> Result<Arc<dyn Ingest>> {
        let Opening { name, total, expected, algorithm } = opening;
        let algorithm = algorithm.map(steelyard_core::digest::Algorithm::name);
        let args = (lease, name.as_str(), *total, text(expected.as_ref()), algorithm);
        Ok(Arc::new(PythonIngest(self.0.object("ingest", args)?)))
    }

    fn status(&self, name: &str) -> Result<Status> {
        status(self.0.call("status", (name,))?)
    }

    fn statuses(&self, filters: &[String]) -> Result<Vec<Status>> {
        self.0.call::<_, Vec<StatusRow>>("statuses", (filters.to_vec(),))?.into_iter().map(status).collect()
    }

    fn abort(&self, lease: Option<&str>, name: &str) -> Result<()> {
        self.0.run("abort", (lease, name))
    }

    fn image(&self, name: &str) -> Result<Image> {
        image(self.0.call("image", (name,))?)
    }

    fn images(&self, filters: &[String]) -> Result<Vec<Image>> {
        self.0.call::<_, Vec<ImageRow>>("images", (filters.to_vec(),))?.into_iter().map(image).collect()
    }

    fn create_image(&self, name: &str, target: Target, labels: Labels) -> Result<Image> {
        image(self.0.call("create_image", (name, target_row(target), labels))?)
    }

    fn update_image(
        &self,
        name: &str,
        target: Target,
        labels: Labels,
        paths: &[String],
        expected: Option<&Digest>,
    ) -> Result<Image> {
        let args = (name, target_row(target), labels, paths.to_vec(), text(expected));
        image(self.0.call("update_image", args)?)
    }

    fn delete_image(&self, name: &str, expected: Option<&Digest>) -> Result<()> {
        self.0.run("delete_image", (name, text(expected)))
    }

    fn create_lease(&self, id: Option<&str>, labels: Labels, expires: Duration) -> Result<Lease> {
        let expires = u64::try_from(expires.as_micros()).unwrap_or(u64::MAX);
        self.0.call("create_lease", (id, labels, expires)).map(lease)
    }

    fn leases(&self, filters: &[String]) -> Result<Vec<Lease>> {
        Ok(self.0.call::<_, Vec<LeaseRow>>("leases", (filters.to_vec(),))?.into_iter().map(lease).collect())
    }

    fn add_to_lease(&self, id: &str, resources: &Resources) -> Result<()> {
        let (digests, refs) = resource_rows(resources);
        self.0.run("add_to_lease", (id, digests, refs))
    }

    fn remove_from_lease(&self, id: &str, resources: &Resources) -> Result<()> {
        let (digests, refs) = resource_rows(resources);
        self.0.run("remove_from_lease", (id, digests, refs))
    }

    fn lease_resources(&self, id: &str) -> Result<Resources> {
        let (digests, refs): (Vec<String>, Vec<String>) = self.0.call("lease_resources", (id,))?;
        let digests = digests.iter().map(|text| Digest::parse(text)).collect::<std::result::Result<_, _>>()?;
        Ok(Resources { digests, refs })
    }

    fn delete_lease(&self, id: &str) -> Result<()> {
        self.0.run("delete_lease", (id,))
    }

    fn events(&self, types: &[&str]) -> Result<Box<dyn Events>> {
        let object = self.0.object("events", (types.to_vec(),))?;
        Ok(Box::new(PythonEvents { object, state: Mutex::default() }))
    }
}

struct PythonWalk(Object);

impl Walk for PythonWalk {
    fn next(&mut self) -> Result<Vec<Info>> {
        self.0.call::<_, Vec<InfoRow>>("next", ())?.into_iter().map(info).collect()
    }
}

impl Drop for PythonWalk {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct PythonBlob {
    object: Object,
    size: u64,
}

impl Blob for PythonBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let data: Py<PyBytes> = self.object.call("read_at", (offset, buffer.len()))?;
        let copied = Python::try_attach(|py| {
            let data = data.as_bytes(py);
            let is_whole = data.len() == buffer.len();
            if is_whole {
                buffer.copy_from_slice(data);
            }
            is_whole
        });
        if copied == Some(true) { Ok(()) } else { Err(failed()) }
    }
}

impl Drop for PythonBlob {
    fn drop(&mut self) {
        self.object.end();
    }
}

struct PythonIngest(Object);

impl Ingest for PythonIngest {
    fn status(&self) -> Result<Status> {
        status(self.0.call("status", ())?)
    }

    fn digest(&self) -> Result<Digest> {
        Ok(Digest::parse(&self.0.call::<_, String>("digest", ())?)?)
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        let data = Python::try_attach(|py| PyBytes::new(py, data).unbind()).ok_or_else(failed)?;
        self.0.run("write", (data,))
    }

    fn sync(&self) -> Result<()> {
        self.0.run("sync", ())
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.0.run("truncate", (size,))
    }

    fn commit(&self, size: Option<u64>, expected: Option<&Digest>, labels: Option<Labels>) -> Result<Info> {
        info(self.0.call("commit", (size, text(expected), labels))?)
    }

    fn close(&self) {
        // A failure is ignored here: the store has logged it.
        drop(self.0.run("close", ()));
    }
}

impl Drop for PythonIngest {
    fn drop(&mut self) {
        // If the call was cancelled during the opening, nothing has closed the ingest yet. A second close has no effect.
        self.0.end();
    }
}

struct PythonEvents {
    object: Object,
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    outcome: Option<Refusal>,
    has_ended: bool,
}

impl Events for PythonEvents {
    fn take(&self) -> Result<Option<Vec<Item>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refused) = state.outcome.take() {
            return Err(refused);
        }
        if state.has_ended && state.items.is_empty() { Ok(None) } else { Ok(Some(state.items.drain(..).collect())) }
    }

    fn when_ready(&self, _notify: Notify) -> bool {
        false
    }

    fn wait(&self, most: Duration) {
        let rows = self.object.call::<_, Option<Vec<GivenRow>>>("wait", (most.as_secs_f64(),));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match rows {
            Ok(None) => state.has_ended = true,
            Ok(Some(rows)) => state.items.extend(rows.into_iter().filter_map(|row| item(row).ok())),
            Err(refused) => state.outcome = Some(refused),
        }
    }
}

impl Drop for PythonEvents {
    fn drop(&mut self) {
        self.object.end();
    }
}
