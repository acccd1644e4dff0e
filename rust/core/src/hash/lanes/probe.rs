//! A look at the kernels one by one, for benches and reports.

use super::digest_all;
use super::kernel::{Kernel, Lane, MOST_LANES};
use super::plan::{Plan, Planned};
use crate::digest::{Algorithm, Digest};
use crate::hash::sha2_state;

/// The names of the kernels that this CPU can run, the narrow ones first; none for BLAKE3.
pub fn kernels(algorithm: Algorithm) -> Vec<&'static str> {
    match algorithm {
        Algorithm::Sha256 => names::<u32, 64>(),
        Algorithm::Sha384 | Algorithm::Sha512 => names::<u64, 128>(),
        Algorithm::Blake3 => Vec::new(),
    }
}

/// The kernels that were chosen on this machine for 1, 2, and so on streams; none for BLAKE3.
pub fn choices(algorithm: Algorithm) -> Vec<&'static str> {
    match algorithm {
        Algorithm::Sha256 => chosen(u32::plan()),
        Algorithm::Sha384 | Algorithm::Sha512 => chosen(u64::plan()),
        Algorithm::Blake3 => Vec::new(),
    }
}

/// Like [`digest_many`](super::digest_many), but by that kernel alone; none if this CPU has no such kernel.
pub fn digest_many_by(kernel: &str, algorithm: Algorithm, blobs: &[&[u8]]) -> Option<Vec<Digest>> {
    let digests = match algorithm {
        Algorithm::Sha256 => digest_all(&only(kernel)?, algorithm, sha2_state::SHA256, blobs),
        Algorithm::Sha384 => digest_all(&only(kernel)?, algorithm, sha2_state::SHA384, blobs),
        Algorithm::Sha512 => digest_all(&only(kernel)?, algorithm, sha2_state::SHA512, blobs),
        Algorithm::Blake3 => return None,
    };
    Some(digests)
}

fn names<W: Lane<BLOCK>, const BLOCK: usize>() -> Vec<&'static str> {
    available::<W, BLOCK>().map(|kernel| kernel.name).collect()
}

fn available<W: Lane<BLOCK>, const BLOCK: usize>() -> impl Iterator<Item = &'static Kernel<W, BLOCK>> {
    W::KERNELS.iter().filter(|kernel| (kernel.available)())
}

fn chosen<W: Lane<BLOCK>, const BLOCK: usize>(plan: &Plan<W, BLOCK>) -> Vec<&'static str> {
    (1..=MOST_LANES).filter_map(|streams| plan.kernel(streams)).map(|kernel| kernel.name).collect()
}

fn only<W: Lane<BLOCK>, const BLOCK: usize>(name: &str) -> Option<Plan<W, BLOCK>> {
    available().find(|kernel| kernel.name == name).map(Plan::only)
}
