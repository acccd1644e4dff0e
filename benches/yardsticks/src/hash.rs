//! Hashing alone.

use std::io;
use std::num::NonZero;

use sha2::Digest as _;

use crate::share::share;

/// The most bytes that one step hashes; they stay in the cache of the core that read them.
pub(crate) const PIECE: usize = 1 << 20;

/// An algorithm of digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE3, on one thread.
    Blake3,
}

impl Algorithm {
    /// Find one by its name in a digest.
    pub fn parse(name: &str) -> io::Result<Self> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            "blake3" => Ok(Self::Blake3),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no yardstick for {name}"))),
        }
    }
}

/// A running hash.
pub(crate) enum Hash {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hash {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
            Self::Blake3(hash) => drop(hash.update(bytes)),
        }
    }

    /// Return the digest in hexadecimal.
    pub(crate) fn encoded(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Sha512(hash) => hex(&hash.finalize()),
            Self::Blake3(hash) => hash.finalize().to_hex().to_string(),
        }
    }
}

/// Return the digest of bytes in hexadecimal.
pub(crate) fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut hash = Hash::new(algorithm);
    bytes.chunks(PIECE).for_each(|piece| hash.update(piece));
    hash.encoded()
}

/// Hash blobs of `size` bytes, the next `step` bytes after the one before it, each by one of the threads.
///
/// Blobs that overlap keep the memory small: that of 256 blobs of 4 MiB would be 1 GiB.
pub fn hash_streams(
    data: &[u8],
    algorithm: Algorithm,
    size: usize,
    step: NonZero<usize>,
    threads: usize,
) -> io::Result<Vec<String>> {
    let blobs: Vec<_> =
        (0..).map(|number| number * step.get()).map_while(|start| data.get(start..start + size)).collect();
    share(threads, blobs.len(), |number| Ok(digest(algorithm, blobs[number])))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        let abc = |algorithm| digest(algorithm, b"abc");

        assert_eq!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", abc(Algorithm::Sha256));
        assert!(abc(Algorithm::Sha512).starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!("6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85", abc(Algorithm::Blake3));
    }

    #[test]
    fn every_stream_is_hashed_once_and_in_order() {
        let data: Vec<u8> = (0..=255).cycle().take(10_000).collect();

        let found = hash_streams(&data, Algorithm::Sha256, 4000, NonZero::new(1500).unwrap(), 3).unwrap();

        let starts = [0, 1500, 3000, 4500, 6000];
        assert_eq!(starts.map(|start| digest(Algorithm::Sha256, &data[start..start + 4000])).to_vec(), found);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(Algorithm::parse("md5").is_err());
    }
}
