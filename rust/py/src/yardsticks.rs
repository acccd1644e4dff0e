//! The yardsticks of `steelyard bench`: plain programs in the same process, the GIL released.

use std::num::NonZero;
use std::path::PathBuf;

use pyo3::prelude::*;
use steelyard_yardsticks::{Algorithm, Flush, Small};

use crate::buffer::{Input, Output};

fn parse(names: &[String]) -> PyResult<Vec<Algorithm>> {
    Ok(names.iter().map(|name| Algorithm::parse(name)).collect::<std::io::Result<_>>()?)
}

/// Hash blobs of `size` bytes that begin every `step` bytes; return their digests.
#[pyfunction]
#[pyo3(signature = (data, /, *, algorithm, size, step, threads))]
pub(crate) fn yardstick_hash(
    py: Python<'_>,
    data: Input<'_>,
    algorithm: &str,
    size: usize,
    step: NonZero<usize>,
    threads: usize,
) -> PyResult<Vec<String>> {
    let (bytes, algorithm) = (data.as_slice(), Algorithm::parse(algorithm)?);
    Ok(py.detach(|| steelyard_yardsticks::hash_streams(bytes, algorithm, size, step, threads))?)
}

/// Store one large file; return its digests.
#[pyfunction]
#[pyo3(signature = (source, directory, /, *, algorithms, durable))]
pub(crate) fn yardstick_ingest(
    py: Python<'_>,
    source: PathBuf,
    directory: PathBuf,
    algorithms: Vec<String>,
    durable: bool,
) -> PyResult<Vec<String>> {
    let algorithms = parse(&algorithms)?;
    Ok(py.detach(|| steelyard_yardsticks::ingest(&source, &directory, &algorithms, durable))?)
}

/// Store many files, a whole one per thread; return their digests.
#[pyfunction]
#[pyo3(signature = (sources, directory, /, *, algorithm, threads, durable))]
pub(crate) fn yardstick_ingest_each(
    py: Python<'_>,
    sources: Vec<PathBuf>,
    directory: PathBuf,
    algorithm: &str,
    threads: usize,
    durable: bool,
) -> PyResult<Vec<String>> {
    let algorithm = Algorithm::parse(algorithm)?;
    Ok(py.detach(|| steelyard_yardsticks::ingest_each(&sources, &directory, algorithm, threads, durable))?)
}

/// Read and hash one large file; return its digest.
#[pyfunction]
#[pyo3(signature = (path, /, *, algorithm))]
pub(crate) fn yardstick_verify(py: Python<'_>, path: PathBuf, algorithm: &str) -> PyResult<String> {
    let algorithm = Algorithm::parse(algorithm)?;
    Ok(py.detach(|| steelyard_yardsticks::verify(&path, algorithm))?)
}

/// Read and hash many files, a whole one per thread; return their digests.
#[pyfunction]
#[pyo3(signature = (paths, /, *, algorithm, threads))]
pub(crate) fn yardstick_verify_each(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    algorithm: &str,
    threads: usize,
) -> PyResult<Vec<String>> {
    let algorithm = Algorithm::parse(algorithm)?;
    Ok(py.detach(|| steelyard_yardsticks::verify_each(&paths, algorithm, threads))?)
}

/// Read a file into the caller's memory, by calls of at most `most` bytes; return the bytes read.
#[pyfunction]
#[pyo3(signature = (path, buffer, /, *, most))]
pub(crate) fn yardstick_read(py: Python<'_>, path: PathBuf, mut buffer: Output, most: usize) -> PyResult<usize> {
    let memory = buffer.as_mut_slice();
    Ok(py.detach(|| steelyard_yardsticks::read_into(&path, memory, most))?)
}

/// Store small blobs in a new directory; return the seconds it took, without making the directory's parts.
#[pyfunction]
#[pyo3(signature = (data, directory, /, *, size, threads, flush, hashed))]
pub(crate) fn yardstick_small(
    py: Python<'_>,
    data: Input<'_>,
    directory: PathBuf,
    size: NonZero<usize>,
    threads: usize,
    flush: &str,
    hashed: bool,
) -> PyResult<f64> {
    let (bytes, flush) = (data.as_slice(), Flush::parse(flush)?);
    Ok(py.detach(|| Small::new(&directory, hashed)?.store(bytes, size, threads, flush))?)
}
