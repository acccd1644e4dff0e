//! Every kernel against the plain hasher, and the plain hasher against the official answers.

use std::io::{self, Write as _};
use std::iter::zip;

use proptest::prelude::*;

use super::kernel::{KERNELS, Kernel, MOST_LANES};
use super::*;
use crate::hash::vectors::{SHA2, messages};

#[test]
fn kernels_that_go_untested_are_named() {
    assert_eq!("one stream", testable()[0].name);
}

/// The kernels that this CPU can run. The others are named, as nothing else tells that they went untested.
fn testable() -> Vec<&'static Kernel> {
    let (can, cannot): (Vec<_>, Vec<_>) = KERNELS.iter().partition(|kernel| (kernel.available)());
    for kernel in cannot {
        // Not by a macro, whose output the test runner hides.
        let line = format!("\nUNTESTED, this CPU cannot run it: {}\n", kernel.name);
        io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    }
    can
}

/// One plan for each kernel that forces it, and the one made by measurement.
fn plans() -> Vec<&'static Plan> {
    let forced = testable().into_iter().map(|kernel| &*Box::leak(Box::new(Plan::only(kernel))));
    forced.chain([Plan::of_this_cpu()]).collect()
}

fn plain(algorithm: Algorithm, data: &[u8]) -> Digest {
    digest_one(algorithm, data)
}

/// Bytes without a period that a lane or a block could hide in.
fn input(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(size / 8 + 1).flatten().collect();
    bytes.truncate(size);
    bytes
}

fn slices(blobs: &[Vec<u8>]) -> Vec<&[u8]> {
    blobs.iter().map(Vec::as_slice).collect()
}

fn check_digests(algorithm: Algorithm, blobs: &[&[u8]]) {
    let expected: Vec<_> = blobs.iter().map(|blob| plain(algorithm, blob)).collect();
    if algorithm == Algorithm::Sha256 {
        for kernel in probe::kernels() {
            let digests = probe::digest_many_by(kernel, blobs).unwrap();

            assert_eq!(expected, digests, "by {kernel}");
        }
    }

    assert_eq!(expected, digest_many(algorithm, blobs), "{algorithm}");
}

/// Digest the messages of the examples by every kernel, in the order of `indices`.
fn check_examples(indices: &[usize]) {
    let messages = messages();
    let blobs: Vec<_> = indices.iter().map(|i| messages[*i].as_bytes()).collect();
    let (_, answers) = SHA2.into_iter().find(|(algorithm, _)| *algorithm == Algorithm::Sha256).unwrap();
    let expected: Vec<_> = indices.iter().map(|i| answers[*i].to_owned()).collect();
    for kernel in probe::kernels() {
        let digests = probe::digest_many_by(kernel, &blobs).unwrap();
        let actual: Vec<_> = digests.iter().map(Digest::encoded).collect();

        assert_eq!(expected, actual, "by {kernel}");
    }
}

/// But for the longest example, which takes long in a debug build: the plain hasher gets that one.
#[test]
fn every_lane_of_every_kernel_gives_the_answers_of_the_nist_examples() {
    for first in 0..4 {
        let indices: Vec<_> = (first..first + MOST_LANES).map(|i| i % 4).collect();

        check_examples(&indices);
    }
}

/// Both sides of every border: of the padding, of blocks and of steps.
#[test]
fn every_length_around_a_border_is_right() {
    let borders = [0, 64, 128, 256, 1024, 64 * 64, 64 * 128];
    let sizes = borders.into_iter().flat_map(|border: usize| (border.saturating_sub(18)..border + 3).step_by(1));
    let blobs: Vec<_> = zip(sizes, 1..).map(|(size, seed)| input(size, seed)).collect();
    for algorithm in Algorithm::ALL {
        check_digests(algorithm, &slices(&blobs));
    }
}

#[test]
fn any_number_of_equal_streams_is_right() {
    let blobs: Vec<_> = (0..=2 * MOST_LANES as u64).map(|seed| input(9_000, seed)).collect();
    let slices = slices(&blobs);
    for count in 0..slices.len() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let expected: Vec<_> = slices[..count].iter().map(|blob| plain(algorithm, blob)).collect();

            assert_eq!(expected, digest_many(algorithm, &slices[..count]));
        }
    }
}

