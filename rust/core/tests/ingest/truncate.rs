//! Truncation: to any smaller size, with the right digest, and for good.

use proptest::prelude::*;
use std::fs;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;
use steelyard_core::store::{Options, Store};

use crate::support::*;

#[test]
fn any_smaller_size_will_do_and_writing_goes_on_from_there() {
    let root = Root::in_memory();
    let store = root.open();
    let data = bytes(50_000);
    for algorithm in Algorithm::ALL {
        for keep in [0, 5_000, 25_000, 45_000, 50_000] {
            let ingest = store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
            ingest.write(&data[..45_000]).unwrap();
            ingest.sync().unwrap();
            ingest.push(&data[45_000..]).unwrap();

            ingest.truncate(keep as u64).unwrap();

            assert_eq!(keep as u64, ingest.offset());
            assert_eq!(digest(algorithm, &data[..keep]), ingest.digest().unwrap());
            ingest.write(&[7; 100]).unwrap();
            let whole = [&data[..keep], &[7; 100]].concat();
            let info = ingest.commit(None, None, None).unwrap();
            assert_eq!((digest(algorithm, &whole), Some(whole)), (info.digest, root.blob(&info.digest)));
        }
    }
}

#[test]
fn a_larger_size_is_out_of_range_and_changes_nothing() {
    let root = Root::in_memory();
    let ingest = begin(&root.open());
    ingest.write(b"abc").unwrap();

    let error = ingest.truncate(4).unwrap_err();

    assert_eq!(Error::OutOfRange { name: REF.to_owned(), offset: 4, size: 3 }, error);
    assert_eq!((3, sha256(b"abc")), (ingest.offset(), ingest.digest().unwrap()));
}

#[test]
fn a_truncated_ingest_resumes_at_the_cut() {
    let root = Root::in_memory();
    let store = root.open();
    let data = bytes(5000);
    for keep in [500, 1, 0] {
        leave(&store, &data[begin_offset(&store)..]);
        let ingest = begin(&store);
        ingest.truncate(keep).unwrap();
        let status = ingest.status().unwrap();
        drop(ingest);

        assert_eq!((keep, status.updated_ns), (status.offset, store.ingests().status(REF).unwrap().updated_ns));
        let ingest = begin(&store);
        assert_eq!(keep, ingest.offset());
        assert_eq!(sha256(&data[..usize::try_from(keep).unwrap()]), ingest.digest().unwrap());
    }
}

fn begin_offset(store: &std::sync::Arc<Store>) -> usize {
    usize::try_from(begin(store).offset()).unwrap()
}

/// A step in the life of an ingest; its numbers are taken modulo the number of choices.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Push(usize),
    Sync,
    Truncate(usize),
    Digest,
    Close,
    Crash,
    /// A crash, and one byte of the state file has changed.
    Flip(usize),
    /// A crash, and the end of the data is gone.
    Lose(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3000_usize).prop_map(Step::Write),
        2 => (0..3000_usize).prop_map(Step::Push),
        2 => Just(Step::Sync),
        2 => any::<usize>().prop_map(Step::Truncate),
        1 => Just(Step::Digest),
        1 => Just(Step::Close),
        2 => Just(Step::Crash),
        1 => any::<usize>().prop_map(Step::Flip),
        1 => any::<usize>().prop_map(Step::Lose),
    ]
}

/// Do one step; `content` is what the ingest has accepted. True when the ingest is to be opened again.
fn take(
    root: &Root,
    ingest: &steelyard_core::store::ingest::Ingest,
    content: &mut Vec<u8>,
    step: Step,
    seed: u8,
) -> bool {
    match step {
        Step::Write(size) | Step::Push(size) => {
            let data: Vec<u8> = (0..size).map(|at| seed.wrapping_add(at.to_le_bytes()[0])).collect();
            content.extend(&data);
            match step {
                Step::Push(_) => drop(ingest.push(&data).unwrap()),
                _ => ingest.write(&data).unwrap(),
            }
        }
        Step::Sync => ingest.sync().unwrap(),
        Step::Truncate(size) => {
            content.truncate(size % (content.len() + 1));
            ingest.truncate(content.len() as u64).unwrap();
        }
        Step::Digest => assert_eq!(digest(ingest.algorithm(), content), ingest.digest().unwrap()),
        Step::Close => ingest.close().unwrap(),
        Step::Crash => {}
        Step::Flip(at) => {
            let path = root.ingest(REF).join("state");
            let mut state = fs::read(&path).unwrap();
            let at = at % state.len();
            state[at] ^= 0x10;
            fs::write(&path, state).unwrap();
        }
        Step::Lose(size) => {
            let data = fs::OpenOptions::new().write(true).open(root.ingest(REF).join("data")).unwrap();
            data.set_len(size as u64 % (data.metadata().unwrap().len() + 1)).unwrap();
        }
    }
    matches!(step, Step::Close | Step::Crash | Step::Flip(_) | Step::Lose(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_resume_gives_a_prefix_of_what_was_accepted_whatever_happened(
        steps in prop::collection::vec(step(), 1..40),
        algorithm in prop::sample::select(vec![Algorithm::Sha256, Algorithm::Blake3]),
    ) {
        let root = Root::in_memory();
        let options = Options { durable: false, ..Options::default() };
        let store = Store::open(&root.path, options).unwrap();
        let open = || store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
        let (mut ingest, mut content) = (open(), Vec::new());
        for (seed, step) in (0..).zip(steps) {
            if take(&root, &ingest, &mut content, step, seed) {
                drop(ingest);
                ingest = open();
                let offset = usize::try_from(ingest.offset()).unwrap();
                prop_assert!(offset <= content.len());
                prop_assert!(offset == content.len() || !matches!(step, Step::Close));
                content.truncate(offset);
                prop_assert_eq!(digest(algorithm, &content), ingest.digest().unwrap());
            }
        }
        match ingest.commit(None, None, None) {
            Ok(info) => prop_assert_eq!(Some(content), root.blob(&info.digest)),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
