//! Streaming hashes whose state can be saved and restored.
//!
//! [`Hasher`] computes one algorithm, `pipe::MultiHasher` several in one pass. A hasher can return the digest at any moment and
//! continue. An update never allocates more than a few bytes and never starts a thread.

mod blake3_tree;
pub mod lanes;
mod prefetch;
mod sha2_state;
pub(crate) mod state;

pub use state::STATE_LIMIT;

use crate::digest::{Algorithm, Digest};
use crate::error::Result;

use blake3_tree::Tree;
use sha2_state::{Sha256, Sha512};

/// Computes the digest of a sequence of bytes.
#[derive(Clone, Debug)]
pub struct Hasher {
    algorithm: Algorithm,
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Sha256(Sha256),
    /// SHA-512, and SHA-384, which is a truncated SHA-512 with other initial words.
    Sha512(Sha512),
    /// Boxed because it is ten times the size of the others.
    Blake3(Box<Tree>),
}

/// The hash of a part of an input that does not depend on earlier parts, so that parts of one blob can be hashed in parallel.
///
/// Only BLAKE3 has such parts: its whole subtrees of 1 MiB, from the second on.
pub(crate) struct Subtree(blake3::hazmat::ChainingValue);

/// A hash state that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// The number of bytes that it covers: hashing continues there. At most the offset of the hasher that was saved.
    pub offset: u64,
    /// Its encoding, at most [`STATE_LIMIT`] bytes.
    pub bytes: Vec<u8>,
}

impl Hasher {
    /// Make a hasher that has hashed nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        let inner = match algorithm {
            Algorithm::Blake3 => Inner::Blake3(Box::default()),
            Algorithm::Sha256 => Inner::Sha256(Sha256::new(sha2_state::SHA256)),
            Algorithm::Sha384 => Inner::Sha512(Sha512::new(sha2_state::SHA384)),
            Algorithm::Sha512 => Inner::Sha512(Sha512::new(sha2_state::SHA512)),
        };
        Self { algorithm, inner }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The number of bytes hashed so far.
    pub fn offset(&self) -> u64 {
        match &self.inner {
            Inner::Sha256(state) => state.offset(),
            Inner::Sha512(state) => state.offset(),
            Inner::Blake3(tree) => tree.offset(),
        }
    }

    /// Hash further bytes.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.inner {
            Inner::Sha256(state) => state.update(data),
            Inner::Sha512(state) => state.update(data),
            Inner::Blake3(tree) => tree.update(data),
        }
    }

    /// Add bytes that were hashed separately. They must begin at the hasher's offset.
    pub(crate) fn push_subtree(&mut self, subtree: &Subtree) {
        match &mut self.inner {
            Inner::Blake3(tree) => tree.push_subtree(&subtree.0),
            Inner::Sha256(_) | Inner::Sha512(_) => unreachable!("only what fits is hashed apart"),
        }
    }

    /// The digest of the bytes hashed so far. More may follow.
    pub fn digest(&self) -> Digest {
        let size = self.algorithm.digest_size();
        match &self.inner {
            Inner::Sha256(state) => Digest::new(self.algorithm, &state.finish()[..size]),
            Inner::Sha512(state) => Digest::new(self.algorithm, &state.finish()[..size]),
            Inner::Blake3(tree) => Digest::new(self.algorithm, &tree.finish()),
        }
    }

    /// Save the state at the last offset at which that is possible.
    ///
    /// The SHA-2 family can be saved at any offset. A BLAKE3 tree is saved as the chaining values of its whole 1 MiB
    /// subtrees: at offset 0, and at the multiples of 1 MiB from 2 MiB on (one subtree alone has no root above it).
    pub fn save(&self) -> SavedState {
        let (offset, payload) = match &self.inner {
            Inner::Sha256(state) => (state.offset(), state.save()),
            Inner::Sha512(state) => (state.offset(), state.save()),
            Inner::Blake3(tree) => tree.save(),
        };
        SavedState { offset, bytes: state::encode(self.algorithm, offset, &payload) }
    }

    /// Make a hasher from a saved state. It continues at the state's offset.
    ///
    /// Fails with `InvalidArgument` if the bytes are not a state of this algorithm from [`Hasher::save`].
    pub fn restore(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        let (frame, rest) = state::decode(bytes)?;
        if !rest.is_empty() {
            return Err(state::garbage("bytes after its end"));
        }
        if frame.algorithm != algorithm {
            return Err(state::garbage(&format!("of {}, not of {algorithm}", frame.algorithm)));
        }
        Self::from_frame(&frame)
    }

    pub(crate) fn from_frame(frame: &state::Frame<'_>) -> Result<Self> {
        let inner = match frame.algorithm {
            Algorithm::Blake3 => Tree::restore(frame.offset, frame.payload).map(|tree| Inner::Blake3(Box::new(tree))),
            Algorithm::Sha256 => Sha256::restore(frame.offset, frame.payload).map(Inner::Sha256),
            Algorithm::Sha384 | Algorithm::Sha512 => Sha512::restore(frame.offset, frame.payload).map(Inner::Sha512),
        };
        let inner = inner.ok_or_else(|| state::garbage("its parts do not fit together"))?;
        Ok(Self { algorithm: frame.algorithm, inner })
    }
}

impl Subtree {
    /// Whether `size` bytes at `offset` can be hashed separately.
    pub(crate) fn fits(algorithm: Algorithm, offset: u64, size: usize) -> bool {
        let subtree = blake3_tree::SUBTREE;
        algorithm == Algorithm::Blake3 && offset >= subtree && offset.is_multiple_of(subtree) && size as u64 == subtree
    }

    /// Hash bytes that `fits` allows.
    pub(crate) fn hash(offset: u64, data: &[u8]) -> Self {
        Self(blake3_tree::subtree(offset, data))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
