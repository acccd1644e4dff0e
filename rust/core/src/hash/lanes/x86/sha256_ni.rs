//! SHA-256 of two or four streams at once with the SHA instructions.
//!
//! With one stream, the instructions wait for their own results; the rounds of other streams fill these gaps.
#![allow(unsafe_code, reason = "bytes as vectors, and a call of code for a CPU that was asked")]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};
use std::mem::transmute;

use super::rounds::sixteen_times;
use crate::hash::lanes::constants::K256;
use crate::hash::prefetch::{Input, blocks_ahead};

/// Whether this CPU can run it. AVX2 is not needed, but saves the copies that two-operand instructions make.
pub(in super::super) fn available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx2")
}

/// Compress equally many blocks into each of the `LANES` states.
pub(in super::super) fn compress<const LANES: usize>(words: &mut [[u32; 8]], inputs: &[Input<'_>]) {
    assert!(available());
    let words = words.try_into().expect("a state for each lane");
    let inputs = inputs.try_into().expect("an input for each lane");
    // SAFETY: the CPU has the features for which the function is compiled, as was just checked.
    unsafe { compress_all::<LANES>(words, inputs) }
}

/// The two halves of a state in the order that the instructions want: `a b e f` and `c d g h`, first word on top.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,avx2")]
fn compress_all<const LANES: usize>(words: &mut [[u32; 8]; LANES], inputs: &[Input<'_>; LANES]) {
    let mut states = words.map(|words| load_state(&words));
    let ahead = const { blocks_ahead(LANES) };
    for index in 0..inputs[0].now.len() {
        for input in inputs {
            input.prefetch(index + ahead);
        }
        let before = states;
        let mut message = [[_mm_setzero_si128(); 4]; LANES];
        sixteen_times!(QUAD, {
            for lane in 0..LANES {
                let w = &mut message[lane];
                w[QUAD % 4] =
                    if QUAD < 4 { load(&inputs[lane].now[index].as_chunks().0[QUAD]) } else { extend::<QUAD>(w) };
                four_rounds::<QUAD>(&mut states[lane], w[QUAD % 4]);
            }
        });
        for (state, before) in states.iter_mut().zip(before) {
            state.abef = _mm_add_epi32(state.abef, before.abef);
            state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
        }
    }
    for (words, state) in words.iter_mut().zip(states) {
        store_state(words, state);
    }
}

#[inline]
#[target_feature(enable = "sha,avx2")]
fn four_rounds<const QUAD: usize>(state: &mut State, w: __m128i) {
    let sum = _mm_add_epi32(w, vector(K256.as_chunks().0[QUAD]));
    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
    let sum = _mm_shuffle_epi32::<0x0e>(sum);
    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, sum);
}

/// The four words of the message that come sixteen words after those at `QUAD`.
#[inline]
#[target_feature(enable = "sha,avx2")]
fn extend<const QUAD: usize>(w: &[__m128i; 4]) -> __m128i {
    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|i| w[(QUAD + i) % 4]);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(sum, w3)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    // SAFETY: any 16 bytes are a vector.
    _mm_shuffle_epi8(unsafe { transmute::<[u8; 16], __m128i>(*bytes) }, big_endian)
}

#[inline]
#[target_feature(enable = "avx2")]
fn vector(words: [u32; 4]) -> __m128i {
    // SAFETY: any four words are a vector.
    unsafe { transmute::<[u32; 4], __m128i>(words) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_state(&[a, b, c, d, e, f, g, h]: &[u32; 8]) -> State {
    State { abef: vector([f, e, b, a]), cdgh: vector([h, g, d, c]) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_state(words: &mut [u32; 8], state: State) {
    // SAFETY: two vectors are any eight words.
    let [f, e, b, a, h, g, d, c] = unsafe { transmute::<[__m128i; 2], [u32; 8]>([state.abef, state.cdgh]) };
    *words = [a, b, c, d, e, f, g, h];
}
