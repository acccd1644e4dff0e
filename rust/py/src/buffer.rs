//! Python's buffers as Rust slices, without a copy. This needs `unsafe`.
//!
//! A mutable buffer is borrowed for one call and released at its end. `bytes` objects can be kept longer, see `lasting`. Any
//! object is accepted that has a contiguous buffer of one-byte items with at most one dimension: `bytes`, `bytearray`,
//! `memoryview`, `mmap`, `array` and numpy arrays of bytes. Another thread may change such an object while it is read; the
//! comment at each `unsafe` says how that is handled.
#![allow(unsafe_code)]

use bytes::Bytes;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyMemoryView};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};
use steelyard_core::error::Error;
use steelyard_core::store::ingest::Lasting;
use steelyard_core::sys::undivided;

use crate::errors::Failure;

/// Bytes of the caller that are read during one call.
pub(crate) enum Input<'a> {
    /// A `bytes` object, without the buffer protocol: it cannot change, and the argument of the call keeps it alive.
    Bytes(&'a [u8]),
    /// Any other object. Its exporter must not free or resize the memory until this is dropped.
    Borrowed(PyUntypedBuffer),
}

/// A part of a `bytes` object, which is immutable.
struct Part {
    /// `None` only during the drop.
    bytes: Option<PyBackedBytes>,
    start: usize,
    size: usize,
}

/// Memory of the caller that is filled during one call.
pub(crate) struct Output(PyUntypedBuffer);

impl Input<'_> {
    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Borrowed(buffer) if buffer.len_bytes() == 0 => &[],
            // SAFETY: the memory is valid for reads of `len_bytes` as long as `buffer` lives: the protocol forbids the
            // exporter to move or free it before the release, `checked` has verified that it is contiguous and has
            // one-byte items, and every bit pattern is a valid `u8`.
            //
            // The protocol does not promise that no thread *writes* to the memory meanwhile. Another thread can change
            // a `bytearray` whenever the GIL is released, and on a free-threaded build at any time. By Rust's rules
            // that is a data race, and so undefined behaviour, which no check here can exclude; hashlib and every other
            // zero-copy reader have the same problem. In practice the bytes are only loaded into hash rounds and passed
            // to system calls: they are never used as an index, a length or a type, and no code reads them twice and
            // expects equal values. So a racing writer gets the digest of mixed bytes, which the next verification
            // finds. The alternative, copying every buffer first, would cost every caller a pass over memory.
            Self::Borrowed(buffer) => unsafe {
                slice::from_raw_parts(buffer.buf_ptr().cast_const().cast(), buffer.len_bytes())
            },
        }
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        &bytes[self.start..self.start + self.size]
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Without the GIL, PyO3 adds the object to a list, whose lock no thread may hold when the process forks.
        undivided(|| drop(self.bytes.take()));
    }
}

/// Return a reference to the bytes that can be kept after the call. `None` unless the object is `bytes` or a memoryview of `bytes`.
pub(crate) fn lasting(object: &Bound<'_, PyAny>, input: &Input<'_>) -> Option<Lasting> {
    let bytes = match input {
        Input::Bytes(_) => object.cast_exact::<PyBytes>().ok()?.clone(),
        Input::Borrowed(_) => {
            let view = object.cast_exact::<PyMemoryView>().ok()?;
            view.getattr(intern!(object.py(), "obj")).ok()?.cast_into_exact::<PyBytes>().ok()?
        }
    };
    let (bytes, slice) = (PyBackedBytes::from(bytes), input.as_slice());
    let start = slice.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
    let is_within = start.checked_add(slice.len()).is_some_and(|end| end <= bytes.len());
    is_within.then(|| Box::new(Part { bytes: Some(bytes), start, size: slice.len() }) as Lasting)
}

/// Keeps the bytes of a `bytes` object.
struct Owner(Lasting);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// The bytes of a buffer, for a request that outlives the call: `bytes` are kept by reference, others are copied.
pub(crate) fn owned(data: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let input: Input<'_> = data.extract()?;
    Ok(lasting(data, &input)
        .map_or_else(|| Bytes::copy_from_slice(input.as_slice()), |kept| Bytes::from_owner(Owner(kept))))
}

impl<'a, 'py> FromPyObject<'a, 'py> for Input<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_exact_instance_of::<PyBytes>() {
            return Ok(Self::Bytes(object.extract()?));
        }
        checked(&object).map(Self::Borrowed)
    }
}

