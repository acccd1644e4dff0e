//! Many hashes on one core.
//!
//! The hash of one blob is a chain of dependent steps, so it leaves most of a core idle. Several blobs can share the core:
//! their states are in the lanes of wide registers, or their instructions alternate. [`digest_many`] does this for blobs in
//! memory, [`update_many`] for running hashers.
//!
//! Neither starts a thread. The results are identical to those of [`Hasher`] on every CPU.

#[cfg(target_arch = "x86_64")]
mod constants;
mod kernel;
mod plan;
pub mod probe;
mod schedule;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cmp::Reverse;

use super::prefetch::BLOCK;
use super::sha2_state::{self, End, Sha256, Word as _};
use super::{Hasher, Inner};
use crate::digest::{Algorithm, Digest};

use plan::Plan;
use schedule::{Job, run};

/// The number of blobs whose ends are padded and compressed together: enough to fill the lanes many times, and few enough for
/// the nearest cache.
const ENDS: usize = 64;

/// Return the digests of blobs, in their order.
///
/// With SHA-256, two or more blobs share a core; a blob that is far longer than all others together gains little. BLAKE3 fills
/// the lanes with parts of one blob. With SHA-384 and SHA-512, blobs are hashed one after another, because few programs store many
/// blobs by them.
///
/// Cost: up to 40 bytes of memory for each blob, besides the result. The first call with several streams in a process, here or
/// in [`update_many`], takes about 0.2 ms to measure the fastest kernels.
pub fn digest_many(algorithm: Algorithm, blobs: &[&[u8]]) -> Vec<Digest> {
    if algorithm == Algorithm::Sha256 && blobs.len() > 1 {
        return sha256_all(Plan::of_this_cpu(), blobs);
    }
    blobs.iter().map(|blob| digest_one(algorithm, blob)).collect()
}

fn digest_one(algorithm: Algorithm, blob: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(blob);
    hasher.digest()
}

fn sha256_all(plan: &Plan, blobs: &[&[u8]]) -> Vec<Digest> {
    let algorithm = Algorithm::Sha256;
    let mut order: Vec<usize> = (0..blobs.len()).collect();
    order.sort_by_key(|index| Reverse(blobs[*index].len()));
    let mut states = vec![sha2_state::SHA256; blobs.len()];
    let bodies = states.iter_mut().zip(&order).map(|(words, index)| Job { words, blocks: blobs[*index].as_chunks().0 });
    run(plan, bodies);
    // Then the padded ends, one or two blocks each, in a separate pass, so that they fill the lanes too.
    let mut digests = vec![Digest::new(algorithm, &[0; 64][..algorithm.digest_size()]); blobs.len()];
    let mut ends = Vec::with_capacity(ENDS);
    for (states, order) in states.chunks_mut(ENDS).zip(order.chunks(ENDS)) {
        ends.clear();
        ends.extend(order.iter().map(|index| {
            let blob = blobs[*index];
            End::new(blob.len() as u64, blob.as_chunks::<BLOCK>().1)
        }));
        let jobs = states.iter_mut().zip(&ends).map(|(words, end)| Job { words, blocks: end.blocks() });
        run(plan, jobs);
        for (words, index) in states.iter().zip(order) {
            let hash = sha2_state::hash(*words);
            digests[*index] = Digest::new(algorithm, &hash[..algorithm.digest_size()]);
        }
    }
    digests
}

/// Update each hasher with its bytes.
///
/// The effect is the same as [`Hasher::update`] for each. Algorithms, lengths and offsets may differ. Long pieces of similar
/// lengths gain most.
pub fn update_many(updates: &mut [(&mut Hasher, &[u8])]) {
    update_all(Plan::of_this_cpu, updates);
}

/// Update all hashers. The plan is requested only if there are jobs for it, because making one takes time.
fn update_all<'p>(plan: impl FnOnce() -> &'p Plan, updates: &mut [(&mut Hasher, &[u8])]) {
    let mut jobs = Vec::new();
    for (hasher, data) in updates {
        match &mut hasher.inner {
            Inner::Sha256(state) => jobs.push(job(state, data)),
            Inner::Sha512(state) => state.update(data),
            Inner::Blake3(tree) => tree.update(data),
        }
    }
    jobs.retain(|job| !job.blocks.is_empty());
    match jobs.as_mut_slice() {
        [] => {}
        [only] => u32::compress(only.words, only.blocks),
        _ => {
            jobs.sort_by_key(|job| Reverse(job.blocks.len()));
            run(plan(), jobs.into_iter());
        }
    }
}

fn job<'a>(state: &'a mut Sha256, data: &'a [u8]) -> Job<'a> {
    let blocks = state.take(data);
    Job { words: state.words(), blocks }
}

#[cfg(test)]
mod tests;
