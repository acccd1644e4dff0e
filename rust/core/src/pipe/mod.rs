//! Hashing beside reading and writing: the pipeline through which large blobs go.
//!
//! The hash of one blob is a chain that only one processor can follow, and slower than all else that happens to the
//! bytes. So it gets a thread that does nothing else, while the caller's thread reads and writes: then the whole takes
//! as long as the hash alone.
//!
//! | File | Owns |
//! | --- | --- |
//! | `pool.rs` | the threads, and who may have one |
//! | `behind.rs` | that an event loop gets the processor before any of them |
//! | `crew.rs` | what the threads that hash do, and in which order |
//! | `flow.rs` | buffers on their way through one or more hashes |
//! | `line.rs` | one hash, and what waits for it |
//! | `spare.rs` | buffers that nobody uses just now |
//! | `job.rs` | watching and stopping a long call from outside |

mod behind;
mod crew;
mod flow;
mod job;
mod line;
mod pool;
mod spare;

pub(crate) use behind::{WORTH, behind};
pub(crate) use flow::{Flow, PIECE, Saving};
pub use job::Job;
pub(crate) use line::{Bytes, Piece};
pub(crate) use pool::{DRAINING, HASHING, WAITING, processors};

#[cfg(test)]
mod tests;
