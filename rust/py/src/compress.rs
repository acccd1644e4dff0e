//! `Decompressor` and `Compressor`: pieces in, pieces out, the GIL released.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use steelyard_core::archive::compress::{self, Bounds, Format};
use steelyard_core::sys::ProcessBound;

use crate::buffer::{Input, Output};
use crate::errors::{Failure, Result};

/// What one call takes of its input at most, so that it is short and a private copy is small.
const MOST: usize = 1 << 20;

/// The name of the format of what begins with `head`.
#[pyfunction]
#[pyo3(signature = (head, /))]
pub(crate) fn detect_format(head: Input<'_>) -> &'static str {
    Format::detect(head.as_slice()).name()
}

#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Decompressor(ProcessBound<Mutex<compress::Decompressor>>);

#[pymethods]
impl Decompressor {
    #[new]
    #[pyo3(signature = (format, /, *, ratio, memory))]
    fn new(format: &str, ratio: Option<u64>, memory: u64) -> Result<Self> {
        let bounds = Bounds { ratio, memory };
        let core = compress::Decompressor::new(Format::parse(format)?, bounds)?;
        Ok(Self(ProcessBound::new(Mutex::new(core))))
    }

    /// Decompress `data` from `start` on into `output`; return where it stopped, and how much of `output` was filled.
    #[pyo3(signature = (data, start, output, /))]
    fn run(&self, py: Python<'_>, data: Input<'_>, start: usize, mut output: Output) -> Result<(usize, usize)> {
        let output = output.as_mut_slice();
        piecewise(py, &data, start, |input| locked(&self.0)?.run(input, output))
    }

    fn lift_ratio(&self) -> Result<()> {
        locked(&self.0)?.lift_ratio();
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        locked(&self.0)?.finish().map_err(Failure::from)
    }
}

#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Compressor(ProcessBound<Mutex<compress::Compressor>>);

#[pymethods]
impl Compressor {
    #[new]
    #[pyo3(signature = (format, /, *, level))]
    fn new(format: &str, level: Option<i32>) -> Result<Self> {
        Ok(Self(ProcessBound::new(Mutex::new(compress::Compressor::new(Format::parse(format)?, level)?))))
    }

    /// Compress `data` from `start` on into `output`; return where it stopped, and how much of `output` was filled.
    #[pyo3(signature = (data, start, output, /))]
    fn run(&self, py: Python<'_>, data: Input<'_>, start: usize, mut output: Output) -> Result<(usize, usize)> {
        let output = output.as_mut_slice();
        piecewise(py, &data, start, |input| locked(&self.0)?.run(input, output))
    }

    /// End the stream: return how much of `output` was filled; less than all of it when nothing is left.
    #[pyo3(signature = (output, /))]
    fn finish(&self, py: Python<'_>, mut output: Output) -> Result<usize> {
        let output = output.as_mut_slice();
        py.detach(|| locked(&self.0)?.finish(output)).map_err(Failure::from)
    }
}

/// Have `work` take bytes off the front of what follows `start`, without the GIL; return where it stopped, and its result.
fn piecewise(
    py: Python<'_>,
    data: &Input<'_>,
    start: usize,
    work: impl FnOnce(&mut &[u8]) -> steelyard_core::error::Result<usize> + Send,
) -> Result<(usize, usize)> {
    let rest = data.as_slice().get(start..).unwrap_or_default();
    let mut input = &rest[..rest.len().min(MOST)];
    let copy;
    if !matches!(data, Input::Bytes(_)) {
        // The libraries look at some bytes twice: what another thread may change meanwhile, they must not see.
        copy = input.to_vec();
        input = &copy;
    }
    let size = input.len();
    let filled = py.detach(|| work(&mut input));
    filled.map(|filled| (start + size - input.len(), filled)).map_err(Failure::from)
}

/// A call that panicked leaves a state that only this object has; it will refuse or go on.
fn locked<T>(state: &ProcessBound<Mutex<T>>) -> steelyard_core::error::Result<MutexGuard<'_, T>> {
    Ok(state.get(|| "archive".to_owned())?.lock().unwrap_or_else(PoisonError::into_inner))
}
