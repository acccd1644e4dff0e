//! SHA-256 of eight streams at once with AVX-512's instructions on registers of half the size.
//!
//! Some CPUs execute three of these instructions in the time of two full-width ones. On them, eight streams gain three quarters of
//! the gain of sixteen, and few streams gain more than in the wider kernel.
#![allow(unsafe_code, reason = "bytes as vectors, and a call of code for a CPU that was asked")]

use std::arch::x86_64::{
    __m256i, _mm_set_epi64x, _mm256_add_epi32, _mm256_broadcastsi128_si256, _mm256_permute2x128_si256,
    _mm256_ror_epi32, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi32,
    _mm256_ternarylogic_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64,
};
use std::mem::transmute;

use super::rounds::{define_rounds, sixteen_times};
use crate::hash::lanes::constants::K256;
use crate::hash::prefetch::{Input, blocks_ahead};

/// The streams.
pub(in super::super) const LANES: usize = 8;

define_rounds!(
    __m256i, u32, "avx512f,avx512vl",
    add: _mm256_add_epi32, ror: _mm256_ror_epi32, shr: _mm256_srli_epi32,
    logic: _mm256_ternarylogic_epi32, splat: _mm256_set1_epi32,
    sum0: 2 13 22, sum1: 6 11 25, sigma0: 7 18 3, sigma1: 17 19 10
);

/// Whether this CPU can run it.
pub(in super::super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

/// Compress equally many blocks into each of the states.
pub(in super::super) fn compress(words: &mut [[u32; 8]], inputs: &[Input<'_>]) {
    assert!(available());
    let words = words.try_into().expect("a state for each lane");
    let inputs = inputs.try_into().expect("an input for each lane");
    // SAFETY: the CPU has the features for which the function is compiled, as was just checked.
    unsafe { compress_all(words, inputs) }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn compress_all(words: &mut [[u32; 8]; LANES], inputs: &[Input<'_>; LANES]) {
    let big_endian = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    let (constants, _) = K256.as_chunks();
    // SAFETY: any eight words are a vector.
    let rows = words.map(|words| unsafe { transmute::<[u32; 8], __m256i>(words) });
    let mut state = transpose(rows);
    let ahead = const { blocks_ahead(LANES) };
    for index in 0..inputs[0].now.len() {
        let mut message = [_mm256_setzero_si256(); 16];
        for (half, columns) in message.as_chunks_mut().0.iter_mut().enumerate() {
            let mut rows = [_mm256_setzero_si256(); LANES];
            for (row, input) in rows.iter_mut().zip(inputs) {
                let halves = input.now[index].as_chunks().0;
                // SAFETY: any 32 bytes are a vector.
                let bytes = unsafe { transmute::<[u8; 32], __m256i>(halves[half]) };
                *row = _mm256_shuffle_epi8(bytes, big_endian);
            }
            *columns = transpose(rows);
        }
        for input in inputs {
            input.prefetch(index + ahead);
        }
        compress_block(&mut state, message, constants);
    }
    for (words, column) in words.iter_mut().zip(transpose(state)) {
        // SAFETY: a vector is any eight words.
        *words = unsafe { transmute::<__m256i, [u32; 8]>(column) };
    }
}

/// Turn eight rows of eight words into columns.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn transpose(mut r: [__m256i; 8]) -> [__m256i; 8] {
    // Squares of four words, inside of each half of the registers.
    for four in r.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        *four = [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Then the halves.
    let mut columns = r;
    for i in 0..4 {
        columns[i] = _mm256_permute2x128_si256::<0x20>(r[i], r[i + 4]);
        columns[i + 4] = _mm256_permute2x128_si256::<0x31>(r[i], r[i + 4]);
    }
    columns
}
