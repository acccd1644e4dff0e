//! The ways to compress blocks: one stream, and several at once where the CPU has instructions for it.

use std::fmt;

use crate::hash::prefetch::Input;
use crate::hash::sha2_state::Word;

/// The most streams that any kernel advances at once.
pub(super) const MOST_LANES: usize = 16;

/// A function that compresses equally many blocks into each of several states.
pub(super) struct Kernel<W, const BLOCK: usize> {
    pub(super) name: &'static str,
    /// How many states it takes, always all of them.
    pub(super) lanes: usize,
    /// Whether this CPU can run it.
    pub(super) available: fn() -> bool,
    compress: Compress<W, BLOCK>,
}

type Compress<W, const BLOCK: usize> = fn(&mut [[W; 8]], &[Input<'_, BLOCK>]);

impl<W, const BLOCK: usize> Kernel<W, BLOCK> {
    /// Compress each input into the state at the same place.
    ///
    /// There must be one of each for every lane, and all inputs must have the same number of blocks.
    pub(super) fn compress(&self, words: &mut [[W; 8]], inputs: &[Input<'_, BLOCK>]) {
        debug_assert!(inputs.iter().all(|input| input.now.len() == inputs[0].now.len()));
        (self.compress)(words, inputs);
    }
}

impl<W, const BLOCK: usize> fmt::Debug for Kernel<W, BLOCK> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A word size and its kernels, the narrow ones first. The first one, for one stream, is always there.
pub(super) trait Lane<const BLOCK: usize>: Word<BLOCK> + 'static {
    const KERNELS: &'static [Kernel<Self, BLOCK>];
}

/// The `sha2` crate's functions, which use what the CPU has for one stream.
const fn single<W: Word<BLOCK>, const BLOCK: usize>() -> Kernel<W, BLOCK> {
    Kernel {
        name: "one stream",
        lanes: 1,
        available: || true,
        compress: |words, inputs| W::compress(&mut words[0], inputs[0].now),
    }
}

#[cfg(target_arch = "x86_64")]
use super::x86::{sha256_ni, sha256_ymm, sha256_zmm, sha512_ymm, sha512_zmm};

impl Lane<64> for u32 {
    const KERNELS: &'static [Kernel<Self, 64>] = &[
        single(),
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
}

impl Lane<128> for u64 {
    const KERNELS: &'static [Kernel<Self, 128>] = &[
        single(),
        #[cfg(target_arch = "x86_64")]
        Kernel {
            name: "AVX-512 x4",
            lanes: sha512_ymm::LANES,
            available: sha512_ymm::available,
            compress: sha512_ymm::compress,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            name: "AVX-512 x8",
            lanes: sha512_zmm::LANES,
            available: sha512_zmm::available,
            compress: sha512_zmm::compress,
        },
    ];
}
