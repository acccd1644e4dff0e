//! `message_parts`: where a protobuf message can be cut.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use steelyard_core::archive::protobuf::Cutter;

/// As many fields take some microseconds: less than it may take to get the GIL back.
const FEW: usize = 1000;

/// The parts of at most `most` bytes of a message: the start and end of each. A field that is larger is a part of its own, with
/// its number and the start of its value; of the others both are 0.
#[pyfunction]
#[pyo3(signature = (data, most, /))]
pub(crate) fn message_parts(py: Python<'_>, data: &[u8], most: usize) -> PyResult<Vec<(usize, usize, u32, usize)>> {
    let mut cutter = Cutter::new(data, most);
    let mut whole = cutter.step(FEW);
    if whole == Ok(false) {
        whole = py.detach(|| cutter.step(usize::MAX));
    }
    whole.map_err(|_| PyValueError::new_err("not a protobuf message"))?;
    let parts = cutter.into_parts().into_iter();
    Ok(parts
        .map(|part| {
            part.large.map_or((part.start, part.end, 0, 0), |(number, value)| (part.start, part.end, number, value))
        })
        .collect())
}
