//! Batches, and callers who share a flush: what each item gets, whatever happens to the others.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod faults;
mod items;
mod order;
#[path = "../common/recorder.rs"]
mod recorder;
mod support;
