//! Several algorithms in one pass over the bytes.

use super::{Hasher, state};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// Bytes given to each algorithm in turn: the second one finds them in the processor's cache.
const PIECE: usize = 64 << 10;

/// Computes the digests of one sequence of bytes by several algorithms.
#[derive(Clone, Debug)]
pub struct MultiHasher {
    /// At least one, of different algorithms, all at the same offset.
    hashers: Vec<Hasher>,
}

impl MultiHasher {
    /// Make a hasher for these algorithms: at least one, none twice.
    pub fn new(algorithms: &[Algorithm]) -> Result<Self> {
        Self::checked(algorithms.iter().copied().map(Hasher::new).collect())
    }

    fn checked(hashers: Vec<Hasher>) -> Result<Self> {
        let wrong = |message: String| Err(Error::InvalidArgument { message });
        if hashers.is_empty() {
            return wrong("a hasher needs at least one algorithm".to_owned());
        }
        for (index, hasher) in hashers.iter().enumerate() {
            if hashers[..index].iter().any(|other| other.algorithm() == hasher.algorithm()) {
                return wrong(format!("a hasher takes {} once", hasher.algorithm()));
            }
        }
        Ok(Self { hashers })
    }

    /// The algorithms, in the order they were given.
    pub fn algorithms(&self) -> impl ExactSizeIterator<Item = Algorithm> {
        self.hashers.iter().map(Hasher::algorithm)
    }

    /// The bytes seen so far.
    pub fn offset(&self) -> u64 {
        self.hashers[0].offset()
    }

    /// Go on with `data`.
    pub fn update(&mut self, data: &[u8]) {
        if let [only] = self.hashers.as_mut_slice() {
            return only.update(data);
        }
        for piece in data.chunks(PIECE) {
            for hasher in &mut self.hashers {
                hasher.update(piece);
            }
        }
    }

    /// The digests of the bytes seen so far, in the algorithms' order.
    pub fn digests(&self) -> Vec<Digest> {
        self.hashers.iter().map(Hasher::digest).collect()
    }

    /// Save the state at exactly the present offset: how many algorithms there are in a byte, then a frame of each.
    ///
    /// Fails with `FailedPrecondition` when an algorithm cannot be saved there; see [`Hasher::save`].
    pub fn save(&self) -> Result<Vec<u8>> {
        // Without the count, a state cut between two frames would pass for one of fewer algorithms.
        let mut bytes = vec![self.count()];
        for hasher in &self.hashers {
            let saved = hasher.save();
            if saved.offset != hasher.offset() {
                return Err(Error::FailedPrecondition {
                    message: format!(
                        "the state of {} can be taken at offset 0 and at multiples of 1 MiB from 2 MiB on, not at {}",
                        hasher.algorithm(),
                        hasher.offset()
                    ),
                });
            }
            bytes.extend_from_slice(&saved.bytes);
        }
        Ok(bytes)
    }

    /// Make a hasher from a state that [`MultiHasher::save`] gave; `InvalidArgument` for anything else.
    pub fn restore(bytes: &[u8]) -> Result<Self> {
        let mut hashers: Vec<Hasher> = Vec::new();
        let Some((count, mut rest)) = bytes.split_first() else {
            return Err(state::garbage("too short"));
        };
        loop {
            let (frame, after) = state::decode(rest)?;
            if hashers.first().is_some_and(|first| first.offset() != frame.offset) {
                return Err(state::garbage("its parts are of different offsets"));
            }
            hashers.push(Hasher::from_frame(&frame)?);
            rest = after;
            if rest.is_empty() {
                let hasher = Self::checked(hashers)?;
                return if hasher.count() == *count { Ok(hasher) } else { Err(state::garbage("a part is missing")) };
            }
        }
    }

    fn count(&self) -> u8 {
        u8::try_from(self.hashers.len()).expect("there are four algorithms, and none comes twice")
    }
}