impl Output {
    /// The memory.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.0.len_bytes() == 0 {
            return &mut [];
        }
        // SAFETY: as in `Input::as_slice`, and the exporter has declared the memory writable. The caller promises
        // exclusive access (`readinto_at`: "must not be touched until the call returns"); a caller that breaks this
        // promise gets mixed bytes in its own memory. Every byte is initialised, because the buffer is readable at
        // any time.
        unsafe { slice::from_raw_parts_mut(self.0.buf_ptr().cast(), self.0.len_bytes()) }
    }
}

impl<'py> FromPyObject<'_, 'py> for Output {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let buffer = checked(&object)?;
        if buffer.readonly() {
            return Err(PyBufferError::new_err("the buffer is read-only"));
        }
        Ok(Self(buffer))
    }
}

/// From this size on, the system provides zeroed memory, so the object need not be cleared first, which would delay the other threads.
const LARGE: usize = 256 << 10;

/// Make a `bytes` object of this length. `fill` writes all of it, without the GIL.
pub(crate) fn filled(
    py: Python<'_>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), Error> + Send,
) -> PyResult<Bound<'_, PyBytes>> {
    if length < LARGE {
        return PyBytes::new_with(py, length, |buffer| {
            py.detach(|| fill(buffer)).map_err(|error| Failure::from(error).into())
        });
    }
    overwritten(py, zeros(py, length)?, fill)
}

/// Python's `bytes(length)`: zeros from `calloc`. If there are many, no page of them has been touched yet.
fn zeros(py: Python<'_>, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    Ok(py.get_type::<PyBytes>().call1((length,))?.cast_into()?)
}

/// Overwrite a `bytes` object of at least `LARGE` bytes to which no other code refers: `fill` writes all of it, without the GIL.
fn overwritten<'py>(
    py: Python<'py>,
    bytes: Bound<'py, PyBytes>,
    fill: impl FnOnce(&mut [u8]) -> Result<(), Error> + Send,
) -> PyResult<Bound<'py, PyBytes>> {
    let length = bytes.as_bytes().len();
    // SAFETY: the object is longer than those that Python shares, and no other code refers to it: `filled` or `Reused` has
    // just made it, or `Reused` had the only reference while the GIL was held and has passed it here. So its bytes may still
    // be written, as C code does to fill a new object. There are `length` bytes; they are initialised and live as long as
    // `bytes`. The pointer is not derived from a shared reference.
    let buffer = unsafe { slice::from_raw_parts_mut(pyo3::ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>(), length) };
    py.detach(|| fill(buffer)).map_err(|error| PyErr::from(Failure::from(error)))?;
    Ok(bytes)
}

/// `bytes` objects that are filled again once no other code refers to them, because the page faults of new memory cost more than a copy.
///
/// Their content changes then. Pass them only to code that uses the bytes while it holds the object, and that never hashes the object.
pub(crate) struct Reused {
    /// Locked only briefly, with the GIL held.
    kept: Mutex<Vec<Py<PyBytes>>>,
    /// The most kept objects.
    most: usize,
}

impl Reused {
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// Like [`filled`], but reuses a kept object if one is free.
    pub(crate) fn filled<'py>(
        &self,
        py: Python<'py>,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error> + Send,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if length < LARGE {
            return filled(py, length, fill);
        }
        let is_free = |bytes: &Py<PyBytes>| {
            // SAFETY: `bytes` is alive, and the GIL is held.
            let references = unsafe { pyo3::ffi::Py_REFCNT(bytes.as_ptr()) };
            references == 1 && bytes.as_bytes(py).len() == length
        };
        let mut kept = self.kept();
        let free = kept.iter().position(is_free).map(|place| kept.swap_remove(place).into_bound(py));
        drop(kept);
        let bytes = overwritten(py, free.map_or_else(|| zeros(py, length), Ok)?, fill)?;
        let mut kept = self.kept();
        if kept.len() < self.most {
            kept.push(bytes.clone().unbind());
        }
        Ok(bytes)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Py<PyBytes>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Borrow the object's buffer. Refuse a buffer that cannot be a slice of bytes.
fn checked(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    // Some exporters, such as ctypes, do not provide the strides that PyO3 requests; a memoryview adds them.
    let buffer = PyUntypedBuffer::get(object)
        .or_else(|_| PyMemoryView::from(object).and_then(|view| PyUntypedBuffer::get(&view)))?;
    let wrong = if buffer.item_size() != 1 {
        Some(format!("the buffer's items are {} bytes wide, expected 1", buffer.item_size()))
    } else if buffer.dimensions() > 1 {
        Some(format!("the buffer has {} dimensions, expected 1", buffer.dimensions()))
    } else if !buffer.is_c_contiguous() {
        Some("the buffer is not contiguous".to_owned())
    } else {
        None
    };
    wrong.map_or(Ok(buffer), |reason| Err(PyBufferError::new_err(reason)))
}
