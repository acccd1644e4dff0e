//! The meaning of each byte of the file `lock`.
//!
//! | Byte | Stands for |
//! | --- | --- |
//! | hash of the ref, below 2^61 | a ref |
//! | 2^61 + hash of the digest | a digest |
//! | all from 2^61 to 2^62 | all digests |
//! | 2^62 | the store |
//! | 2^62 + 1 | its collector |
//! | 2^62 + 2 | a service for another collector |
//! | 2^62 + 3 | a service for programs that leave collecting to the store |
//! | 2^62 + 4 | a thread that waits to write to the metadata |
//! | 2^62 + 2^61 + hash of the ID | a lease of a process |
//!
//! Two names with the same hash share a byte. The only effect is that one may wait for the other.

use std::ops::Range;

use sha2::Digest as _;

use crate::digest::Digest;

const FIRST_DIGEST: u64 = 1 << 61;

/// All digests.
pub(crate) const DIGESTS: Range<u64> = FIRST_DIGEST..STORE;

/// The store.
pub(crate) const STORE: u64 = 1 << 62;

/// The collector.
pub(crate) const COLLECTOR: u64 = STORE + 1;

/// A service for a program that collects the garbage.
pub(crate) const FOREIGN_SERVICE: u64 = STORE + 2;

/// A service for programs that leave collecting to the store.
pub(crate) const OWN_SERVICE: u64 = STORE + 3;

/// A thread that waits to write to the metadata.
pub(crate) const WAITING: u64 = STORE + 4;

/// The first byte for leases. The bytes between those of the services and this one are not used yet.
const FIRST_LEASE: u64 = STORE + (1 << 61);

/// The byte of a ref.
pub(crate) fn of_ref(ref_: &str) -> u64 {
    hash(ref_)
}

/// The byte of the ref of an ingest, from the name of its directory.
pub(crate) fn of_ingest(name: &str) -> Option<u64> {
    let is_name = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = u64::from_str_radix(name.get(..16)?, 16).ok().filter(|_| is_name);
    Some(hash? & (FIRST_DIGEST - 1))
}

/// The byte of a digest.
pub(crate) fn of_digest(digest: &Digest) -> u64 {
    FIRST_DIGEST + hash(&digest.to_string())
}

/// The byte of a lease that ends with its process.
pub(crate) fn of_lease(lease: &str) -> u64 {
    FIRST_LEASE + hash(lease)
}

/// The hash of a name, below 2^61.
fn hash(name: &str) -> u64 {
    let hash = sha2::Sha256::digest(name);
    let first = hash.iter().take(8);
    first.fold(0, |value, byte| value << 8 | u64::from(*byte)) & (FIRST_DIGEST - 1)
}
