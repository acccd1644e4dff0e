//! Requests to an object store. An event loop waits for them without a thread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use steelyard_core::error::Error as CoreError;
use steelyard_core::sys::ProcessBound;
use steelyard_objects::{Client, Error, Kind, Meta, Operation, Outcome, Payload, Request, Settings, UploadMarker};

use crate::buffer::owned;
use crate::errors::{Cancelled, Failure};
use crate::object_body::ObjectBody;
use crate::wait::Wait;

pyo3::create_exception!(
    steelyard._native,
    RequestFailed,
    PyException,
    "A request failed: its kind, the server's code or None, and a text."
);

/// One bucket at one server. Each method starts a request.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct ObjectClient(ProcessBound<Mutex<Option<Client>>>);

/// A request in progress.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct ObjectRequest(ProcessBound<Arc<Request>>);

/// The row of an object: its key, its size, its tag, its time in nanoseconds, and whether a store has written it.
type Row = (String, u64, Option<String>, i64, bool);

#[pymethods]
impl ObjectClient {
    /// A client with options of the crate `object_store`, under the crate's names. It connects with the first request.
    #[new]
    #[pyo3(signature = (options, /, *, retries, timeout))]
    fn new(options: &Bound<'_, PyDict>, retries: usize, timeout: u64) -> PyResult<Self> {
        let settings = Settings { options: options.iter().map(pair).collect::<PyResult<_>>()?, retries, timeout };
        let client = Client::new(&settings).map_err(|error| failed(&error))?;
        Ok(Self(ProcessBound::new(Mutex::new(Some(client)))))
    }

    /// Write an object, optionally with the mark of a store. The outcome is its tag.
    #[pyo3(signature = (key, data, /, *, create, mark))]
    fn put(&self, key: String, data: &Bound<'_, PyAny>, create: bool, mark: bool) -> PyResult<ObjectRequest> {
        self.start(Operation::Put { key, data: owned(data)?, create, mark })
    }

