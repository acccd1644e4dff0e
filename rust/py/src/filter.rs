//! `Filter`: containerd's filter language, on fields that a Python function provides.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use steelyard_core::filter::{Filter as Compiled, Subject, Value, is_time};

use crate::errors::Result;

/// A compiled list of filters.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Filter {
    compiled: Compiled,
}

impl Filter {
    /// The compiled filter of the core, for calls that match natively.
    pub(crate) fn compiled(&self) -> &Compiled {
        &self.compiled
    }
}

#[pymethods]
impl Filter {
    #[new]
    #[pyo3(signature = (texts, /))]
    #[allow(clippy::needless_pass_by_value, reason = "how PyO3 hands over a list")]
    fn new(py: Python<'_>, texts: Vec<Bound<'_, PyString>>) -> Result<Self> {
        // Invalid Unicode becomes U+FFFD here. The core refuses that character, and reports its position.
        let texts: Vec<_> = texts.iter().map(|text| text.to_string_lossy()).collect();
        // The GIL is released: filters are untrusted, and compiling regular expressions may take a second.
        Ok(Self { compiled: py.detach(|| Compiled::compile(&texts))? })
    }

    /// The fields that the filters use.
    #[getter]
    fn paths<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.compiled.paths().map(|path| PyTuple::new(py, path)).collect()
    }

    /// Whether the filters have regular expressions, with which a match may take long.
    #[getter]
    fn has_expressions(&self) -> bool {
        self.compiled.has_expressions()
    }

    #[pyo3(signature = (field, /))]
    fn matches(&self, field: Bound<'_, PyAny>) -> PyResult<bool> {
        let subject = Lookup { field, failed: RefCell::new(None) };
        let matched = self.compiled.matches(&subject);
        subject.failed.into_inner().map_or(Ok(matched), Err)
    }

    /// Return for each of several subjects whether it matches. All fields are looked up first; the GIL is released for the matching.
    #[pyo3(signature = (fields, /))]
    fn choose(&self, py: Python<'_>, fields: Vec<Bound<'_, PyAny>>) -> PyResult<Vec<bool>> {
        let subjects = fields.into_iter().map(|field| self.known(field)).collect::<PyResult<Vec<_>>>()?;
        Ok(py.detach(|| subjects.iter().map(|subject| self.compiled.matches(subject)).collect()))
    }
}

impl Filter {
    fn known(&self, field: Bound<'_, PyAny>) -> PyResult<Known<'_>> {
        let lookup = Lookup { field, failed: RefCell::new(None) };
        let values = self.compiled.paths().map(|path| Ok((path, lookup.look_up(path)?)));
        Ok(Known(values.collect::<PyResult<_>>()?))
    }
}

/// A subject whose fields have been looked up.
struct Known<'a>(BTreeMap<&'a [String], Option<Value<'static>>>);

impl Subject for Known<'_> {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        self.0.get(path)?.clone()
    }
}

/// A subject whose fields a Python function returns: text, a number, nanoseconds for a time, or None.
struct Lookup<'py> {
    field: Bound<'py, PyAny>,
    /// The first exception of the function; it is raised after the match.
    failed: RefCell<Option<PyErr>>,
}

impl Lookup<'_> {
    fn look_up(&self, path: &[String]) -> PyResult<Option<Value<'static>>> {
        let value = self.field.call1((PyTuple::new(self.field.py(), path)?,))?;
        if value.is_none() {
            return Ok(None);
        }
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(Some(Value::Text(Cow::Owned(text.to_string_lossy().into_owned()))));
        }
        Ok(Some(if is_time(path) { Value::TimeNs(value.extract()?) } else { Value::Number(value.extract()?) }))
    }
}

impl Subject for Lookup<'_> {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        if self.failed.borrow().is_some() {
            return None;
        }
        self.look_up(path).unwrap_or_else(|error| {
            self.failed.replace(Some(error));
            None
        })
    }
}
