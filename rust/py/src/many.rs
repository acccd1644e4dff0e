//! Changes of many blobs in one call. Returns the error of each blob that failed, with its index.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::Store;

use crate::errors::{Failure, Result};
use crate::page::page;
use crate::rows::parse_all;

/// The index and the error of each blob that failed.
pub(crate) type Failures<'py> = Vec<(usize, Bound<'py, PyBaseException>)>;

/// Set labels. Returns the infos of the changed blobs as a page, which is empty if there are none.
pub(crate) fn update<'py>(
    py: Python<'py>,
    store: &Store,
    digests: &[String],
    labels: &Labels,
    keys: Option<&[String]>,
) -> Result<(Bound<'py, PyBytes>, Failures<'py>)> {
    let (infos, errors) = py.detach(|| {
        let (mut infos, mut errors) = (Vec::with_capacity(digests.len()), Vec::new());
        for (place, outcome) in store.volume().update_many(&parse_all(digests)?, labels, keys)?.into_iter().enumerate()
        {
            match outcome {
                Ok(info) => infos.push(info),
                Err(error) => errors.push((place, error)),
            }
        }
        Ok::<_, Error>((if infos.is_empty() { Vec::new() } else { page(&infos) }, errors))
    })?;
    Ok((PyBytes::new(py, &infos), failures(py, errors)))
}

/// Delete blobs.
pub(crate) fn delete<'py>(
    py: Python<'py>,
    store: &Store,
    digests: &[String],
    lease: Option<&str>,
) -> Result<Failures<'py>> {
    let results = py.detach(|| store.volume().delete_many(lease, &parse_all(digests)?))?;
    Ok(failures(py, results.into_iter().enumerate().filter_map(|(place, result)| Some((place, result.err()?)))))
}

fn failures(py: Python<'_>, errors: impl IntoIterator<Item = (usize, Error)>) -> Failures<'_> {
    let value = |error: Error| PyErr::from(Failure::from(error)).into_value(py).into_bound(py);
    errors.into_iter().map(|(place, error)| (place, value(error))).collect()
}