    /// Create objects, each optionally with the mark of a store, by concurrent requests with one wait. The outcome has a tag or a
    /// `RequestFailed` for each object.
    #[pyo3(signature = (objects, /))]
    fn create_all(&self, objects: Vec<(String, Bound<'_, PyAny>, bool)>) -> PyResult<ObjectRequest> {
        let operations = objects
            .into_iter()
            .map(|(key, data, mark)| Ok(Operation::Put { key, data: owned(&data)?, create: true, mark }))
            .collect::<PyResult<_>>()?;
        self.begin_with(|client| client.start_all(operations))
    }

    /// Read an object or a range of it (offset, size). The outcome is its row and the bytes.
    #[pyo3(signature = (key, /, *, range=None, etag=None))]
    fn get(&self, key: String, range: Option<(u64, u64)>, etag: Option<String>) -> PyResult<ObjectRequest> {
        let range = range.map(|(offset, size)| offset..offset.saturating_add(size));
        self.start(Operation::Get { key, range, tag: etag })
    }

    /// Start or continue to receive a body. The outcome is None, and is there when bytes can be taken.
    #[pyo3(signature = (body, /, *, etag))]
    fn receive(&self, body: &ObjectBody, etag: Option<String>) -> PyResult<ObjectRequest> {
        let body = body.core().map_err(Failure::from)?;
        self.begin_with(|client| client.receive(body, etag))
    }

    /// Request the metadata of an object. The outcome is its row.
    #[pyo3(signature = (key, /))]
    fn head(&self, key: String) -> PyResult<ObjectRequest> {
        self.start(Operation::Head { key })
    }

    /// Remove an object, if it exists.
    #[pyo3(signature = (key, /))]
    fn delete(&self, key: String) -> PyResult<ObjectRequest> {
        self.start(Operation::Delete { key })
    }

    /// Sign removals of objects, which the server refuses after `seconds`. The outcome is a list of URLs in order. No request is sent.
    #[pyo3(signature = (keys, /, *, seconds))]
    fn sign_removals(&self, keys: Vec<String>, seconds: u64) -> PyResult<ObjectRequest> {
        self.start(Operation::SignRemovals { keys, seconds })
    }

    /// Remove an object by a signed removal, if it exists. There is only one attempt.
    #[pyo3(signature = (url, /))]
    fn remove(&self, url: String) -> PyResult<ObjectRequest> {
        self.start(Operation::Remove { url })
    }

    /// List objects in order. The outcome is their rows, and whether there are more.
    #[pyo3(signature = (prefix, /, *, after=None, limit=1000))]
    fn list(&self, prefix: String, after: Option<String>, limit: usize) -> PyResult<ObjectRequest> {
        self.start(Operation::List { prefix, after, limit })
    }

    /// Copy an object at the server.
    #[pyo3(signature = (key, copied, /))]
    fn copy(&self, key: String, copied: String) -> PyResult<ObjectRequest> {
        self.start(Operation::Copy { from: key, to: copied })
    }

    /// Begin a multipart upload. The outcome is its ID.
    #[pyo3(signature = (key, /))]
    fn begin(&self, key: String) -> PyResult<ObjectRequest> {
        self.start(Operation::Begin { key })
    }

    /// Send a range of a file as a part. The outcome is the text that `complete` needs.
    #[pyo3(signature = (key, upload, number, /, path, offset, size))]
    fn part(
        &self,
        key: String,
        upload: String,
        number: usize,
        path: PathBuf,
        offset: u64,
        size: usize,
    ) -> PyResult<ObjectRequest> {
        self.start(Operation::Part { key, upload, number, data: Payload::File { path, offset, size } })
    }

    /// Send bytes as a part. The outcome is the text that `complete` needs.
    #[pyo3(signature = (key, upload, number, data, /))]
    fn part_of(&self, key: String, upload: String, number: usize, data: &Bound<'_, PyAny>) -> PyResult<ObjectRequest> {
        self.start(Operation::Part { key, upload, number, data: Payload::Bytes(owned(data)?) })
    }

    /// Create the object from its parts. The outcome is its tag.
    #[pyo3(signature = (key, upload, parts, /))]
    fn complete(&self, key: String, upload: String, parts: Vec<String>) -> PyResult<ObjectRequest> {
        self.start(Operation::Complete { key, upload, parts })
    }

    /// Discard a multipart upload, if it exists.
    #[pyo3(signature = (key, upload, /))]
    fn abort(&self, key: String, upload: String) -> PyResult<ObjectRequest> {
        self.start(Operation::Abort { key, upload })
    }

    /// List unfinished multipart uploads. The outcome is their keys, IDs and times, and the end of the page if there are more.
    #[pyo3(signature = (prefix, /, *, after=None, limit=1000))]
    fn uploads(&self, prefix: String, after: Option<(String, String)>, limit: usize) -> PyResult<ObjectRequest> {
        let after =
            after.map(|(kind, text)| if kind == "key" { UploadMarker::Key(text) } else { UploadMarker::Id(text) });
        self.start(Operation::Uploads { prefix, after, limit })
    }

    /// Request the server's name and its time in nanoseconds. Either is None if the server does not send it.
    fn server(&self) -> PyResult<ObjectRequest> {
        self.start(Operation::Server)
    }

    /// Close the client. With the last client of the process, the threads and all requests end.
    fn close(&self, py: Python<'_>) {
        let Some(client) = self.0.here() else { return };
        let client = client.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(client));
    }
}

impl ObjectClient {
    fn start(&self, operation: Operation) -> PyResult<ObjectRequest> {
        self.begin_with(|client| client.start(operation))
    }

