//! The yardsticks as the Python module `steelyard_bench._yardsticks`: each runs with the GIL released.
#![allow(unsafe_code, reason = "a yardstick reads into the memory of a Python object while the GIL is released")]
#![allow(clippy::needless_pass_by_value, reason = "arguments are extracted from Python objects, so they come by value")]

use std::num::NonZero;
use std::path::PathBuf;
use std::slice;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::{Algorithm, Flush, Small};

#[pymodule]
mod _yardsticks {
    #[pymodule_export]
    use super::{hash_streams, ingest, ingest_each, read, small, verify, verify_each};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name is Python's")]
    const debug_build: bool = cfg!(debug_assertions);
}

/// Hash blobs of `size` bytes that begin every `step` bytes; return their digests.
#[pyfunction]
#[pyo3(signature = (data, /, *, algorithm, size, step, threads))]
fn hash_streams(
    py: Python<'_>,
    data: PyBackedBytes,
    algorithm: &str,
    size: usize,
    step: NonZero<usize>,
    threads: usize,
) -> PyResult<Vec<String>> {
    let (bytes, algorithm): (&[u8], _) = (&data, Algorithm::parse(algorithm)?);
    Ok(py.detach(|| crate::hash_streams(bytes, algorithm, size, step, threads))?)
}

/// Store one large file; return its digests.
#[pyfunction]
#[pyo3(signature = (source, directory, /, *, algorithms, durable))]
fn ingest(
    py: Python<'_>,
    source: PathBuf,
    directory: PathBuf,
    algorithms: Vec<String>,
    durable: bool,
) -> PyResult<Vec<String>> {
    let algorithms = algorithms.iter().map(|name| Algorithm::parse(name)).collect::<std::io::Result<Vec<_>>>()?;
    Ok(py.detach(|| crate::ingest(&source, &directory, &algorithms, durable))?)
}

/// Store many files, each whole file on one thread; return their digests.
#[pyfunction]
#[pyo3(signature = (sources, directory, /, *, algorithm, threads, durable))]
fn ingest_each(
    py: Python<'_>,
    sources: Vec<PathBuf>,
    directory: PathBuf,
    algorithm: &str,
    threads: usize,
    durable: bool,
) -> PyResult<Vec<String>> {
    let algorithm = Algorithm::parse(algorithm)?;
    Ok(py.detach(|| crate::ingest_each(&sources, &directory, algorithm, threads, durable))?)
}

/// Read and hash one large file; return its digest.
#[pyfunction]
#[pyo3(signature = (path, /, *, algorithm))]
fn verify(py: Python<'_>, path: PathBuf, algorithm: &str) -> PyResult<String> {
    let algorithm = Algorithm::parse(algorithm)?;
    Ok(py.detach(|| crate::verify(&path, algorithm))?)
}

/// Read and hash many files, each whole file on one thread; return their digests.
#[pyfunction]
#[pyo3(signature = (paths, /, *, algorithm, threads))]
fn verify_each(py: Python<'_>, paths: Vec<PathBuf>, algorithm: &str, threads: usize) -> PyResult<Vec<String>> {
    let algorithm = Algorithm::parse(algorithm)?;
    Ok(py.detach(|| crate::verify_each(&paths, algorithm, threads))?)
}

/// Read a file into the caller's memory, by calls of at most `most` bytes; return the bytes read.
#[pyfunction]
#[pyo3(signature = (path, buffer, /, *, most))]
fn read(py: Python<'_>, path: PathBuf, buffer: PyBuffer<u8>, most: usize) -> PyResult<usize> {
    if buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("expected writable, contiguous memory"));
    }
    // SAFETY: the exporter keeps the memory in its place until `buffer` is dropped, at the end of this function. The
    // benchmark, which is the only caller, uses the memory from one thread.
    let memory = unsafe { slice::from_raw_parts_mut(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    Ok(py.detach(|| crate::read_into(&path, memory, most))?)
}

/// Store small blobs in a new directory; return the seconds it took, without the time to make the directories.
#[pyfunction]
#[pyo3(signature = (data, directory, /, *, size, threads, flush, hashed))]
fn small(
    py: Python<'_>,
    data: PyBackedBytes,
    directory: PathBuf,
    size: NonZero<usize>,
    threads: usize,
    flush: &str,
    hashed: bool,
) -> PyResult<f64> {
    let (bytes, flush): (&[u8], _) = (&data, Flush::parse(flush)?);
    Ok(py.detach(|| Small::new(&directory, hashed)?.store(bytes, size, threads, flush))?)
}
