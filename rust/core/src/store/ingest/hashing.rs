//! The hasher of an ingest, which may run in parallel with the writes.

use crate::digest::Algorithm;
use crate::hash::Hasher;
use crate::pipe::{Bytes, Pipeline};

/// A hasher that may run on another thread.
pub(super) struct Hashing {
    pub(super) pipeline: Pipeline,
    algorithm: Algorithm,
    /// The number of bytes that were passed to it.
    offset: u64,
}

impl Hashing {
    pub(super) fn new(hasher: Hasher) -> Self {
        let (algorithm, offset) = (hasher.algorithm(), hasher.offset());
        Self { pipeline: Pipeline::new(hasher), algorithm, offset }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The number of bytes that it has hashed, or will hash without further calls.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Hash further bytes, from the pipeline's buffers.
    pub(super) fn feed(&mut self, bytes: &Bytes) {
        self.offset += bytes.size as u64;
        self.pipeline.feed(bytes);
    }

    /// Wait for the hasher and use it.
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Hasher) -> T) -> T {
        let (result, offset) = self.pipeline.with(|hasher| {
            let result = work(hasher);
            (result, hasher.offset())
        });
        self.offset = offset;
        result
    }

    pub(super) fn set(&mut self, hasher: Hasher) {
        self.algorithm = hasher.algorithm();
        self.with(|old| *old = hasher);
    }
}
