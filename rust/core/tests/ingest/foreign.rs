//! containerd's half-done ingests, and ours, in a root that is only read.

use std::fs;
use std::sync::Arc;

use steelyard_core::error::Error;
use steelyard_core::store::{Options, Store};

use crate::support::*;

fn read_only(root: &Root) -> Arc<Store> {
    Store::open(&root.path, Options { read_only: true, ..Options::default() }).unwrap()
}

/// Write an ingest as containerd does.
fn leave_foreign(root: &Root, ref_: &str, data: &[u8], rest: &[(&str, &str)]) {
    let dir = root.ingest(ref_);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("ref"), ref_).unwrap();
    fs::write(dir.join("data"), data).unwrap();
    for (name, text) in rest {
        fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn the_ingests_of_containerd_are_read() {
    let root = Root::new();
    let times = [("startedat", "2024-02-29T23:59:59.123456789Z"), ("updatedat", "2024-03-01T01:00:00+01:00")];
    leave_foreign(&root, "default/1/layer-b", b"abc", &[&times[..], &[("total", "4096")]].concat());
    leave_foreign(&root, "default/1/layer-a", b"", &[&times[..], &[("total", "many")]].concat());
    leave_foreign(&root, "default/1/layer-c", b"x", &[("total", "0"), ("startedat", "yesterday")]);
    fs::create_dir(root.ingest("no ref")).unwrap();
    let before = fs::metadata(root.ingest("default/1/layer-b").join("data")).unwrap().modified().unwrap();
    let store = read_only(&root);

    let statuses = store.ingests().statuses().unwrap();

    let refs: Vec<_> = statuses.iter().map(|status| &*status.ref_).collect();
    assert_eq!(["default/1/layer-a", "default/1/layer-b", "default/1/layer-c"], *refs);
    let totals: Vec<_> = statuses.iter().map(|status| (status.offset, status.total, status.expected)).collect();
    assert_eq!([(0, None, None), (3, Some(4096), None), (1, None, None)], *totals);
    let mtime = i64::try_from(before.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    assert_eq!((1_709_251_199_123_456_789, mtime), (statuses[1].started_ns, statuses[1].updated_ns));
    assert_eq!(statuses[1], store.ingests().status("default/1/layer-b").unwrap());
    assert_eq!(Err(Error::no_ingest("no ref")), store.ingests().status("no ref"));
}

#[test]
fn the_noted_time_counts_when_it_is_the_later_one() {
    let root = Root::new();
    leave_foreign(&root, "layer", b"abc", &[("updatedat", "2100-01-01T00:00:00Z")]);

    assert_eq!(4_102_444_800_000_000_000, read_only(&root).ingests().status("layer").unwrap().updated_ns);
}

#[test]
fn our_own_ingests_are_read_where_they_were_left() {
    let root = Root::new();
    let store = root.open();
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    ingest.sync().unwrap();
    ingest.write(b"defgh").unwrap();
    drop(ingest);
    let status = store.ingests().status(REF).unwrap();
    drop(store);

    let store = read_only(&root);

    assert_eq!(3, status.offset);
    assert_eq!(
        (vec![status.clone()], status),
        (store.ingests().statuses().unwrap(), store.ingests().status(REF).unwrap())
    );
}

#[test]
fn nothing_can_be_begun_or_aborted_in_a_read_only_store() {
    let root = Root::new();
    leave(&root.open(), b"abc");
    let store = read_only(&root);

    assert!(matches!(store.ingests().open(REF, None, None, None).err(), Some(Error::Io { errno: libc::EROFS, .. })));
    assert!(matches!(store.ingests().abort(REF), Err(Error::Io { errno: libc::EROFS, .. })));
    assert_eq!(3, store.ingests().status(REF).unwrap().offset);
}

#[test]
fn a_root_without_ingests_has_none() {
    let root = Root::new();
    let store = read_only(&root);

    assert_eq!(Ok(Vec::new()), store.ingests().statuses());
    assert_eq!(Err(Error::no_ingest(REF)), store.ingests().status(REF));
}

#[test]
fn the_root_of_a_containerd_is_not_opened_for_writing() {
    let scratch = Root::new();
    let path = scratch.path.join("io.containerd.content.v1.content");
    fs::create_dir_all(path.join("blobs/sha256")).unwrap();

    let refused = Store::open(&path, Options::default()).map(drop).unwrap_err();

    assert!(
        matches!(&refused, Error::FailedPrecondition { message } if message.contains("open it read-only")),
        "{refused:?}"
    );
    assert_eq!(1, fs::read_dir(&path).unwrap().count());
    Store::open(&path, Options { read_only: true, ..Options::default() }).unwrap();
}
