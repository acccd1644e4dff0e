//! The kernels that compress blocks: of one stream, and of several at once if the CPU has instructions for it.

use std::fmt;

use crate::hash::prefetch::Input;
use crate::hash::sha2_state::Word as _;

#[cfg(target_arch = "x86_64")]
use super::x86::{sha256_ni, sha256_ymm, sha256_zmm};

/// The most streams that any kernel advances at once.
pub(super) const MOST_LANES: usize = 16;

/// A function that compresses equally many blocks into each of several states.
pub(super) struct Kernel {
    pub(super) name: &'static str,
    /// The number of states in each call.
    pub(super) lanes: usize,
    /// Whether this CPU can run it.
    pub(super) available: fn() -> bool,
    compress: Compress,
}

type Compress = fn(&mut [[u32; 8]], &[Input<'_>]);

impl Kernel {
    /// Compress each input into the state with the same index.
    ///
    /// There must be a state and an input for every lane, and all inputs must have the same number of blocks.
    pub(super) fn compress(&self, words: &mut [[u32; 8]], inputs: &[Input<'_>]) {
        debug_assert!(inputs.iter().all(|input| input.now.len() == inputs[0].now.len()));
        (self.compress)(words, inputs);
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The kernels, the narrow ones first. The first one, for one stream, works on every CPU: the function of the `sha2` crate.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "one stream",
        lanes: 1,
        available: || true,
        compress: |words, inputs| u32::compress(&mut words[0], inputs[0].now),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "SHA-NI x2", lanes: 2, available: sha256_ni::available, compress: sha256_ni::compress::<2> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "SHA-NI x4", lanes: 4, available: sha256_ni::available, compress: sha256_ni::compress::<4> },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "AVX-512 x8",
        lanes: sha256_ymm::LANES,
        available: sha256_ymm::available,
        compress: sha256_ymm::compress,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "AVX-512 x16",
        lanes: sha256_zmm::LANES,
        available: sha256_zmm::available,
        compress: sha256_zmm::compress,
    },
];
