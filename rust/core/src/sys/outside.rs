//! System calls on files that are no part of a store: sources, archives, exports.

use std::sync::{Arc, OnceLock};

use super::{Layer, Linux, Policy, Sys};

/// Return the calls; like those of a store they are made again after a signal.
pub fn outside() -> &'static dyn Sys {
    static OUTSIDE: OnceLock<Layer<Policy>> = OnceLock::new();
    OUTSIDE.get_or_init(|| Layer::new(Arc::new(Linux), Policy { durable: true }))
}
