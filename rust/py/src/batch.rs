//! Many small sources in one call: the conversion of sources from Python and of results to Python.

use std::path::PathBuf;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Outcome, Source, Store};

use crate::buffer::Input;
use crate::errors::{Failure, Result};
use crate::rows::optional_digest;

/// A source from Python: a path as text, or bytes.
enum Given<'a> {
    Path(PathBuf),
    Bytes(Input<'a>),
}

/// One item to store.
struct Wanted<'a> {
    given: Given<'a>,
    algorithm: Algorithm,
    expected: Option<Digest>,
    size: Option<u64>,
    labels: Option<Labels>,
}

/// Store the sources. Returns for each a row, None if it is larger than `limit` and was not stored, or its error.
pub(crate) fn put<'py>(
    py: Python<'py>,
    store: &Store,
    lease: Option<&str>,
    sources: &Bound<'py, PyList>,
    algorithm: &str,
    labels: Option<&Labels>,
    limit: u64,
) -> Result<Bound<'py, PyList>> {
    let objects: Vec<Bound<'py, PyAny>> = sources.iter().collect();
    let given: Vec<Given<'_>> = objects.iter().map(PyAnyMethods::extract).collect::<PyResult<_>>()?;
    let results = py.detach(|| {
        let algorithm = Algorithm::parse(algorithm)?;
        let item = |given| BatchItem { source: source(given, limit), algorithm, expected: None, size: None, labels };
        Ok::<_, Error>(store.put_batch_under(lease, &given.iter().map(item).collect::<Vec<_>>()))
    })?;
    Ok(PyList::new(py, results.into_iter().map(|result| row(py, result)).collect::<PyResult<Vec<_>>>()?)?)
}

/// Store the items of several callers, each (source, algorithm, expected, size, labels). Returns a list as [`put`] does. An
/// invalid item does not affect the others.
pub(crate) fn put_each<'py>(
    py: Python<'py>,
    store: &Store,
    lease: Option<&str>,
    items: &Bound<'py, PyList>,
    limit: u64,
) -> Result<Bound<'py, PyList>> {
    let objects: Vec<Bound<'py, PyAny>> = items.iter().collect();
    let wanted: Vec<PyResult<Wanted<'_>>> = objects.iter().map(wanted).collect();
    let results = py.detach(|| {
        let items = wanted.iter().flatten().map(|wanted| BatchItem {
            source: source(&wanted.given, limit),
            algorithm: wanted.algorithm,
            expected: wanted.expected,
            size: wanted.size,
            labels: wanted.labels.as_ref(),
        });
        store.put_batch_under(lease, &items.collect::<Vec<_>>())
    });
    let mut results = results.into_iter();
    let answers = wanted.into_iter().map(|wanted| match wanted {
        Ok(_) => row(py, results.next().expect("a result for each item")),
        Err(error) => error.into_value(py).into_bound_py_any(py),
    });
    Ok(PyList::new(py, answers.collect::<PyResult<Vec<_>>>()?)?)
}

fn source<'a>(given: &'a Given<'_>, limit: u64) -> Source<'a> {
    match given {
        Given::Path(path) => Source::File { path: path.clone(), limit },
        Given::Bytes(bytes) => Source::Bytes(bytes.as_slice()),
    }
}

fn row(py: Python<'_>, result: steelyard_core::error::Result<Outcome>) -> PyResult<Bound<'_, PyAny>> {
    match result {
        Ok(Outcome::Stored(put)) => {
            (put.digest.algorithm().name(), put.digest.encoded(), put.size, put.new).into_bound_py_any(py)
        }
        Ok(Outcome::TooLarge) => Ok(py.None().into_bound(py)),
        Err(error) => PyErr::from(Failure::from(error)).into_value(py).into_bound_py_any(py),
    }
}

fn wanted<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Wanted<'a>> {
    let item = object.cast::<PyTuple>()?;
    let (algorithm, expected): (String, Option<String>) = (item.get_item(1)?.extract()?, item.get_item(2)?.extract()?);
    Ok(Wanted {
        given: item.get_borrowed_item(0)?.extract()?,
        algorithm: Algorithm::parse(&algorithm).map_err(Failure::from)?,
        expected: optional_digest(expected.as_deref()).map_err(Failure::from)?,
        size: item.get_item(3)?.extract()?,
        labels: item.get_item(4)?.extract()?,
    })
}

impl<'a> FromPyObject<'a, '_> for Given<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, '_, PyAny>) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(path) => Ok(Self::Path(path.extract()?)),
            Err(_) => Ok(Self::Bytes(object.extract()?)),
        }
    }
}
