//! The encoding of a saved hash state: a frame that detects garbage, another algorithm and another offset.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `SYHS` |
//! | 1 | version, 1 |
//! | 1 | algorithm: 1 SHA-256, 2 SHA-384, 3 SHA-512, 4 BLAKE3 |
//! | 2 | length of the payload, little-endian |
//! | 8 | offset, little-endian |
//! | n | payload: SHA-2: eight big-endian words and the partial block; BLAKE3: chaining values of subtrees |
//! | 16 | the first bytes of the BLAKE3 hash of all before |
//!
//! The checksum finds damage, not malice: a process that can write a state can choose the digest.

use crate::digest::Algorithm;
use crate::error::{Error, Result};

/// The most bytes that a saved state takes.
pub const STATE_LIMIT: usize = 2600;

const MAGIC: &[u8; 4] = b"SYHS";
const VERSION: u8 = 1;
const HEADER: usize = 16;
const CHECKSUM: usize = 16;

/// A decoded frame; the payload is not decoded.
pub(crate) struct Frame<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) offset: u64,
    pub(crate) payload: &'a [u8],
}

fn code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha384 => 2,
        Algorithm::Sha512 => 3,
        Algorithm::Blake3 => 4,
    }
}

fn seal(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM]);
    sum
}

pub(super) fn encode(algorithm: Algorithm, offset: u64, payload: &[u8]) -> Vec<u8> {
    // The largest payload is BLAKE3's: 45 chaining values for 2^64 bytes.
    let size = u16::try_from(payload.len()).expect("a payload is below 64 KiB");
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.push(code(algorithm));
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(payload);
    let sum = seal(&bytes);
    bytes.extend_from_slice(&sum);
    debug_assert!(bytes.len() <= STATE_LIMIT);
    bytes
}

/// Decode the first frame. Returns it with the bytes after it.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Frame<'_>, &[u8])> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(garbage("too short"));
    };
    let [m0, m1, m2, m3, version, algorithm, s0, s1, offset @ ..] = *header;
    if [m0, m1, m2, m3] != *MAGIC {
        return Err(garbage("not one of this package"));
    }
    if version != VERSION {
        return Err(garbage(&format!("version {version}, this release reads {VERSION}")));
    }
    let size = usize::from(u16::from_le_bytes([s0, s1]));
    let Some((payload, rest)) = body.split_at_checked(size) else {
        return Err(garbage("too short"));
    };
    let Some((sum, rest)) = rest.split_first_chunk::<CHECKSUM>() else {
        return Err(garbage("too short"));
    };
    if *sum != seal(&bytes[..HEADER + size]) {
        return Err(garbage("the checksum does not match"));
    }
    let Some(algorithm) = Algorithm::ALL.into_iter().find(|known| code(*known) == algorithm) else {
        return Err(garbage("of an unknown algorithm"));
    };
    let offset = u64::from_le_bytes(offset);
    if i64::try_from(offset).is_err() {
        return Err(garbage("its offset is past the end of any file"));
    }
    Ok((Frame { algorithm, offset, payload }, rest))
}

pub(crate) fn garbage(reason: &str) -> Error {
    Error::InvalidArgument { message: format!("hash state: {reason}") }
}
