//! Labels, listing and `meta.db`, on real files. One test program, so that it is linked once.
#![allow(missing_docs, clippy::disallowed_methods, reason = "tests look at the disk")]

mod busy;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod degraded;
mod faults;
#[path = "../common/hooked.rs"]
mod hooked;
mod images;
mod labels;
mod leases;
mod listing;
mod meta;
mod read_only;
mod rebuild;
#[path = "../common/recorder.rs"]
mod recorder;
mod scale;
mod support;
mod vanishing;
mod walk;
