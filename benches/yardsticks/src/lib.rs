//! The speed that a plain program reaches on this machine, as a measure for the store's speed.
//!
//! Each function does the work of one row of `steelyard-bench` with the fewest system calls that do it, and nothing
//! else: no recovery, no labels, no look whether a blob is there already. Whatever is written carries the digest of its
//! bytes as its name, so a test can see that a yardstick did what it says. Nothing here is fit for storing data.
#![allow(clippy::disallowed_methods, reason = "a yardstick makes its system calls itself")]

mod hash;
mod large;
#[cfg(feature = "python")]
mod python;
mod ring;
mod share;
mod small;
mod writeback;

pub use hash::{Algorithm, hash_streams};
pub use large::{ingest, ingest_each, read_into, verify, verify_each};
pub use small::{Flush, Small};
