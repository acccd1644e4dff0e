//! `Decompressor` and `Compressor`: pieces in, pieces out, the GIL released.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::archive::compress::{self, Bounds, Format};
use steelyard_core::sys::ProcessBound;

use crate::buffer::{Input, Output, Reused};
use crate::errors::{Failure, Result};

/// The most input bytes of one call, so that it is short and a private copy is small.
const MOST: usize = 1 << 20;

/// The name of the format of what begins with `head`.
#[pyfunction]
#[pyo3(signature = (head, /))]
pub(crate) fn detect_format(head: Input<'_>) -> &'static str {
    Format::detect(head.as_slice()).name()
}

/// The most pieces of output whose memory is used again: as many as wait and are being stored at the same time.
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

    /// Decompress `data` from `start` on; return where it stopped, an object of `most` bytes, and how many of them are output.
    ///
    /// The output is `bytes`, which an ingest keeps instead of copying. It changes in a later call if no other code refers to it.
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

    /// Compress `data` from `start` on into `output`; return where it stopped, and how much of `output` was filled.
    #[pyo3(signature = (data, start, output, /))]
    fn run(&self, py: Python<'_>, data: Input<'_>, start: usize, mut output: Output) -> Result<(usize, usize)> {
        let output = output.as_mut_slice();
        let piece = Piece::new(&data, start);
        let mut input = piece.bytes();
        let count = py.detach(|| locked(&self.0)?.run(&mut input, output))?;
        Ok((piece.end(input), count))
    }

    /// End the stream: return how much of `output` was filled; less than all of it when nothing is left.
    #[pyo3(signature = (output, /))]
    fn finish(&self, py: Python<'_>, mut output: Output) -> Result<usize> {
        let output = output.as_mut_slice();
        py.detach(|| locked(&self.0)?.finish(output)).map_err(Failure::from)
    }
}

/// The part of the input that one call works on.
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

    /// The offset in the input at which a call stopped that has left `rest`.
    fn end(&self, rest: &[u8]) -> usize {
        self.start + self.bytes.len() - rest.len()
    }
}

/// A call that panicked leaves a state that only this object has; it will refuse or go on.
fn locked<T>(state: &ProcessBound<Mutex<T>>) -> steelyard_core::error::Result<MutexGuard<'_, T>> {
    Ok(state.get(|| "archive".to_owned())?.lock().unwrap_or_else(PoisonError::into_inner))
}
