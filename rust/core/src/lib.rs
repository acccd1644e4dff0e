//! Steelyard core.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at the disk"))]

pub mod blob;
pub mod bridge;
pub mod compress;
pub mod digest;
pub mod error;
pub mod filter;
pub mod format;
pub mod hash;
pub mod images;
pub mod ingest;
pub mod json;
mod labels;
pub mod layout;
pub mod lock;
pub mod meta;
pub mod model;
mod own;
pub mod pipe;
pub mod protobuf;
mod publish;
mod round;
pub mod store;
pub mod sys;
pub mod tar;
mod temp;
pub mod threads;
pub mod users;
pub mod waiting;
pub mod walk;
