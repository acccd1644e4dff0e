//! The comparisons of a commit after the bytes of the file were read again.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;

use crate::support::*;

const MIB: usize = 1 << 20;

fn damage(root: &Root, offset: u64) {
    let data = OpenOptions::new().write(true).open(root.ingest(REF).join("data")).unwrap();
    data.write_all_at(b"damaged", offset).unwrap();
}

#[test]
fn it_is_read_in_pieces_and_includes_what_came_since() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(2 * MIB + 5);
    for algorithm in Algorithm::ALL {
        leave(&store, &data[..MIB]);
        let ingest = store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
        ingest.write(&data[MIB..2 * MIB]).unwrap();
        assert_eq!(MIB as u64, ingest.recheck(MIB as u64).unwrap());
        ingest.push(&data[2 * MIB..]).unwrap();
        assert_eq!(5, ingest.recheck(MIB as u64).unwrap());

        let info = ingest.commit(None, None, None).unwrap();

        assert_eq!(digest(algorithm, &data), info.digest);
    }
}

#[test]
fn other_bytes_than_those_accepted_are_not_published() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(MIB);
    for offset in [0, MIB as u64 - 10] {
        let ingest = begin(&store);
        ingest.write(&data).unwrap();
        ingest.close().unwrap();
        damage(&root, offset);
        let ingest = begin(&store);
        ingest.recheck(0).unwrap();

        let error = ingest.commit(None, None, None).err().unwrap();

        let Error::DataCorrupt { expected, .. } = error else { panic!("{error:?}") };
        assert_eq!(sha256(&data).to_string(), expected);
        assert_eq!(None, root.blob(&sha256(&data)));
        assert_eq!(MIB as u64, store.ingests().status(REF).unwrap().offset);
        store.ingests().abort(REF).unwrap();
    }
}

#[test]
fn a_cut_begins_it_again() {
    let root = Root::new();
    let store = root.open();
    let ingest = begin(&store);
    ingest.write(b"abcdef").unwrap();
    ingest.recheck(u64::MAX).unwrap();
    ingest.truncate(3).unwrap();
    ingest.write(b"xyz").unwrap();
    ingest.recheck(u64::MAX).unwrap();

    assert_eq!(sha256(b"abcxyz"), ingest.commit(None, None, None).unwrap().digest);
}
