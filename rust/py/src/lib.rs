//! The extension module `steelyard._native`: buffers in, calls of the core with the GIL released, errors out.
//!
//! It is private: the documented names are those of the Python package, and `python/steelyard/_native.pyi` lists what
//! it takes and gives. Nothing is decided here.
#![allow(clippy::needless_pass_by_value, reason = "arguments are extracted from Python objects, so they come by value")]

mod archive;
mod batch;
mod blob;
mod buffer;
mod compress;
mod descriptor;
mod errors;
mod filter;
mod gather;
mod hasher;
mod images;
mod ingest;
mod job;
mod json;
mod page;
mod pool;
mod rows;
mod store;
mod stream;
mod wait;
mod walk;
mod yardsticks;

use pyo3::prelude::pymodule;

/// Who serves or measures with an unoptimised build should know.
const DEBUG_WARNING: &std::ffi::CStr = c"steelyard._native is a debug build and slow: use a release build (pip builds \
one, and so does `maturin develop --release`), or set STEELYARD_ALLOW_DEBUG=1 to silence this";

#[pymodule]
mod _native {
    use pyo3::exceptions::PyRuntimeWarning;
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::archive::{TarIndexer, TarReader, start_writeback, tar_layout};
    #[pymodule_export]
    use crate::blob::Blob;
    #[pymodule_export]
    use crate::compress::{Compressor, Decompressor, detect_format};
    #[pymodule_export]
    use crate::filter::Filter;
    #[pymodule_export]
    use crate::gather::Gather;
    #[pymodule_export]
    use crate::hasher::Hasher;
    #[pymodule_export]
    use crate::images::Images;
    #[pymodule_export]
    use crate::ingest::Ingest;
    #[pymodule_export]
    use crate::job::Job;
    #[pymodule_export]
    use crate::json::{JsonShape, check_json};
    #[pymodule_export]
    use crate::pool::{Pool, Port};
    #[pymodule_export]
    use crate::store::Store;
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::wait::Wait;
    #[pymodule_export]
    use crate::walk::Walk;
    #[pymodule_export]
    use crate::yardsticks::{
        yardstick_hash, yardstick_ingest, yardstick_ingest_each, yardstick_read, yardstick_small, yardstick_verify,
        yardstick_verify_each,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("MAX_FILTERS", steelyard_core::filter::MAX_FILTERS)?;
        module.add("debug_build", cfg!(debug_assertions))?;
        module.add("sqlite_version", steelyard_core::meta::sqlite_version())?;
        if cfg!(debug_assertions) && std::env::var_os("STEELYARD_ALLOW_DEBUG").is_none() {
            PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), super::DEBUG_WARNING, 1)?;
        }
        Ok(())
    }
}
