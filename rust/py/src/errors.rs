//! From the core's error to the classes of `steelyard.errors`, in one `match`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use std::time::{Duration, SystemTime};
use steelyard_core::error::Error;

/// `ENOSPC` and `EDQUOT` as Linux numbers them.
const NO_SPACE: [i32; 2] = [28, 122];

/// What a method of the extension fails with: an error of the core, or of Python itself.
pub(crate) enum Failure {
    /// Becomes an instance of the class that `steelyard.errors` has for it.
    Core(Error),
    /// Stays as it is.
    Python(PyErr),
}

/// What a method of the extension returns.
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
            // What goes wrong while the error is made (no memory, no module) is raised in its place.
            Failure::Core(error) => {
                Python::attach(|py| make(py, error).unwrap_or_else(|failed| failed))
            }
            Failure::Python(error) => error,
        }
    }
}

/// The name of a class, what its constructor gets by position, and what by keyword.
type Call<'py> = (&'static str, Bound<'py, PyTuple>, Bound<'py, PyDict>);

macro_rules! call {
    ($py:expr, $class:expr, ($($argument:expr),*) $(, $key:literal: $value:expr)*) => {{
        let keywords = PyDict::new($py);
        $(keywords.set_item($key, $value)?;)*
        ($class, ($($argument,)*).into_pyobject($py)?, keywords)
    }};
}

fn make(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || py.import("steelyard.errors").map(Bound::unbind))?;
    let (class, arguments, keywords) = constructor(py, error)?;
    let instance = errors
        .bind(py)
        .getattr(class)?
        .call(arguments, Some(&keywords))?;
    Ok(PyErr::from_value(instance))
}

fn constructor(py: Python<'_>, error: Error) -> PyResult<Call<'_>> {
    Ok(match error {
        Error::NotFound { kind, name } => call!(py, "NotFound", (kind, name)),
        Error::AlreadyExists { digest } => call!(py, "AlreadyExists", (digest)),
        Error::Unavailable {
            name,
            holder,
            since_ns,
            local,
        } => {
            call!(py, "Unavailable", (name), "holder": holder, "since": since_ns.map(time), "local": local)
        }
        Error::FailedPrecondition { message } => call!(py, "FailedPrecondition", (message)),
        Error::UnexpectedDigest {
            expected,
            actual,
            name,
        } => {
            call!(py, "UnexpectedDigest", (), "expected": expected, "actual": actual, "ref": name)
        }
        Error::UnexpectedSize {
            expected,
            actual,
            name,
        } => {
            call!(py, "UnexpectedSize", (), "expected": expected, "actual": actual, "ref": name)
        }
        Error::Closed { name } => call!(py, "WriterClosed", (name)),
        Error::IncompatibleFormat {
            path,
            found,
            supported,
        } => {
            let path = path.into_os_string();
            call!(py, "IncompatibleFormat", (), "path": path, "found": found, "supported": supported)
        }
        Error::Aborted { name } => call!(py, "Aborted", (name)),
        Error::InvalidArgument { message } => call!(py, "InvalidArgument", (message)),
        Error::InvalidDigest { text, reason } => call!(py, "InvalidDigest", (text, reason)),
        Error::InvalidDigestLength {
            text,
            expected,
            actual,
        } => {
            call!(py, "InvalidDigestLength", (text), "expected": expected, "actual": actual)
        }
        Error::UnsupportedAlgorithm { text, algorithm } => {
            call!(py, "UnsupportedAlgorithm", (text), "algorithm": algorithm)
        }
        Error::InvalidFilter {
            text,
            position,
            reason,
        } => {
            call!(py, "InvalidFilter", (text), "position": position, "reason": reason)
        }
        Error::InvalidLabel { key, size, limit } => {
            call!(py, "InvalidLabel", (key), "size": size, "limit": limit)
        }
        Error::OutOfRange { name, offset, size } => {
            call!(py, "OutOfRange", (name), "offset": offset, "size": size)
        }
        Error::DataCorrupt {
            name,
            expected,
            actual,
        } => {
            call!(py, "DataCorrupt", (name), "expected": expected, "actual": actual)
        }
        Error::Io {
            errno,
            path,
            operation,
        } => {
            let class = if NO_SPACE.contains(&errno) {
                "StorageFull"
            } else {
                "StorageError"
            };
            call!(
                py,
                class,
                (
                    errno,
                    path.map(std::path::PathBuf::into_os_string),
                    operation
                )
            )
        }
    })
}

/// Nanoseconds since the epoch as what becomes an aware `datetime` in UTC.
fn time(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 {
        SystemTime::UNIX_EPOCH - distance
    } else {
        SystemTime::UNIX_EPOCH + distance
    }
}
