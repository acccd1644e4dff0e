//! Prefetching of memory.
//!
//! A hash reads its input sequentially, so the CPU should predict the next reads. But many CPUs stop at page borders, and where
//! memory is slow, as on large servers, a single stream from memory was measured a third slower than one from the cache.
#![allow(unsafe_code, reason = "the instruction takes a pointer")]

/// The bytes of a block of SHA-256, and of one prefetch.
pub(super) const BLOCK: usize = 64;

/// The distance of prefetches ahead of a single stream, in bytes: enough for slow memory and a fast stream.
const MOST_AHEAD: usize = 2048;
/// The distance for all lanes together: each lane is slower, and lanes should not evict each other's memory from the cache.
const LANES_AHEAD: usize = 8192;
/// The bytes that one stream compresses at a time while later ones are being fetched.
const RUN: usize = 1024;

/// The distance of prefetches for each of `lanes` lanes, in blocks.
pub(super) const fn blocks_ahead(lanes: usize) -> usize {
    let fair = LANES_AHEAD / lanes;
    if fair < MOST_AHEAD { fair / BLOCK } else { MOST_AHEAD / BLOCK }
}

/// The memory that a stream reads: the blocks that are compressed now, and those that are probably compressed next.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) now: &'a [[u8; BLOCK]],
    pub(super) then: &'a [[u8; BLOCK]],
}

impl Input<'_> {
    /// Prefetch the block at `index`, if there is one.
    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        let block = match index.checked_sub(self.now.len()) {
            None => &self.now[index],
            Some(index) if index < self.then.len() => &self.then[index],
            Some(_) => return,
        };
        fetch(block);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch(block: &[u8; BLOCK]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the pointer comes from a reference. Besides, a prefetch never faults, whatever the address is.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn fetch(_: &[u8; BLOCK]) {}

/// Pass the blocks of one stream to `compress` in pieces, in order, and prefetch the next ones.
#[inline]
pub(super) fn piecewise(blocks: &[[u8; BLOCK]], mut compress: impl FnMut(&[[u8; BLOCK]])) {
    let ahead = blocks_ahead(1);
    let input = Input { now: blocks, then: &[] };
    let mut first = 0;
    for piece in blocks.chunks(RUN / BLOCK) {
        for index in first..first + piece.len() {
            input.prefetch(index + ahead);
        }
        first += piece.len();
        compress(piece);
    }
}
