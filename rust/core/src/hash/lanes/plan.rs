//! The choice of a kernel for each number of streams, measured once in each process.
//!
//! The speed of the kernels differs too much between CPUs for a fixed choice. Two interleaved streams of SHA instructions gain
//! 20 % on some CPUs and 60 % on others, and a wide kernel with few streams wastes its other lanes. So each kernel is timed for
//! a few microseconds, as operating systems do to choose their parity functions. A wrong choice on a busy machine only costs
//! time.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::kernel::{KERNELS, Kernel, MOST_LANES};
use crate::hash::prefetch::{BLOCK, Input};

/// The work for timing a kernel: this many blocks of each of `MOST_LANES` streams.
const BLOCKS: usize = 8;
/// The number of rounds of timing, of which the shortest time counts.
const ROUNDS: usize = 5;
/// A wider kernel is preferred only if it gains at least this factor, so that noise does not decide between equal kernels.
const WORTHWHILE: f64 = 1.05;

/// The kernel for each number of streams.
#[derive(Debug)]
pub(super) struct Plan {
    /// Indexed by the number of streams that are ready, less one.
    by_streams: [&'static Kernel; MOST_LANES],
    /// The number of streams to process at a time while there are more.
    lanes: usize,
}

impl Plan {
    /// The plan for this CPU, made by the first caller.
    pub(super) fn of_this_cpu() -> &'static Self {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(Self::measured)
    }

    /// Make a plan from the gain of each kernel: the blocks that it compresses, with all lanes in use, in the time in which the first kernel
    /// compresses one.
    ///
    /// The first kernel must be the one for a single stream.
    pub(super) fn new(gains: &[(&'static Kernel, f64)]) -> Self {
        let by_streams = std::array::from_fn(|index| {
            let mut best = (gains[0].0, 0.0);
            // A single stream uses the first kernel, because a wider one could at best be as fast.
            let candidates = if index == 0 { &gains[..1] } else { gains };
            for &(kernel, gain) in candidates {
                let used = share(index + 1, kernel.lanes);
                if gain * used > best.1 * WORTHWHILE {
                    best = (kernel, gain * used);
                }
            }
            best.0
        });
        let lanes = by_streams[MOST_LANES - 1].lanes;
        Self { by_streams, lanes }
    }

    /// A plan that uses this kernel for everything.
    pub(super) fn only(kernel: &'static Kernel) -> Self {
        Self::new(&[(kernel, 1.0)])
    }

    /// The number of streams to process at a time while there are more.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// The kernel for this number of streams; `None` for no streams.
    pub(super) fn kernel(&self, streams: usize) -> Option<&'static Kernel> {
        let last = streams.min(MOST_LANES).checked_sub(1)?;
        Some(self.by_streams[last])
    }

    /// Time the kernels that this CPU can run, and make a plan from the results.
    pub(super) fn measured() -> Self {
        let kernels: Vec<_> = KERNELS.iter().filter(|kernel| (kernel.available)()).collect();
        let mut shortest = vec![Duration::MAX; kernels.len()];
        // Each round times all kernels, so that a disturbance, or the slow start of wide registers, affects all of them.
        for _ in 0..ROUNDS {
            for (kernel, shortest) in kernels.iter().zip(&mut shortest) {
                *shortest = time(kernel).min(*shortest);
            }
        }
        let single = shortest[0].as_secs_f64();
        let gains: Vec<_> = kernels
            .into_iter()
            .zip(shortest)
            .map(|(kernel, shortest)| (kernel, single / shortest.as_secs_f64().max(1e-9)))
            .collect();
        Self::new(&gains)
    }
}

/// The time of the kernel for `BLOCKS` blocks of each of `MOST_LANES` streams.
fn time(kernel: &Kernel) -> Duration {
    let blocks = [[0; BLOCK]; BLOCKS];
    let input = Input { now: &blocks, then: &[] };
    let inputs = [input; MOST_LANES];
    let mut words = [[0; 8]; MOST_LANES];
    let start = Instant::now();
    for words in words.chunks_exact_mut(kernel.lanes) {
        kernel.compress(words, &inputs[..kernel.lanes]);
    }
    black_box(words);
    start.elapsed()
}

/// The fraction of the lanes that `streams` streams use.
fn share(streams: usize, lanes: usize) -> f64 {
    let float = |count: usize| f64::from(u16::try_from(count).unwrap_or(u16::MAX));
    float(streams.min(lanes)) / float(lanes)
}
