//! Checks which interpreter of the process imports the module.
#![allow(unsafe_code)]

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Refuse a subinterpreter: classes and cached objects of the module belong to the first interpreter that makes them, and
/// would be freed with it.
pub(crate) fn check_main(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: the token proves that this thread is attached, so it has a current interpreter, which stays alive meanwhile.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 { Ok(()) } else { Err(PyImportError::new_err("steelyard works in the main interpreter only")) }
}
