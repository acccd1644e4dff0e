//! System calls on files that are not part of a store: sources, archives, exports.

use std::sync::{Arc, OnceLock};

use super::{Layer, Linux, Policy, Sys};

/// Return these calls. Like the calls of a store, they are repeated after a signal.
pub fn outside() -> &'static dyn Sys {
    static OUTSIDE: OnceLock<Layer<Policy>> = OnceLock::new();
    OUTSIDE.get_or_init(|| Layer::new(Arc::new(Linux), Policy { durable: true }))
}