#[test]
fn a_state_that_lanes_advanced_can_be_saved_and_restored() {
    let data = input(100_000, 1);
    for algorithm in Algorithm::ALL {
        let mut hashers = [0, 1, 2].map(|_| Hasher::new(algorithm));
        let [a, b, c] = &mut hashers;
        update_many(&mut [(a, &data[..70_001]), (b, &data[..300]), (c, &data)]);
        let hashers = hashers.map(|h| Hasher::restore(algorithm, &h.save().bytes).unwrap());

        for (hasher, size) in zip(hashers, [70_001, 300, 100_000]) {
            let mut hasher = hasher;
            let saved = usize::try_from(hasher.offset()).unwrap();
            hasher.update(&data[saved..size]);

            assert_eq!(plain(algorithm, &data[..size]), hasher.digest());
        }
    }
}

/// How many lanes the kernels have that a plan for these gains takes for 1, 2, and so on streams.
#[cfg(target_arch = "x86_64")]
fn planned(gains: &[(usize, f64)]) -> [usize; MOST_LANES] {
    let kernel = |lanes| KERNELS.iter().find(|kernel| kernel.lanes == lanes).unwrap();
    let gains: Vec<_> = gains.iter().map(|(lanes, gain)| (kernel(*lanes), *gain)).collect();
    let plan = Plan::new(&gains);

    assert_eq!(plan.kernel(MOST_LANES).unwrap().lanes, plan.lanes());
    assert!(plan.kernel(0).is_none());

    std::array::from_fn(|index| plan.kernel(index + 1).unwrap().lanes)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_plan_takes_wide_kernels_only_for_enough_streams() {
    let one_wins = planned(&[(1, 1.0), (2, 0.9), (16, 1.04)]);
    let wide_wins = planned(&[(1, 1.0), (2, 1.2), (4, 1.2), (8, 1.6), (16, 2.2)]);
    let pairs_win = planned(&[(1, 1.0), (2, 1.6), (4, 1.9), (8, 1.1), (16, 1.4)]);

    assert_eq!([1; 16], one_wins);
    assert_eq!([1, 2, 2, 2, 2, 2, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16], wide_wins);
    assert_eq!([1, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4], pairs_win);
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(Algorithm::ALL.to_vec())
}

/// Small lengths often, long ones sometimes.
fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..300, 2 => 0_usize..6_000, 1 => 0_usize..40_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_blobs_get_their_digests_from_every_kernel(
        algorithm in any_algorithm(), sizes in prop::collection::vec(any_size(), 0..40), seed in any::<u64>()
    ) {
        let blobs: Vec<_> = zip(sizes, seed..).map(|(size, seed)| input(size, seed)).collect();

        check_digests(algorithm, &slices(&blobs));
    }

    /// Rounds of updates of many hashers of mixed algorithms; in each a hasher gets any number of bytes.
    #[test]
    fn any_updates_leave_every_hasher_as_plain_updates_do(
        plan in prop::sample::select(plans()),
        algorithms in prop::collection::vec(any_algorithm(), 0..24),
        rounds in prop::collection::vec(prop::collection::vec(any_size(), 24), 1..4),
        seed in any::<u64>()
    ) {
        let mut expected: Vec<_> = algorithms.iter().copied().map(Hasher::new).collect();
        let mut hashers = expected.clone();
        for (round, sizes) in zip(0.., &rounds) {
            let pieces: Vec<_> = zip(sizes, 0..).map(|(size, n)| input(*size, seed ^ round ^ n << 8)).collect();
            for (hasher, piece) in zip(&mut expected, &pieces) {
                hasher.update(piece);
            }
            let mut updates: Vec<_> = zip(&mut hashers, &pieces).map(|(h, p)| (h, p.as_slice())).collect();
            update_all(|| plan, &mut updates);
        }

        for (expected, actual) in zip(&expected, &hashers) {
            prop_assert_eq!(expected.save(), actual.save());
        }
    }
}
