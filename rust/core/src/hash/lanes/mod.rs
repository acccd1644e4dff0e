//! Many hashes on one core.
//!
//! The hash of one blob is a chain of steps that wait for each other, so it leaves most of a core idle. Several blobs
//! can share the core: their states lie side by side in the lanes of wide registers, or their instructions alternate.
//! [`digest_many`] does so for blobs in memory, [`update_many`] for hashers that run.
//!
//! Neither starts a thread. The results are those of [`Hasher`], bit by bit, whatever the CPU has.

#[cfg(target_arch = "x86_64")]
mod constants;
mod kernel;
mod plan;
pub mod probe;
mod schedule;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cmp::Reverse;

use super::sha2_state::{self, End, Sha2};
use super::{Hasher, Inner};
use crate::digest::{Algorithm, Digest};

use kernel::Lane;
use plan::{Plan, Planned};
use schedule::{Job, run};

/// Blobs whose ends are padded and compressed together: enough to fill the lanes over and over, few enough for the
/// nearest cache.
const ENDS: usize = 64;

/// Give the digests of blobs, in their order.
///
/// The blobs may be of any lengths, and it pays from two on; one far longer than all others together gains little, and
/// BLAKE3, which fills the lanes with parts of one blob, nothing.
///
/// Cost: up to 72 bytes of memory for each blob, besides the result. The first call in a process that has several
/// streams of a word size, here or in [`update_many`], takes some 0.2 ms to find the fastest way.
pub fn digest_many(algorithm: Algorithm, blobs: &[&[u8]]) -> Vec<Digest> {
    if let [only] = blobs {
        return vec![digest_one(algorithm, only)];
    }
    match algorithm {
        Algorithm::Sha256 => digest_all(u32::plan(), algorithm, sha2_state::SHA256, blobs),
        Algorithm::Sha384 => digest_all(u64::plan(), algorithm, sha2_state::SHA384, blobs),
        Algorithm::Sha512 => digest_all(u64::plan(), algorithm, sha2_state::SHA512, blobs),
        Algorithm::Blake3 => blobs.iter().map(|blob| digest_one(algorithm, blob)).collect(),
    }
}

fn digest_one(algorithm: Algorithm, blob: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(blob);
    hasher.digest()
}

fn digest_all<W: Lane<BLOCK>, const BLOCK: usize>(
    plan: &Plan<W, BLOCK>,
    algorithm: Algorithm,
    initial: [W; 8],
    blobs: &[&[u8]],
) -> Vec<Digest> {
    let mut order: Vec<usize> = (0..blobs.len()).collect();
    order.sort_by_key(|index| Reverse(blobs[*index].len()));
    let mut states = vec![initial; blobs.len()];
    let bodies = states.iter_mut().zip(&order).map(|(words, index)| Job { words, blocks: blobs[*index].as_chunks().0 });
    run(plan, bodies);
    // Then the padded ends, one or two blocks each: apart, so that they too lie side by side.
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

/// Let each hasher go on with the bytes beside it.
///
/// As if [`Hasher::update`] were called for each; the algorithms, lengths and offsets may differ. Long pieces of similar
/// lengths gain most.
pub fn update_many(updates: &mut [(&mut Hasher, &[u8])]) {
    update_all(u32::plan, u64::plan, updates);
}

/// The plans are asked for only when there are jobs for them, as it takes time to make one.
fn update_all<'p>(
    narrow_plan: impl FnOnce() -> &'p Plan<u32, 64>,
    wide_plan: impl FnOnce() -> &'p Plan<u64, 128>,
    updates: &mut [(&mut Hasher, &[u8])],
) {
    let mut narrow = Vec::new();
    let mut wide = Vec::new();
    for (hasher, data) in updates {
        match &mut hasher.inner {
            Inner::Sha256(state) => narrow.push(job(state, data)),
            Inner::Sha512(state) => wide.push(job(state, data)),
            Inner::Blake3(tree) => tree.update(data),
        }
    }
    run_sorted(narrow_plan, narrow);
    run_sorted(wide_plan, wide);
}

fn job<'a, W: Lane<BLOCK>, const BLOCK: usize>(state: &'a mut Sha2<W, BLOCK>, data: &'a [u8]) -> Job<'a, W, BLOCK> {
    let blocks = state.take(data);
    Job { words: state.words(), blocks }
}

fn run_sorted<'p, W: Lane<BLOCK>, const BLOCK: usize>(
    plan: impl FnOnce() -> &'p Plan<W, BLOCK>,
    mut jobs: Vec<Job<'_, W, BLOCK>>,
) {
    jobs.retain(|job| !job.blocks.is_empty());
    match jobs.as_mut_slice() {
        [] => {}
        [only] => W::compress(only.words, only.blocks),
        _ => {
            jobs.sort_by_key(|job| Reverse(job.blocks.len()));
            run(plan(), jobs.into_iter());
        }
    }
}

#[cfg(test)]
mod tests;
