//! The extension module `steelyard._native`: it converts arguments, calls the core without the GIL, and converts results and errors.
//!
//! It is private: the public names are in the Python package. `python/steelyard/_native.pyi` lists its classes and functions with
//! their types. All decisions are made in the core or in Python.
#![allow(clippy::needless_pass_by_value, reason = "arguments are extracted from Python objects, so they come by value")]

mod archive;
mod batch;
mod batcher;
mod blob;
mod blobs;
mod buffer;
mod caller;
mod collect;
mod compress;
mod descriptor;
mod directory;
mod errors;
mod events;
mod filter;
mod handle;
mod hasher;
mod images;
mod inbox;
mod ingest;
mod interpreter;
mod job;
mod json;
mod leases;
mod many;
mod object_body;
mod objects;
mod page;
mod pool;
mod process;
mod python_store;
mod remote;
mod rows;
mod server;
mod store;
mod stream;
mod wait;
mod walk;

use pyo3::prelude::*;

/// The warning of an unoptimised build, so that such a build is not used for service or measurements unnoticed.
const DEBUG_WARNING: &std::ffi::CStr = c"steelyard._native is a debug build and slow: use a release build (pip builds \
one, and so does `maturin develop --release`), or set STEELYARD_ALLOW_DEBUG=1 to silence this";

#[pymodule]
mod _native {
    use pyo3::exceptions::PyRuntimeWarning;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        // This check comes first: PyO3 keeps each added class for the whole process.
        crate::interpreter::check_main(py)?;
        steelyard_core::sys::watch()?;
        super::add_classes(module)?;
        super::add_functions(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("MAX_FILTERS", steelyard_core::filter::MAX_FILTERS)?;
        module.add("RequestFailed", py.get_type::<crate::objects::RequestFailed>())?;
        module.add("Cancelled", py.get_type::<crate::errors::Cancelled>())?;
        // The Python class of a panic, for callers that distinguish it from other errors.
        module.add("PanicException", py.get_type::<pyo3::panic::PanicException>())?;
        module.add("debug_build", cfg!(debug_assertions))?;
        module.add("CALL_SECONDS", steelyard_service::SECONDS.to_vec())?;
        module.add("sqlite_version", steelyard_core::volume::meta::sqlite_version())?;
        if cfg!(debug_assertions) && std::env::var_os("STEELYARD_ALLOW_DEBUG").is_none() {
            PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), super::DEBUG_WARNING, 1)?;
        }
        Ok(())
    }
}

fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<archive::TarIndexer>()?;
    module.add_class::<archive::TarReader>()?;
    module.add_class::<batcher::Batcher>()?;
    module.add_class::<blob::Blob>()?;
    module.add_class::<collect::Collection>()?;
    module.add_class::<collect::Why>()?;
    module.add_class::<compress::Compressor>()?;
    module.add_class::<compress::Decompressor>()?;
    module.add_class::<directory::DirectoryWalk>()?;
    module.add_class::<events::Events>()?;
    module.add_class::<events::Subscription>()?;
    module.add_class::<filter::Filter>()?;
    module.add_class::<hasher::Hasher>()?;
    module.add_class::<images::Images>()?;
    module.add_class::<ingest::Ingest>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<json::JsonShape>()?;
    module.add_class::<leases::Leases>()?;
    module.add_class::<object_body::ObjectBody>()?;
    module.add_class::<objects::ObjectClient>()?;
    module.add_class::<objects::ObjectRequest>()?;
    module.add_class::<pool::Pool>()?;
    module.add_class::<pool::Port>()?;
    module.add_class::<process::Process>()?;
    module.add_class::<remote::RemoteCall>()?;
    module.add_class::<remote::RemoteChannel>()?;
    module.add_class::<server::ContentServer>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<wait::Wait>()?;
    module.add_class::<walk::Walk>()
}

fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(archive::start_writeback, module)?)?;
    module.add_function(wrap_pyfunction!(archive::tar_layout, module)?)?;
    module.add_function(wrap_pyfunction!(caller::call_interruptibly, module)?)?;
    module.add_function(wrap_pyfunction!(compress::detect_format, module)?)?;
    module.add_function(wrap_pyfunction!(descriptor::needs_file_synced, module)?)?;
    module.add_function(wrap_pyfunction!(json::check_json, module)?)?;
    module.add_function(wrap_pyfunction!(json::json_parts, module)?)?;
    module.add("DOCUMENT_LIMIT", steelyard_core::archive::json::DOCUMENT_LIMIT)?;
    module.add_function(wrap_pyfunction!(json::is_document, module)?)?;
    module.add_function(wrap_pyfunction!(json::may_be_document, module)?)?;
    module.add_function(wrap_pyfunction!(json::references, module)?)?;
    module.add_function(wrap_pyfunction!(process::mark_descriptor, module)?)?;
    module.add_function(wrap_pyfunction!(remote::join_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(process::unmark_descriptor, module)?)
}
