//! Garbage collection, on real directories.
#![allow(clippy::disallowed_methods, reason = "the tests look at the disk themselves")]

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod blind;
mod clocks;
mod failures;
mod frees;
#[path = "../common/hooked.rs"]
mod hooked;
mod idle;
mod late;
mod refuses;
mod steps;
mod support;
mod why;
mod work;
