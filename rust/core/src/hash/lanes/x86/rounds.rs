//! The rounds of SHA-2 over vectors that hold one word of each lane.
//!
//! The algorithm is the same for every word size and vector size; only the names of the instructions differ, and a
//! function with target features cannot be generic over those. So it is a macro.
//!
//! Spec: FIPS 180-4, 4.1.2, 4.1.3, 6.2.2 and 6.4.2.

/// Expand a block sixteen times, with a counter that is a constant: an array indexed by it can live in registers.
macro_rules! sixteen_times {
    ($counter:ident, $body:block) => {
        sixteen_times!(@ $counter $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $counter:ident $body:block $($number:literal)*) => {
        $({
            const $counter: usize = $number;
            $body
        })*
    };
}

/// Define `compress_block(state, message, constants)` for one kind of vector.
///
/// `state` is the eight words, `message` the sixteen words of a block, both one vector per word.
macro_rules! define_rounds {
    (
        $vector:ty, $word:ty, $features:literal,
        add: $add:ident, ror: $ror:ident, shr: $shr:ident, logic: $logic:ident, splat: $splat:ident,
        sum0: $a0:literal $a1:literal $a2:literal, sum1: $e0:literal $e1:literal $e2:literal,
        sigma0: $x0:literal $x1:literal $x2:literal, sigma1: $y0:literal $y1:literal $y2:literal
    ) => {
        /// The truth tables of the three-input instruction.
        const XOR: i32 = 0x96;
        const CHOOSE: i32 = 0xca;
        const MAJORITY: i32 = 0xe8;

        /// One round. The eight words do not move: round `i` finds `a` at index `-i`, `b` after it, and so on.
        #[inline]
        #[target_feature(enable = $features)]
        fn round<const I: usize>(s: &mut [$vector; 8], w: $vector, k: $word) {
            let (a, b, c) = (s[(16 - I) % 8], s[(17 - I) % 8], s[(18 - I) % 8]);
            let (e, f, g) = (s[(20 - I) % 8], s[(21 - I) % 8], s[(22 - I) % 8]);
            let sum1 = $logic::<XOR>($ror::<$e0>(e), $ror::<$e1>(e), $ror::<$e2>(e));
            let sum0 = $logic::<XOR>($ror::<$a0>(a), $ror::<$a1>(a), $ror::<$a2>(a));
            // Operations that do not depend on the previous round come first.
            let early = $add(s[(23 - I) % 8], $add(w, $splat(k.cast_signed())));
            let first = $add($add(early, $logic::<CHOOSE>(e, f, g)), sum1);
            let second = $add(sum0, $logic::<MAJORITY>(a, b, c));
            s[(19 - I) % 8] = $add(s[(19 - I) % 8], first);
            s[(23 - I) % 8] = $add(first, second);
        }

        /// Replace word `I` of the message by the one sixteen words on.
        #[inline]
        #[target_feature(enable = $features)]
        fn extend<const I: usize>(w: &mut [$vector; 16]) {
            let (near, far) = (w[(I + 1) % 16], w[(I + 14) % 16]);
            let sigma0 = $logic::<XOR>($ror::<$x0>(near), $ror::<$x1>(near), $shr::<$x2>(near));
            let sigma1 = $logic::<XOR>($ror::<$y0>(far), $ror::<$y1>(far), $shr::<$y2>(far));
            w[I] = $add($add(w[I], w[(I + 9) % 16]), $add(sigma0, sigma1));
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn compress_block(state: &mut [$vector; 8], mut message: [$vector; 16], constants: &[[$word; 16]]) {
            let mut s = *state;
            let (last, others) = constants.split_last().expect("a hash has rounds");
            for k in others {
                sixteen_times!(I, {
                    round::<I>(&mut s, message[I], k[I]);
                    extend::<I>(&mut message);
                });
            }
            sixteen_times!(I, {
                round::<I>(&mut s, message[I], last[I]);
            });
            for (word, change) in state.iter_mut().zip(s) {
                *word = $add(*word, change);
            }
        }
    };
}

pub(super) use {define_rounds, sixteen_times};
