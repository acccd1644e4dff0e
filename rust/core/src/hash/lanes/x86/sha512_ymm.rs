//! SHA-512 of four streams at once with AVX-512's instructions on registers of half the size.
#![allow(unsafe_code, reason = "bytes as vectors, and a call of code for a CPU that was asked")]

use std::arch::x86_64::{
    __m256i, _mm_set_epi64x, _mm256_add_epi64, _mm256_broadcastsi128_si256, _mm256_permute2x128_si256,
    _mm256_ror_epi64, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64,
    _mm256_ternarylogic_epi64, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};
use std::mem::transmute;

use super::rounds::{define_rounds, sixteen_times};
use crate::hash::lanes::constants::K512;
use crate::hash::prefetch::{Input, blocks_ahead};

/// The streams.
pub(in super::super) const LANES: usize = 4;

define_rounds!(
    __m256i, u64, "avx512f,avx512vl",
    add: _mm256_add_epi64, ror: _mm256_ror_epi64, shr: _mm256_srli_epi64,
    logic: _mm256_ternarylogic_epi64, splat: _mm256_set1_epi64x,
    sum0: 28 34 39, sum1: 14 18 41, sigma0: 1 8 7, sigma1: 19 61 6
);

/// Whether this CPU can run it.
pub(in super::super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

/// Compress equally many blocks into each of the states.
pub(in super::super) fn compress(words: &mut [[u64; 8]], inputs: &[Input<'_, 128>]) {
    assert!(available());
    let words = words.try_into().expect("a state for each lane");
    let inputs = inputs.try_into().expect("an input for each lane");
    // SAFETY: the features that it is compiled for are there, as was just asked.
    unsafe { compress_all(words, inputs) }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn compress_all(words: &mut [[u64; 8]; LANES], inputs: &[Input<'_, 128>; LANES]) {
    let big_endian = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607));
    let (constants, _) = K512.as_chunks();
    let mut state = load_state(words);
    let ahead = const { blocks_ahead(LANES, 128) };
    for index in 0..inputs[0].now.len() {
        let mut message = [_mm256_setzero_si256(); 16];
        for (quarter, columns) in message.as_chunks_mut().0.iter_mut().enumerate() {
            let mut rows = [_mm256_setzero_si256(); LANES];
            for (row, input) in rows.iter_mut().zip(inputs) {
                let quarters = input.now[index].as_chunks().0;
                // SAFETY: any 32 bytes are a vector.
                let bytes = unsafe { transmute::<[u8; 32], __m256i>(quarters[quarter]) };
                *row = _mm256_shuffle_epi8(bytes, big_endian);
            }
            *columns = transpose(rows);
        }
        for input in inputs {
            input.prefetch(index + ahead);
        }
        compress_block(&mut state, message, constants);
    }
    store_state(words, state);
}

/// Turn four rows of four words into columns.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn transpose([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let (ab, ab_odd) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (cd, cd_odd) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
    [
        _mm256_permute2x128_si256::<0x20>(ab, cd),
        _mm256_permute2x128_si256::<0x20>(ab_odd, cd_odd),
        _mm256_permute2x128_si256::<0x31>(ab, cd),
        _mm256_permute2x128_si256::<0x31>(ab_odd, cd_odd),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn load_state(words: &[[u64; 8]; LANES]) -> [__m256i; 8] {
    // SAFETY: any four words are a vector.
    let rows = words.map(|words| unsafe { transmute::<[u64; 8], [__m256i; 2]>(words) });
    let [a, b, c, d] = transpose(rows.map(|[lower, _]| lower));
    let [e, f, g, h] = transpose(rows.map(|[_, upper]| upper));
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn store_state(words: &mut [[u64; 8]; LANES], [a, b, c, d, e, f, g, h]: [__m256i; 8]) {
    let lower = transpose([a, b, c, d]);
    let upper = transpose([e, f, g, h]);
    for (words, halves) in words.iter_mut().zip(lower.into_iter().zip(upper)) {
        // SAFETY: two vectors are any eight words.
        *words = unsafe { transmute::<[__m256i; 2], [u64; 8]>(halves.into()) };
    }
}
