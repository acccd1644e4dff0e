//! `check_json` and `JsonShape`: whether bytes are strict JSON.

use std::sync::Arc;

use pyo3::prelude::*;
use steelyard_core::json::{self, Shape};

use crate::buffer::Input;

/// The fields of an object that readers know; see `steelyard_core::json::Shape`.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct JsonShape(Arc<Shape>);

#[pymethods]
impl JsonShape {
    /// `fields` are names with the shape of their values or None, `foreign` those that may only be null.
    #[new]
    #[pyo3(signature = (name, fields, foreign, /))]
    fn new(name: String, fields: Vec<(String, Option<Py<Self>>)>, foreign: Vec<String>) -> Self {
        let shape = |of: Option<Py<Self>>| of.map(|of| Arc::clone(&of.get().0));
        let fields = fields.into_iter().map(|(field, of)| (field, shape(of))).collect();
        Self(Arc::new(Shape::new(name, fields, foreign)))
    }
}

/// None for strict JSON; otherwise the kind of fault, its path, what was expected and what was found.
#[pyfunction]
#[pyo3(signature = (data, depth, shape=None, /))]
pub(crate) fn check_json(
    py: Python<'_>,
    data: Input<'_>,
    depth: usize,
    shape: Option<&Bound<'_, JsonShape>>,
) -> Option<(&'static str, String, String, String)> {
    let octets = data.as_slice();
    let shape = shape.map(|shape| Arc::clone(&shape.get().0));
    let result = py.detach(|| json::check(octets, depth, shape.as_deref()));
    result.err().map(|fault| (fault.kind.name(), fault.path, fault.expected, fault.found))
}
