//! Labels, listing and `meta.db`, on real files. One test program, so that it is linked once.
#![allow(missing_docs, clippy::disallowed_methods, reason = "tests look at the disk")]

mod damage;
mod degraded;
mod faults;
mod images;
mod labels;
mod meta;
mod read_only;
mod rebuild;
mod scale;
mod support;
mod walk;
