//! Resuming: everything that was checkpointed, nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use steelyard_core::digest::Algorithm;
use steelyard_core::model::Status;

use crate::support::*;

const MIB: usize = 1 << 20;

#[test]
fn a_resume_has_the_same_offset_digest_and_times() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(1000);
    let expected = sha256(&data);
    let first = store.ingests().open(REF, Some(1000), Some(&expected), None).unwrap();
    first.write(&data[..400]).unwrap();
    first.push(&data[400..500]).unwrap();
    let status = first.status().unwrap();
    first.close().unwrap();
    assert_eq!(status, store.ingests().status(REF).unwrap());

    let second = begin(&root.open());

    assert_eq!(status, second.status().unwrap());
    assert_eq!((500, sha256(&data[..500])), (second.offset(), second.digest().unwrap()));
    second.write(&data[500..]).unwrap();
    assert_eq!(expected, second.commit(Some(1000), Some(&expected), None).unwrap().digest);
    assert_eq!(Some(data), root.blob(&expected));
}

#[test]
fn total_and_expected_are_kept_and_replaced_when_given_again() {
    let root = Root::new();
    let store = root.open();
    let (one, two) = (sha256(b"one"), sha256(b"two"));
    let announced = |status: Status| (status.total, status.expected);
    store.ingests().open(REF, Some(1), Some(&one), None).unwrap().close().unwrap();
    assert_eq!((Some(1), Some(one)), announced(begin(&store).status().unwrap()));

    let ingest = store.ingests().open(REF, Some(2), Some(&two), None).unwrap();
    drop(ingest);

    assert_eq!((Some(2), Some(two)), announced(store.ingests().status(REF).unwrap()));
}

#[test]
fn every_algorithm_resumes_at_every_kind_of_offset() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(5 * MIB + 77);
    for algorithm in Algorithm::ALL {
        let mut at = 0;
        for next in [0, 1, 127, 128, MIB - 1, MIB, 2 * MIB, 3 * MIB + 5, 5 * MIB, data.len()] {
            let ingest = store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
            assert_eq!(at as u64, ingest.offset());
            assert_eq!(digest(algorithm, &data[..at]), ingest.digest().unwrap());
            ingest.write(&data[at..next]).unwrap();
            ingest.close().unwrap();
            at = next;
        }
        let ingest = begin(&store);
        assert!(ingest.catch_up(u64::MAX).is_ok_and(|left| left == 0));
        assert_eq!(digest(algorithm, &data), ingest.commit(None, None, None).unwrap().digest);
    }
}

#[test]
fn a_resume_costs_the_tail_only() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(4 * MIB + 10);
    for (algorithm, behind) in [(Algorithm::Sha256, 0), (Algorithm::Sha512, 0), (Algorithm::Blake3, 10)] {
        let ingest = store.ingests().open(algorithm.name(), None, None, Some(algorithm)).unwrap();
        ingest.write(&data).unwrap();
        ingest.close().unwrap();

        let ingest = store.ingests().open(algorithm.name(), None, None, None).unwrap();

        assert_eq!(behind, ingest.catch_up(0).unwrap());
        assert_eq!(digest(algorithm, &data), ingest.digest().unwrap());
    }
}

#[test]
fn another_algorithm_reads_the_bytes_again_in_pieces() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(3 * MIB);
    leave(&store, &data[..2 * MIB]);

    let ingest = store.ingests().open(REF, None, None, Some(Algorithm::Sha384)).unwrap();

    assert_eq!(2 * MIB as u64 - 1000, ingest.catch_up(1000).unwrap());
    ingest.write(&data[2 * MIB..]).unwrap();
    ingest.push(b"x").unwrap();
    let whole = [&data[..], b"x"].concat();
    assert_eq!(digest(Algorithm::Sha384, &whole), ingest.digest().unwrap());
    ingest.set_algorithm(Algorithm::Blake3).unwrap();
    assert_eq!(digest(Algorithm::Blake3, &whole), ingest.digest().unwrap());
}

#[test]
fn what_was_written_after_the_checkpoint_is_cut() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(100);
    let ingest = begin(&store);
    ingest.write(&data[..60]).unwrap();
    ingest.sync().unwrap();
    ingest.write(&[0xff; 30]).unwrap();
    drop(ingest);
    assert_eq!(90, fs::metadata(root.ingest(REF).join("data")).unwrap().len());
    assert_eq!(60, store.ingests().status(REF).unwrap().offset);

    let ingest = begin(&store);

    assert_eq!(60, ingest.offset());
    assert_eq!(60, fs::metadata(root.ingest(REF).join("data")).unwrap().len());
    ingest.write(&data[60..]).unwrap();
    assert_eq!(sha256(&data), ingest.commit(None, None, None).unwrap().digest);
}

#[test]
fn a_checkpoint_is_made_every_64_mib() {
    let root = Root::new();
    let store = root.open();
    let ingest = begin(&store);
    let piece = bytes(8 * MIB);
    for _ in 0..9 {
        ingest.write(&piece).unwrap();
    }
    // Waits for the checkpoint that is made beside the writes.
    ingest.catch_up(u64::MAX).unwrap();
    drop(ingest);

    assert_eq!(64 * MIB as u64, store.ingests().status(REF).unwrap().offset);
}

#[test]
fn closing_twice_is_fine_and_every_other_call_says_closed() {
    let root = Root::new();
    let ingest = begin(&root.open());
    ingest.write(b"abc").unwrap();
    ingest.close().unwrap();
    ingest.close().unwrap();

    assert!(is_closed(&ingest.push(b"x").unwrap_err()));
    assert!(is_closed(&ingest.write(b"x").unwrap_err()));
    assert!(is_closed(&ingest.flush().unwrap_err()));
    assert!(is_closed(&ingest.catch_up(1).unwrap_err()));
    assert!(is_closed(&ingest.set_algorithm(Algorithm::Blake3).unwrap_err()));
    assert!(is_closed(&ingest.digest().unwrap_err()));
    assert!(is_closed(&ingest.status().unwrap_err()));
    assert!(is_closed(&ingest.truncate(0).unwrap_err()));
    assert!(is_closed(&ingest.sync().unwrap_err()));
    assert!(is_closed(&ingest.commit(None, None, None).unwrap_err()));
    assert_eq!(3, ingest.offset());
}

#[test]
fn data_that_is_also_a_blob_is_never_written_to() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(100);
    leave(&store, &data);
    // A power cut may keep the new name of a rename and the old one too.
    let blob = root.blob_path(&sha256(&data));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::hard_link(root.ingest(REF).join("data"), &blob).unwrap();

    let ingest = begin(&store);

    assert_eq!(0, ingest.offset());
    ingest.write(b"other bytes").unwrap();
    assert_eq!(Some(data), fs::read(&blob).ok());
}

#[test]
fn data_that_a_failed_commit_made_read_only_is_writable_again() {
    let root = Root::new();
    let store = root.open();
    leave(&store, b"abc");
    let data = root.ingest(REF).join("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o444)).unwrap();

    begin(&store).write(b"def").unwrap();

    assert_eq!(0o100_600, fs::metadata(&data).unwrap().permissions().mode());
}
