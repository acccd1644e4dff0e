//! `Decompressor` and `Compressor`: streams in pieces, processed without the GIL.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::archive::compress::{self, Bounds, Format};
use steelyard_core::sys::ProcessBound;

use crate::buffer::{Input, Output, Reused};
use crate::errors::{Failure, Result};

/// The most input bytes of one call, so that a call is short and a private copy of the input is small.
const MOST: usize = 1 << 20;

/// The name of the format of a stream that begins with `head`.
#[pyfunction]
#[pyo3(signature = (head, /))]
pub(crate) fn detect_format(head: Input<'_>) -> &'static str {
    Format::detect(head.as_slice()).name()
}

/// The most output objects that are kept for reuse: as many as wait or are being stored at the same time.
const REUSED: usize = 16;

#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Decompressor {
    core: ProcessBound<Mutex<compress::Decompressor>>,
    outputs: Reused,
}

#[pymethods]
impl Decompressor {
    #[new]
    #[pyo3(signature = (format, /, *, ratio, memory))]
    fn new(format: &str, ratio: Option<u64>, memory: u64) -> Result<Self> {
        let bounds = Bounds { ratio, memory };
        let core = compress::Decompressor::new(Format::parse(format)?, bounds)?;
        Ok(Self { core: ProcessBound::new(Mutex::new(core)), outputs: Reused::new(REUSED) })
    }

    /// Decompress `data` from `start` on. Returns the position where it stopped, a `bytes` object of `most` bytes, and the number of them
    /// that are output.
    ///
    /// An ingest can keep the `bytes` object in place of a copy. A later call overwrites the object if no other code refers to it.
    #[pyo3(signature = (data, start, most, /))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        data: Input<'_>,
        start: usize,
        most: usize,
    ) -> Result<(usize, Bound<'py, PyBytes>, usize)> {
        let piece = Piece::new(&data, start);
        let (mut input, mut count) = (piece.bytes(), 0);
        let output = self.outputs.filled(py, most, |output| {
            count = locked(&self.core)?.run(&mut input, output)?;
            Ok(())
        })?;
        Ok((piece.end(input), output, count))
    }

    fn lift_ratio(&self) -> Result<()> {
        locked(&self.core)?.lift_ratio();
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        locked(&self.core)?.finish().map_err(Failure::from)
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

    /// Compress `data` from `start` on into `output`. Returns the position where it stopped, and the number of bytes written to `output`.
    #[pyo3(signature = (data, start, output, /))]
    fn run(&self, py: Python<'_>, data: Input<'_>, start: usize, mut output: Output) -> Result<(usize, usize)> {
        let output = output.as_mut_slice();
        let piece = Piece::new(&data, start);
        let mut input = piece.bytes();
        let count = py.detach(|| locked(&self.0)?.run(&mut input, output))?;
        Ok((piece.end(input), count))
    }

    /// End the stream. Returns the number of bytes written to `output`; fewer than its size if nothing is left.
    #[pyo3(signature = (output, /))]
    fn finish(&self, py: Python<'_>, mut output: Output) -> Result<usize> {
        let output = output.as_mut_slice();
        py.detach(|| locked(&self.0)?.finish(output)).map_err(Failure::from)
    }
}

/// The part of the input that one call processes.
struct Piece<'a> {
    bytes: Cow<'a, [u8]>,
    start: usize,
}

impl<'a> Piece<'a> {
    fn new(data: &'a Input<'_>, start: usize) -> Self {
        let rest = data.as_slice().get(start..).unwrap_or_default();
        let bytes = &rest[..rest.len().min(MOST)];
        // The libraries read some bytes twice, so another thread must not change them in between.
        let bytes = if matches!(data, Input::Bytes(_)) { Cow::Borrowed(bytes) } else { Cow::Owned(bytes.to_vec()) };
        Self { bytes, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The position in the input where a call stopped that has left `rest`.
    fn end(&self, rest: &[u8]) -> usize {
        self.start + self.bytes.len() - rest.len()
    }
}

/// Lock the state. A poisoned lock is ignored: after a panic, only this object is affected, and later calls fail or continue.
fn locked<T>(state: &ProcessBound<Mutex<T>>) -> steelyard_core::error::Result<MutexGuard<'_, T>> {
    Ok(state.get(|| "archive".to_owned())?.lock().unwrap_or_else(PoisonError::into_inner))
}
