//! Asking for memory before it is needed.
//!
//! A hash reads its input so evenly that the CPU should know what comes next; yet the borders of pages stop many, and
//! where memory is far, as on large servers, a lone stream from it was measured a third slower than one from the cache.
#![allow(unsafe_code, reason = "the instruction takes a pointer")]

/// SHA-256's block, in bytes: also what memory is asked for at once.
pub(super) const BLOCK: usize = 64;

/// How far ahead of its stream memory is asked for, in bytes; far enough for slow memory and a fast stream.
const MOST_AHEAD: usize = 2048;
/// The same for all lanes together, which are slower, one by one, and should not push out each other's.
const LANES_AHEAD: usize = 8192;
/// Bytes that one stream compresses in one go while those further on are on their way.
const RUN: usize = 1024;

/// How far ahead each of so many lanes asks for memory, in blocks.
pub(super) const fn blocks_ahead(lanes: usize) -> usize {
    let fair = LANES_AHEAD / lanes;
    if fair < MOST_AHEAD { fair / BLOCK } else { MOST_AHEAD / BLOCK }
}

/// The memory that a stream reads: the blocks that are compressed now, and those that likely are thereafter.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) now: &'a [[u8; BLOCK]],
    pub(super) then: &'a [[u8; BLOCK]],
}

impl Input<'_> {
    /// Ask for the block at `index`, if there is one.
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
    // SAFETY: the pointer is that of a reference; besides, a prefetch of any address never faults.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn fetch(_: &[u8; BLOCK]) {}

/// Give the blocks of one stream to `compress` in pieces, in order, and ask for what follows.
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
