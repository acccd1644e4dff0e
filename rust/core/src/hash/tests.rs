use proptest::prelude::*;
use sha2::Digest as _;

use super::blake3_tree::SUBTREE;
use super::*;

/// The results of the one-shot functions of the crates.
fn one_shot(algorithm: Algorithm, data: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Blake3 => Digest::new(algorithm, blake3::hash(data).as_bytes()),
        Algorithm::Sha256 => Digest::new(algorithm, &sha2::Sha256::digest(data)),
        Algorithm::Sha384 => Digest::new(algorithm, &sha2::Sha384::digest(data)),
        Algorithm::Sha512 => Digest::new(algorithm, &sha2::Sha512::digest(data)),
    }
}

/// Bytes that differ from subtree to subtree, so that swapped or repeated ones are noticed.
fn input(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn mib(count: u64) -> usize {
    usize::try_from(count * SUBTREE).unwrap()
}

/// Hash `data` in the given cuts; every digest on the way must be right too.
fn check_cuts(algorithm: Algorithm, data: &[u8], cuts: &[usize]) {
    let mut hasher = Hasher::new(algorithm);
    let mut from = 0;
    for cut in cuts.iter().copied().chain([data.len()]) {
        hasher.update(&data[from..cut]);
        from = cut;

        assert_eq!(cut as u64, hasher.offset());
        assert_eq!(one_shot(algorithm, &data[..cut]), hasher.digest(), "{algorithm} at {cut}");
    }
}

/// Save at `cut`, restore, and go on over the rest: both digests must be right, and the state small.
fn check_restore(algorithm: Algorithm, data: &[u8], cut: usize) -> u64 {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&data[..cut]);
    let saved = hasher.save();
    let mut restored = Hasher::restore(algorithm, &saved.bytes).unwrap();
    let covered = usize::try_from(saved.offset).unwrap();

    assert!(covered <= cut);
    assert!(saved.bytes.len() <= STATE_LIMIT);
    assert_eq!(saved.offset, restored.offset());
    assert_eq!(one_shot(algorithm, &data[..covered]), restored.digest(), "{algorithm} restored at {covered}");
    assert_eq!(saved, restored.save());

    restored.update(&data[covered..]);

    assert_eq!(one_shot(algorithm, data), restored.digest(), "{algorithm} restored at {covered} of {}", data.len());
    saved.offset
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_length_in_any_cuts_gives_the_one_shot_digest(
        size in 0_usize..20_000, mut cuts in prop::collection::vec(0_usize..20_000, 0..6)
    ) {
        let data = input(size);
        cuts.retain(|cut| *cut <= size);
        cuts.sort_unstable();
        for algorithm in Algorithm::ALL {
            check_cuts(algorithm, &data, &cuts);
        }
    }

    #[test]
    fn a_state_saved_anywhere_goes_on_to_the_same_digest(size in 0_usize..2_000, cut in 0_usize..2_000) {
        let data = input(size);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            prop_assert_eq!(cut.min(size) as u64, check_restore(algorithm, &data, cut.min(size)));
        }
    }

    #[test]
    fn random_bytes_are_no_state(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for algorithm in Algorithm::ALL {
            prop_assert!(Hasher::restore(algorithm, &bytes).is_err());
        }
    }
}

#[test]
fn blake3_is_right_around_every_subtree_border() {
    let data = input(mib(9) + 5);
    for count in 1..=9 {
        let border = mib(count);
        check_cuts(Algorithm::Blake3, &data[..border + 5], &[border - 1, border, border + 1]);
        check_cuts(Algorithm::Blake3, &data[..border + 5], &[border]);
        check_cuts(Algorithm::Blake3, &data[..border], &[]);
    }
}

#[test]
fn blake3_saves_whole_subtrees_and_restores_to_a_usable_hasher() {
    let data = input(mib(9) + 5);
    for count in 0..=9 {
        let border = mib(count);
        for cut in [border.saturating_sub(1), border, border + 1, border + 5] {
            let whole = cut as u64 / SUBTREE;
            let expected = if whole < 2 { 0 } else { whole * SUBTREE };

            assert_eq!(expected, check_restore(Algorithm::Blake3, &data, cut), "saved at {cut}");
            assert_eq!(expected, check_restore(Algorithm::Blake3, &data[..cut], cut), "saved at the end {cut}");
        }
    }
}

#[test]
fn a_blake3_state_survives_many_restores() {
    let data = input(mib(6));
    let mut hasher = Hasher::new(Algorithm::Blake3);
    for piece in data.chunks(mib(1)) {
        hasher.update(piece);
        let saved = hasher.save();
        if saved.offset == hasher.offset() {
            hasher = Hasher::restore(Algorithm::Blake3, &saved.bytes).unwrap();
        }
    }

    assert_eq!(one_shot(Algorithm::Blake3, &data), hasher.digest());
}

/// Also the proof that the frame's checksum covers every byte.
#[test]
fn every_damaged_byte_and_every_cut_of_a_state_is_rejected() {
    let data = input(mib(3) + 100);
    for algorithm in Algorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&data);
        let bytes = hasher.save().bytes;
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;

            assert!(Hasher::restore(algorithm, &damaged).is_err(), "{algorithm} byte {index}");
            assert!(Hasher::restore(algorithm, &bytes[..index]).is_err(), "{algorithm} cut at {index}");
        }
        let mut longer = bytes.clone();
        longer.push(0);

        assert!(Hasher::restore(algorithm, &longer).is_err());
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            assert!(Hasher::restore(other, &bytes).is_err(), "{algorithm} as {other}");
        }
    }
}

#[test]
fn a_well_framed_state_whose_parts_do_not_fit_is_rejected() {
    for (algorithm, offset, payload) in [
        (Algorithm::Sha256, 1, vec![0; 32]),
        (Algorithm::Sha256, 0, vec![0; 33]),
        (Algorithm::Sha256, 64, vec![0; 31]),
        (Algorithm::Sha512, 127, vec![0; 64 + 126]),
        (Algorithm::Sha384, 0, vec![]),
        (Algorithm::Sha512, 1 << 63, vec![0; 64]),
        (Algorithm::Blake3, 1, vec![]),
        (Algorithm::Blake3, 0, vec![0; 32]),
        (Algorithm::Blake3, SUBTREE, vec![0; 32]),
        (Algorithm::Blake3, 2 * SUBTREE, vec![0; 32]),
        (Algorithm::Blake3, 2 * SUBTREE, vec![0; 65]),
        (Algorithm::Blake3, 3 * SUBTREE, vec![0; 96]),
    ] {
        let framed = state::encode(algorithm, offset, &payload);

        assert!(Hasher::restore(algorithm, &framed).is_err(), "{algorithm} at {offset}");
    }
}
