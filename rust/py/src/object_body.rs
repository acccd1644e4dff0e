//! `ObjectBody`: the body of an object, received ahead of its reader.

use std::ops::Range;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::Result as CoreResult;
use steelyard_core::sys::ProcessBound;
use steelyard_objects::Body;

use crate::errors::{Failure, Result};

/// Bytes of an object, in order. `ObjectClient.receive` receives them.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct ObjectBody(ProcessBound<Body>);

impl ObjectBody {
    pub(crate) fn core(&self) -> CoreResult<&Body> {
        self.0.get(|| "stream".to_owned())
    }
}

#[pymethods]
impl ObjectBody {
    /// `size` bytes of an object from `offset` on, hashed if an algorithm is given.
    #[new]
    #[pyo3(signature = (key, offset, size, /, *, algorithm=None))]
    fn new(key: String, offset: u64, size: u64, algorithm: Option<&str>) -> Result<Self> {
        let algorithm = algorithm.map(Algorithm::parse).transpose()?;
        let range = Range { start: offset, end: offset.saturating_add(size) };
        Ok(Self(ProcessBound::new(Body::new(key, range, algorithm))))
    }

    /// Take at most `most` bytes, copied with the GIL held. Empty at the end; None if no bytes are available yet.
    #[pyo3(signature = (most, /))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(taken) = self.core().map_err(Failure::from)?.take(most) else { return Ok(None) };
        let size = taken.iter().map(Bytes::len).sum();
        let fill = |mut room: &mut [u8]| {
            for bytes in &taken {
                let (now, rest) = room.split_at_mut(bytes.len());
                now.copy_from_slice(bytes);
                room = rest;
            }
            Ok(())
        };
        PyBytes::new_with(py, size, fill).map(Some)
    }

    /// The encoded digest of the received bytes, if they are hashed.
    fn encoded(&self) -> Result<Option<String>> {
        Ok(self.core()?.digest().as_ref().map(Digest::encoded))
    }

    /// Stop receiving.
    fn close(&self) {
        if let Some(body) = self.0.here() {
            body.close();
        }
    }
}
