//! Ingests: what `Writer`, `Ingester.writer` and `IngestManager` in `steelyard.content` promise, on real files.
#![allow(clippy::disallowed_methods, reason = "the tests look at the disk themselves")]

mod abort;
mod anonymous;
mod begin;
mod beside;
mod buffered;
mod commit;
#[path = "../common/mod.rs"]
mod common;
mod copy;
mod faults;
mod foreign;
mod lost;
mod order;
mod others;
mod poison;
mod recheck;
#[path = "../common/recorder.rs"]
mod recorder;
mod resume;
mod support;
mod tail;
mod torn;
mod truncate;
