//! `check_json`: whether bytes are strict JSON.

use pyo3::prelude::*;
use steelyard_core::json;

use crate::buffer::Input;

/// None for strict JSON; otherwise the kind of fault, its path and what was found.
#[pyfunction]
#[pyo3(signature = (data, depth, /))]
pub(crate) fn check_json(py: Python<'_>, data: Input<'_>, depth: usize) -> Option<(&'static str, String, String)> {
    let octets = data.as_slice();
    py.detach(|| json::check(octets, depth)).err().map(|fault| (fault.kind.name(), fault.path, fault.found))
}