    fn begin_with(&self, start: impl FnOnce(&Client) -> Arc<Request>) -> PyResult<ObjectRequest> {
        let client = self.0.get(|| "object store".to_owned()).map_err(Failure::from)?;
        let client = client.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = &*client else {
            let message = "the store is closed; use it in `async with`".to_owned();
            return Err(Failure::from(CoreError::StoreClosed { message }).into());
        };
        Ok(ObjectRequest(ProcessBound::new(start(client))))
    }
}

#[pymethods]
impl ObjectRequest {
    /// A wait for the outcome, which it returns.
    fn wait(slf: &Bound<'_, Self>) -> PyResult<Wait> {
        let request = slf.get().0.get(|| "request".to_owned()).map_err(Failure::from)?;
        Ok(Wait::for_request(Arc::clone(request)).then(slf.getattr("outcome")?.unbind()))
    }

    /// Cancel the request. The server may have carried it out all the same.
    fn cancel(&self) -> PyResult<()> {
        self.0.get(|| "request".to_owned()).map_err(Failure::from)?.cancel();
        Ok(())
    }

    /// The outcome. Call this only after the wait has ended.
    fn outcome(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let request = self.0.get(|| "request".to_owned()).map_err(Failure::from)?;
        converted(py, request.take().map_err(|error| failed(&error))?)
    }
}

fn converted(py: Python<'_>, outcome: Outcome) -> PyResult<Py<PyAny>> {
    Ok(match outcome {
        Outcome::Done => py.None(),
        Outcome::Text(text) => text.into_pyobject(py)?.into_any().unbind(),
        Outcome::Texts(texts) => texts.into_pyobject(py)?.into_any().unbind(),
        Outcome::Meta(meta) => row(meta).into_pyobject(py)?.into_any().unbind(),
        Outcome::Object(meta, data) => (row(meta), PyBytes::new(py, &data)).into_pyobject(py)?.into_any().unbind(),
        Outcome::Page(page) => {
            let rows: Vec<Row> = page.objects.into_iter().map(row).collect();
            (rows, page.more).into_pyobject(py)?.into_any().unbind()
        }
        Outcome::Uploads(page) => {
            let rows: Vec<_> = page.uploads.into_iter().map(|each| (each.key, each.id, each.begun_ns)).collect();
            (rows, page.next.map(ended)).into_pyobject(py)?.into_any().unbind()
        }
        Outcome::Server(server) => (server.name, server.now_ns).into_pyobject(py)?.into_any().unbind(),
        Outcome::All(outcomes) => {
            let each = |outcome: Result<Outcome, Error>| match outcome {
                Ok(outcome) => converted(py, outcome),
                Err(error) => Ok(failed(&error).into_value(py).into_any()),
            };
            outcomes.into_iter().map(each).collect::<PyResult<Vec<_>>>()?.into_pyobject(py)?.into_any().unbind()
        }
    })
}

fn pair((name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)) -> PyResult<(String, String)> {
    Ok((name.extract()?, value.extract()?))
}

fn ended(marker: UploadMarker) -> (&'static str, String) {
    match marker {
        UploadMarker::Key(key) => ("key", key),
        UploadMarker::Id(id) => ("id", id),
    }
}

fn row(meta: Meta) -> Row {
    (meta.key, meta.size, meta.tag, meta.modified_ns, meta.is_ours)
}

fn failed(error: &Error) -> PyErr {
    let kind = match error.kind {
        Kind::Cancelled => return Cancelled::new_err(()),
        Kind::NoThread(errno) => {
            return Failure::from(CoreError::Io { errno, path: None, operation: "start a thread" }).into();
        }
        Kind::File(errno) => return std::io::Error::from_raw_os_error(errno).into(),
        Kind::NotFound => "not_found",
        Kind::Precondition => "precondition",
        Kind::Conflict => "conflict",
        Kind::Denied => "denied",
        Kind::Unreachable => "unreachable",
        Kind::Refused => "refused",
        Kind::Invalid => "invalid",
    };
    RequestFailed::new_err((kind, error.code.clone(), error.message.clone()))
}
