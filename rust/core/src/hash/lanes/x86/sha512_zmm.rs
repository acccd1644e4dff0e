//! SHA-512 of eight streams at once with AVX-512: one register holds one word of each.
#![allow(unsafe_code, reason = "bytes as vectors, and a call of code for a CPU that was asked")]

use std::arch::x86_64::{
    __m512i, _mm_set_epi64x, _mm512_add_epi64, _mm512_broadcast_i32x4, _mm512_ror_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i64x2, _mm512_srli_epi64, _mm512_ternarylogic_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use std::mem::transmute;

use super::rounds::{define_rounds, sixteen_times};
use crate::hash::lanes::constants::K512;
use crate::hash::prefetch::{Input, blocks_ahead};

/// The streams.
pub(in super::super) const LANES: usize = 8;

define_rounds!(
    __m512i, u64, "avx512f",
    add: _mm512_add_epi64, ror: _mm512_ror_epi64, shr: _mm512_srli_epi64,
    logic: _mm512_ternarylogic_epi64, splat: _mm512_set1_epi64,
    sum0: 28 34 39, sum1: 14 18 41, sigma0: 1 8 7, sigma1: 19 61 6
);

/// Whether this CPU can run it.
pub(in super::super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Compress equally many blocks into each of the states.
pub(in super::super) fn compress(words: &mut [[u64; 8]], inputs: &[Input<'_, 128>]) {
    assert!(available());
    let words = words.try_into().expect("a state for each lane");
    let inputs = inputs.try_into().expect("an input for each lane");
    // SAFETY: the features that it is compiled for are there, as was just asked.
    unsafe { compress_all(words, inputs) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress_all(words: &mut [[u64; 8]; LANES], inputs: &[Input<'_, 128>; LANES]) {
    let big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607));
    let (constants, _) = K512.as_chunks();
    // SAFETY: any eight words are a vector.
    let rows = words.map(|words| unsafe { transmute::<[u64; 8], __m512i>(words) });
    let mut state = transpose(rows);
    let ahead = const { blocks_ahead(LANES, 128) };
    for index in 0..inputs[0].now.len() {
        let mut message = [_mm512_setzero_si512(); 16];
        for (half, columns) in message.as_chunks_mut().0.iter_mut().enumerate() {
            let mut rows = [_mm512_setzero_si512(); LANES];
            for (row, input) in rows.iter_mut().zip(inputs) {
                let halves = input.now[index].as_chunks().0;
                // SAFETY: any 64 bytes are a vector.
                let bytes = unsafe { transmute::<[u8; 64], __m512i>(halves[half]) };
                *row = _mm512_shuffle_epi8(bytes, big_endian);
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
        *words = unsafe { transmute::<__m512i, [u64; 8]>(column) };
    }
}

/// Turn eight rows of eight words into columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(r: [__m512i; 8]) -> [__m512i; 8] {
    let mut columns = r;
    let even = [0, 2, 4, 6].map(|i| _mm512_unpacklo_epi64(r[i], r[i + 1]));
    let odd = [0, 2, 4, 6].map(|i| _mm512_unpackhi_epi64(r[i], r[i + 1]));
    // Each register now has pairs of four columns; those of one column are gathered from all four registers.
    for (parity, [a, b, c, d]) in [even, odd].into_iter().enumerate() {
        let (ab, ab_odd) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b));
        let (cd, cd_odd) = (_mm512_shuffle_i64x2::<0x88>(c, d), _mm512_shuffle_i64x2::<0xdd>(c, d));
        columns[parity] = _mm512_shuffle_i64x2::<0x88>(ab, cd);
        columns[parity + 2] = _mm512_shuffle_i64x2::<0x88>(ab_odd, cd_odd);
        columns[parity + 4] = _mm512_shuffle_i64x2::<0xdd>(ab, cd);
        columns[parity + 6] = _mm512_shuffle_i64x2::<0xdd>(ab_odd, cd_odd);
    }
    columns
}
