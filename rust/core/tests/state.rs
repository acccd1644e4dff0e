//! The state file's format: golden bytes, and decoding of damaged files.

use proptest::prelude::*;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::format::state::{BLOCK, Header, Holder, REF_LIMIT, Slot, State, Tail};
use steelyard_core::hash::Hasher;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// BLAKE3 of the whole golden file.
const GOLDEN: &str = "1cf9ed5b04f259fc05c0a07a115816b0d3b76c48119f989c4a1c6b23a2fd93e5";
/// BLAKE3 of the golden record of a tail.
const GOLDEN_TAIL: &str = "760f843dac904a9aaa758d63b32f827b715688352ee5e543c1f825af1c3288a9";

fn slot(sequence: u64, offset: u64) -> Slot {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&vec![7; usize::try_from(offset).unwrap()]);
    let saved = hasher.save();
    Slot {
        sequence,
        offset,
        updated_ns: 1_700_000_000_123_456_789 + i64::try_from(sequence).unwrap(),
        total: Some(4096),
        expected: Some(Digest::parse(EMPTY).unwrap()),
        algorithm: Algorithm::Sha256,
        hash_offset: saved.offset,
        hash_state: saved.bytes,
    }
}

fn file(ref_: &str, slots: [Option<Slot>; 2]) -> (Vec<u8>, State) {
    let header = Header { ref_: ref_.to_owned(), started_ns: 1_700_000_000_000_000_001 };
    let holder = Holder { pid: 4711, since_ns: 1_700_000_000_000_000_002 };
    let (mut bytes, layout) = header.encode();
    bytes.extend(layout.encode_holder(holder));
    for slot in &slots {
        bytes.extend(slot.as_ref().map_or(vec![0; BLOCK], |slot| layout.encode_slot(slot)));
    }
    (bytes, State { header, layout, holder: Some(holder), slots })
}

#[test]
fn the_format_is_the_golden_one() {
    let (bytes, _) = file("layer-1", [Some(slot(1, 0)), Some(slot(2, 100))]);

    assert_eq!(4 * BLOCK, bytes.len());
    assert_eq!(b"STYDING1\x07\0\0\0\0\0\0\0", &bytes[..16]);
    assert_eq!(1_700_000_000_000_000_001_i64.to_le_bytes(), bytes[16..24]);
    assert_eq!(b"layer-1", &bytes[24..31]);
    assert_eq!(b"hold\x67\x12\0\0", &bytes[BLOCK..BLOCK + 8]);
    assert_eq!(b"slot\x01\0\0\0\x01\0\0\0\0\0\0\0", &bytes[2 * BLOCK..2 * BLOCK + 16]);
    assert_eq!(100_u64.to_le_bytes(), bytes[3 * BLOCK + 16..3 * BLOCK + 24]);
    // A change of any byte needs a new magic number and a reader for this one.
    assert_eq!(GOLDEN, blake3::hash(&bytes).to_hex().as_str());
}

#[test]
fn the_record_of_a_tail_is_the_golden_one_and_only_its_own_ingest_reads_it() {
    let (_, state) = file("layer-1", [None, None]);
    let slot = slot(1, 5 << 20);
    let boot = "0123abcd-0123-4567-89ab-0123456789ab".to_owned();
    let (offset, updated_ns, hash_state) = (slot.offset, slot.updated_ns, slot.hash_state);
    let tail = Tail { boot, device: 64_768, inode: 4711, offset, updated_ns, hash_state };

    let block = state.layout.encode_tail(&tail);

    assert_eq!((BLOCK, b"tail\x00\xfd\0\0\0\0\0\0"), (block.len(), block[..12].try_into().unwrap()));
    // A change of any byte needs another word at the beginning and a reader for this one.
    assert_eq!(GOLDEN_TAIL, blake3::hash(&block).to_hex().as_str());
    assert_eq!(Some(tail), state.layout.decode_tail(&block));
    for length in (0..BLOCK).step_by(61) {
        assert_eq!(None, state.layout.decode_tail(&block[..length]));
    }
    let (_, other) = file("layer-2", [None, None]);
    assert_eq!(None, other.layout.decode_tail(&block));
}

#[test]
fn every_field_survives() {
    let long = "ü/..\0\n".repeat(REF_LIMIT / 7);
    for ref_ in ["a", "../../etc/passwd", "nul\0 newline\n", &long, &"x".repeat(REF_LIMIT)] {
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&vec![1; 5 << 20]);
            let saved = hasher.save();
            let (total, expected) = (None, Some(hasher.digest()));
            let (hash_offset, hash_state) = (saved.offset, saved.bytes);
            let bare = Slot { offset: 5 << 20, total, expected, algorithm, hash_offset, hash_state, ..slot(9, 0) };
            let (bytes, state) = file(ref_, [Some(bare), None]);

            assert_eq!(Some(state), State::decode(&bytes));
        }
    }
}

#[test]
fn the_newest_slot_whose_bytes_are_there_counts() {
    let (_, state) = file("r", [Some(slot(4, 300)), Some(slot(3, 200))]);

    assert_eq!(Some(0), state.usable(300));
    assert_eq!(Some(1), state.usable(299));
    assert_eq!(None, state.usable(199));
}

#[test]
fn blocks_of_another_ingest_do_not_count() {
    let (mut bytes, _) = file("one", [Some(slot(1, 0)), None]);
    let (other, _) = file("two", [Some(slot(8, 800)), Some(slot(9, 900))]);
    bytes[BLOCK..].copy_from_slice(&other[BLOCK..]);

    let state = State::decode(&bytes).unwrap();

    assert_eq!((None, [None, None]), (state.holder, state.slots));
}

/// Whatever was decoded of damaged bytes is exactly what was encoded, or absent.
fn assert_never_wrong(damaged: &[u8], whole: &State) {
    let Some(found) = State::decode(damaged) else {
        return;
    };
    assert_eq!(whole.header, found.header);
    assert!(found.holder.is_none() || found.holder == whole.holder);
    for (found, whole) in found.slots.iter().zip(&whole.slots) {
        assert!(found.is_none() || found == whole);
    }
}

#[test]
fn a_file_cut_anywhere_yields_no_wrong_slot() {
    let (bytes, whole) = file("layer", [Some(slot(1, 10)), Some(slot(2, 20))]);
    for length in (0..bytes.len()).step_by(61).chain([BLOCK, 2 * BLOCK, 3 * BLOCK]) {
        assert_never_wrong(&bytes[..length], &whole);
    }
}

proptest! {
    #[test]
    fn random_bytes_are_no_state(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        prop_assert_eq!(None, State::decode(&bytes));
    }

    #[test]
    fn random_bytes_after_the_magic_are_no_state(tail in prop::collection::vec(any::<u8>(), 0..20_000)) {
        prop_assert_eq!(None, State::decode(&[b"STYDING1".as_slice(), &tail].concat()));
    }

    #[test]
    fn flipped_bits_yield_no_wrong_slot(flips in prop::collection::vec((0..4 * BLOCK, 0..8_u32), 1..6)) {
        let (mut bytes, whole) = file("layer", [Some(slot(1, 10)), Some(slot(2, 20))]);
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        assert_never_wrong(&bytes, &whole);
    }

    #[test]
    fn an_overwritten_range_yields_no_wrong_slot(at in 0..4 * BLOCK, length in 1..5000_usize, with in any::<u8>()) {
        let (mut bytes, whole) = file("layer", [Some(slot(1, 10)), Some(slot(2, 20))]);
        let end = bytes.len().min(at + length);
        bytes[at..end].fill(with);
        assert_never_wrong(&bytes, &whole);
    }
}
