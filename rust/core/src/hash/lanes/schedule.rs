//! The assignment of streams to lanes: streams of different lengths advance together, in steps as long as the shortest.

use std::cmp::Reverse;

use super::kernel::{Kernel, MOST_LANES};
use super::plan::Plan;
use crate::hash::prefetch::{BLOCK, Input};

/// A stream that waits for some blocks to be compressed.
pub(super) struct Job<'a> {
    pub(super) words: &'a mut [u32; 8],
    pub(super) blocks: &'a [[u8; BLOCK]],
}

/// The longest step, in blocks, while more streams are ready than the kernel has lanes.
///
/// Short steps alternate between the streams. So the streams end together, and no long one runs alone at the end.
const LONGEST_STEP: usize = 64;

/// Compress all blocks of all jobs.
///
/// The longest job should come first: a long job at the end runs alone for most of its length.
pub(super) fn run<'a>(plan: &Plan, jobs: impl Iterator<Item = Job<'a>>) {
    let mut jobs = jobs.filter(|job| !job.blocks.is_empty());
    // The running jobs, and the same number of waiting jobs, whose memory can be prefetched.
    let mut ready: Vec<Job<'_>> = Vec::with_capacity(2 * plan.lanes());
    loop {
        ready.extend(jobs.by_ref().take(2 * plan.lanes() - ready.len()));
        let streams = ready.len().min(plan.lanes());
        let Some(kernel) = plan.kernel(streams) else {
            return;
        };
        let (going, waiting) = ready.split_at_mut(streams);
        advance(kernel, going, waiting);
        ready.retain(|job| !job.blocks.is_empty());
    }
}

/// Compress one step of as many jobs as the kernel takes.
fn advance(kernel: &Kernel, going: &mut [Job<'_>], waiting: &[Job<'_>]) {
    let crowded = kernel.lanes > 1 && going.len() > kernel.lanes;
    if crowded {
        going.sort_by_key(|job| Reverse(job.blocks.len()));
    }
    let active = going.len().min(kernel.lanes);
    let active = &mut going[..active];
    let longest = if crowded { LONGEST_STEP } else { usize::MAX };
    let step = active.iter().map(|job| job.blocks.len()).fold(longest, usize::min);
    // Lanes without a stream compress the blocks of the first stream into words that are never read.
    let mut words = [[0; 8]; MOST_LANES];
    let idle = Input { now: &active[0].blocks[..step], then: &[] };
    let mut inputs = [idle; MOST_LANES];
    let mut next = waiting.iter();
    for (job, (words, input)) in active.iter_mut().zip(words.iter_mut().zip(&mut inputs)) {
        *words = *job.words;
        (input.now, job.blocks) = job.blocks.split_at(step);
        input.then = match job.blocks {
            [] => next.next().map_or(&[], |job| job.blocks),
            rest => rest,
        };
    }
    kernel.compress(&mut words[..kernel.lanes], &inputs[..kernel.lanes]);
    for (job, words) in active.iter_mut().zip(words) {
        *job.words = words;
    }
}
