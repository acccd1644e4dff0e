//! Many small sources in one call: what Python gives and gets for each.

use std::path::PathBuf;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Outcome, Source, Store};

use crate::buffer::Input;
use crate::errors::{Failure, Result};

/// A source as Python gives it: a path as text, or bytes.
enum Given<'a> {
    Path(PathBuf),
    Bytes(Input<'a>),
}

/// Store the sources; for each a row, None where it is too large for this way, or the error.
pub(crate) fn put<'py>(
    py: Python<'py>,
    store: &Store,
    sources: &Bound<'py, PyList>,
    algorithm: &str,
    labels: Option<&Labels>,
    limit: u64,
) -> Result<Bound<'py, PyList>> {
    let objects: Vec<Bound<'py, PyAny>> = sources.iter().collect();
    let given: Vec<Given<'_>> = objects.iter().map(given).collect::<PyResult<_>>()?;
    let results = py.detach(|| {
        let algorithm = Algorithm::parse(algorithm)?;
        let items = given.iter().map(|given| {
            let source = match given {
                Given::Path(path) => Source::File { path: path.clone(), limit },
                Given::Bytes(bytes) => Source::Bytes(bytes.as_slice()),
            };
            BatchItem { source, algorithm, expected: None, size: None, labels }
        });
        let items: Vec<_> = items.collect();
        Ok::<_, Error>(store.put_batch(&items))
    })?;
    let rows = results.into_iter().map(|result| match result {
        Ok(Outcome::Stored(put)) => {
            (put.digest.algorithm().name(), put.digest.encoded(), put.size, put.new).into_bound_py_any(py)
        }
        Ok(Outcome::TooLarge) => Ok(py.None().into_bound(py)),
        Err(error) => PyErr::from(Failure::from(error)).into_value(py).into_bound_py_any(py),
    });
    Ok(PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)?)
}

fn given<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Given<'a>> {
    match object.cast::<PyString>() {
        Ok(path) => Ok(Given::Path(path.extract()?)),
        Err(_) => Ok(Given::Bytes(object.extract()?)),
    }
}
