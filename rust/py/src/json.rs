//! `check_json` and `JsonShape`: check for strict JSON. `json_parts`: where a document can be cut. `references`: the digests in it.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use steelyard_core::archive::json::{self, Part, Parts, Role, Shape};

use crate::buffer::Input;

/// The known fields of an object; see `steelyard_core::archive::json::Shape`.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct JsonShape(Arc<Shape>);

#[pymethods]
impl JsonShape {
    /// `fields` are names, each with the shape of its value or None; `foreign` are names whose values may only be null.
    #[new]
    #[pyo3(signature = (name, fields, foreign, /))]
    fn new(name: String, fields: Vec<(String, Option<Py<Self>>)>, foreign: Vec<String>) -> Self {
        let shape = |of: Option<Py<Self>>| of.map(|of| Arc::clone(&of.get().0));
        let fields = fields.into_iter().map(|(field, of)| (field, shape(of))).collect();
        Self(Arc::new(Shape::new(name, fields, foreign)))
    }
}

/// Return None for strict JSON; otherwise the kind of the fault, its path, the expected text and the found text.
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

/// Cut a large array or object into parts of at most `most` bytes; None if that is not possible.
///
/// An array or object is returned as a pair: whether it is an object, and the list of its parts. A part is a tuple: its start, its end,
/// its key if it is a large member of an object, and its own parts if it is a large array or object.
#[pyfunction]
#[pyo3(signature = (data, most, /))]
pub(crate) fn json_parts<'py>(py: Python<'py>, data: &[u8], most: usize) -> PyResult<Option<Bound<'py, PyTuple>>> {
    py.detach(|| json::parts(data, most)).map(|found| container(py, found)).transpose()
}

fn container(py: Python<'_>, found: Parts) -> PyResult<Bound<'_, PyTuple>> {
    let parts = PyList::empty(py);
    for part in found.parts {
        parts.append(match part {
            Part::Run { start, end } => (start, end, py.None(), py.None()).into_pyobject(py)?,
            Part::Large { key, start, end, parts } => (start, end, key, container(py, parts)?).into_pyobject(py)?,
        })?;
    }
    (found.is_object, parts).into_pyobject(py)
}

/// The digests in a document, each with its role, and the number of invalid ones; None if the bytes are not JSON.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub(crate) fn references(py: Python<'_>, data: &[u8]) -> Option<(Vec<(String, &'static str)>, usize)> {
    py.detach(|| {
        let found = json::references(data)?;
        let named = found.blobs.iter().map(|each| (each.digest.to_string(), role(each.role))).collect();
        Some((named, found.invalid))
    })
}

/// Whether a blob with these bytes may be a document: it is not too large and begins like a document.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub(crate) fn may_be_document(data: &[u8]) -> bool {
    data.len() as u64 <= json::DOCUMENT_LIMIT && json::may_be_document(data)
}

/// Whether blobs of this media type are documents.
#[pyfunction]
#[pyo3(signature = (media_type, /))]
pub(crate) fn is_document(media_type: &str) -> bool {
    json::is_document(media_type)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Part => "part",
        Role::Document => "document",
        Role::Subject => "subject",
    }
}
