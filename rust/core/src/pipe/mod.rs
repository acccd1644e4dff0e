//! Hashing in parallel with reading and writing: the pipeline for large blobs.
//!
//! The hash of one blob is a chain of steps, so a single processor must compute it, and it is slower than all other work on
//! the bytes. So a hash worker only hashes, while the caller's thread reads and writes. All together then takes as long as the
//! hash alone.
//!
//! | File | Holds |
//! | --- | --- |
//! | `pool.rs` | pools of threads, and how many threads a caller may borrow |
//! | `pipeline.rs` | buffers on their way through one or more hashes |
//! | `stream.rs` | the bytes of one hash, in order |
//! | `workers.rs` | the hash workers and their queue of tasks |
//! | `multi.rs` | several hashes in one pass over the bytes |
//! | `buffers.rs` | buffers, and those that are kept for reuse |
//! | `job.rs` | progress and cancellation of a long call |

mod buffers;
mod job;
mod multi;
mod pipeline;
mod pool;
mod stream;
mod workers;

pub(crate) use buffers::PIECE;
pub use job::Job;
pub use multi::MultiHasher;
pub(crate) use pipeline::{Pipeline, Saving};
pub(crate) use pool::{FLUSHING, HASHING, WAITING, processors};
pub(crate) use stream::{Bytes, Piece};

#[cfg(test)]
mod tests;
