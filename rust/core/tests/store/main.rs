//! A store as a whole: what it makes, keeps and refuses, on real files.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod basics;
mod cached;
#[path = "../common/mod.rs"]
mod common;
mod contention;
mod copies;
mod events;
mod faults;
mod hostile;
mod last_use;
mod order;
mod reads;
#[path = "../common/recorder.rs"]
mod recorder;
