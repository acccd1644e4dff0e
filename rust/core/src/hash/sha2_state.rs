//! The SHA-2 family as plain words, an offset and a partial block, so that a state can be saved at any byte.
//!
//! Only padding and buffering are implemented here (FIPS 180-4, sections 5 and 6). The compression functions come from the
//! `sha2` crate, which detects SHA-NI, AVX2 and similar instructions at run time.

use std::fmt;

use sha2::block_api::{compress256, compress512};

use super::prefetch::piecewise;

/// SHA-256's state.
pub(super) type Sha256 = Sha2<u32, 64>;
/// The state of SHA-384 and SHA-512.
pub(super) type Sha512 = Sha2<u64, 128>;

/// Initial words of SHA-256 (FIPS 180-4, 5.3.3).
pub(super) const SHA256: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Initial words of SHA-384 (FIPS 180-4, 5.3.4).
pub(super) const SHA384: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];
/// Initial words of SHA-512 (FIPS 180-4, 5.3.5).
pub(super) const SHA512: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// The differences between the two word sizes.
pub(super) trait Word<const BLOCK: usize>: Copy + Default {
    /// The word's length in bytes.
    const SIZE: usize;
    fn compress(words: &mut [Self; 8], blocks: &[[u8; BLOCK]]);
    fn put(self, bytes: &mut [u8]);
    fn get(bytes: &[u8]) -> Option<Self>;
}

impl Word<64> for u32 {
    const SIZE: usize = 4;

    fn compress(words: &mut [Self; 8], blocks: &[[u8; 64]]) {
        piecewise(blocks, |piece| compress256(words, piece));
    }

    fn put(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_be_bytes());
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Word<128> for u64 {
    const SIZE: usize = 8;

    fn compress(words: &mut [Self; 8], blocks: &[[u8; 128]]) {
        // This is so slow that memory keeps up without prefetches.
        compress512(words, blocks);
    }

    fn put(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_be_bytes());
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

/// A running hash with words of type `W` and blocks of `BLOCK` bytes.
#[derive(Clone)]
pub(super) struct Sha2<W, const BLOCK: usize> {
    words: [W; 8],
    /// The number of bytes so far. Modulo `BLOCK` it is the number of valid bytes in `partial`.
    offset: u64,
    partial: [u8; BLOCK],
}

/// The padded end of an input (FIPS 180-4, 5.1).
pub(super) struct End<const BLOCK: usize> {
    blocks: [[u8; BLOCK]; 2],
    count: usize,
}

impl<const BLOCK: usize> End<BLOCK> {
    /// Pad an input of `size` bytes; `rest` are the bytes after its whole blocks.
    pub(super) fn new(size: u64, rest: &[u8]) -> Self {
        let length_size = BLOCK / 8;
        let mut blocks = [[0; BLOCK]; 2];
        blocks[0][..rest.len()].copy_from_slice(rest);
        blocks[0][rest.len()] = 0x80;
        let count = if rest.len() + 1 + length_size <= BLOCK { 1 } else { 2 };
        let bits = (u128::from(size) * 8).to_be_bytes();
        blocks[count - 1][BLOCK - length_size..].copy_from_slice(&bits[bits.len() - length_size..]);
        Self { blocks, count }
    }

    /// One block or two.
    pub(super) fn blocks(&self) -> &[[u8; BLOCK]] {
        &self.blocks[..self.count]
    }
}

impl<W: Word<BLOCK>, const BLOCK: usize> Sha2<W, BLOCK> {
    pub(super) fn new(words: [W; 8]) -> Self {
        Self { words, offset: 0, partial: [0; BLOCK] }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of valid bytes in `partial`.
    fn held(&self) -> usize {
        // The remainder is below BLOCK, so the cut to usize loses nothing.
        #[allow(clippy::cast_possible_truncation)]
        let held = (self.offset % BLOCK as u64) as usize;
        held
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        let blocks = self.take(data);
        W::compress(&mut self.words, blocks);
    }

    /// Take `data`, except for whole blocks, which are returned. The caller must compress them into the words before any other use
    /// of this state.
    pub(super) fn take<'a>(&mut self, mut data: &'a [u8]) -> &'a [[u8; BLOCK]] {
        let held = self.held();
        self.offset += data.len() as u64;
        if held > 0 {
            let taken = data.len().min(BLOCK - held);
            self.partial[held..held + taken].copy_from_slice(&data[..taken]);
            data = &data[taken..];
            if held + taken < BLOCK {
                return &[];
            }
            W::compress(&mut self.words, &[self.partial]);
        }
        // Whole blocks are compressed in place, without a copy.
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        self.partial[..rest.len()].copy_from_slice(rest);
        blocks
    }

    /// The words, for code that compresses blocks into them.
    pub(super) fn words(&mut self) -> &mut [W; 8] {
        &mut self.words
    }

    /// The hash of the bytes so far: `8 * W::SIZE` bytes at the front of the array.
    pub(super) fn finish(&self) -> [u8; 64] {
        let mut words = self.words;
        let end = End::new(self.offset, &self.partial[..self.held()]);
        W::compress(&mut words, end.blocks());
        hash(words)
    }

    /// The words, then the bytes of the partial block.
    pub(super) fn save(&self) -> Vec<u8> {
        let mut payload = vec![0; 8 * W::SIZE];
        put_words(self.words, &mut payload);
        payload.extend_from_slice(&self.partial[..self.held()]);
        payload
    }

    /// The state that `save` saved at `offset`, unless the length is wrong.
    pub(super) fn restore(offset: u64, payload: &[u8]) -> Option<Self> {
        let (words, rest) = payload.split_at_checked(8 * W::SIZE)?;
        let mut state = Self { words: [W::default(); 8], offset, partial: [0; BLOCK] };
        if rest.len() != state.held() {
            return None;
        }
        for (word, bytes) in state.words.iter_mut().zip(words.chunks_exact(W::SIZE)) {
            *word = W::get(bytes)?;
        }
        state.partial[..rest.len()].copy_from_slice(rest);
        Some(state)
    }
}

impl<W, const BLOCK: usize> fmt::Debug for Sha2<W, BLOCK> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha2").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// Convert the final words to the hash: `8 * W::SIZE` bytes at the front of the array.
pub(super) fn hash<W: Word<BLOCK>, const BLOCK: usize>(words: [W; 8]) -> [u8; 64] {
    let mut hash = [0; 64];
    put_words(words, &mut hash);
    hash
}

fn put_words<W: Word<BLOCK>, const BLOCK: usize>(words: [W; 8], bytes: &mut [u8]) {
    for (word, bytes) in words.into_iter().zip(bytes.chunks_exact_mut(W::SIZE)) {
        word.put(bytes);
    }
}
