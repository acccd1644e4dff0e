//! Labels and `meta.db` under several processes. A program of its own: while a child is being started it holds copies of
//! all descriptors, and with them the locks of whatever else runs here.
#![allow(missing_docs, clippy::disallowed_methods, reason = "tests look at the disk")]

mod processes;
#[path = "../metadata/support.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod support;
