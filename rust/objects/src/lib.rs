//! Requests to S3-compatible object stores.
//!
//! A [`Client`] starts [`Request`]s, which run on a tokio runtime of this crate. No call waits: a request notifies its owner,
//! which then takes the outcome. The crate knows nothing of blobs, labels or leases: `python/steelyard/objects` defines the layout.

pub mod body;
mod bucket;
pub mod client;
pub mod error;
mod hashing;
pub mod operation;
pub mod request;
mod runtime;
mod uploads;

pub use body::Body;
pub use client::{Client, Settings};
pub use error::{Error, Kind};
pub use operation::{Meta, Operation, Outcome, Page, Payload, Server, Upload, UploadMarker, UploadPage};
pub use request::Request;
