//! Conversion from the core's errors to the classes of `steelyard.errors`, in one `match`.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use steelyard_core::error::Error;

/// `ENOSPC` and `EDQUOT` as Linux numbers them.
const NO_SPACE: [i32; 2] = [28, 122];

pyo3::create_exception!(
    steelyard._native,
    Cancelled,
    PyException,
    "The call was cancelled while it waited for another process; nothing was done."
);

/// The error of a method of the extension: an error of the core or of Python.
pub(crate) enum Failure {
    /// Becomes an instance of its class in `steelyard.errors`.
    Core(Error),
    /// Is raised unchanged.
    Python(PyErr),
}

/// The result of a method of the extension.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            // If creating the exception fails (no memory, no module), that failure is raised in its place.
            Failure::Core(error) => Python::attach(|py| make(py, error).unwrap_or_else(|failed| failed)),
            Failure::Python(error) => error,
        }
    }
}

/// Call Python, and return a panic in native code below it as an error. `PyO3` would resume the panic, which would end the worker thread.
pub(crate) fn contain<T>(call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(PyRuntimeError::new_err(format!("native code has panicked: {said}")))
    })
}

/// Generate one `match` from rows `Variant { fields } => Class (positional arguments) keyword arguments;`. A missing variant does not
/// compile.
macro_rules! call {
    ($errors:ident, $error:ident; $($variant:ident { $($field:ident),* } =>
        $class:literal ($($argument:expr),*) $($key:literal: $value:expr),*;)*) => {{
        let keywords = PyDict::new($errors.py());
        match $error {
            $(Error::$variant { $($field),* } => {
                $(keywords.set_item($key, $value)?;)*
                $errors.getattr($class)?.call(($($argument,)*), Some(&keywords))?
            })*
            // Callers raise the event loop's own cancellation in place of this.
            Error::Cancelled => return Ok(Cancelled::new_err(())),
            // An `OSError`, as Python itself would raise: no part of the store has failed.
            Error::Source { errno } => return Ok(io::Error::from_raw_os_error(errno).into()),
        }
    }};
}

fn make(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || py.import("steelyard.errors").map(Bound::unbind))?.bind(py);
    if let Error::Io { errno, path, operation } = &error
        && NO_SPACE.contains(errno)
    {
        let keywords = PyDict::new(py);
        keywords.set_item("operation", operation)?;
        keywords.set_item("path", path.as_deref().map(Path::as_os_str))?;
        let full = errors.getattr("StorageFull")?.call((errno,), Some(&keywords))?;
        return Ok(PyErr::from_value(full));
    }
    let instance = call! { errors, error;
        NotFound { kind, name } => "NotFound" (name) "kind": kind;
        AlreadyExists { digest } => "AlreadyExists" (digest);
        NameTaken { name, digest } => "AlreadyExists" (digest) "name": name;
        LeaseExists { lease } => "LeaseExists" (lease);
        LeaseEnded { lease, reason } => "LeaseEnded" (lease) "reason": reason;
        NameMoved { name, expected, actual } => "NameMoved" (name) "expected": expected, "actual": actual;
        Unavailable { name, holder, since_ns, local } =>
            "Unavailable" (name) "holder": holder, "since": since_ns.map(time), "local": local;
        CollectionBusy { holder } => "CollectionBusy" (holder);
        CollectionRefused { path, cause, reason } =>
            "CollectionRefused" (path.display().to_string()) "cause": cause, "reason": reason;
        FailedPrecondition { message } => "FailedPrecondition" (message);
        StoreClosed { message } => "FailedPrecondition" (message);
        UnexpectedDigest { expected, actual, name } =>
            "UnexpectedDigest" (name) "expected": expected, "actual": actual;
        UnexpectedSize { expected, actual, name } =>
            "UnexpectedSize" (name) "expected": expected, "actual": actual;
        Closed { name } => "WriterClosed" (name);
        IncompatibleFormat { path, found, supported } =>
            "IncompatibleFormat" (path.into_os_string()) "actual": found, "supported": supported;
        Aborted { name } => "Aborted" (name);
        InvalidArgument { message } => "InvalidArgument" (message);
        InvalidDigest { text, reason } => "InvalidDigest" (text) "reason": reason;
        InvalidDigestLength { text, expected, actual } =>
            "InvalidDigestLength" (text) "expected": expected, "actual": actual;
        UnsupportedAlgorithm { text, algorithm } => "UnsupportedAlgorithm" (text) "algorithm": algorithm;
        InvalidFilter { text, position, reason } => "InvalidFilter" (text) "position": position, "reason": reason;
        InvalidLabel { key, size, limit } => "InvalidLabel" (key) "size": size, "allowed": limit;
        OutOfRange { name, offset, size } => "OutOfRange" (name) "offset": offset, "size": size;
        DataCorrupt { name, expected, actual } => "DataCorrupt" (name) "expected": expected, "actual": actual;
        InvalidArchive { entry, expected, found, offset } =>
            "InvalidArchive" (entry) "expected": expected, "actual": found, "offset": offset;
        LimitExceeded { name, limit, allowed, found } =>
            "LimitExceeded" (name) "limit": limit, "allowed": allowed, "actual": found;
        Io { errno, path, operation } =>
            "StorageError" (errno) "operation": operation, "path": path.map(PathBuf::into_os_string);
    };
    Ok(PyErr::from_value(instance))
}

/// Convert nanoseconds since the epoch to a time that becomes an aware `datetime` in UTC.
fn time(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

/// Linux's error number for too many threads or processes.
const EAGAIN: i32 = 11;

/// The error for a server or a channel that cannot start, usually for lack of threads or descriptors.
pub(crate) fn not_started(error: &io::Error, operation: &'static str) -> Error {
    // Errors of tokio itself may have no number.
    let errno = error.raw_os_error().unwrap_or(EAGAIN);
    Error::Io { errno, path: None, operation: if errno == EAGAIN { "start a thread" } else { operation } }
}
