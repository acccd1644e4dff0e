//! Steelyard core.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at the disk"))]

pub mod archive;
pub mod digest;
pub mod directory;
pub mod error;
pub mod filter;
pub mod format;
pub mod hash;
pub mod model;
pub mod pipe;
pub mod rfc3339;
pub mod sorting;
pub mod store;
pub mod sys;
pub mod threads;
pub mod volume;
pub mod waiting;
