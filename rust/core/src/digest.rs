//! Digests: the names of blobs.
//!
//! Untrusted text is parsed into a [`Digest`] first; the core never builds a path or a query from unparsed text.
//! The rules and the errors are those of `steelyard.digest`, which is tested against this module.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The longest hash of any algorithm, in bytes.
const LONGEST: usize = 64;

/// The hex digits of the longest hash.
pub const MOST_DIGITS: usize = LONGEST * 2;

/// The value for a byte that is not a digit.
const NO_HEX: u8 = 0x80;

/// The value of each lower-case hex digit.
const HEX: [u8; 256] = {
    let mut values = [NO_HEX; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// A digest algorithm of the store, ordered by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// BLAKE3 with 32 bytes of output.
    Blake3,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All algorithms, in order.
    pub const ALL: [Self; 4] = [Self::Blake3, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name, as in a digest's text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The hash's length in bytes.
    pub const fn digest_size(self) -> usize {
        match self {
            Self::Blake3 | Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Its rank by speed: a slower algorithm has a higher number.
    pub(crate) const fn slowness(self) -> u8 {
        match self {
            Self::Blake3 => 0,
            Self::Sha256 => 1,
            Self::Sha384 | Self::Sha512 => 2,
        }
    }

    /// Return the algorithm with this name.
    pub fn parse(name: &str) -> Result<Self> {
        match Self::find(name) {
            Some(algorithm) => Ok(algorithm),
            None if is_algorithm_name(name) => Err(unsupported(name, name)),
            None => Err(invalid(name, "malformed algorithm name")),
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

/// The name of a blob: an algorithm and the hash of the bytes. A small value with the same order as its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Zero beyond the algorithm's size, so that the derived comparisons are right.
    bytes: [u8; LONGEST],
}

impl Digest {
    /// Make a digest from a hash by `algorithm`.
    ///
    /// # Panics
    ///
    /// If `hash` does not have the algorithm's size.
    pub fn new(algorithm: Algorithm, hash: &[u8]) -> Self {
        assert_eq!(hash.len(), algorithm.digest_size(), "a hash has its algorithm's size");
        let mut bytes = [0; LONGEST];
        bytes[..hash.len()].copy_from_slice(hash);
        Self { algorithm, bytes }
    }

    /// Parse `algorithm:encoded`.
    pub fn parse(text: &str) -> Result<Self> {
        const FORM: &str = "expected algorithm:encoded in lower-case hex";
        let Some((name, encoded)) = text.split_once(':') else {
            return Err(invalid(text, FORM));
        };
        let Some(algorithm) = Algorithm::find(name) else {
            let foreign = is_algorithm_name(name) && is_foreign_encoded(encoded);
            return Err(if foreign { unsupported(text, name) } else { invalid(text, FORM) });
        };
        let expected = algorithm.digest_size() * 2;
        if encoded.len() != expected {
            let is_hex = !encoded.is_empty() && encoded.bytes().all(|digit| HEX[usize::from(digit)] != NO_HEX);
            let actual = encoded.len();
            let wrong = || Error::InvalidDigestLength { text: shorten(text), expected, actual };
            return Err(if is_hex { wrong() } else { invalid(text, FORM) });
        }
        let mut bytes = [0; LONGEST];
        let mut wrong = 0;
        // There is no branch per digit, because a listing parses every name of the store twice.
        for (byte, pair) in bytes.iter_mut().zip(encoded.as_bytes().as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| HEX[usize::from(digit)]);
            wrong |= high | low;
            *byte = high << 4 | low;
        }
        if wrong & NO_HEX == 0 { Ok(Self { algorithm, bytes }) } else { Err(invalid(text, FORM)) }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_size()]
    }

    /// The hash in lower-case hex: a single path component that is safe as it is.
    pub fn encoded(&self) -> String {
        self.encode(&mut [0; MOST_DIGITS]).to_owned()
    }

    /// Write the hash in lower-case hex.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; MOST_DIGITS]) -> &'a str {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let hash = self.as_bytes();
        for (pair, byte) in buffer.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        std::str::from_utf8(&buffer[..hash.len() * 2]).unwrap_or_default() // digits are ASCII
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.encode(&mut [0; MOST_DIGITS]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::InvalidDigest { text: shorten(text), reason: reason.to_owned() }
}

fn unsupported(text: &str, algorithm: &str) -> Error {
    Error::UnsupportedAlgorithm { text: shorten(text), algorithm: shorten(algorithm) }
}

/// Shorten a text for an error: Python cuts at 200 characters and adds an ellipsis if there were more.
fn shorten(text: &str) -> String {
    text.chars().take(201).collect()
}

/// Whether a name has the form of the OCI grammar: parts of lower-case letters and digits, joined by single separators.
fn is_algorithm_name(name: &str) -> bool {
    name.split(['+', '.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

fn is_foreign_encoded(encoded: &str) -> bool {
    !encoded.is_empty()
        && encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
