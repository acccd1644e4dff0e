//! SHA-256 of sixteen streams at once with AVX-512: one register holds one word of each.
#![allow(unsafe_code, reason = "bytes as vectors, and a call of code for a CPU that was asked")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm_set_epi64x, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_castsi256_si512,
    _mm512_castsi512_si256, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;

use super::rounds::{define_rounds, sixteen_times};
use crate::hash::lanes::constants::K256;
use crate::hash::prefetch::{Input, blocks_ahead};

/// The streams.
pub(in super::super) const LANES: usize = 16;

define_rounds!(
    __m512i, u32, "avx512f",
    add: _mm512_add_epi32, ror: _mm512_ror_epi32, shr: _mm512_srli_epi32,
    logic: _mm512_ternarylogic_epi32, splat: _mm512_set1_epi32,
    sum0: 2 13 22, sum1: 6 11 25, sigma0: 7 18 3, sigma1: 17 19 10
);

/// Whether this CPU can run it.
pub(in super::super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Compress equally many blocks into each of the states.
pub(in super::super) fn compress(words: &mut [[u32; 8]], inputs: &[Input<'_>]) {
    assert!(available());
    let words = words.try_into().expect("a state for each lane");
    let inputs = inputs.try_into().expect("an input for each lane");
    // SAFETY: the CPU has the features for which the function is compiled, as was just checked.
    unsafe { compress_all(words, inputs) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress_all(words: &mut [[u32; 8]; LANES], inputs: &[Input<'_>; LANES]) {
    let big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    let (constants, _) = K256.as_chunks();
    let mut state = load_state(words);
    let ahead = const { blocks_ahead(LANES) };
    for index in 0..inputs[0].now.len() {
        let mut rows = [_mm512_setzero_si512(); LANES];
        for (row, input) in rows.iter_mut().zip(inputs) {
            input.prefetch(index + ahead);
            // SAFETY: any 64 bytes are a vector.
            let bytes = unsafe { transmute::<[u8; 64], __m512i>(input.now[index]) };
            *row = _mm512_shuffle_epi8(bytes, big_endian);
        }
        compress_block(&mut state, transpose(rows), constants);
    }
    store_state(words, state);
}

/// Turn sixteen rows of sixteen words into columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(mut r: [__m512i; 16]) -> [__m512i; 16] {
    // Squares of four words, inside of each quarter of the registers.
    for four in r.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Then the squares of quarters.
    let mut columns = r;
    for i in 0..4 {
        let [a, b, c, d] = [r[i], r[i + 4], r[i + 8], r[i + 12]];
        let (ab, ab_odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd, cd_odd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        columns[i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        columns[i + 4] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        columns[i + 8] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        columns[i + 12] = _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_state(words: &[[u32; 8]; LANES]) -> [__m512i; 8] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, words) in rows.iter_mut().zip(words) {
        // SAFETY: any eight words are a vector.
        *row = _mm512_castsi256_si512(unsafe { transmute::<[u32; 8], __m256i>(*words) });
    }
    // The upper halves of the rows, and so the other columns, are not used.
    let [a, b, c, d, e, f, g, h, ..] = transpose(rows);
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_state(words: &mut [[u32; 8]; LANES], state: [__m512i; 8]) {
    let mut rows = [_mm512_setzero_si512(); LANES];
    rows[..8].copy_from_slice(&state);
    for (words, column) in words.iter_mut().zip(transpose(rows)) {
        // SAFETY: a vector is any eight words.
        *words = unsafe { transmute::<__m256i, [u32; 8]>(_mm512_castsi512_si256(column)) };
    }
}
